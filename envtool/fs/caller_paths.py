"""Opens directories and files at paths that the caller named: follows the caller's own links, but not those of a
checkout.
"""

from __future__ import annotations

import errno
import os
from typing import IO, TYPE_CHECKING

from envtool.fs.directory import OpenDirectory

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType


_DEVICES = ("/dev", "/dev/fd", "/proc/self/fd")  # names there are written directly


def open_directory(path: str, project: str = "", *, make: bool = True) -> OpenDirectory:
    """Returns the directory at a path that the caller named; with `make` it is made where it is missing. Links on the
    way are the caller's own and are followed, except below `project` (a directory; empty: none): those came with the
    checkout, and are refused. Raises OSError.
    """
    absolute = os.path.abspath(path)
    parts = [part for part in absolute.split("/") if part]
    if project:
        with OpenDirectory.open(project) as directory:
            project_info, project_path = os.fstat(directory.fd), os.path.abspath(project)
            for count in range(len(parts) + 1):
                prefix = "/" + "/".join(parts[:count])
                # by its own name, whatever is there by now, or by another name of the same directory
                if prefix == project_path or _identity(prefix) == (project_info.st_dev, project_info.st_ino):
                    return directory.open_below("/".join(parts[count:]), make=make)
    missing: list[str] = []
    while parts and not os.path.isdir("/" + "/".join(parts)):
        missing.insert(0, parts.pop())
    with OpenDirectory.open("/" + "/".join(parts)) as directory:
        return directory.open_below("/".join(missing), make=make)


def atomic_write(
    path: str, project: str = "", mode: int = 0, *, make: bool = False, replace: bool = True
) -> AbstractContextManager[IO[bytes]]:
    """Returns a context with a file to write, which takes its place at the end. `path` is followed as by
    `open_directory`. The caller's names in /dev (/dev/stdout, /dev/null, /dev/fd/3) are written directly. Raises
    OSError.
    """
    parent, name = os.path.split(os.path.abspath(path))
    if parent in _DEVICES:
        number = {"stdout": "1", "stderr": "2"}.get(name, name)
        return open(os.dup(int(number)) if number.isdigit() else os.open(path, os.O_WRONLY | os.O_NOCTTY), "wb")
    return _AtomicFileAt(parent, project, name, mode, make=make, replace=replace)


def check_writable(path: str, project: str = "") -> None:
    """Raises OSError where `atomic_write(path, project, make=True)` would fail by what is there now: a file or a link
    of the project in the place of a directory, a directory in the place of the file, no permission. Makes nothing."""
    parent = os.path.dirname(os.path.abspath(path))
    if parent in _DEVICES:
        return
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    while True:
        try:
            with open_directory(parent, project, make=False) as directory:
                if os.access(".", os.W_OK | os.X_OK, dir_fd=directory.fd):
                    return
                number = errno.EROFS if os.fstatvfs(directory.fd).f_flag & os.ST_RDONLY else errno.EACCES
                raise OSError(number, f"{os.strerror(number)}: {parent}")
        except FileNotFoundError:  # it will be made
            if parent == "/":
                raise
            parent = os.path.dirname(parent)


class _AtomicFileAt:
    """`OpenDirectory.atomic_write`, with the directory opened at the beginning and closed at the end."""

    def __init__(self, parent: str, project: str, name: str, mode: int, *, make: bool, replace: bool) -> None:
        self._parent, self._project, self._make = parent, project, make
        self._name, self._mode, self._replace = name, mode, replace

    def __enter__(self) -> IO[bytes]:
        self._directory = open_directory(self._parent, self._project, make=self._make)
        try:
            self._file = self._directory.atomic_write(self._name, self._mode, replace=self._replace)
            return self._file.__enter__()
        except BaseException:
            self._directory.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._file.__exit__(kind, error, traceback)
        finally:
            self._directory.close()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino
