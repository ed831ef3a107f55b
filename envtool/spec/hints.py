"""Finds the hint for an error in a spec: an example of the right form, the mapping that a key belongs to, or the key's
name in envtool."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import yaml

from envtool.errors import closest_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envtool.model import Json
    from envtool.spec.node import Problems, YamlNode

MAX_LISTED = 60  # keys that a hint lists if none is similar
_OPEN = "…"  # stands for a value that has no example
_SHORT = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{56}\b")  # a sha256 in an example is shortened: nobody copies it

# key of another tool -> key of a spec
_FOREIGN_NAMES = {
    "ubuntu": "debian", "docker": "image", "container": "image", "from": "image", "build": "dockerfile",
    "environment": "set", "env": "set", "variables": "set", "vars": "set", "setenv": "set", "passenv": "pass",
    "pass_env": "pass", "set_env": "set", "depends": "needs", "depends_on": "needs", "dependencies": "needs",
    "cwd": "workdir", "working_dir": "workdir", "working_directory": "workdir", "directory": "workdir",
    "command": "run", "commands": "run", "cmd": "run", "script": "run", "steps": "run", "artifacts": "outputs",
    "deps": "packages", "destination": "to", "dest": "to", "target": "to", "source": "from", "src": "from",
    "path": "to", "uri": "url", "checksum": "sha256", "hash": "sha256", "digest": "sha256", "release": "suite",
    "dist": "suite", "services": "", "lang": "language", "axes": "matrix", "environments": "envs", "jobs": "envs",
    "healthcheck": "ready", "expose": "ports", "entrypoint": "command", "scale": "replicas",
    "environs": "envs", "testenv": "envs", "inherits": "extends", "base_image": "base",
}  # fmt: skip
_VERBS = frozenset(
    ("test", "tests", "build", "check", "lint", "run", "command", "commands", "cmd", "script", "scripts", "steps")
)


def example_hint(key: str | int | None, sub: Any, schema: dict[str, Json]) -> str:
    """Returns a hint with an example for the schema `sub` under `key`; "" if there is no example."""
    value = example(sub, schema)
    if not is_informative(value):
        return ""
    text = to_flow_style(value)
    return f"as in `{key}: {text}`" if isinstance(key, str) else f"as in `{text}`"


def example(sub: Any, schema: dict[str, Json], depth: int = 8) -> Any:
    """Returns a value that fits the schema `sub`: its first example, or one that is composed of the examples of its
    members. `_OPEN` stands for a member without an example. None: there is no example."""
    if not isinstance(sub, dict) or not depth:
        return None
    if sub.get("examples"):
        return sub["examples"][0]
    if "$ref" in sub:
        target: Any = schema
        for step in str(sub["$ref"]).removeprefix("#/").split("/"):
            target = target[step]
        return example(target, schema, depth - 1)
    for keyword in ("anyOf", "oneOf"):
        branches = [example(branch, schema, depth - 1) for branch in sub.get(keyword, [])]
        informative = [value for value in branches if is_informative(value)]
        if "type" not in sub and branches:
            return informative[0] if informative else branches[0]
    if sub.get("enum"):
        return sub["enum"][0]
    return _example_of_type(sub, schema, depth)


def _example_of_type(sub: dict[str, Any], schema: dict[str, Json], depth: int) -> Any:
    types = sub.get("type", "object" if "properties" in sub else "")
    kind = types if isinstance(types, str) else types[0]
    if kind == "array":
        item = example(sub.get("items"), schema, depth - 1)
        return None if item is None else [item]
    if kind == "object":
        properties = sub.get("properties", {})
        members = {name: example(properties.get(name), schema, depth - 1) for name in sub.get("required", ())}
        if not members and isinstance(sub.get("additionalProperties"), dict):
            value = example(sub["additionalProperties"], schema, depth - 1)
            members = {"NAME": _OPEN if value is None else value}
        return {name: _OPEN if value is None else value for name, value in members.items()} or None
    return {"string": _OPEN, "boolean": True, "integer": 1, "number": 1}.get(kind)


def is_informative(value: Any) -> bool:
    """Returns whether an example has more than `_OPEN`."""
    if isinstance(value, list):
        return any(map(is_informative, value))
    return value not in (None, _OPEN)


def to_flow_style(value: Any) -> str:
    """Returns a value as one line of YAML in flow style."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1_000_000)
    text = text.removesuffix("...\n").rstrip("\n").replace("'", '"')
    return _SHORT.sub(rf"\1{_OPEN}", text)


# ---- keys ------------------------------------------------------------------------------------------------------------


def mapping_kind(path: Sequence[str | int]) -> str:
    """Returns what the mapping at this path declares: "top", "env", "task", "layer", "service" or "base"; "" for
    anything else."""
    match [*path]:
        case []:
            return "top"
        case ["envs", _] | ["defaults"]:
            return "env"
        case [*_, "tasks", str()]:
            return "task"
        case ["layers", _] | [*_, "layers", int()]:
            return "layer"
        case ["services", _]:
            return "service"
        case ["bases", _] | ["envs" | "services", _, "base"] | ["defaults", "base"]:
            return "base"
    return ""


