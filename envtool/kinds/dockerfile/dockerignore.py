"""Reads `.dockerignore`, and decides which files of the context an instruction reads (as moby/patternmatcher and its
ReadAll). Pure.

A file has one pattern a line; `#` begins a comment; `!` includes a path again; the last pattern that matches decides.
`**` stands for any number of directories, a pattern that matches a directory also matches all below it, and slashes at
the ends of a pattern have no meaning."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

_CLASS = re.compile(r"\^?(?:\\.|[^\]\\])+\]")


def parse_patterns(text: str) -> tuple[str, ...]:
    """Returns the patterns of a file, in normal form; exceptions keep their `!`."""
    patterns = []
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
        patterns.append(("!" if exception else "") + pattern)
    return tuple(entry for entry in patterns if entry not in ("", "!", ".", "/"))


def is_ignored(path: str, patterns: Sequence[str]) -> bool:
    """Whether the patterns exclude a path (relative to the context)."""
    ignored = False
    for pattern in patterns:
        exception = pattern.startswith("!")
        if exception == ignored and pattern_covers(pattern[exception:], path):
            ignored = not exception
    return ignored


def pattern_covers(pattern: str, path: str) -> bool:
    """Whether a pattern matches a path, or a directory above it."""
    tokens = _tokens(pattern)
    if not all(token.text in path for token in tokens if token.kind == _TEXT):
        return False  # this decides almost every path, and costs little
    return _match_tokens(tokens, path)


# A pattern is matched token by token. The bits of one number are the set of positions in the path that the tokens up to
# here can have reached. Each token is read once, in time linear in the path's length, whatever the pattern.
_TEXT, _ONE, _STAR, _DIRECTORIES, _ALL = range(5)


class _Token(NamedTuple):
    kind: int
    text: str = ""
    char_class: re.Pattern[str] | None = None  # of `[…]`


def _match_tokens(tokens: tuple[_Token, ...], path: str) -> bool:
    size = len(path)
    slashes = _match_positions(path, "/")
    all_bits = (1 << size) - 1
    reached = 1
    for kind, text, char_class in tokens:
        if kind == _TEXT:
            reached = (reached & _match_positions(path, text)) << len(text)
        elif kind == _ONE:
            allowed = (
                ~slashes
                if char_class is None
                else sum(1 << index for index in range(size) if char_class.match(path[index]))
            )
            reached = (reached & allowed & all_bits) << 1
        elif kind == _STAR:
            # Adding the reached positions to a run of ones carries to the end of the run: the bits that flip are the
            # positions that the star can reach.
            run = ~slashes & all_bits
            reached = (((reached & run) + run) ^ run) | reached
        else:  # every position after the first that was reached
            following = -(reached & -reached) & (all_bits << 1 | 1)
            reached |= following if kind == _ALL else (following & slashes) << 1
        if not reached:
            return False
    return bool(reached & (slashes | 1 << size))


def _match_positions(path: str, text: str) -> int:
    """Returns the positions of a text in a path, as the bits of a number."""
    positions = 0
    index = path.find(text)
    while index >= 0:
        positions |= 1 << index
        index = path.find(text, index + 1)
    return positions


@lru_cache(maxsize=1024)
def _tokens(pattern: str) -> tuple[_Token, ...]:
    tokens: list[_Token] = []
    index = 0
    while index < len(pattern):
        character = pattern[index]
        index += 1
        if character == "*" and pattern[index : index + 1] == "*":
            index += 1
            if pattern[index : index + 1] == "/":
                index += 1
            tokens.append(_Token(_ALL if index >= len(pattern) else _DIRECTORIES))
            continue
        if character == "*":
            tokens.append(_Token(_STAR))
            continue
        if character == "?":
            tokens.append(_Token(_ONE))
            continue
        if character == "[" and (matched := _CLASS.match(pattern, index)):
            try:
                body = matched.group()[:-1].replace("[", r"\[")
                tokens.append(_Token(_ONE, char_class=re.compile(f"[{body}]")))
            except re.error:  # not a valid class: the pattern matches only its own text
                return (_Token(_TEXT, pattern),)
            index = matched.end()
            continue
        if character == "\\" and index < len(pattern):
            character = pattern[index]
            index += 1
        if tokens and tokens[-1].kind == _TEXT:
            character = tokens.pop().text + character
        tokens.append(_Token(_TEXT, character))
    return tuple(tokens)
