"""A path in a tree that is not the root: its symlinks mean that tree, and lead nowhere else. `os` only: it is called in
containers, where nothing can be imported.
"""

from __future__ import annotations

import os


def resolve_in_root(root: str, path: str, *, last: bool = True) -> str:
    """The place (below `root`) that `path` has when `root` is `/`; what is missing is taken as it is. `last` False: a
    symlink at the very end is not followed. Raises OSError (ELOOP)."""
    done: list[str] = []
    pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    followed = 0
    while pending:
        part = pending.pop()
        if part == "..":
            done = done[:-1]
            continue
        place = "/".join((root.rstrip("/"), *done, part))
        if (pending or last) and os.path.islink(place):
            followed += 1
            if followed > 40:
                raise OSError(40, os.strerror(40), path)
            target = os.readlink(place)
            if target.startswith("/"):
                done = []
            pending += [each for each in reversed(target.split("/")) if each not in ("", ".")]
            continue
        done.append(part)
    return "/".join((root.rstrip("/"), *done)) or "/"
