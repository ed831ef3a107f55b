"""Directories and files at paths that the caller named: his own links are followed, those of a checkout are not."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING

from envtool.fs.directory import OpenDirectory

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType


def open_directory(path: str, project: str = "", *, make: bool = True) -> OpenDirectory:
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
                    return at.open_below("/".join(parts[count:]), make=make)
    missing: list[str] = []
    while parts and not os.path.isdir("/" + "/".join(parts)):
        missing.insert(0, parts.pop())
    with OpenDirectory.open("/" + "/".join(parts)) as at:
        return at.open_below("/".join(missing), make=make)


def atomic_write(
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
        self._directory = open_directory(self._parent, self._project, make=self._make)
        try:
            self._written = self._directory.atomic_write(self._name, self._mode, replace=self._replace)
            return self._written.__enter__()
        except BaseException:
            self._directory.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._written.__exit__(kind, error, at)
        finally:
            self._directory.close()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
