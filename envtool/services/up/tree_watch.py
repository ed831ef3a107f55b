"""Watches directories of a tree for changes of their entries (inotify(7)). The caller reads the directories again after
an event, so a lost or duplicate event does no harm.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import NamedTuple

from envtool.container import syscalls
from envtool.container.opened_files import OVERFLOW, unpack_events
from envtool.errors import SandboxError

MODIFY, ATTRIBUTES, CLOSED, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x4, 0x8, 0x40, 0x80, 0x100, 0x200
_IGNORED, _IS_DIRECTORY = 0x8000, 0x40000000
_ONLY_DIRECTORIES, _NO_LINK = 0x01000000, 0x02000000
CHANGES = MODIFY | CLOSED | ATTRIBUTES | MOVED_FROM | MOVED_TO | CREATE | DELETE
NAMES = MOVED_FROM | MOVED_TO | CREATE | DELETE  # changes of names
_BUFFER = 1 << 18
_FULL = (errno.ENOSPC, errno.ENOMEM)


class TreeEvent(NamedTuple):
    """A change of an entry. `path` is relative to the root. `lost`: events were lost, so anything may have changed."""

    path: str
    mask: int = 0
    lost: bool = False

    @property
    def is_new_directory(self) -> bool:
        """Whether a directory appeared."""
        return bool(self.mask & _IS_DIRECTORY and self.mask & (CREATE | MOVED_TO))


class TreeWatch:
    """Watched directories below `root`, as a context that closes the instance. One thread uses it. Raises SandboxError
    (code watch-limit) if the user's limit of watches or instances is reached."""

    def __init__(self, root: str, mask: int = CHANGES) -> None:
        self._root = root
        self._mask = mask | _ONLY_DIRECTORIES | _NO_LINK
        self._paths: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        try:
            self._events = syscalls.syscall("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _limit_error("fs.inotify.max_user_instances") from error

    def __enter__(self) -> TreeWatch:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._events)

    def fileno(self) -> int:
        """Returns a descriptor that is readable when there are events."""
        return self._events

    @property
    def directories(self) -> frozenset[str]:
        """The directories that are watched, relative to the root."""
        return frozenset(self._numbers)

    def add(self, directory: str) -> bool:
        """Watches a directory ("" is the root). Returns False if it is gone, or is not a directory."""
        try:
            number = syscalls.syscall(
                "inotify_add_watch", self._events, os.path.join(self._root, directory).rstrip("/"), self._mask
            )
        except OSError as error:
            if error.errno in _FULL:
                raise _limit_error("fs.inotify.max_user_watches") from error
            return False
        if (known := self._paths.get(number)) is not None and known != directory:
            self._numbers.pop(known, None)  # it was moved
        self._paths[number], self._numbers[directory] = directory, number
        return True

    def keep(self, directories: set[str]) -> bool:
        """Watches these directories and no others. Returns whether any of them was not watched before."""
        for directory in self._numbers.keys() - directories:
            number = self._numbers.pop(directory)
            self._paths.pop(number, None)
            with suppress(OSError):  # the directory is gone, and its watch with it
                syscalls.syscall("inotify_rm_watch", self._events, number)
        added = [self.add(directory) for directory in sorted(directories - self._numbers.keys())]
        return any(added)

    def read(self) -> list[TreeEvent]:
        """Returns the events since the last call. Does not block."""
        events: list[TreeEvent] = []
        while data := self._read():
            for number, mask, name in unpack_events(data):
                if mask & OVERFLOW:
                    events.append(TreeEvent("", lost=True))
                elif mask & _IGNORED:
                    self._numbers.pop(self._paths.pop(number, ""), None)
                elif name and number in self._paths:
                    events.append(TreeEvent(os.path.join(self._paths[number], os.fsdecode(name)), mask))
        return events

    def _read(self) -> bytes:
        try:
            return os.read(self._events, _BUFFER)
        except BlockingIOError:
            return b""


def _limit_error(name: str) -> SandboxError:
    return SandboxError(
        f"the project's directories cannot be watched: the limit `{name}` of this user is reached",
        code="watch-limit",
        hint=f"`sysctl {name}=524288`, as root, raises it",
    )
