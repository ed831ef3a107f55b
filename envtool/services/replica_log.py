"""What the replicas of a group print: each has a file that stays small, and its last lines in memory. One thread reads
for all of them.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import IO

LIMIT = 16 << 20  # bytes of a file
KEPT = 4 << 20  # bytes of its end that stay when it has reached LIMIT
TAIL = 16 << 10  # bytes of the end in memory
LINES = 20  # lines of it that an error has
_CHUNK = 1 << 16  # bytes

Listener = Callable[[bytes], None]


class ReplicaLog:
    """What one replica prints, over all its starts. Called by the thread of the LogPump; `tail` by any thread."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = self._lost = 0
        self._tail = b""
        self._begun: deque[bytes] = deque()  # of the last start, for who listens later
        self._begun_size = self._most_begun = 0  # bytes of that, now and at most
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []

    def feed(self, data: bytes) -> None:
        """Keeps a piece of output, and hands it on."""
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
        except OSError:  # the disk is full: that is no reason for a service to end
            pass

    def _shorten(self, descriptor: int) -> None:
        """Leaves the end of the file, after a line that says so."""
        rest = os.pread(descriptor, KEPT, self._size - KEPT)
        self._lost += self._size - len(rest)
        os.ftruncate(descriptor, 0)
        self._size = 0
        self._write(b"[envtool: %d bytes before this were left out]\n" % self._lost + rest)

    def begin(self, most: int = 0) -> None:
        """Says that the replica starts anew: a line that said it was ready does not say so of this start. Of what it
        prints from now on the last `most` bytes are kept for `listen`."""
        with self._lock:
            self._most_begun, self._begun_size = most, 0
            self._begun.clear()

    def listen(self, listener: Listener) -> bytes:
        """Hands what is printed from now on to `listener`. Returns what was kept since the last start."""
        with self._lock:
            self._listeners.append(listener)
            return b"".join(self._begun)

    def unlisten(self, listener: Listener) -> None:
        """Hands nothing more to `listener`."""
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
    """The thread that reads what the replicas print, and watches other descriptors. A context."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._readers: dict[int, tuple[Listener, threading.Event]] = {}
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
        """Returns the end of a new pipe to write to, and what is set when all that was written has been read."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        done = threading.Event()
        with self._lock:
            self._readers[reader] = (feed, done)
        self._epoll.register(reader, select.EPOLLIN)
        return writer, done

    def drop(self, done: threading.Event) -> None:
        """Reads no more of a pipe that `open` returned with this event; the thread closes it soon. Something may have
        the other end, and keep it for ever."""
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
            self._close_dropped()  # after the events: none of them is of a number that another pipe has by now

    def _close_dropped(self) -> None:
        with self._lock:
            dropped, self._dropped = self._dropped, []
            readers = [reader for reader, (_, done) in self._readers.items() if done in dropped]
        for reader in readers:
            self._close(reader)

    def _read(self, reader: int) -> None:
        feed, done = self._readers[reader]
        data = os.read(reader, _CHUNK)
        if data:
            feed(data)
            return
        self._close(reader)
        done.set()

    def _close(self, reader: int) -> None:
        self._epoll.unregister(reader)
        with self._lock:
            del self._readers[reader]
        os.close(reader)
