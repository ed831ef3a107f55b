"""Which files of some directories a container opens (inotify(7)): what a task read of this machine and of git.

The supervisor makes the inotify instance. pid 1 adds the watches before a step runs: they must be made inside, since an
overlay reports only what is opened through itself. The supervisor reads the events once all processes have ended. Files
that are only looked at by stat(2) are not reported. After any failure, an overflow of the queue included, the answer is
"not known".

Directories of this machine that containers mount as they are have the same inodes inside and outside, and every watch
of an inode reports what anybody opens through it. So one set of watches outside serves all containers of a run
(SharedWatch): 2,400 of them for each container cost 10 ms to make and 5 ms to remove.
"""

from __future__ import annotations

import _thread
import errno
import os
import select
import struct

from envtool.container import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol

    from envtool.container.messages import Exit
else:
    Protocol = object

_OPEN, OVERFLOW = 0x20, 0x4000  # IN_OPEN, IN_QOVERFLOW
_LEFT = 0x400 | 0x800 | 0x2000 | 0x8000  # IN_DELETE_SELF, IN_MOVE_SELF, IN_UNMOUNT, IN_IGNORED
_ONLY_DIRECTORIES, _NO_LINK = 0x01000000, 0x02000000  # IN_ONLYDIR, IN_DONT_FOLLOW
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_EVENT = struct.Struct("iIII")  # wd, mask, cookie, length of the name
_NUMBER = struct.Struct("i")
_READ_SIZE = 1 << 18  # bytes
_DRAIN_MILLISECONDS = 50  # the kernel's queue has room for 16,384 events


class Record(Protocol):
    """What is recorded of one container, from before its steps run until they have ended."""

    def report(self, result: Exit) -> None:
        """Adds what is known to the result, once the container has ended."""

    def close(self) -> None:
        """Frees what the record holds."""


def open_records(program: dict[str, Any]) -> tuple[dict[str, Any], list[Record]]:
    """Returns the records that a program asks for, and the program with the descriptors that pid 1 needs for them."""
    records: list[Record] = []
    watched: tuple[int, ...] = ()
    if "watch" in program:
        watch = OpenedFilesWatch(program["watch"])
        watched += watch.descriptors
        records.append(watch)
    if "observe" in program:
        from envtool.container.looked_up_names import LookupRecord

        lookups = LookupRecord(program["observe"])
        watched += (lookups.descriptor,)
        records.append(lookups)
    return {**program, "watched": watched} if watched else program, records


def functions(program: dict[str, Any]) -> dict[str, Any]:
    """Returns what pid 1 calls for the records of a program, in the process that forks it."""
    watched: list[int] = [*program["watched"]]
    begin = []
    more: dict[str, Any] = {}
    if "observe" in program:
        from envtool.container.looked_up_names import LookupRecord

        lookups = LookupRecord(program["observe"], watched.pop())
        begin.append(lookups.begin)
        more = {"lookups": lookups, "kept": (lookups.descriptor,)}
    if watched:
        begin.append(lambda: add_watches(program["watch"], *watched))
    return {**more, "begin": tuple(begin)}


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

    def report(self, result: Exit) -> None:
        """Notes what was opened in the result of a container that has ended."""
        result.opened = self.opened_paths()

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
        for number, mask, name in _read_events(self._events):
            if mask & OVERFLOW:
                return None
            if mask & _OPEN and number in directories:
                paths.add(_path(directories[number], name))
        return tuple(sorted(paths))

    def close(self) -> None:
        """Close all descriptors."""
        for descriptor in (self._events, self._numbers):
            if descriptor >= 0:
                os.close(descriptor)


class SharedWatch:
    """Watches of directories of this machine, for all containers of a run that mount them as they are. Any thread may
    call its methods.
    """

    def __init__(self, directories: tuple[str, ...], *, begun: bool = False) -> None:
        """`begun`: the first window begins at once. Raises OSError where a directory cannot be watched: it is gone, or
        a limit of the user is reached."""
        self._lock = _thread.allocate_lock()
        self._windows: list[OpenedWindow] = [OpenedWindow()] if begun else []
        self._begun = begun
        self._broken = self._closed = False
        self._stop, self._stopper = os.pipe2(os.O_CLOEXEC)
        self._events = -1
        try:
            self._events = syscalls.syscall("inotify_init1", _NONBLOCK_CLOEXEC)
            mask = _OPEN | _ONLY_DIRECTORIES | _NO_LINK | _LEFT & ~0xA000  # the kernel adds two of them by itself
            self._directories = {
                syscalls.syscall("inotify_add_watch", self._events, directory, mask): directory
                for directory in directories
            }
        except BaseException:
            self._close_all()
            raise
        _thread.start_new_thread(self._keep_drained, ())

    def begin(self) -> OpenedWindow:
        """Returns a window; `end` must follow. The first one may have begun before (`begun`)."""
        with self._lock:
            self._drain()
            if self._begun:
                self._begun = False
                return self._windows[0]
            window = OpenedWindow()
            window.is_known = not self._broken
            self._windows.append(window)
        return window

    def end(self, window: OpenedWindow) -> tuple[str, ...] | None:
        """Returns the files in the directories that anybody opened since the window began, and the directories that
        were opened themselves, sorted; None where this is not known. Call it once all processes have ended.
        """
        with self._lock:
            self._drain()
            self._windows = [other for other in self._windows if other is not window]
        return tuple(sorted(window.paths)) if window.is_known else None

    def close(self) -> None:
        """Ends the thread that reads the events, which closes all descriptors. A second call changes nothing."""
        with self._lock:
            if not self._closed:
                self._closed = self._broken = True
                os.write(self._stopper, b"x")

    def _drain(self) -> None:
        """Gives the events so far to all windows. The lock is held."""
        if self._closed:
            for window in self._windows:
                window.is_known = False
            return
        for number, mask, name in {*_read_events(self._events)}:  # a busy machine opens few files, often
            if mask & _LEFT:  # another directory may be at its path, which has no watch
                self._broken = True
            if mask & (OVERFLOW | _LEFT):
                for window in self._windows:
                    window.is_known = False
            elif mask & _OPEN and number in self._directories:
                path = _path(self._directories[number], name)
                for window in self._windows:
                    window.paths.add(path)

    def _keep_drained(self) -> None:
        """The thread's work: reads the events now and then, lest the kernel's queue run over."""
        ready, stop = select.poll(), select.poll()
        ready.register(self._events, select.POLLIN)
        ready.register(self._stop, select.POLLIN)
        stop.register(self._stop, select.POLLIN)
        while not stop.poll(_DRAIN_MILLISECONDS):
            ready.poll()
            with self._lock:
                self._drain()
        self._close_all()

    def _close_all(self) -> None:
        for descriptor in (self._events, self._stop, self._stopper):
            if descriptor >= 0:
                os.close(descriptor)


class OpenedWindow:
    """What was opened between two moments."""

    __slots__ = ("is_known", "paths")

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.is_known = True


def _read_events(descriptor: int) -> Iterator[tuple[int, int, bytes]]:
    """Yields the events that wait now: see `unpack_events`."""
    while True:
        try:
            events = os.read(descriptor, _READ_SIZE)
        except BlockingIOError:
            return
        yield from unpack_events(events)


def _path(directory: str, name: bytes) -> str:
    return f"{directory}/{os.fsdecode(name)}" if name else directory


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
