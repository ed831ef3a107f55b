"""Puts variables into a text, as compose does: `$NAME`, `${NAME}`, `${NAME:-default}`, `:+`, `:?`, and `$$` for `$`.
Source: the Compose Specification, "Interpolation"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_RESULT = 256 * 1024  # characters of one value
MAX_DEPTH = 20  # defaults in defaults
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")


class InterpolationError(Exception):
    """A text has a `${` that cannot be read. `message` says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UnsetVariable(NamedTuple):
    """A variable without a value. `reason` is the text of `${NAME:?reason}`; None where it is not required."""

    name: str
    reason: str | None = None


def interpolate(
    text: str, lookup: Callable[[str], str | None], unset: Callable[[UnsetVariable], None], depth: int = 0
) -> str:
    """Returns the text with its variables replaced. A variable without a value is passed to `unset`, and is empty.
    Raises InterpolationError."""
    if "$" not in text:
        return text
    if depth > MAX_DEPTH:
        raise InterpolationError(f"`${{` nested more than {MAX_DEPTH} deep")
    parts: list[str] = []
    position = 0
    while (dollar := text.find("$", position)) >= 0:
        parts.append(text[position:dollar])
        position = dollar + 1
        if text.startswith("$", position):
            parts.append("$")
            position += 1
        elif text.startswith("{", position):
            end = _closing_brace(text, position)
            parts.append(_braced(text[position + 1 : end], lookup, unset, depth))
            position = end + 1
        elif name := _NAME.match(text, position):
            parts.append(_value(name[0], lookup, unset))
            position = name.end()
        else:  # a dollar sign that begins nothing stays
            parts.append("$")
    parts.append(text[position:])
    if sum(map(len, parts)) > MAX_RESULT:
        raise InterpolationError(f"with its variables this has more than {MAX_RESULT // 1024} KiB")
    return "".join(parts)


def _closing_brace(text: str, start: int) -> int:
    """Returns the position of the `}` for the `{` at `start`; a `${` between them has a `}` of its own."""
    depth = 0
    for position in range(start, len(text)):
        if text[position] == "{" and text[position - 1] == "$":
            depth += 1
        elif text[position] == "}":
            depth -= 1
            if not depth:
                return position
    raise InterpolationError("`${` without its `}`")


def _value(name: str, lookup: Callable[[str], str | None], unset: Callable[[UnsetVariable], None]) -> str:
    value = lookup(name)
    if value is None:
        unset(UnsetVariable(name))
    return value or ""


def _braced(inner: str, lookup: Callable[[str], str | None], unset: Callable[[UnsetVariable], None], depth: int) -> str:
    name = _NAME.match(inner)
    if not name:
        raise InterpolationError(f"`${{{inner[:40]}}}` has no name of a variable")
    if name.end() == len(inner):
        return _value(inner, lookup, unset)
    operator = _OPERATOR.match(inner, name.end())
    if not operator:
        raise InterpolationError(f"`${{{inner[:40]}}}`: after the name comes `:-`, `-`, `:+`, `+`, `:?` or `?`")
    value = lookup(name[0])
    is_set = value is not None and (value != "" or not operator[0].startswith(":"))
    other = inner[operator.end() :]
    if operator[0].endswith("+"):
        return interpolate(other, lookup, unset, depth + 1) if is_set else ""
    if is_set:
        return value or ""
    if operator[0].endswith("?"):
        unset(UnsetVariable(name[0], interpolate(other, lookup, unset, depth + 1)))
        return ""
    return interpolate(other, lookup, unset, depth + 1)
