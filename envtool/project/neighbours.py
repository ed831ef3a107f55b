"""What the repository around a project has beside it: files of one name, to compare with and to name to people.

Nothing of them reaches a build or a task. Links are not followed, and only regular files are opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from envtool.errors import UsageError
from envtool.project import host_access

MAX_PLACES = 300  # places that are looked at below each directory
MAX_FILE_SIZE = 1 << 20  # bytes of a file


def find_neighbours(top: str, root: str, name: str, note: Callable[[str], None]) -> dict[str, bytes]:
    """Path relative to the project at `root`, which begins with `..`, -> content. Each place that was looked at is
    noted. `top` is the directory of the repository, which `root` is in."""
    found: dict[str, bytes] = {}
    place = root
    while place != top:
        own, place = place, os.path.dirname(place)
        for path in _candidate_paths(place, own, name)[:MAX_PLACES]:
            note(path)
            content = _content(top, os.path.relpath(path, top))
            if content is not None:
                found[os.path.relpath(path, root)] = content
    return found


def _candidate_paths(place: str, own: str, name: str) -> list[str]:
    """Where files of this name may be: in a directory, in those in it and those in these, `own` left out."""
    directories = [place]
    for depth in range(2):
        for directory in [one for one in directories if one.count("/") == place.count("/") + depth]:
            try:
                with os.scandir(directory) as entries:
                    inner = sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
            except OSError:
                continue
            directories += [path for path in inner if path != own and not os.path.basename(path).startswith(".")]
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
