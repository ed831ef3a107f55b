"""Literal values, names and f-strings of a noxfile, without executing it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, TypeAlias

from envtool.app.init_from.quoted_words import shell_command
from envtool.app.init_from.taken_spec import CannotTakeError, args_with_default

if TYPE_CHECKING:
    from collections.abc import Mapping

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"
_MAX_SIZE = 10_000  # members of a list, characters of a text


def evaluate(node: ast.expr, names: Mapping[str, Value], session: str = "") -> Value:
    """Returns the value of an expression of literals, known names, f-strings, `+` and the session's `posargs`. Raises
    CannotTakeError, with the line, for any other expression."""
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, str | int | float)):
        return node.value
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return _bounded([member for entry in node.elts for member in _members(entry, names, session)], node)
    if isinstance(node, ast.Dict) and all(key is not None for key in node.keys):
        keys = [text(key, names, session) for key in node.keys if key is not None]
        return dict(zip(keys, (evaluate(value, names, session) for value in node.values), strict=True))
    if isinstance(node, ast.JoinedStr):
        return _bounded("".join(_part(part, names, session) for part in node.values), node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = evaluate(node.left, names, session), evaluate(node.right, names, session)
        if (isinstance(left, str) and isinstance(right, str)) or (isinstance(left, list) and isinstance(right, list)):
            return _bounded(left + right, node)  # type: ignore[operator]
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and is_posargs(node.values[0], session):
        default = evaluate(node.values[1], names, session) if len(node.values) == 2 else None
        if isinstance(default, list):
            return [args_with_default(shell_command([str(word) for word in default]))]
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
    values = [member for entry in arguments for member in _members(entry, names, session)]
    flat: list[str] = []
    for value in values:
        if isinstance(value, bool | None | list | dict):
            line = arguments[0].lineno if arguments else 0
            raise CannotTakeError("an argument is no text", "", line)
        flat.append(str(value))
    return flat


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


def _bounded(value: str | list[Value], node: ast.expr) -> Value:
    if len(value) > _MAX_SIZE:
        raise CannotTakeError(f"a value of more than {_MAX_SIZE:,} parts", "", node.lineno)
    return value


def _shown(node: ast.expr) -> str:
    shown = ast.unparse(node)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"
