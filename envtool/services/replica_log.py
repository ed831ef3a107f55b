"""The logs of the replicas of a group: for each a file of bounded size, and the last lines in memory. One thread reads
the output of all replicas.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from envtool.fs.masking import Masker, SecretForms

LIMIT = 16 << 20  # bytes of a file
KEPT = 4 << 20  # bytes at its end that are kept when it reaches LIMIT
TAIL = 16 << 10  # bytes of the end in memory
LINES = 20  # lines of the log that an error shows
_CHUNK = 1 << 16  # bytes

Listener = Callable[[bytes], None]


class ReplicaLog:
    """The output of one replica, of all its starts. The thread of the LogPump calls `feed`; any thread may call the
    rest."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = self._lost = 0
        self._tail = b""
        self._begun: deque[bytes] = deque()  # of the last start, for who listens later
        self._begun_size = self._most_begun = 0  # bytes of that, now and at most
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []

    def feed(self, data: bytes) -> None:
        """Appends a piece of output, and passes it to the listeners."""
        with self._lock:
            if not self._file.closed:
                self._write(data)
            self._tail = (self._tail + data)[-TAIL:]
            self._keep_begun(data)
            listeners = [*self._listeners]
        for listener in listeners:
            listener(data)

    def _keep_begun(self, data: bytes) -> None:
        if self._most_begun:
            self._begun.append(data)
            self._begun_size += len(data)
        while self._begun_size > self._most_begun:
            self._begun_size -= len(self._begun.popleft())

    def _write(self, data: bytes) -> None:
        descriptor = self._file.fileno()
        try:
            while data:
                written = os.pwrite(descriptor, data, self._size)
                self._size, data = self._size + written, data[written:]
            if self._size > LIMIT:
                self._shorten(descriptor)
        except OSError:  # a full disk must not end a service
            pass

    def _shorten(self, descriptor: int) -> None:
        """Shortens the file to its last KEPT bytes, after a line that says how many are missing."""
        rest = os.pread(descriptor, KEPT, self._size - KEPT)
        self._lost += self._size - len(rest)
        os.ftruncate(descriptor, 0)
        self._size = 0
        self._write(b"[envtool: %d bytes before this were left out]\n" % self._lost + rest)

    def begin(self, most: int = 0) -> None:
        """Notes that the replica starts again: `listen` returns no line of an earlier start. Of later output the last
        `most` bytes are kept for `listen`."""
        with self._lock:
            self._most_begun, self._begun_size = most, 0
            self._begun.clear()

    def listen(self, listener: Listener) -> bytes:
        """Passes later output to `listener`. Returns the output that was kept since the replica started."""
        with self._lock:
            self._listeners.append(listener)
            return b"".join(self._begun)

    def unlisten(self, listener: Listener) -> None:
        """Passes no more output to `listener`."""
        with self._lock:
            self._listeners.remove(listener)

    def tail(self, lines: int = LINES) -> str:
        """Returns the last lines, decoded with replacement."""
        with self._lock:
            text = self._tail.decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._file.close()


class LogPump:
    """The thread that reads the output of the replicas, and watches other descriptors. A context. What it hands on has
    none of the secrets that `forms` returns when a pipe is opened."""

    def __init__(self, forms: Callable[[], SecretForms | None] = lambda: None) -> None:
        self._forms = forms
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._readers: dict[int, tuple[Listener, Masker | None, threading.Event]] = {}
        self._watched: dict[int, Callable[[], None]] = {}
        self._dropped: list[threading.Event] = []
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="service-logs", daemon=True)

    def __enter__(self) -> LogPump:
        self._epoll.register(self._wake, select.EPOLLIN)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ending = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        for reader in self._readers:
            os.close(reader)
        self._epoll.close()
        os.close(self._wake)

    def open(self, feed: Listener) -> tuple[int, threading.Event]:
        """Returns the writing end of a new pipe, and an event that is set when its whole content has been read."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        done, forms = threading.Event(), self._forms()
        with self._lock:
            self._readers[reader] = (feed, forms.masker() if forms is not None else None, done)
        self._epoll.register(reader, select.EPOLLIN)
        return writer, done

    def drop(self, done: threading.Event) -> None:
        """Closes the reading end of the pipe that `open` returned with this event, soon, if it is still open: a process
        may keep the writing end for ever."""
        if not done.is_set():
            with self._lock:
                self._dropped.append(done)
            os.eventfd_write(self._wake, 1)

    def watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Calls a function once, when a descriptor can be read."""
        self._watched[descriptor] = callback
        self._epoll.register(descriptor, select.EPOLLIN)

    def _run(self) -> None:
        while not self._is_ending:
            for descriptor, _ in self._epoll.poll():
                if descriptor == self._wake:
                    os.eventfd_read(self._wake)
                elif descriptor in self._watched:
                    self._epoll.unregister(descriptor)
                    self._watched.pop(descriptor)()
                else:
                    self._read(descriptor)
            self._close_dropped()  # after the events: a closed number may belong to another pipe soon

    def _close_dropped(self) -> None:
        with self._lock:
            dropped, self._dropped = self._dropped, []
            readers = [reader for reader, (*_, done) in self._readers.items() if done in dropped]
        for reader in readers:
            self._close(reader)

    def _read(self, reader: int) -> None:
        feed, masker, done = self._readers[reader]
        data = os.read(reader, _CHUNK)
        if data:
            if shown := masker.feed(data) if masker is not None else data:
                feed(shown)
            return
        self._close(reader)
        done.set()

    def _close(self, reader: int) -> None:
        self._epoll.unregister(reader)
        with self._lock:
            feed, masker, _ = self._readers.pop(reader)
        os.close(reader)
        if masker is not None and (held := masker.finish()):
            feed(held)
