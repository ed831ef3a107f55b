"""Which files of some directories a container opens (inotify(7)): what a task read of this machine and of git.

The supervisor makes the inotify instance. pid 1 adds the watches before a step runs: they must be made inside, since an
overlay reports only what is opened through itself. The supervisor reads the events once all processes have ended. Files
that are only looked at by stat(2) are not reported. After any failure, an overflow of the queue included, the answer is
"not known".
"""

from __future__ import annotations

import errno
import os
import struct

from envtool.container import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN, OVERFLOW = 0x20, 0x4000  # IN_OPEN, IN_Q_OVERFLOW
_ONLY_DIRECTORIES, _NO_LINK = 0x01000000, 0x02000000  # IN_ONLYDIR, IN_DONT_FOLLOW
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_EVENT = struct.Struct("iIII")  # wd, mask, cookie, length of the name
_NUMBER = struct.Struct("i")


def unpack_events(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yields the events that one read of an inotify instance returned: the number of the watch, the mask, and the name
    in the watched directory, b"" for the directory itself.
    """
    position = 0
    while position < len(data):
        number, mask, _, length = _EVENT.unpack_from(data, position)
        start = position + _EVENT.size
        position = start + length
        yield number, mask, data[start:position].rstrip(b"\0")


class OpenedFilesWatch:
    """The supervisor's side of one container's watches."""

    def __init__(self, directories: tuple[str, ...]) -> None:
        self._directories = directories
        try:
            self._events = syscalls.syscall("inotify_init1", _NONBLOCK_CLOEXEC)
        except OSError:  # the user's limit of instances is reached
            self._events = -1
        self._numbers = os.memfd_create("watches")
        self.descriptors = (self._events, self._numbers) if self._events >= 0 else ()  # what the container needs

    def opened_paths(self) -> tuple[str, ...] | None:
        """Returns the files in the directories that were opened, and the directories that were opened themselves; None
        where this is not known. Call it once all processes have ended.
        """
        if self._events < 0:
            return None
        data = os.pread(self._numbers, _NUMBER.size * len(self._directories), 0)
        if len(data) != _NUMBER.size * len(self._directories):
            return None
        numbers = [number for (number,) in _NUMBER.iter_unpack(data)]
        if any(number < 0 and -number not in (errno.ENOENT, errno.ENOTDIR) for number in numbers):
            return None
        directories = dict(zip(numbers, self._directories, strict=True))
        paths: set[str] = set()
        while events := self._read():
            for number, mask, name in unpack_events(events):
                if mask & OVERFLOW:
                    return None
                if mask & _OPEN and number in directories:
                    paths.add(f"{directories[number]}/{os.fsdecode(name)}" if name else directories[number])
        return tuple(sorted(paths))

    def close(self) -> None:
        """Close all descriptors."""
        for descriptor in (self._events, self._numbers):
            if descriptor >= 0:
                os.close(descriptor)

    def _read(self) -> bytes:
        try:
            return os.read(self._events, 1 << 18)
        except BlockingIOError:
            return b""


def add_watches(directories: tuple[str, ...], events: int, numbers: int) -> None:
    """Add the watches, in the container before any step runs, and write the number of each directory's watch (negative:
    the errno that refused it).
    """
    watches = []
    for directory in directories:
        try:
            mask = _OPEN | _ONLY_DIRECTORIES | _NO_LINK
            watches.append(syscalls.syscall("inotify_add_watch", events, directory, mask))
        except OSError as error:
            watches.append(-(error.errno or errno.EIO))
    os.write(numbers, b"".join(map(_NUMBER.pack, watches)))
