"""Finds files of one name elsewhere in the repository around a project, to compare with and to name in messages.

Their content reaches no build and no task. Links are not followed, and only regular files are opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from envtool.errors import UsageError
from envtool.project import host_access

MAX_PLACES = 300  # directories that are searched below each directory
MAX_FILE_SIZE = 1 << 20  # bytes of a file


def find_neighbours(top: str, root: str, name: str, note: Callable[[str], None]) -> dict[str, bytes]:
    """Returns path relative to the project at `root` (it begins with `..`) -> content. Calls `note` with each path that
    was tried. `top` is the directory of the repository, which `root` is in."""
    neighbours: dict[str, bytes] = {}
    directory = root
    while directory != top:
        searched, directory = directory, os.path.dirname(directory)
        for path in _candidate_paths(directory, searched, name)[:MAX_PLACES]:
            note(path)
            content = _content(top, os.path.relpath(path, top))
            if content is not None:
                neighbours[os.path.relpath(path, root)] = content
    return neighbours


def _candidate_paths(top: str, excluded: str, name: str) -> list[str]:
    """Returns the paths of files with this name in a directory, its subdirectories and theirs, without the subdirectory
    `own`."""
    directories = [top]
    for depth in range(2):
        for directory in [candidate for candidate in directories if candidate.count("/") == top.count("/") + depth]:
            try:
                with os.scandir(directory) as entries:
                    inner = sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
            except OSError:
                continue
            directories += [path for path in inner if path != excluded and not os.path.basename(path).startswith(".")]
            if len(directories) > MAX_PLACES:
                break
    return [os.path.join(directory, name) for directory in directories]


def _content(top: str, path: str) -> bytes | None:
    try:
        with (
            host_access.EntryOpener(top) as entries,
            host_access.open_regular(entries.open(path), path, MAX_FILE_SIZE) as file,
        ):
            return file.read(MAX_FILE_SIZE)
    except (OSError, UsageError):
        return None
