"""Reads files of variables as compose does: `.env` and `env_file`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envtool.app.compose.interpolation import InterpolationError, interpolate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from envtool.app.compose.interpolation import UnsetVariable

MAX_VARIABLES = 10_000
_ENTRY = re.compile(r"\s*(?:export\s+)?([^\s=:#'\"]+)[ \t]*(?:[=:][ \t]*|(?=\r?$|\s+#))", re.MULTILINE)
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SINGLE = re.compile(r"'([^']*)'")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


class DotenvError(Exception):
    """A line is no `NAME=value`. `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line, self.message = line, message


def parse_dotenv(
    text: str,
    lookup: Callable[[str], str | None],
    unset: Callable[[UnsetVariable], None],
    *,
    raw: bool = False,
) -> Mapping[str, str | None]:
    """Returns the variables of a file; None for a name without `=`, whose value is the caller's. A value may use those
    above it, and `lookup`; with `raw` nothing is replaced and no quote means anything. Raises DotenvError."""
    variables: dict[str, str | None] = {}
    position, text = 0, text.replace("\r\n", "\n")

    def find(name: str) -> str | None:
        own = variables.get(name)
        return lookup(name) if own is None else own

    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        line = text[position:end].strip()
        if not line or line.startswith("#"):
            position = end + 1
            continue
        number = text.count("\n", 0, position) + 1
        entry = _ENTRY.match(text, position, end)
        if not entry:
            raise DotenvError(number, "no `NAME=value`")
        if len(variables) >= MAX_VARIABLES:
            raise DotenvError(number, f"more than {MAX_VARIABLES:,} variables")
        if entry[0].rstrip(" \t")[-1:] not in ("=", ":"):
            variables[entry[1]], position = None, end + 1
            continue
        try:
            value, position = (text[entry.end() : end], end) if raw else _value(text, entry.end(), end, find, unset)
        except InterpolationError as error:
            raise DotenvError(number, error.message) from None
        variables[entry[1]] = value
        rest = text.find("\n", position)
        position = len(text) if rest < 0 else rest + 1
    return variables


def _value(
    text: str,
    start: int,
    end: int,
    lookup: Callable[[str], str | None],
    unset: Callable[[UnsetVariable], None],
) -> tuple[str, int]:
    """Returns a value, and the position after it. A value in quotes may have several lines."""
    if quoted := _SINGLE.match(text, start):
        return quoted[1], quoted.end()
    if quoted := _DOUBLE.match(text, start):
        unescaped = re.sub(r"\\(.)", lambda escape: _unescape(escape[1]), quoted[1], flags=re.DOTALL)
        return interpolate(unescaped, lookup, unset), quoted.end()
    if text[start : start + 1] in ("'", '"') and start < end:
        raise InterpolationError(f"the quote {text[start]} is not closed")
    return interpolate(re.split(r"(?:^|\s)#", text[start:end])[0].strip(), lookup, unset), end


def _unescape(character: str) -> str:
    return "$$" if character == "$" else _ESCAPES.get(character, f"\\{character}")
