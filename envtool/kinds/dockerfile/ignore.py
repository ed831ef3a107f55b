"""`.dockerignore`: which files of the context an instruction sees (moby/patternmatcher, and its ReadAll). Pure.

One pattern a line, `#` comments, `!` takes a path in again, the last that matches decides. `**` stands for any number
of directories, what is below a matched directory is matched too, and a slash at either end means nothing.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from functools import lru_cache


def read(text: str) -> tuple[str, ...]:
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


def ignored(path: str, patterns: Sequence[str]) -> bool:
    """Whether a path (relative to the context) is left out."""
    out = False
    for pattern in patterns:
        exception = pattern.startswith("!")
        if exception == out and covers(pattern[exception:], path):
            out = not exception
    return out


def covers(pattern: str, path: str) -> bool:
    """Whether a pattern matches a path, or a directory above it."""
    return _expression(pattern).match(path) is not None


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    out: list[str] = []
    index = 0
    while index < len(pattern):
        character = pattern[index]
        index += 1
        if character == "*" and pattern[index : index + 1] == "*":
            index += 1
            if pattern[index : index + 1] == "/":
                index += 1
            out.append(".*" if index >= len(pattern) else "(?:.*/)?")
        elif character == "*":
            out.append("[^/]*")
        elif character == "?":
            out.append("[^/]")
        elif character == "\\" and index < len(pattern):
            out.append(re.escape(pattern[index]))
            index += 1
        elif character == "[":
            found = re.compile(r"\^?(?:\\.|[^\]\\])+\]").match(pattern, index)
            if found is None:
                out.append(r"\[")
                continue
            body = found.group()[:-1].replace("[", r"\[")
            out.append(f"[{body}]")
            index = found.end()
        else:
            out.append(re.escape(character))
    try:
        return re.compile(f"(?s:{''.join(out)})(?:/|\\Z)")
    except re.error:  # a class that is none: it stands for itself
        return re.compile(re.escape(pattern) + r"(?:/|\Z)")
