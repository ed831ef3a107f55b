"""Walks a directory tree of any depth."""

from __future__ import annotations

import os
from collections.abc import Iterator


def walk_tree(top: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yields (directory, names of directories in it, names of all else), as os.walk(top) does, which before Python 3.12
    fails at a thousand directories inside one another. No link is followed. Directories that are removed from the list
    are not entered; one that cannot be read is skipped."""
    pending = [top]
    while pending:
        directory = pending.pop()
        directories: list[str] = []
        others: list[str] = []
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    (directories if entry.is_dir(follow_symlinks=False) else others).append(entry.name)
        except OSError:
            continue
        yield directory, directories, others
        pending += [os.path.join(directory, name) for name in reversed(directories)]
