"""The schema as a page to read: docs/reference.md, kept true by a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from envtool.spec.schema import ENV_KEYS, LAYER_KEYS, schema
from envtool.spec.validate import describe_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from envtool.api import Kind, Language
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
    """Markdown, ending in a newline; the same for the same registry."""
    whole: Any = schema(registry)
    definitions = whole["$defs"]
    parts = [_INTRO]
    parts += _section("Top level", "", whole["properties"], whole, required=("version",))
    cache = definitions["cache"]["properties"]
    text = "Under `cache:` at the top. [cache.md](cache.md) says how to set it up, and what is trusted."
    parts += _section("The team cache", text, cache, whole, required=("registry",))
    env = definitions["env"]["properties"]
    own = {key: value for key, value in env.items() if key in ENV_KEYS}
    parts += _section("An env", "Under `envs:` by name; `defaults:` has the same keys but `extends`.", own, whole)
    task = "A task is a line for `sh`, a list of commands, or a mapping:"
    parts += _section("A task", task, definitions["long-task"]["properties"], whole, required=("run",))
    layer = definitions["layer"]["properties"]
    common = {key: layer[key] for key in LAYER_KEYS}
    text = "Under `layers:` by name, or in place in an env's list: one kind with its options, and beside it"
    parts += _section("A layer", text, common, whole)
    parts += _kinds("Kinds of base", registry.bases.values(), whole)
    parts += _kinds("Kinds of layer", registry.layers.values(), whole)
    parts += _languages(registry.languages.values(), whole)
    return "\n".join(parts).rstrip() + "\n"


def _section(
    title: str, text: str, properties: Mapping[str, Any], whole: dict[str, Json], required: Iterable[str] = ()
) -> list[str]:
    return [f"## {title}", "", *([text, ""] if text else []), *_table(properties, whole, required), ""]


def _table(properties: Mapping[str, Any], whole: dict[str, Json], required: Iterable[str] = ()) -> list[str]:
    if not properties:
        return []
    lines = ["| key | value | meaning |", "|---|---|---|"]
    for key, sub in properties.items():
        value = _value(sub, whole)
        meaning = _cell(str(sub.get("description", "")) if isinstance(sub, dict) else "")
        if key in required:
            meaning = f"{meaning}{'' if meaning.endswith(('.', '…')) else '.'} Required.".lstrip(". ")
        lines.append(f"| `{key}` | {value} | {meaning} |")
    return lines


def _value(sub: Any, whole: dict[str, Json]) -> str:
    if isinstance(sub, dict) and "const" in sub:
        return f"`{sub['const']}`"
    return _cell(describe_schema(sub, whole))


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _kinds(title: str, kinds: Iterable[Kind], whole: dict[str, Json]) -> list[str]:
    known = sorted(kinds, key=lambda kind: kind.name)
    out = [f"## {title}", ""] if known else []
    for kind in known:
        out += [f"### `{kind.name}`", ""]
        described: Any = kind.schema
        if isinstance(described, dict) and described.get("description"):
            out += [" ".join(str(described["description"]).split()), ""]
        out += [f"Value: {_value(described, whole)}.", ""]
        for options in _mappings(described):
            out += [*_table(options.get("properties", {}), whole, options.get("required", ())), ""]
        if kind.siblings:
            out += ["Beside it:", "", *_table(kind.siblings, whole), ""]
    return out


def _mappings(sub: Any) -> list[dict[str, Any]]:
    """The alternatives of a schema that are mappings with keys."""
    if not isinstance(sub, dict):
        return []
    found = [sub] if sub.get("properties") else []
    for several in ("anyOf", "oneOf"):
        for branch in sub.get(several, []):
            found += _mappings(branch)
    return found


def _languages(languages: Iterable[Language], whole: dict[str, Json]) -> list[str]:
    known = sorted(languages, key=lambda language: language.name)
    if not known:
        return []
    text = (
        "Keys that an env has besides its own when it says `language: NAME`. [spec.md](spec.md#what-a-language-finds)"
    )
    out = ["## Languages", "", f"{text} says what is found without them.", ""]
    for language in known:
        out += [f"### `{language.name}`", "", *_table(language.options, whole), ""]
    return out