def unknown_key_hint(
    key: str,
    node: YamlNode,
    known: Sequence[str],
    path: Sequence[str | int],
    schema: dict[str, Json],
    problems: Problems,
) -> str:
    """Returns the hint for an unknown key: it belongs into another mapping, has another name in envtool, or is
    misspelt."""
    elsewhere = _misplaced_key_hint(key, node, mapping_kind(path), schema)
    if elsewhere:
        return elsewhere
    name = translate_key(key)
    if name in known:
        return f"it is called `{name}` here"
    if mapping_kind(path) == "service" and not closest_name(key, known, 0.75) and "command" not in node.mapping():
        return f"if `{key}` is a kind of service: is its plugin installed?"
    return problems.nearest_hint(key, known, listed=MAX_LISTED)


def translate_key(key: str) -> str:
    """Returns the name in a spec for a key of another tool; "" if no other tool has the key."""
    close = closest_name(key.lower().replace("-", "_"), _FOREIGN_NAMES, 0.85)
    return _FOREIGN_NAMES[close] if close else ""


def _misplaced_key_hint(key: str, node: YamlNode, sort: str, schema: dict[str, Json]) -> str:
    """Returns the hint for a key that belongs into another mapping than this one; "" if it does not."""
    if not sort or not _keys_of_mapping("env", schema):  # the schema of something else than a spec
        return ""
    written = _key_as_written(key, node)
    if sort in ("env", "top") and key in _VERBS:
        verb = key if key in ("test", "build", "check", "lint") else "test"
        tasks = f"tasks: {{{verb}:{written.partition(':')[2]}}}"
        return f"write `{tasks}`" if sort == "env" else f"write `envs: {{NAME: {{{tasks}}}}}`"
    both = (_MOVE_HINTS.get((sort, "task"), ""), _MOVE_HINTS.get((sort, "layer"), ""))
    if key not in _VERBS and all(both) and all(key in _keys_of_mapping(other, schema) for other in ("task", "layer")):
        layer = (
            f"layers: {{NAME: {{KIND: {_OPEN}, {written}}}}}"
            if sort == "top"
            else f"layers: [{{KIND: {_OPEN}, {written}}}]"
        )
        return f"{both[0].format(written=written)}; or to a layer: `{layer}`"
    for other_sort in ("base", "layer", "task", "top") if sort == "env" else ("base", "env", "layer", "task", "top"):
        if other_sort != sort and key in _keys_of_mapping(other_sort, schema):
            return _MOVE_HINTS.get((sort, other_sort), "").format(written=written)
    return ""


def _keys_of_mapping(sort: str, schema: dict[str, Json]) -> Mapping[str, Json]:
    """Returns the keys that a mapping of this sort may have; none if `schema` is not that of a spec."""
    defs: Any = schema.get("$defs", {})
    definition = schema if sort == "top" else defs.get("long-task" if sort == "task" else sort, {})
    return cast("Mapping[str, Json]", definition.get("properties", {}))


_MOVE_HINTS = {
    ("env", "base"): "write `base: {{{written}}}`",
    ("env", "layer"): "write `layers: [{{{written}}}]`",
    ("env", "task"): "it belongs to a task: `tasks: {{test: {{run: …, {written}}}}}`",
    ("env", "top"): "it stands at the top level of the file",
    ("top", "base"): "write `bases: {{NAME: {{{written}}}}}`",
    ("top", "env"): "it belongs to an env: `envs: {{NAME: {{{written}}}}}`",
    ("top", "layer"): "write `layers: {{NAME: {{{written}}}}}`",
    ("top", "task"): "it belongs to a task: `envs: {{NAME: {{tasks: {{test: {{{written}}}}}}}}}`",
    ("task", "base"): "it belongs to the env: `base: {{{written}}}` beside `tasks`",
    ("task", "env"): "it belongs to the env: `{written}` beside `tasks`",
    ("task", "layer"): "it belongs to the env: `layers: [{{{written}}}]` beside `tasks`",
    ("layer", "base"): "it is a base: `base: {{{written}}}` of the env",
    ("layer", "env"): "it belongs to the env: `{written}` beside `layers`",
    ("layer", "task"): "it belongs to a task: `tasks: {{test: {{run: …, {written}}}}}` of the env",
    ("service", "base"): "write `base: {{{written}}}`",
    ("service", "layer"): "write `layers: [{{{written}}}]`",
    ("base", "env"): "it belongs to the env: `{written}` beside `base`",
    ("base", "layer"): "it is a layer: `layers: [{{{written}}}]` of the env",
    ("base", "task"): "it belongs to a task: `tasks: {{test: {{run: …, {written}}}}}` of the env",
}


def _key_as_written(key: str, node: YamlNode) -> str:
    """Returns a key with its value as written, or with `_OPEN` if the value is long."""
    child = node.get(key)
    value = child.value if child is not None else None
    if child is None or value is None or isinstance(value, dict | list):
        return f"{key}: {_OPEN}"
    text = child.text or to_flow_style(value)
    return f"{key}: {text}" if len(text) <= 40 and "\n" not in text else f"{key}: {_OPEN}"


def kind_option_keys(kinds: Mapping[str, Sequence[str]], node: YamlNode, known: Sequence[str]) -> Sequence[str]:
    """Returns the keys that a layer of the kind in `node` may have; `known` if there is no kind, or several."""
    present = [key for key in node.mapping() if key in kinds]
    return known if len(present) != 1 else (present[0], *kinds[present[0]])
