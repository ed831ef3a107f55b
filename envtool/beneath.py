"""Open a path below a directory that other users may write to, without ever leaving that directory.

The way is walked by descriptors, one component at a time, and every component is opened with O_NOFOLLOW, so swapping
a directory for a symlink while we walk gains nothing. The rules and the error are those of RESOLVE_BENEATH in
openat2(2), which some container engines refuse; absolute links are errors too. Imports only os: it is on the warm path.
"""

from __future__ import annotations

import os

ESCAPES = 18  # EXDEV: what openat2(2) answers where a path leads out of its directory
_LOOP = 40  # ELOOP: too many links, or (with follow=False) any link
_MOST_LINKS = 40  # as path_resolution(7) has it
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_beneath(top: str | int, path: str, flags: int = os.O_RDONLY, mode: int = 0o666, *, follow: bool = True) -> int:
    """A descriptor of `path` below `top`, a directory (its path, or an open descriptor of it).

    With `follow`, links are followed as long as they stay below `top`, the last component's too; without, any link on
    the way or at the end is refused. A fifo never blocks: O_NONBLOCK is added, so check with fstat what came. Raises
    OSError: EXDEV where the path leaves `top`, ELOOP for links that are refused or too many, and all of open(2).
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    pending = _parts(path, path)
    # `way` holds a descriptor for each directory that we are in, `top` first: `..` goes back along it.
    way = [os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if isinstance(top, str) else os.dup(top)]
    links = 0
    try:
        while pending:
            name = pending.pop()
            if name == "..":
                if len(way) == 1:
                    raise OSError(ESCAPES, os.strerror(ESCAPES), path)
                os.close(way.pop())
                continue
            try:
                if pending:
                    way.append(os.open(name, _DIRECTORY, dir_fd=way[-1]))
                    continue
                found = os.open(name, flags, mode, dir_fd=way[-1])
                # O_PATH opens links themselves: what they lead to is asked of the link that was opened
                target = _target("", found) if follow and flags & os.O_PATH else ""
                if not target:
                    return found
                os.close(found)
            except OSError as error:
                # A link gives ELOOP, or ENOTDIR where a directory was wanted.
                target = _target(name, way[-1]) if error.errno in (_LOOP, 20) else ""
                if not target:
                    raise OSError(error.errno, error.strerror, path) from None
            links += 1
            if not follow or links > _MOST_LINKS:
                raise OSError(_LOOP, os.strerror(_LOOP), path) from None
            pending += _parts(target, path)
        # The path was empty, "." or ended in "..": it is the directory where we stand.
        return os.open(".", flags, mode, dir_fd=way[-1])
    finally:
        for each in way:
            os.close(each)


def _parts(text: str, path: str) -> list[str]:
    """The components of a path or a link, last first. Raises OSError (EXDEV) for an absolute one."""
    if text.startswith("/"):
        raise OSError(ESCAPES, os.strerror(ESCAPES), path)
    return [part for part in reversed(text.split("/")) if part not in ("", ".")]


def _target(name: str, directory: int) -> str:
    """Where a link leads; empty for everything that is not one."""
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        return ""
