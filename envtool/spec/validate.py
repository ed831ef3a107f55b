"""A value against a schema: jsonschema-rs finds what is wrong, this module says it in our words, at the very value."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import jsonschema_rs

from envtool import pin_schemas
from envtool.errors import closest_name
from envtool.spec import hints
from envtool.spec.node import MAX_PROBLEMS
from envtool.spec.schema import SERVICES
from envtool.spec.template import is_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from envtool.model import Json
    from envtool.spec.node import Problems, YamlNode

Path: TypeAlias = "tuple[str | int, ...]"

# What a template may turn out to be cannot be judged before it is rendered.
_STRING_KEYWORDS = frozenset({"pattern", "enum", "const", "minLength", "maxLength", "format", "propertyNames"})
_OWNERS = {"envs": "env", "layers": "layer", "bases": "base", "tasks": "task"}
_TYPES = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "nothing",
}
_BOOLEAN_WORDS = dict.fromkeys(("true", "yes", "y", "on", "1"), "true") | dict.fromkeys(
    ("false", "no", "n", "off", "0"), "false"
)
_PLURALS = {"a string": "strings", "a whole number": "whole numbers", "a number": "numbers", "a mapping": "mappings"}


class SchemaChecker:
    """One schema, compiled once. Immutable; the compiled form is thread-safe."""

    __slots__ = ("beside", "compiled", "schema", "whole")

    def __init__(
        self, schema: dict[str, Json], *, whole: str = "the spec", beside: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """`whole` is what a value is called that is no part of another; `beside`: what each kind of layer may have
        beside it, for the words."""
        self.schema, self.whole, self.beside = schema, whole, beside or {}
        self.compiled = jsonschema_rs.Draft202012Validator(schema)

    def check(self, value: Json, node: YamlNode, problems: Problems, *, at: Path = (), rendered: bool = False) -> bool:
        """Note all that is wrong with `value`, which came from `node`. `at` is where `node` stands in the spec, for
        the words. `rendered`: templates have become text, so that text is judged too. True: all is well.
        """
        if self.compiled.is_valid(value):
            return True
        errors = list(islice(_relevant_errors(self.compiled.iter_errors(value), rendered=rendered), MAX_PROBLEMS))
        missing: dict[Path, list[Any]] = {}
        for error in errors:
            if error.kind.name == "maxProperties" and _has_unknown_key(error, errors):
                continue
            if error.kind.name != "required":
                _report(error, self, node, problems, at)
            elif not _is_misspelt(error, errors):
                missing.setdefault(tuple(error.instance_path), []).append(error)
        for path, several in missing.items():
            _report_missing(self, find_node(node, path), at + path, several, problems)
        return not errors


def _relevant_errors(errors: Iterable[Any], *, rendered: bool) -> Iterator[Any]:
    """The errors worth telling: those of `anyOf` are boiled down to the branch that was meant."""
    for error in errors:
        if error.kind.name in ("anyOf", "oneOf", "oneOfNotValid"):
            yield from _best_branch(error, rendered=rendered)
        elif rendered or error.kind.name not in _STRING_KEYWORDS or not is_template(error.instance):
            yield error


def _best_branch(error: Any, *, rendered: bool) -> list[Any]:
    """The branch that fits the value's type best; the error itself when none has its type."""
    candidates: list[list[Any]] = []
    for branch in error.kind.context:
        leaves = list(_relevant_errors(branch, rendered=rendered))
        if not leaves:
            return []
        if not any(e.kind.name in ("type", "anyOf") and e.instance_path == error.instance_path for e in leaves):
            candidates.append(leaves)
    return min(candidates, key=len) if candidates else [error]


