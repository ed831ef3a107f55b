"""`.dockerignore`: which files of the context an instruction sees (moby/patternmatcher, and its ReadAll). Pure.

One pattern a line, `#` comments, `!` takes a path in again, the last that matches decides. `**` stands for any number
of directories, what is below a matched directory is matched too, and a slash at either end means nothing.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

_CLASS = re.compile(r"\^?(?:\\.|[^\]\\])+\]")


def parse_patterns(text: str) -> tuple[str, ...]:
    """The patterns of a file, cleaned; exceptions keep their `!`."""
    found = []
    for line in text.removeprefix("\ufeff").splitlines():
        pattern = line.strip()
        if line.startswith("#") or not pattern:
            continue
        exception = pattern.startswith("!")
        pattern = pattern[exception:].strip()
        if pattern:
            pattern = posixpath.normpath(pattern)
            if len(pattern) > 1:
                pattern = "/" + pattern.lstrip("/") if pattern.startswith("/") else pattern
                pattern = pattern.removeprefix("/")
        found.append(("!" if exception else "") + pattern)
    return tuple(each for each in found if each not in ("", "!", ".", "/"))


def is_ignored(path: str, patterns: Sequence[str]) -> bool:
    """Whether a path (relative to the context) is left out."""
    out = False
    for pattern in patterns:
        exception = pattern.startswith("!")
        if exception == out and pattern_covers(pattern[exception:], path):
            out = not exception
    return out


def pattern_covers(pattern: str, path: str) -> bool:
    """Whether a pattern matches a path, or a directory above it."""
    tokens = _tokens(pattern)
    if not all(token.text in path for token in tokens if token.kind == _TEXT):
        return False  # nearly always, and at once
    return _match_tokens(tokens, path)


# A pattern is matched piece by piece. What is known after each is the set of places in the path that it may have come
# to, as the bits of one number: whatever the pattern, each piece is looked at once, in time that grows with the path.
_TEXT, _ONE, _STAR, _DIRECTORIES, _ALL = range(5)


class _Token(NamedTuple):
    kind: int
    text: str = ""
    one: re.Pattern[str] | None = None  # of a class


def _match_tokens(tokens: tuple[_Token, ...], path: str) -> bool:
    size = len(path)
    slashes = _match_positions(path, "/")
    whole = (1 << size) - 1
    at = 1
    for kind, text, one in tokens:
        if kind == _TEXT:
            at = (at & _match_positions(path, text)) << len(text)
        elif kind == _ONE:
            fits = ~slashes if one is None else sum(1 << each for each in range(size) if one.match(path[each]))
            at = (at & fits & whole) << 1
        elif kind == _STAR:
            # Adding what is reached to a run of ones carries along to its end: all that is flipped is reached too.
            run = ~slashes & whole
            at = (((at & run) + run) ^ run) | at
        else:  # from the first place that was reached on
            later = -(at & -at) & (whole << 1 | 1)
            at |= later if kind == _ALL else (later & slashes) << 1
        if not at:
            return False
    return bool(at & (slashes | 1 << size))


def _match_positions(path: str, text: str) -> int:
    """Where a text stands in a path, as bits."""
    found = 0
    at = path.find(text)
    while at >= 0:
        found |= 1 << at
        at = path.find(text, at + 1)
    return found


@lru_cache(maxsize=1024)
def _tokens(pattern: str) -> tuple[_Token, ...]:
    found: list[_Token] = []
    index = 0
    while index < len(pattern):
        character = pattern[index]
        index += 1
        if character == "*" and pattern[index : index + 1] == "*":
            index += 1
            if pattern[index : index + 1] == "/":
                index += 1
            found.append(_Token(_ALL if index >= len(pattern) else _DIRECTORIES))
            continue
        if character == "*":
            found.append(_Token(_STAR))
            continue
        if character == "?":
            found.append(_Token(_ONE))
            continue
        if character == "[" and (matched := _CLASS.match(pattern, index)):
            try:
                body = matched.group()[:-1].replace("[", r"\[")
                found.append(_Token(_ONE, one=re.compile(f"[{body}]")))
            except re.error:  # a class that is none: the pattern stands for itself
                return (_Token(_TEXT, pattern),)
            index = matched.end()
            continue
        if character == "\\" and index < len(pattern):
            character = pattern[index]
            index += 1
        if found and found[-1].kind == _TEXT:
            character = found.pop().text + character
        found.append(_Token(_TEXT, character))
    return tuple(found)
