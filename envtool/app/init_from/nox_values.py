"""Literal values, names and f-strings of a noxfile, without executing it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, TypeAlias

from envtool.app.init_from.quoted_words import shell_command
from envtool.app.init_from.taken_spec import CannotTakeError, args_with_default

if TYPE_CHECKING:
    from collections.abc import Mapping

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"
_MAX_SIZE = 10_000  # of one value: members of lists and mappings and characters, at all depths
_MAX_WORK = 2_000_000  # of all values of one file
_SPENT = "\0spent"  # the name under which the names of a file keep what they have cost; no name of Python has a NUL


def new_names() -> dict[str, Value]:
    """Returns an empty mapping for the names of one file. Its copies count together against one limit."""
    return {_SPENT: [0]}


def evaluate(node: ast.expr, names: Mapping[str, Value], session: str = "") -> Value:
    """Returns the value of an expression of literals, known names, f-strings, `+` and the session's `posargs`. Raises
    CannotTakeError, with the line, for any other expression."""
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, str | int | float)):
        return node.value
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return bounded(_all_members(node.elts, names, session), names, node)
    if isinstance(node, ast.Dict) and all(key is not None for key in node.keys):
        keys = [text(key, names, session) for key in node.keys if key is not None]
        entries = dict(zip(keys, (evaluate(value, names, session) for value in node.values), strict=True))
        return bounded(entries, names, node)
    if isinstance(node, ast.JoinedStr):
        parts: list[Value] = []
        for part in node.values:
            parts.append(_part(part, names, session))
            bounded(parts, names, node)
        return "".join(map(str, parts))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = evaluate(node.left, names, session), evaluate(node.right, names, session)
        if (isinstance(left, str) and isinstance(right, str)) or (isinstance(left, list) and isinstance(right, list)):
            return bounded(left + right, names, node)  # type: ignore[operator]
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and is_posargs(node.values[0], session):
        default = evaluate(node.values[1], names, session) if len(node.values) == 2 else None
        if isinstance(default, list):
            return [args_with_default(shell_command([str(word) for word in _flat(default, node)]))]
    if is_posargs(node, session):
        return [args_with_default("")]
    if session and ast.unparse(node) == f"{session}.python":
        return names.get("\0python")
    if session and ast.unparse(node) == f"{session}.name":
        return names.get("\0name")
    raise CannotTakeError(f"`{_shown(node)}` is known only when nox runs", "", node.lineno)


def text(node: ast.expr, names: Mapping[str, Value], session: str = "") -> str:
    """Returns the value of an expression that is a text. Raises CannotTakeError for another one."""
    value = evaluate(node, names, session)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise CannotTakeError(f"`{_shown(node)}` is no text", "", node.lineno)
    return str(value)


def words(arguments: list[ast.expr], names: Mapping[str, Value], session: str) -> list[str]:
    """Returns the arguments of `session.run`. Raises CannotTakeError, with the line."""
    values = _all_members(arguments, names, session)
    return [str(value) for value in _flat(values, arguments[0])] if arguments else []


def _flat(values: list[Value], node: ast.expr) -> list[str | int | float]:
    """Returns the members of a list of words. Raises CannotTakeError for one that is no text."""
    plain = [value for value in values if isinstance(value, str | int | float) and not isinstance(value, bool)]
    if len(plain) != len(values):
        raise CannotTakeError("an argument is no text", "", node.lineno)
    return plain


def _all_members(nodes: list[ast.expr], names: Mapping[str, Value], session: str) -> list[Value]:
    """Returns the values of the members of a list, bounded while it grows."""
    values: list[Value] = []
    for node in nodes:
        values += _members(node, names, session)
        if isinstance(node, ast.Starred):
            bounded(values, names, node)
    return values


def is_posargs(node: ast.expr, session: str) -> bool:
    """Returns whether an expression is the arguments that the caller of nox gives."""
    return bool(session) and isinstance(node, ast.Attribute) and ast.unparse(node) == f"{session}.posargs"


def _members(node: ast.expr, names: Mapping[str, Value], session: str) -> list[Value]:
    if not isinstance(node, ast.Starred):
        return [evaluate(node, names, session)]
    value = evaluate(node.value, names, session)
    if not isinstance(value, list):
        raise CannotTakeError(f"`{_shown(node)}` is no list", "", node.lineno)
    return value


def _part(node: ast.expr, names: Mapping[str, Value], session: str) -> str:
    if isinstance(node, ast.FormattedValue):
        if node.format_spec is not None or node.conversion != -1:
            raise CannotTakeError(f"`{_shown(node.value)}` is formatted when nox runs", "", node.lineno)
        return text(node.value, names, session)
    return text(node, names, session)


def bounded(value: Value, names: Mapping[str, Value], node: ast.expr) -> Value:
    """Returns a value that is not too large, and counts it against the limit of the file. Raises CannotTakeError."""
    size, pending = 0, [value]
    while pending and size <= _MAX_SIZE:
        member = pending.pop()
        if isinstance(member, list | dict):
            size += 1 + len(member)
            pending += [*member.values(), *member] if isinstance(member, dict) else member
        elif isinstance(member, str):
            size += len(member)
    spent = names.get(_SPENT)
    total = _MAX_WORK
    if isinstance(spent, list) and isinstance(spent[0], int):
        total = spent[0] = spent[0] + size
    if size > _MAX_SIZE or total > _MAX_WORK:
        limit, whose = (_MAX_SIZE, "a value") if size > _MAX_SIZE else (_MAX_WORK, "values")
        raise CannotTakeError(f"{whose} of more than {limit:,} parts", "", node.lineno)
    return value


def _shown(node: ast.expr) -> str:
    shown = ast.unparse(node)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"