def _report(error: Any, checker: SchemaChecker, root: YamlNode, problems: Problems, at: Path) -> None:
    schema = checker.schema
    path: Path = tuple(error.instance_path)
    node = find_node(root, path)
    full = at + path
    subject = _subject(full) or checker.whole
    kind = error.kind
    match kind.name:
        case "additionalProperties" | "unevaluatedProperties":
            known = _known(schema, error.schema_path)
            if hints.mapping_kind(full) == "layer":
                known = [*hints.kind_option_keys(checker.beside, node, known)]
            for key in kind.unexpected:
                _unknown_key(key, node, known, problems, full, schema)
        case "propertyNames":
            name = str(kind.error.instance)
            hint = pin_schemas.wanted(error, schema)
            problems.add(node.key(name), f"`{name}` cannot be a name{_path_prefix(full)}", code="name", hint=hint)
        case "type" | "anyOf" | "oneOf" | "oneOfNotValid":
            form = _lookup(schema, error.schema_path[:-1])
            wanted = describe_schema(form, schema)
            got = describe_value(node, error.instance)
            hint = _type_hint(node, error, wanted, _example_hint(full, error, schema))
            problems.add(node, f"{subject}: expected {wanted}, got {got}", code="type", hint=hint)
        case "enum":
            options = [str(option) for option in kind.options]
            hint = problems.nearest_hint(str(error.instance), options)
            got = describe_value(node, error.instance)
            said = f"unknown value {got}" if isinstance(error.instance, str) else f"expected one value, got {got}"
            problems.add(node, f"{subject}: {said}", code="value", hint=hint)
        case "const" if full == ("version",):
            got = describe_value(node, error.instance)
            problems.add(node, f"this envtool reads version 1, not {got}", code="version", hint="write `version: 1`")
        case "minItems" | "minLength" | "minProperties":
            none = kind.name == "minProperties" and hints.mapping_kind(full) == "base"
            what = ": expected one kind with its options, got nothing" if none else " is empty"
            hint = _example_hint(full, error, schema) or "write a value, or remove it"
            problems.add(node, f"{subject}{what}", code="empty", hint=hint)
        case "maxProperties":
            message = f"{subject}: expected one kind, got {_listed(node)}"
            problems.add(node, message, code="kinds", hint="keep one of them, and make the others bases of their own")
        case "pattern" | "not":
            got, says = describe_value(node, error.instance), pin_schemas.wanted(error, schema)
            message = f"expected {says}, got {got}" if says else f"{got} does not match what is wanted here"
            problems.add(node, f"{subject}: {message}", code="value")
        case _:
            said = str(error.message)
            problems.add(node, f"{subject}: {said[:1].lower()}{said[1:200]}", code="value")


def _report_missing(checker: SchemaChecker, node: YamlNode, path: Path, errors: list[Any], problems: Problems) -> None:
    """Keys that have to be there, all at once, with an example of the whole."""
    outer = min((error.schema_path for error in errors), key=len)  # some may be of an alternative within
    form = _lookup(checker.schema, [*outer][:-1])
    names = list(dict.fromkeys(error.kind.property for error in errors))
    order = [*form.get("required", ())]
    needed = [
        f"`{name}`" for name in sorted(names, key=lambda name: (order.index(name) if name in order else 99, name))
    ]
    listed = " and ".join(filter(None, (", ".join(needed[:-1]), needed[-1])))
    hint = "begin the file with `version: 1`" if not path and "version" in names else ""
    hint = hint or (hints.example_hint(path[-1], form, checker.schema) if path else "")
    problems.add(node, f"{_subject(path) or checker.whole} needs {listed}", code="missing", hint=hint)


def _example_hint(path: Path, error: Any, schema: dict[str, Json]) -> str:
    """The hint with an example: of the form that was missed, else of those that it is one of."""
    if not path:
        return "begin the file with `version: 1`"
    steps = [*error.schema_path][:-1]
    hint = hints.example_hint(path[-1], _lookup(schema, steps), schema)
    while not hint and len(steps) > 2 and steps[-2] in ("anyOf", "oneOf"):
        steps = steps[:-2]
        hint = hints.example_hint(path[-1], _lookup(schema, steps), schema)
    return hint


def _has_unknown_key(several: Any, errors: list[Any]) -> bool:
    """Is one of the keys that are too many not known at all? Then that is what is told."""
    return any(
        error.kind.name == "additionalProperties" and error.instance_path == several.instance_path for error in errors
    )


def _is_misspelt(missing: Any, errors: list[Any]) -> bool:
    """Is the missing key there, misspelt? Then that is what is told."""
    return any(
        error.kind.name == "additionalProperties"
        and error.instance_path == missing.instance_path
        and (
            closest_name(missing.kind.property, error.kind.unexpected[:20])
            or missing.kind.property in map(hints.translate_key, error.kind.unexpected[:20])
        )
        for error in errors
    )


def find_node(root: YamlNode, path: Sequence[str | int]) -> YamlNode:
    """The node at a path of keys and indices (as far as it exists)."""
    node = root
    for step in path:
        value = node.value
        child: YamlNode | None = None
        if isinstance(step, str):
            child = node.get(step)
        elif isinstance(value, list) and step < len(value):
            child = value[step]
        if child is None:
            break
        node = child
    return node


# ---- words ---------------------------------------------------------------------------------------------------------


def split_owner(path: Path) -> tuple[str, Path]:
    """Whom a path belongs to ("env `unit`"), and what is left of it."""
    named = ""
    while len(path) >= 2 and path[0] in _OWNERS and isinstance(path[1], str):
        this = f"{_OWNERS[str(path[0])]} `{path[1]}`"
        named = f"{this} of {named}" if named else this
        path = path[2:]
        if named.startswith(("layer", "base")):
            break
    if not named and path[:1] == ("defaults",):
        named, path = "`defaults`", path[1:]
    return named, path


