"""What to write in place of what a spec has: an example of the form, the place where a key belongs, the name it has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import yaml

from envtool.errors import closest_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envtool.model import Json
    from envtool.spec.node import Problems, YamlNode

MAX_LISTED = 40  # keys that are listed where none is near
_OPEN = "…"  # stands for what an example does not know
_SHORT = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{56}\b")  # a hash in an example: nobody types it from there

# What other tools call it, and the key here.
_FOREIGN_NAMES = {
    "ubuntu": "debian", "docker": "image", "container": "image", "from": "image", "build": "dockerfile",
    "environment": "set", "env": "set", "variables": "set", "vars": "set", "setenv": "set", "passenv": "pass",
    "pass_env": "pass", "set_env": "set", "depends": "needs", "depends_on": "needs", "dependencies": "needs",
    "cwd": "workdir", "working_dir": "workdir", "working_directory": "workdir", "directory": "workdir",
    "command": "run", "commands": "run", "cmd": "run", "script": "run", "steps": "run", "artifacts": "outputs",
    "deps": "packages", "destination": "to", "dest": "to", "target": "to", "source": "from", "src": "from",
    "path": "to", "uri": "url", "checksum": "sha256", "hash": "sha256", "digest": "sha256", "release": "suite",
    "dist": "suite", "services": "", "lang": "language", "axes": "matrix", "environments": "envs", "jobs": "envs",
    "environs": "envs", "testenv": "envs", "inherits": "extends", "base_image": "base",
}  # fmt: skip
_VERBS = frozenset(
    ("test", "tests", "build", "check", "lint", "run", "command", "commands", "cmd", "script", "scripts", "steps")
)


def example_hint(key: str | int | None, sub: Any, schema: dict[str, Json]) -> str:
    """The hint with an example of what a schema wants, below its key; empty where there is none to give."""
    found = example(sub, schema)
    if not is_informative(found):
        return ""
    text = to_flow_style(found)
    return f"as in `{key}: {text}`" if isinstance(key, str) else f"as in `{text}`"


def example(sub: Any, schema: dict[str, Json], depth: int = 8) -> Any:
    """A value that a schema takes: its first example, or one that is made of those of its parts. `_OPEN` stands for a
    part that has none; None: nothing can be said."""
    if not isinstance(sub, dict) or not depth:
        return None
    if sub.get("examples"):
        return sub["examples"][0]
    if "$ref" in sub:
        at: Any = schema
        for step in str(sub["$ref"]).removeprefix("#/").split("/"):
            at = at[step]
        return example(at, schema, depth - 1)
    for several in ("anyOf", "oneOf"):
        branches = [example(branch, schema, depth - 1) for branch in sub.get(several, [])]
        known = [each for each in branches if is_informative(each)]
        if "type" not in sub and branches:
            return known[0] if known else branches[0]
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
        inner = sub.get("properties", {})
        parts = {name: example(inner.get(name), schema, depth - 1) for name in sub.get("required", ())}
        if not parts and isinstance(sub.get("additionalProperties"), dict):
            value = example(sub["additionalProperties"], schema, depth - 1)
            parts = {"NAME": _OPEN if value is None else value}
        return {name: _OPEN if value is None else value for name, value in parts.items()} or None
    return {"string": _OPEN, "boolean": True, "integer": 1, "number": 1}.get(kind)


def is_informative(found: Any) -> bool:
    """Does an example say anything?"""
    if isinstance(found, list):
        return any(map(is_informative, found))
    return found not in (None, _OPEN)


def to_flow_style(value: Any) -> str:
    """A value as it is written in one line of a spec."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1_000_000)
    text = text.removesuffix("...\n").rstrip("\n").replace("'", '"')
    return _SHORT.sub(rf"\1{_OPEN}", text)


# ---- keys ------------------------------------------------------------------------------------------------------------


def mapping_kind(path: Sequence[str | int]) -> str:
    """Of what a mapping at this path holds the keys: "top", "env", "task", "layer" or "base"; "" for anything else."""
    match [*path]:
        case []:
            return "top"
        case ["envs", _] | ["defaults"]:
            return "env"
        case [*_, "tasks", str()]:
            return "task"
        case ["layers", _] | [*_, "layers", int()]:
            return "layer"
        case ["bases", _] | ["envs", _, "base"] | ["defaults", "base"]:
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
    """What to do about a key that is not known where it stands: it belongs elsewhere, is called otherwise here, or is
    misspelt."""
    elsewhere = _misplaced_key_hint(key, node, mapping_kind(path), schema)
    if elsewhere:
        return elsewhere
    name = translate_key(key)
    if name in known:
        return f"it is called `{name}` here"
    return problems.nearest_hint(key, known, listed=MAX_LISTED)


def translate_key(key: str) -> str:
    """What a key of another tool is called here; empty where it is none."""
    foreign = closest_name(key.lower().replace("-", "_"), _FOREIGN_NAMES, 0.85)
    return _FOREIGN_NAMES[foreign] if foreign else ""


def _misplaced_key_hint(key: str, node: YamlNode, here: str, schema: dict[str, Json]) -> str:
    """Where a key belongs that is known, only not in this place."""
    if not here or not _keys_of_mapping("env", schema):  # the schema of something else than a spec
        return ""
    written = _key_as_written(key, node)
    if here in ("env", "top") and key in _VERBS:
        verb = key if key in ("test", "build", "check", "lint") else "test"
        tasks = f"tasks: {{{verb}:{written.partition(':')[2]}}}"
        return f"write `{tasks}`" if here == "env" else f"write `envs: {{NAME: {{{tasks}}}}}`"
    for home in ("base", "layer", "task", "top") if here == "env" else ("base", "env", "layer", "task", "top"):
        if home != here and key in _keys_of_mapping(home, schema):
            return _MOVE_HINTS.get((here, home), "").format(written=written)
    return ""


def _keys_of_mapping(home: str, schema: dict[str, Json]) -> Mapping[str, Json]:
    """The keys that a mapping of this sort may have; none in a schema of something else."""
    defs: Any = schema.get("$defs", {})
    where = schema if home == "top" else defs.get("long-task" if home == "task" else home, {})
    return cast("Mapping[str, Json]", where.get("properties", {}))


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
    ("base", "env"): "it belongs to the env: `{written}` beside `base`",
    ("base", "layer"): "it is a layer: `layers: [{{{written}}}]` of the env",
    ("base", "task"): "it belongs to a task: `tasks: {{test: {{run: …, {written}}}}}` of the env",
}


def _key_as_written(key: str, node: YamlNode) -> str:
    """A key with its value as it is written, where that is short."""
    child = node.get(key)
    value = child.value if child is not None else None
    if child is None or value is None or isinstance(value, dict | list):
        return f"{key}: {_OPEN}"
    text = child.text or to_flow_style(value)
    return f"{key}: {text}" if len(text) <= 40 and "\n" not in text else f"{key}: {_OPEN}"


def kind_option_keys(kinds: Mapping[str, Sequence[str]], node: YamlNode, known: Sequence[str]) -> Sequence[str]:
    """The keys that a layer may have once its kind is there; all where there is none, or several."""
    written = [key for key in node.mapping() if key in kinds]
    return known if len(written) != 1 else (written[0], *kinds[written[0]])
