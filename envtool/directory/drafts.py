"""Files that take their place once they are whole: in an open directory, or at a path that the caller named."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import IO, TYPE_CHECKING

from envtool.directory import NEW, OpenDirectory, plain, temporary_name

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType


def begin(directory: OpenDirectory, mode: int) -> NewFile:
    """See OpenDirectory.begin."""
    for _ in range(100):
        name = temporary_name()
        with directory.changing():
            fd = os.open(name, NEW, 0o600 if mode else 0o666, dir_fd=directory.fd)
        if _held(fd):
            return NewFile(directory, fd, name, mode)
        os.close(fd)  # swept by another process before it was locked
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


class NewFile:
    """A file that is being written (`fd`), until `place` or `drop`. While it is open its lock says that it lives."""

    __slots__ = ("_directory", "_mode", "_name", "fd")

    def __init__(self, directory: OpenDirectory, fd: int, name: str, mode: int) -> None:
        self._directory = OpenDirectory(os.dup(directory.fd), directory.owner, directory.changes)
        self.fd, self._name, self._mode = fd, name, mode

    def place(self, name: str, mode: int = 0, *, replace: bool = True) -> None:
        """Give it owner and mode (0: that of its beginning), and its place. Where that fails it is dropped."""
        at = self._directory
        try:
            at.give(self.fd)  # first: a change of owner takes bits of the mode away
            if mode or self._mode:
                os.fchmod(self.fd, mode or self._mode)
            with at.changing():
                if replace:
                    os.rename(self._name, plain(name), src_dir_fd=at.fd, dst_dir_fd=at.fd)
                else:
                    _link(self._name, plain(name), at.fd)
            if replace:
                self._name = ""
        finally:
            self.drop()

    def drop(self) -> None:
        """Close it; gone where it has not been placed. Twice does no harm."""
        name, self._name = self._name, ""
        if name:
            self._directory.discard(name)
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
        self._directory.close()


class Written:
    """See OpenDirectory.written."""

    __slots__ = ("_directory", "_draft", "_file", "_mode", "_name", "_replace", "_sync")

    def __init__(self, directory: OpenDirectory, name: str, mode: int, *, replace: bool, sync: bool) -> None:
        self._directory, self._name, self._mode = directory, name, mode
        self._replace, self._sync = replace, sync

    def __enter__(self) -> IO[bytes]:
        self._directory.sweep()
        self._draft = self._directory.begin(self._mode)
        self._file = open(self._draft.fd, "wb", closefd=False)
        return self._file

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._file.close()  # the draft's descriptor stays open
                if self._sync:
                    os.fsync(self._draft.fd)
                self._draft.place(self._name, replace=self._replace)
        finally:
            # else what is left in its buffer is written later, into whatever has the descriptor's number then
            try:  # noqa: SIM105 - contextlib is not for the warm path
                self._file.close()
            except OSError:
                pass
            self._draft.drop()


# ---- paths that the caller named -------------------------------------------------------------------------------------


def reached(path: str, project: str = "", *, make: bool = True) -> OpenDirectory:
    """The directory at a path that the caller named; with `make` it is made where it is missing. Links on the way are
    the caller's own and are followed, but for those below `project` (a directory; empty: none): they came with the
    checkout, and are refused. Raises OSError."""
    plain = os.path.abspath(path)
    parts = [part for part in plain.split("/") if part]
    if project:
        with OpenDirectory.open(project) as at:
            top, named = os.fstat(at.fd), os.path.abspath(project)
            for count in range(len(parts) + 1):
                here = "/" + "/".join(parts[:count])
                # by its own name, whatever stands there by now, or by one that leads there
                if here == named or _identity(here) == (top.st_dev, top.st_ino):
                    return at.below("/".join(parts[count:]), make=make)
    missing: list[str] = []
    while parts and not os.path.isdir("/" + "/".join(parts)):
        missing.insert(0, parts.pop())
    with OpenDirectory.open("/" + "/".join(parts)) as at:
        return at.below("/".join(missing), make=make)


def written(
    path: str, project: str = "", mode: int = 0, *, make: bool = False, replace: bool = True
) -> AbstractContextManager[IO[bytes]]:
    """The same for a file: a context with a file to write, that takes its place at the end. What the caller calls by a
    name in /dev (/dev/stdout, /dev/null, /dev/fd/3) is written straight. Raises OSError."""
    parent, name = os.path.split(os.path.abspath(path))
    if parent in ("/dev", "/dev/fd", "/proc/self/fd"):
        number = {"stdout": "1", "stderr": "2"}.get(name, name)
        return open(os.dup(int(number)) if number.isdigit() else os.open(path, os.O_WRONLY | os.O_NOCTTY), "wb")
    return _WrittenAt(parent, project, name, mode, make=make, replace=replace)


class _WrittenAt:
    """`OpenDirectory.written`, with the directory opened at the beginning and closed at the end."""

    def __init__(self, parent: str, project: str, name: str, mode: int, *, make: bool, replace: bool) -> None:
        self._parent, self._project, self._make = parent, project, make
        self._name, self._mode, self._replace = name, mode, replace

    def __enter__(self) -> IO[bytes]:
        self._directory = reached(self._parent, self._project, make=self._make)
        try:
            self._written = self._directory.written(self._name, self._mode, replace=self._replace)
            return self._written.__enter__()
        except BaseException:
            self._directory.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._written.__exit__(kind, error, at)
        finally:
            self._directory.close()


def _held(fd: int) -> bool:
    """Lock a new file, so that no sweep takes it for a dead one's; False where one was faster."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, where nothing is swept either
        pass
    return os.fstat(fd).st_nlink > 0


def _link(temporary: str, name: str, fd: int) -> None:
    """A rename that replaces nothing: a second name, and the first one goes (the draft's end sees to it)."""
    try:
        os.link(temporary, name, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        try:
            os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
            return
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
