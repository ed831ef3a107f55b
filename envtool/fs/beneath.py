"""Opens a path below a directory that other users may write to, without ever leaving that directory.

The path is walked by descriptors, one component at a time, and every component is opened with O_NOFOLLOW, so swapping a
directory for a symlink meanwhile gains nothing. The rules and the errors are those of RESOLVE_BENEATH in openat2(2),
which some container engines refuse; absolute links are errors too. Imports only os: it is on the warm path.

The owner of the project's directory can rename it at any moment, and put a link in its place. So it is opened once,
where its spec is found (`hold_project`): from then on its path means that very directory, or is an error
(`DirectoryReplacedError`). The descriptor is kept, so that no other directory can get its device and inode numbers.
"""

from __future__ import annotations

import os

ESCAPES = 18  # EXDEV: what openat2(2) answers where a path leads out of its directory
_LOOP = 40  # ELOOP: too many links, or (with follow=False) any link
_MAX_LINKS = 40  # as in path_resolution(7)
_MAX_OPEN = 32  # directories on the way that are open at once
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TOP = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_held: dict[str, int] = {}  # descriptors of projects by their paths; the latest project is last
_real: dict[str, str] = {}  # real paths of those projects


class DirectoryReplacedError(OSError):
    """The path of the project leads to another directory by now, or to none."""

    def __init__(self, path: str) -> None:
        super().__init__(116, "the project's directory was moved or replaced meanwhile", path)  # ESTALE


def hold_project(path: str, identity: tuple[int, ...] = ()) -> None:
    """Open a project's directory and keep it open for the life of this process; a later call for the same path keeps
    the first one. `identity`: the device and inode that it must have, where these are known. Raises OSError.
    """
    descriptor = open_top(path)
    if identity and _identity(descriptor) != identity:
        os.close(descriptor)
        raise DirectoryReplacedError(path)
    real = _real.get(path) or os.readlink(f"/proc/self/fd/{descriptor}")
    for name in (real, path):
        held = _held.pop(name, -1)
        _held[name], _real[name] = held if held >= 0 else os.dup(descriptor), real
    os.close(descriptor)


def release_projects() -> None:
    """Close all projects: between the calls of a process that serves several."""
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()
    _real.clear()


def current_project() -> str:
    """Returns the path of the project that was found last, or "" where there is none."""
    return next(reversed(_held), "")


def real_path(path: str) -> str:
    """Returns the real path of a path; of a project that is held, the real path when it was found."""
    return _real.get(path) or os.path.realpath(path)


def project_identity(path: str) -> tuple[int, ...]:
    """Returns the device and inode of a project that is held; empty for every other path."""
    return _identity(_held[path]) if path in _held else ()


def open_top(path: str) -> int:
    """Returns a descriptor (O_PATH) of a directory; links on the way are followed. Raises OSError, and
    DirectoryReplacedError for a project that is not the one that was found.
    """
    held = _held.get(path, -1)
    try:
        descriptor = os.open(path, _TOP)
    except (FileNotFoundError, NotADirectoryError):
        if held >= 0:
            raise DirectoryReplacedError(path) from None
        raise
    if held >= 0 and _identity(descriptor) != _identity(held):
        os.close(descriptor)
        raise DirectoryReplacedError(path)
    return descriptor


def _identity(descriptor: int) -> tuple[int, ...]:
    info = os.fstat(descriptor)
    return (info.st_dev, info.st_ino)