def _join_path(path: Path) -> str:
    text = ""
    for step in path:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _subject(path: Path) -> str:
    named, rest = split_owner(path)
    if not rest:
        return named
    return f"`{_join_path(rest)}`" + (f" of {named}" if named else "")


def _path_prefix(path: Path) -> str:
    named, rest = split_owner(path)
    if not rest:
        return f" in {named}" if named else " at the top level"
    return f" in {_subject(path)}"


def _unknown_key(
    key: str, node: YamlNode, known: list[str], problems: Problems, path: Path, schema: dict[str, Json]
) -> None:
    here = node.key(key)
    if key == SERVICES and path in ((), ("envs", *path[1:2]), ("defaults",)):
        hint = "start what the tests need in the task itself"
        problems.add(here, "`services` is not supported by this version of envtool", code="unsupported", hint=hint)
        return
    hint = hints.unknown_key_hint(key, node, known, path, schema, problems)
    problems.add(here, f"unknown key `{key}`{_path_prefix(path)}", code="unknown-key", hint=hint)


def _listed(node: YamlNode) -> str:
    return " and ".join(f"`{key}`" for key in node.mapping())


def describe_value(node: YamlNode, value: object) -> str:
    """A value as a reader of the file would call it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"`{node.text or str(value).lower()}`"
    if isinstance(value, int | float):
        return f"the number {node.text or value}"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 and "\n" not in value else f'"{value.splitlines()[0][:50]}…"'
    if isinstance(value, list):
        return "a list"
    return f"a mapping with {_listed(node)}" if 0 < len(node.mapping()) <= 3 else "a mapping"


def _type_hint(node: YamlNode, error: Any, wanted: str, as_in: str) -> str:
    """What to write; `as_in` is the hint with an example."""
    value = error.instance
    if value is None:
        return f"nothing stands after the `:`: write the value{f', {as_in}' if as_in else ''}, or remove the key"
    if isinstance(value, str) and is_template(value):
        return "a template always gives a string: write the value out"
    if isinstance(value, bool | int | float) and "string" in wanted.replace("list of strings", ""):
        return f'write it in quotes: "{node.text or value}"'
    if isinstance(value, str) and "list of" in wanted:
        return f"write it as a list: [{_split_text_hint(node, value)}]" if len(value) <= 60 else as_in
    if wanted == "true or false" and (meant := _BOOLEAN_WORDS.get(str(value).lower())):
        return f"write it without quotes: {meant}" if str(value).lower() == meant else f"write {meant}"
    if isinstance(value, str) and "number" in wanted and value.replace(".", "", 1).isdigit():
        return f"write it without quotes: {value}"
    return as_in or ("write one value" if isinstance(value, list | dict) and "list" not in wanted else "")


def _split_text_hint(node: YamlNode, value: str) -> str:
    """What was written as one text, as the members of a list: names with blanks or commas between them are several."""
    words = re.split(r"[,\s]+", value.strip())
    if len(words) > 1 and all(re.fullmatch(r"[A-Za-z0-9._/][A-Za-z0-9._/+-]*", word) for word in words):
        return ", ".join(words)
    return node.text or f'"{value}"'


# ---- the schema, asked ---------------------------------------------------------------------------------------------


def _lookup(schema: dict[str, Json], path: Sequence[str | int]) -> Any:
    at: Any = schema
    for step in path:
        try:
            at = at[step]
        except (KeyError, IndexError, TypeError):
            return {}
    return at


def _known(schema: dict[str, Json], path: Sequence[str | int]) -> list[str]:
    around = _lookup(schema, path[:-1])
    properties = around.get("properties", {}) if isinstance(around, dict) else {}
    return [*properties]


def describe_schema(sub: Any, schema: dict[str, Json]) -> str:
    """A schema in words: "a list of strings", "a string or a mapping"."""
    return " or ".join(dict.fromkeys(_wanted_types(sub, schema, 6))) or "something else"


def _wanted_types(sub: Any, schema: dict[str, Json], depth: int) -> list[str]:
    if not isinstance(sub, dict) or not depth:
        return []
    if "$ref" in sub:
        return _wanted_types(_lookup(schema, str(sub["$ref"]).removeprefix("#/").split("/")), schema, depth - 1)
    for several in ("anyOf", "oneOf"):
        branches = [word for branch in sub.get(several, []) for word in _wanted_types(branch, schema, depth - 1)]
        if branches:
            return branches
    if "enum" in sub:
        return [f"`{option}`" for option in sub["enum"]]
    types = sub.get("type", "object" if "properties" in sub else [])
    words = [_TYPES.get(name, name) for name in ([types] if isinstance(types, str) else types)]
    if "a list" in words:
        members = [_PLURALS.get(word, "") for word in _wanted_types(sub.get("items"), schema, depth - 1)]
        if members and all(members):
            words[words.index("a list")] = f"a list of {' or '.join(members)}"
    return words
