"""Resolves a path in a tree that is not the root: symlinks are resolved in that tree, and lead nowhere else. Imports
only `os`: it is called in containers, where nothing can be imported.
"""

from __future__ import annotations

import os


def resolve_in_root(root: str, path: str, *, last: bool = True) -> str:
    """Returns the path (below `root`) that `path` has when `root` is `/`; components that are missing are kept. `last`
    False: a symlink at the very end is not followed. Raises OSError (ELOOP).
    """
    resolved: list[str] = []
    pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    followed = 0
    while pending:
        part = pending.pop()
        if part == "..":
            resolved = resolved[:-1]
            continue
        candidate = "/".join((root.rstrip("/"), *resolved, part))
        if (pending or last) and os.path.islink(candidate):
            followed += 1
            if followed > 40:
                raise OSError(40, os.strerror(40), path)
            target = os.readlink(candidate)
            if target.startswith("/"):
                resolved = []
            pending += [component for component in reversed(target.split("/")) if component not in ("", ".")]
            continue
        resolved.append(part)
    return "/".join((root.rstrip("/"), *resolved)) or "/"