def open_beneath(top: str | int, path: str, flags: int = os.O_RDONLY, mode: int = 0o666, *, follow: bool = True) -> int:
    """Returns a descriptor of `path` below `top`, a directory (its path, or an open descriptor of it).

    With `follow`, links are followed as long as they stay below `top`, the last component's too; without, any link on
    the way or at the end is refused. Opening a fifo never blocks: O_NONBLOCK is added, so check the type with fstat.
    Raises OSError: EXDEV where the path leaves `top`, ELOOP for links that are refused or too many, and all of open(2).
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    pending = _reversed_components(path, path)
    # A descriptor of each directory on the way, `top` first: `..` goes back to the one before. Of a long way the last
    # ones are open, and `names` leads to the first of these.
    ancestors = [open_top(top) if isinstance(top, str) else os.dup(top)]
    names: list[str] = []
    links = 0
    try:
        while pending:
            name = pending.pop()
            if name == "..":
                if len(ancestors) == 1:
                    raise OSError(ESCAPES, os.strerror(ESCAPES), path)
                os.close(ancestors.pop())
                names.pop()
                if len(ancestors) == 1 and names:
                    ancestors += _open_way(ancestors[0], names)
                continue
            try:
                if pending:
                    ancestors.append(os.open(name, _DIRECTORY, dir_fd=ancestors[-1]))
                    names.append(name)
                    if len(ancestors) > _MAX_OPEN:
                        os.close(ancestors.pop(1))
                    continue
                descriptor = os.open(name, flags, mode, dir_fd=ancestors[-1])
                # O_PATH opens a link itself: its target is read from the link that was opened
                target = _target("", descriptor) if follow and flags & os.O_PATH else ""
                if not target:
                    return descriptor
                os.close(descriptor)
            except OSError as error:
                # A link gives ELOOP, or ENOTDIR where a directory was wanted.
                target = _target(name, ancestors[-1]) if error.errno in (_LOOP, 20) else ""
                if not target:
                    raise OSError(error.errno, error.strerror, path) from None
            links += 1
            if not follow or links > _MAX_LINKS:
                raise OSError(_LOOP, os.strerror(_LOOP), path) from None
            pending += _reversed_components(target, path)
        # The path was empty, "." or ended in "..": it is the last directory of the walk.
        return os.open(".", flags, mode, dir_fd=ancestors[-1])
    finally:
        for ancestor in ancestors:
            os.close(ancestor)


class Descent:
    """Opens the directories below `top` (a descriptor, which stays the caller's) one after another, each from the last
    one that it is in: a walk costs one open(2) a directory, however deep. No link is followed. A context manager.
    """

    __slots__ = ("_open", "_top")

    def __init__(self, top: int) -> None:
        self._top = top
        self._open: list[tuple[str, int]] = []  # each is in the one before

    def __enter__(self) -> Descent:
        return self

    def __exit__(self, *_: object) -> None:
        for _path, descriptor in self._open:
            os.close(descriptor)
        self._open.clear()

    def open(self, path: str) -> int:
        """Returns a descriptor of a directory, valid until the next call. Raises OSError, as `open_beneath`."""
        while self._open and not path.startswith(self._open[-1][0]):
            os.close(self._open.pop()[1])
        prefix, above = self._open[-1] if self._open else ("", self._top)
        descriptor = open_beneath(above, path[len(prefix) :], os.O_RDONLY | os.O_DIRECTORY, follow=False)
        self._open.append((f"{path}/" if path else "", descriptor))
        if len(self._open) > _MAX_OPEN:
            os.close(self._open.pop(0)[1])
        return descriptor


def read_link(top: str | int, path: str) -> str:
    """Returns the target of a link below a directory, by a path without links; empty if it is none, or not there."""
    parent, _, name = path.rpartition("/")
    try:
        directory = open_beneath(top, parent, os.O_PATH | os.O_DIRECTORY, follow=False)
    except OSError:
        return ""
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        return ""
    finally:
        os.close(directory)


def _open_way(top: int, names: list[str]) -> list[int]:
    """Returns descriptors of the last directories of a way that was walked before. Raises OSError."""
    opened: list[int] = []
    try:
        for name in names:
            opened.append(os.open(name, _DIRECTORY, dir_fd=opened[-1] if opened else top))
            if len(opened) >= _MAX_OPEN:
                os.close(opened.pop(0))
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        raise
    return opened


def _reversed_components(text: str, path: str) -> list[str]:
    """Returns the components of a path or link, last first. Raises OSError (EXDEV) for an absolute one."""
    if text.startswith("/"):
        raise OSError(ESCAPES, os.strerror(ESCAPES), path)
    return [part for part in reversed(text.split("/")) if part not in ("", ".")]


def _target(name: str, directory: int) -> str:
    """Returns the target of a link, or "" for everything else."""
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        return ""
