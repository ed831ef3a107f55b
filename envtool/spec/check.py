"""A value against a schema: jsonschema-rs finds what is wrong, this module says it in our words, at the very value."""

from __future__ import annotations

import difflib
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import jsonschema_rs

from envtool import shapes
from envtool.spec.node import FOUND
from envtool.spec.schema import SERVICES
from envtool.spec.template import is_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from envtool.model import Json
    from envtool.spec.node import Node, Problems

Path: TypeAlias = "tuple[str | int, ...]"

# What a template may turn out to be cannot be judged before it is rendered.
_OF_TEXT = frozenset({"pattern", "enum", "const", "minLength", "maxLength", "format", "propertyNames"})
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
_TRUTHS = dict.fromkeys(("true", "yes", "y", "on", "1"), "true") | dict.fromkeys(
    ("false", "no", "n", "off", "0"), "false"
)
_PLURALS = {"a string": "strings", "a whole number": "whole numbers", "a number": "numbers", "a mapping": "mappings"}


class Checker:
    """One schema, compiled once. Immutable; the compiled form is thread-safe."""

    __slots__ = ("compiled", "schema", "whole")

    def __init__(self, schema: dict[str, Json], *, whole: str = "the spec") -> None:
        """`whole` is what a value is called that is no part of another."""
        self.schema, self.whole = schema, whole
        self.compiled = jsonschema_rs.Draft202012Validator(schema)

    def check(self, value: Json, node: Node, problems: Problems, *, at: Path = (), rendered: bool = False) -> bool:
        """Note all that is wrong with `value`, which came from `node`. `at` is where `node` stands in the spec, for
        the words. `rendered`: templates have become text, so that text is judged too. True: all is well.
        """
        if self.compiled.is_valid(value):
            return True
        errors = list(islice(_leaves(self.compiled.iter_errors(value), rendered=rendered), FOUND))
        for error in errors:
            if error.kind.name != "required" or not _misspelt(error, errors):
                _report(error, self, node, problems, at)
        return not errors


def _leaves(errors: Iterable[Any], *, rendered: bool) -> Iterator[Any]:
    """The errors worth telling: those of `anyOf` are boiled down to the branch that was meant."""
    for error in errors:
        if error.kind.name in ("anyOf", "oneOf", "oneOfNotValid"):
            yield from _meant(error, rendered=rendered)
        elif rendered or error.kind.name not in _OF_TEXT or not is_template(error.instance):
            yield error


def _meant(error: Any, *, rendered: bool) -> list[Any]:
    """The branch that fits the value's type best; the error itself when none has its type."""
    candidates: list[list[Any]] = []
    for branch in error.kind.context:
        leaves = list(_leaves(branch, rendered=rendered))
        if not leaves:
            return []
        if not any(e.kind.name in ("type", "anyOf") and e.instance_path == error.instance_path for e in leaves):
            candidates.append(leaves)
    return min(candidates, key=len) if candidates else [error]


def _report(error: Any, checker: Checker, root: Node, problems: Problems, at: Path) -> None:
    schema = checker.schema
    path: Path = tuple(error.instance_path)
    node = find(root, path)
    full = at + path
    subject = _subject(full) or checker.whole
    kind = error.kind
    match kind.name:
        case "additionalProperties" | "unevaluatedProperties":
            known = _known(schema, error.schema_path)
            for key in kind.unexpected:
                _unknown_key(key, node, known, problems, full)
        case "propertyNames":
            name = str(kind.error.instance)
            hint = shapes.wanted(error, schema)
            problems.add(node.key(name), f"`{name}` cannot be a name{_of(full)}", code="name", hint=hint)
        case "required":
            message = f"{subject} needs `{kind.property}`"
            problems.add(node, message, code="missing", hint=_missing(full, kind))
        case "type" | "anyOf" | "oneOf" | "oneOfNotValid":
            wanted = words(_lookup(schema, error.schema_path[:-1]), schema)
            got = show(node, error.instance)
            problems.add(
                node,
                f"{subject}: expected {wanted}, got {got}",
                code="type",
                hint=_type_hint(node, error, wanted),
            )
        case "enum":
            options = [str(option) for option in kind.options]
            hint = problems.near(str(error.instance), options)
            got = show(node, error.instance)
            said = f"unknown value {got}" if isinstance(error.instance, str) else f"expected one value, got {got}"
            problems.add(node, f"{subject}: {said}", code="value", hint=hint)
        case "const" if full == ("version",):
            got = show(node, error.instance)
            problems.add(node, f"this envtool reads version 1, not {got}", code="version", hint="write `version: 1`")
        case "minItems" | "minLength" | "minProperties":
            none = kind.name == "minProperties" and full[:1] == ("bases",)
            what = ": expected one kind with its options, got nothing" if none else " is empty"
            problems.add(node, f"{subject}{what}", code="empty", hint="as in `{debian: bookworm}`" if none else "")
        case "maxProperties":
            problems.add(node, f"{subject}: expected one kind, got {_listed(node)}", code="kinds")
        case "pattern" | "not":
            got, says = show(node, error.instance), shapes.wanted(error, schema)
            message = f"expected {says}, got {got}" if says else f"{got} does not match what is wanted here"
            problems.add(node, f"{subject}: {message}", code="value")
        case _:
            said = str(error.message)
            problems.add(node, f"{subject}: {said[:1].lower()}{said[1:200]}", code="value")


