"""Which files of some directories a container opens (inotify(7)): what a task reached of this machine, and of git.

The supervisor makes the instance, pid 1 says which directories before a step runs (they are the container's: an overlay
tells only of what is opened through itself), and the supervisor reads once all has ended. Files that are only looked
at, by stat(2), are not told. Whatever goes wrong, a queue that ran over included, makes the answer "not known".
"""

from __future__ import annotations

import errno
import os
import struct

from envtool.container import syscalls

_OPEN, _OVERFLOW = 0x20, 0x4000  # IN_OPEN, IN_Q_OVERFLOW
_ONLY_DIRECTORIES, _NO_LINK = 0x01000000, 0x02000000  # IN_ONLYDIR, IN_DONT_FOLLOW
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_EVENT = struct.Struct("iIII")  # wd, mask, cookie, length of the name
_NUMBER = struct.Struct("i")


class OpenedFilesWatch:
    """The supervisor's side of one container's watches."""

    def __init__(self, directories: tuple[str, ...]) -> None:
        self._directories = directories
        try:
            self._events = syscalls.syscall("inotify_init1", _NONBLOCK_CLOEXEC)
        except OSError:  # as many as a user may have
            self._events = -1
        self._numbers = os.memfd_create("watches")
        self.descriptors = (self._events, self._numbers) if self._events >= 0 else ()  # what the container needs

    def opened_paths(self) -> tuple[str, ...] | None:
        """Paths of files in the directories that were opened, and of directories themselves; None where it is not
        known. Once all has ended."""
        if self._events < 0:
            return None
        text = os.pread(self._numbers, _NUMBER.size * len(self._directories), 0)
        if len(text) != _NUMBER.size * len(self._directories):
            return None
        numbers = [number for (number,) in _NUMBER.iter_unpack(text)]
        if any(number < 0 and -number not in (errno.ENOENT, errno.ENOTDIR) for number in numbers):
            return None
        places = dict(zip(numbers, self._directories, strict=True))
        found: set[str] = set()
        while piece := self._read():
            at = 0
            while at < len(piece):
                number, mask, _, length = _EVENT.unpack_from(piece, at)
                name = piece[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
                at += _EVENT.size + length
                if mask & _OVERFLOW:
                    return None
                if mask & _OPEN and number in places:
                    found.add(f"{places[number]}/{os.fsdecode(name)}" if name else places[number])
        return tuple(sorted(found))

    def close(self) -> None:
        """Let go."""
        for descriptor in (self._events, self._numbers):
            if descriptor >= 0:
                os.close(descriptor)

    def _read(self) -> bytes:
        try:
            return os.read(self._events, 1 << 18)
        except BlockingIOError:
            return b""


def add_watches(directories: tuple[str, ...], events: int, numbers: int) -> None:
    """In the container, before anything of it runs: watch, and write down which number each directory has (negative:
    why it has none)."""
    found = []
    for directory in directories:
        try:
            mask = _OPEN | _ONLY_DIRECTORIES | _NO_LINK
            found.append(syscalls.syscall("inotify_add_watch", events, directory, mask))
        except OSError as error:
            found.append(-(error.errno or errno.EIO))
    os.write(numbers, b"".join(map(_NUMBER.pack, found)))
