"""Patterns of outputs: `*`, `?` and `[]` within one component, `**` for any number of directories.

Runs inside the container, on trees that the container's steps wrote: the number of matches and the depth are bounded.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_ENTRIES = 100_000  # files, links and directories that are copied back
MAX_DEPTH = 200  # nested directories


def list_names(directory: str) -> list[str]:
    """Returns the names in a directory, sorted; none where it cannot be read."""
    try:
        return sorted(os.listdir(directory or "."))
    except OSError:
        return []


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def find_matches(parts: list[str]) -> tuple[set[str], str]:
    """Returns the paths that match the parts, and a directory that was too deep to be entered. Symlinked directories
    are not entered. Each path is looked at once, whatever the pattern: the set of the parts that may come next goes
    with it.
    """
    matches: set[str] = set()
    too_deep = ""
    tests = [_compile_part(part) for part in parts]
    pending: list[tuple[str, set[int]]] = [("", _next_parts(0, parts))]
    while pending and len(matches) <= MAX_ENTRIES:
        directory, indices = pending.pop()
        if directory.count("/") >= MAX_DEPTH:
            too_deep = too_deep or directory
            continue
        listed = any(tests[index] for index in indices)
        for name in list_names(directory) if listed else dict.fromkeys(parts[index] for index in indices):
            path = f"{directory}/{name}" if directory else name
            matching = [index for index in indices if _part_matches(tests[index], parts[index], name)]
            if not matching or not os.path.lexists(path):
                continue
            is_directory = _is_directory(path)
            below: set[int] = set()
            for index in matching:
                wild, last = parts[index] == "**", index == len(parts) - 1
                if last and not (wild and is_directory):
                    matches.add(path)
                if is_directory and (wild or not last):
                    below |= _next_parts(index if wild else index + 1, parts)
            if below:
                pending.append((path, below))
    return matches, too_deep


def matches_pattern(pattern: str, path: str) -> bool:
    """Returns whether a pattern of outputs means a path, or a directory that the path is in."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")] or ["*"]
    indices = _next_parts(0, parts)
    for name in path.split("/"):
        matching = [index for index in indices if _part_matches(_compile_part(parts[index]), parts[index], name)]
        if len(parts) - 1 in matching:
            return True
        indices = {
            following
            for index in matching
            for following in _next_parts(index if parts[index] == "**" else index + 1, parts)
        }
    return False


def _next_parts(index: int, parts: list[str]) -> set[int]:
    """Returns the indices of the parts that a name may match where `index` comes next: `**` may match nothing."""
    indices = {index} if parts else set()
    while indices and parts[index] == "**" and index + 1 < len(parts):
        index += 1
        indices.add(index)
    return indices


def _compile_part(part: str) -> Any:
    """Returns a matching function, or None for a part without wildcards. `fnmatch` makes expressions that never
    backtrack.
    """
    return re.compile(fnmatch.translate(part)).match if any(c in part for c in "*?[") else None


def _part_matches(test: Any, part: str, name: str) -> bool:
    if test is None:
        return part == name
    if part == "**":
        return True
    return test(name) is not None and (not name.startswith(".") or part.startswith("."))
