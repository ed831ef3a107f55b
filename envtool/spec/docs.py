"""Writes docs/reference.md from the schema. A test fails if the page is out of date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envtool.plugins import ENV_KEYS, SERVICE_KEYS
from envtool.spec.schema import LAYER_KEYS, schema
from envtool.spec.validate import describe_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from envtool.api import Kind, Language, ServiceKind
    from envtool.model import Json
    from envtool.plugins import PluginRegistry

_INTRO = """\
# Reference: envtool.yaml

This page is written by `envtool.spec.docs` from the schema that also validates (`envtool schema` prints it).

YAML is read first, by YAML 1.2's rules: text that other YAML readers take for something else (`on`, `0644`, `1:30`) and
numbers where text is wanted (`3.10`) are errors that say what to write. Then templates are rendered, in values only:
`{{ matrix.AXIS }}`, `{{ env.name }}`, `{{ env.group }}`, and in tasks `{{ args }}`, with Jinja2's conditions and
the filters `default`, `first`, `int`, `join`, `last`, `length`, `lower`, `quote`, `replace`, `title`, `trim`, `upper`.
There are no loops, calls or assignments. Write `{{ '{{' }}` for two braces.

Times are `30s`, `5m`, `1h30m`, or a number of seconds. Paths are relative to the file they stand in
and may not leave the project.
"""


def reference(registry: PluginRegistry) -> str:
    """Returns the page as Markdown, ending in a newline; the same text for the same registry."""
    root: Any = schema(registry)
    definitions = root["$defs"]
    parts = [_INTRO]
    parts += _section("Top level", "", root["properties"], root, required=("version",))
    cache = definitions["cache"]["properties"]
    text = "Under `cache:` at the top. [cache.md](cache.md) says how to set it up, and what is trusted."
    parts += _section("The team cache", text, cache, root, required=("registry",))
    text = "Under `secrets:` by name. [security.md](security.md#secrets) says what is masked, and what is not."
    parts += _section("A secret", text, definitions["secret"]["properties"], root)
    env = definitions["env"]["properties"]
    own = {key: value for key, value in env.items() if key in ENV_KEYS}
    parts += _section("An env", "Under `envs:` by name; `defaults:` has the same keys but `extends`.", own, root)
    keys = {key: value for key, value in env.items() if key in registry.env_keys}
    text = "Under `envs:` and `defaults:`, whatever the env's language."
    parts += _section("Keys of plugins", text, keys, root) if keys else []
    task = "A task is a line for `sh`, a list of commands, or a mapping:"
    parts += _section("A task", task, definitions["long-task"]["properties"], root, required=("run",))
    parts += _services(definitions, root)
    layer = definitions["layer"]["properties"]
    common = {key: layer[key] for key in LAYER_KEYS}
    text = "Under `layers:` by name, or in place in an env's list: one kind with its options, and beside it"
    parts += _section("A layer", text, common, root)
    parts += _kinds("Kinds of base", registry.bases.values(), root)
    parts += _kinds("Kinds of layer", registry.layers.values(), root)
    parts += _service_kinds(registry.services.values(), root)
    parts += _languages(registry.languages.values(), root)
    return "\n".join(parts).rstrip() + "\n"


def _services(definitions: Mapping[str, Any], root: dict[str, Json]) -> list[str]:
    service = definitions["service"]["properties"]
    own = {key: service[key] for key in sorted(SERVICE_KEYS)}
    text = "Under `services:` by name. A key of a kind of service, or of a language, may stand beside these."
    parts = _section("A service", text, own, root)
    parts += _section("`ready` of a service", "All checks must succeed.", definitions["ready"]["properties"], root)
    parts += _section("`stop` of a service", "", definitions["stop"]["properties"], root)
    (prepare,) = _mappings(definitions["prepare"])
    return parts + _section("`prepare` of a service", "Commands, or a mapping:", prepare["properties"], root)


def _section(
    title: str, text: str, properties: Mapping[str, Any], root: dict[str, Json], required: Iterable[str] = ()
) -> list[str]:
    return [f"## {title}", "", *([text, ""] if text else []), *_table(properties, root, required), ""]


def _table(properties: Mapping[str, Any], root: dict[str, Json], required: Iterable[str] = ()) -> list[str]:
    if not properties:
        return []
    lines = ["| key | value | meaning |", "|---|---|---|"]
    for key, sub in properties.items():
        value = _value(sub, root)
        meaning = _cell(str(sub.get("description", "")) if isinstance(sub, dict) else "")
        if key in required:
            meaning = f"{meaning}{'' if meaning.endswith(('.', '…')) else '.'} Required.".lstrip(". ")
        lines.append(f"| `{key}` | {value} | {meaning} |")
    return lines


def _value(sub: Any, root: dict[str, Json]) -> str:
    if isinstance(sub, dict) and "const" in sub:
        return f"`{sub['const']}`"
    return _cell(describe_schema(sub, root))


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _kinds(title: str, kinds: Iterable[Kind], root: dict[str, Json]) -> list[str]:
    ordered = sorted(kinds, key=lambda kind: kind.name)
    lines = [f"## {title}", ""] if ordered else []
    for kind in ordered:
        lines += [f"### `{kind.name}`", ""]
        schema: Any = kind.schema
        if isinstance(schema, dict) and schema.get("description"):
            lines += [" ".join(str(schema["description"]).split()), ""]
        lines += [f"Value: {_value(schema, root)}.", ""]
        for options in _mappings(schema):
            lines += [*_table(options.get("properties", {}), root, options.get("required", ())), ""]
        if kind.siblings:
            lines += ["Beside it:", "", *_table(kind.siblings, root), ""]
    return lines


def _service_kinds(kinds: Iterable[ServiceKind], root: dict[str, Json]) -> list[str]:
    ordered = sorted(kinds, key=lambda kind: kind.name)
    lines = ["## Kinds of service", ""] if ordered else []
    for kind in ordered:
        schema: Any = kind.schema
        description = " ".join(str(schema.get("description", "")).split())
        lines += [f"### `{kind.name}` as a service", "", description, "", f"Value: {_value(schema, root)}.", ""]
        if kind.options:
            lines += ["Beside it:", "", *_table(kind.options, root), ""]
    return lines


def _mappings(sub: Any) -> list[dict[str, Any]]:
    """Returns those alternatives of a schema that are mappings with keys."""
    if not isinstance(sub, dict):
        return []
    mappings = [sub] if sub.get("properties") else []
    for keyword in ("anyOf", "oneOf"):
        for branch in sub.get(keyword, []):
            mappings += _mappings(branch)
    return mappings


def _languages(languages: Iterable[Language], root: dict[str, Json]) -> list[str]:
    ordered = sorted(languages, key=lambda language: language.name)
    if not ordered:
        return []
    text = (
        "Keys that an env has besides its own when it says `language: NAME`. [spec.md](spec.md#what-a-language-finds)"
    )
    lines = ["## Languages", "", f"{text} says what is found without them.", ""]
    for language in ordered:
        lines += [f"### `{language.name}`", "", *_table(language.options, root), ""]
    return lines
