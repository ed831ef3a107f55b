"""Checks a value against a schema. jsonschema-rs finds the errors; this module words them and finds their positions."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from envtool.api import pin_schemas
from envtool.errors import closest_name
from envtool.spec import hints
from envtool.spec.node import MAX_PROBLEMS
from envtool.spec.template import is_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from envtool.model import Json
    from envtool.spec.node import Problems, YamlNode

Path: TypeAlias = "tuple[str | int, ...]"

# Keywords that cannot be checked for a template before it is rendered.
_STRING_KEYWORDS = frozenset({"pattern", "enum", "const", "minLength", "maxLength", "format", "propertyNames"})
_OWNERS = {"envs": "env", "layers": "layer", "bases": "base", "tasks": "task", "services": "service"}
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
        """`whole` is the name of the outermost value, for messages; `beside` has the further keys that a layer of each
        kind may have, for hints."""
        import jsonschema_rs  # takes 12 ms: a spec that is known to fit needs none

        self.schema, self.whole, self.beside = schema, whole, beside or {}
        self.compiled = jsonschema_rs.Draft202012Validator(schema)

    def check(self, value: Json, node: YamlNode, problems: Problems, *, at: Path = (), rendered: bool = False) -> bool:
        """Notes all errors in `value`, which is the value of `node`. Returns whether there are none. `at` is the path
        of `node` in the spec, for messages. `rendered`: templates are rendered, so their text is checked as well.
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
        for path, errors_at_path in missing.items():
            _report_missing(self, find_node(node, path), at + path, errors_at_path, problems)
        return not errors


def _relevant_errors(errors: Iterable[Any], *, rendered: bool) -> Iterator[Any]:
    """Yields the errors to report; of those below an `anyOf` only the errors of the branch that fits best."""
    for error in errors:
        if error.kind.name in ("anyOf", "oneOf", "oneOfNotValid"):
            yield from _best_branch(error, rendered=rendered)
        elif rendered or error.kind.name not in _STRING_KEYWORDS or not is_template(error.instance):
            yield error


def _best_branch(error: Any, *, rendered: bool) -> list[Any]:
    """Returns the errors of the branch with the fewest errors among those of the value's type; the error itself if no
    branch has that type; [] if a branch fits."""
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
            message = f"unknown value {got}" if isinstance(error.instance, str) else f"expected one value, got {got}"
            problems.add(node, f"{subject}: {message}", code="value", hint=hint)
        case "const" if full == ("version",):
            got = describe_value(node, error.instance)
            problems.add(node, f"this envtool reads version 1, not {got}", code="version", hint="write `version: 1`")
        case "minItems" | "minLength" | "minProperties":
            no_kind = kind.name == "minProperties" and hints.mapping_kind(full) == "base"
            problem = ": expected one kind with its options, got nothing" if no_kind else " is empty"
            hint = _example_hint(full, error, schema) or "write a value, or remove it"
            problems.add(node, f"{subject}{problem}", code="empty", hint=hint)
        case "maxProperties":
            message = f"{subject}: expected one kind, got {_listed(node)}"
            problems.add(node, message, code="kinds", hint="keep one of them, and make the others bases of their own")
        case "pattern" | "not":
            got, expected = describe_value(node, error.instance), pin_schemas.wanted(error, schema)
            message = (
                f"expected {expected}, got {got}" if expected else f"{got} does not have the form that is required here"
            )
            problems.add(node, f"{subject}: {message}", code="value")
        case _:
            message = str(error.message)
            problems.add(node, f"{subject}: {message[:1].lower()}{message[1:200]}", code="value")


def _report_missing(checker: SchemaChecker, node: YamlNode, path: Path, errors: list[Any], problems: Problems) -> None:
    """Notes all missing keys of one mapping together, with an example of the whole mapping."""
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
    """Returns a hint with an example of the expected form; if it has none, of the alternatives that it belongs to."""
    if not path:
        return "begin the file with `version: 1`"
    steps = [*error.schema_path][:-1]
    hint = hints.example_hint(path[-1], _lookup(schema, steps), schema)
    while not hint and len(steps) > 2 and steps[-2] in ("anyOf", "oneOf"):
        steps = steps[:-2]
        hint = hints.example_hint(path[-1], _lookup(schema, steps), schema)
    return hint


def _has_unknown_key(max_error: Any, errors: list[Any]) -> bool:
    """Returns whether one of too many keys is unknown: then only the unknown key is reported."""
    return any(
        error.kind.name == "additionalProperties" and error.instance_path == max_error.instance_path for error in errors
    )


