"""Open a path below a directory that other users may write to, without ever leaving that directory.

The way is walked by descriptors, one component at a time, and every component is opened with O_NOFOLLOW, so swapping
a directory for a symlink while we walk gains nothing. The rules and the error are those of RESOLVE_BENEATH in
openat2(2), which some container engines refuse; absolute links are errors too. Imports only os: it is on the warm path.

The project's own directory can be renamed by its owner at any moment, and a link put in its place. So it is opened
once, where its spec is found (`hold`): from then on its path means that very directory, or is an error
(`DirectoryReplacedError`).
The descriptor is kept, so that no other directory can get its numbers.
"""

from __future__ import annotations

import os

ESCAPES = 18  # EXDEV: what openat2(2) answers where a path leads out of its directory
_LOOP = 40  # ELOOP: too many links, or (with follow=False) any link
_MOST_LINKS = 40  # as path_resolution(7) has it
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TOP = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_held: dict[str, int] = {}  # descriptors of projects by their paths, the one that was found last at the end
_real: dict[str, str] = {}


class DirectoryReplacedError(OSError):
    """At the path of the project there is another directory by now, or none."""

    def __init__(self, path: str) -> None:
        super().__init__(116, "the project's directory was moved or replaced meanwhile", path)  # ESTALE


def hold_project(path: str, identity: tuple[int, ...] = ()) -> None:
    """A project's directory is found, and stays the one that it is for this process, whoever holds it again. `identity`
    is what it has to be, where that is known. Raises OSError."""
    descriptor = open_top(path)
    if identity and _identity(descriptor) != identity:
        os.close(descriptor)
        raise DirectoryReplacedError(path)
    place = _real.get(path) or os.readlink(f"/proc/self/fd/{descriptor}")
    for each in (place, path):
        known = _held.pop(each, -1)
        _held[each], _real[each] = known if known >= 0 else os.dup(descriptor), place
    os.close(descriptor)


def release_projects() -> None:
    """Hold nothing any more: between the calls of a process that serves several."""
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()
    _real.clear()


def current_project() -> str:
    """The path of the project that was found last; empty where there is none."""
    return next(reversed(_held), "")


def real_path(path: str) -> str:
    """Where a path really is: a project where it was when it was found."""
    return _real.get(path) or os.path.realpath(path)


def project_identity(path: str) -> tuple[int, ...]:
    """Device and inode of a project that is held; empty for every other path."""
    return _identity(_held[path]) if path in _held else ()


def open_top(path: str) -> int:
    """A descriptor (O_PATH) of a directory, links on the way followed. Raises OSError, Replaced for a project that is
    not the one that was found."""
    known = _held.get(path, -1)
    try:
        found = os.open(path, _TOP)
    except (FileNotFoundError, NotADirectoryError):
        if known >= 0:
            raise DirectoryReplacedError(path) from None
        raise
    if known >= 0 and _identity(found) != _identity(known):
        os.close(found)
        raise DirectoryReplacedError(path)
    return found


def _identity(descriptor: int) -> tuple[int, ...]:
    found = os.fstat(descriptor)
    return (found.st_dev, found.st_ino)


def open_beneath(top: str | int, path: str, flags: int = os.O_RDONLY, mode: int = 0o666, *, follow: bool = True) -> int:
    """A descriptor of `path` below `top`, a directory (its path, or an open descriptor of it).

    With `follow`, links are followed as long as they stay below `top`, the last component's too; without, any link on
    the way or at the end is refused. A fifo never blocks: O_NONBLOCK is added, so check with fstat what came. Raises
    OSError: EXDEV where the path leaves `top`, ELOOP for links that are refused or too many, and all of open(2).
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    pending = _reversed_components(path, path)
    # `way` holds a descriptor for each directory that we are in, `top` first: `..` goes back along it.
    way = [open_top(top) if isinstance(top, str) else os.dup(top)]
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
            pending += _reversed_components(target, path)
        # The path was empty, "." or ended in "..": it is the directory where we stand.
        return os.open(".", flags, mode, dir_fd=way[-1])
    finally:
        for each in way:
            os.close(each)


def _reversed_components(text: str, path: str) -> list[str]:
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