def _misspelt(missing: Any, errors: list[Any]) -> bool:
    """Is the missing key there, misspelt? Then that is what is told."""
    return any(
        error.kind.name == "additionalProperties"
        and error.instance_path == missing.instance_path
        and difflib.get_close_matches(missing.kind.property, error.kind.unexpected[:20], 1, 0.6)
        for error in errors
    )


def find(root: Node, path: Sequence[str | int]) -> Node:
    """The node at a path of keys and indices (as far as it exists)."""
    node = root
    for step in path:
        value = node.value
        child: Node | None = None
        if isinstance(step, str):
            child = node.get(step)
        elif isinstance(value, list) and step < len(value):
            child = value[step]
        if child is None:
            break
        node = child
    return node


# ---- words ---------------------------------------------------------------------------------------------------------


def owner(path: Path) -> tuple[str, Path]:
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


def _joined(path: Path) -> str:
    text = ""
    for step in path:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _subject(path: Path) -> str:
    named, rest = owner(path)
    if not rest:
        return named
    return f"`{_joined(rest)}`" + (f" of {named}" if named else "")


def _of(path: Path) -> str:
    named, rest = owner(path)
    if not rest:
        return f" in {named}" if named else " at the top level"
    return f" in {_subject(path)}"


def _unknown_key(key: str, node: Node, known: list[str], problems: Problems, path: Path) -> None:
    here = node.key(key)
    if key == SERVICES and path in ((), ("envs", *path[1:2]), ("defaults",)):
        hint = "start what the tests need in the task itself"
        problems.add(here, "`services` is not supported by this version of envtool", code="unsupported", hint=hint)
        return
    problems.add(here, f"unknown key `{key}`{_of(path)}", code="unknown-key", hint=problems.near(key, known))


def _missing(path: Path, kind: Any) -> str:
    return "begin the file with `version: 1`" if not path and kind.property == "version" else ""


def _listed(node: Node) -> str:
    return " and ".join(f"`{key}`" for key in node.mapping())


def show(node: Node, value: object) -> str:
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


def _type_hint(node: Node, error: Any, wanted: str) -> str:
    value = error.instance
    if value is None:
        return "nothing stands after the `:`: write the value, or remove the key"
    if isinstance(value, str) and is_template(value):
        return "a template always gives a string: write the value out"
    if isinstance(value, bool | int | float) and "string" in wanted.replace("list of strings", ""):
        return f'write it in quotes: "{node.text or value}"'
    if isinstance(value, str) and "list of" in wanted:
        return f"write it as a list: [{node.text or chr(34) + value + chr(34)}]" if len(value) <= 60 else ""
    if wanted == "true or false" and (meant := _TRUTHS.get(str(value).lower())):
        return f"write it without quotes: {meant}" if str(value).lower() == meant else f"write {meant}"
    if isinstance(value, str) and "number" in wanted and value.replace(".", "", 1).isdigit():
        return f"write it without quotes: {value}"
    return ""


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


def words(sub: Any, schema: dict[str, Json]) -> str:
    """A schema in words: "a list of strings", "a string or a mapping"."""
    return " or ".join(dict.fromkeys(_wants(sub, schema, 6))) or "something else"


def _wants(sub: Any, schema: dict[str, Json], depth: int) -> list[str]:
    if not isinstance(sub, dict) or not depth:
        return []
    if "$ref" in sub:
        return _wants(_lookup(schema, str(sub["$ref"]).removeprefix("#/").split("/")), schema, depth - 1)
    for several in ("anyOf", "oneOf"):
        branches = [word for branch in sub.get(several, []) for word in _wants(branch, schema, depth - 1)]
        if branches:
            return branches
    if "enum" in sub:
        return [f"`{option}`" for option in sub["enum"]]
    types = sub.get("type", "object" if "properties" in sub else [])
    words = [_TYPES.get(name, name) for name in ([types] if isinstance(types, str) else types)]
    if "a list" in words:
        members = [_PLURALS.get(word, "") for word in _wants(sub.get("items"), schema, depth - 1)]
        if members and all(members):
            words[words.index("a list")] = f"a list of {' or '.join(members)}"
    return words