def _is_misspelt(missing: Any, errors: list[Any]) -> bool:
    """Returns whether the missing key is present but misspelt: then only the misspelt key is reported."""
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
    """Returns the node at a path of keys and indices, or the last node of the path that exists."""
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
    """Returns the declaration that a path belongs to ("env `unit`"), and the remaining path."""
    owner = ""
    while len(path) >= 2 and path[0] in _OWNERS and isinstance(path[1], str):
        declaration = f"{_OWNERS[str(path[0])]} `{path[1]}`"
        owner = f"{declaration} of {owner}" if owner else declaration
        path = path[2:]
        if owner.startswith(("layer", "base", "service")):
            break
    if not owner and path[:1] == ("defaults",):
        owner, path = "`defaults`", path[1:]
    return owner, path


def _join_path(path: Path) -> str:
    text = ""
    for step in path:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _subject(path: Path) -> str:
    owner, remaining = split_owner(path)
    if not remaining:
        return owner
    return f"`{_join_path(remaining)}`" + (f" of {owner}" if owner else "")


def _path_prefix(path: Path) -> str:
    owner, remaining = split_owner(path)
    if not remaining:
        return f" in {owner}" if owner else " at the top level"
    return f" in {_subject(path)}"


def _unknown_key(
    key: str, node: YamlNode, known: list[str], problems: Problems, path: Path, schema: dict[str, Json]
) -> None:
    key_node = node.key(key)
    hint = hints.unknown_key_hint(key, node, known, path, schema, problems)
    problems.add(key_node, f"unknown key `{key}`{_path_prefix(path)}", code="unknown-key", hint=hint)


def _listed(node: YamlNode) -> str:
    return " and ".join(f"`{key}`" for key in node.mapping())


def describe_value(node: YamlNode, value: object) -> str:
    """Returns a value in words, as in "the number 3"."""
    if value is None:  # JSON has no number like 1e400 either
        return f"the number {node.text}" if isinstance(node.value, float) else "nothing"
    if isinstance(value, bool):
        return f"`{node.text or str(value).lower()}`"
    if isinstance(value, int | float):
        return f"the number {node.text or value}"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 and "\n" not in value else f'"{value.splitlines()[0][:50]}…"'
    if isinstance(value, list):
        return "a list"
    return f"a mapping with {_listed(node)}" if 0 < len(node.mapping()) <= 3 else "a mapping"


def _type_hint(node: YamlNode, error: Any, expected: str, as_in: str) -> str:
    """Returns the hint for a value of the wrong type; `as_in` is the hint with an example."""
    value = error.instance
    if isinstance(node.value, float) and value is None:
        return "it is larger than any number can be here"
    if value is None:
        return f"there is no value after the `:`: write one{f', {as_in}' if as_in else ''}, or remove the key"
    if isinstance(value, str) and is_template(value):
        return "a template always gives a string: write the value out"
    if isinstance(value, bool | int | float) and "string" in expected.replace("list of strings", ""):
        return f'write it in quotes: "{node.text or value}"'
    if isinstance(value, str) and "list of" in expected:
        return f"write it as a list: [{_split_text_hint(node, value)}]" if len(value) <= 60 else as_in
    if expected.startswith("true or false") and (literal := _BOOLEAN_WORDS.get(str(value).lower())):
        return f"write it without quotes: {literal}" if str(value).lower() == literal else f"write {literal}"
    if isinstance(value, str) and "number" in expected and value.replace(".", "", 1).isdigit():
        return f"write it without quotes: {value}"
    return as_in or ("write one value" if isinstance(value, list | dict) and "list" not in expected else "")


def _split_text_hint(node: YamlNode, value: str) -> str:
    """Returns a text as the members of a list: names that blanks or commas separate are one member each."""
    words = re.split(r"[,\s]+", value.strip())
    if len(words) > 1 and all(re.fullmatch(r"[A-Za-z0-9._/][A-Za-z0-9._/+-]*", word) for word in words):
        return ", ".join(words)
    return node.text or f'"{value}"'


# ---- looking up the schema -----------------------------------------------------------------------------------------


def _lookup(schema: dict[str, Json], path: Sequence[str | int]) -> Any:
    node: Any = schema
    for step in path:
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            return {}
    return node


def _known(schema: dict[str, Json], path: Sequence[str | int]) -> list[str]:
    mapping = _lookup(schema, path[:-1])
    properties = mapping.get("properties", {}) if isinstance(mapping, dict) else {}
    return [*properties]


def describe_schema(sub: Any, schema: dict[str, Json]) -> str:
    """Returns a schema in words: "a list of strings", "a string or a mapping"."""
    return " or ".join(dict.fromkeys(_wanted_types(sub, schema, 6))) or "something else"


def _wanted_types(sub: Any, schema: dict[str, Json], depth: int) -> list[str]:
    if not isinstance(sub, dict) or not depth:
        return []
    if "$ref" in sub:
        return _wanted_types(_lookup(schema, str(sub["$ref"]).removeprefix("#/").split("/")), schema, depth - 1)
    for keyword in ("anyOf", "oneOf"):
        branches = [word for branch in sub.get(keyword, []) for word in _wanted_types(branch, schema, depth - 1)]
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
