"""Keeps what a container prints in a file, and emits it as Output events, with secrets masked.

One thread receives for all tees of this process: most tasks print little, and a thread for each of them costs more than
what they print. What is left at the end is read by the thread that closes the tee.
"""

from __future__ import annotations

import codecs
import os
import select
import sys
import threading
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from envtool.events import Emit, Output
from envtool.fs.sizes import format_limit, format_size

if TYPE_CHECKING:
    from envtool.fs.masking import SecretForms

HEAD = 32 << 20  # bytes that are kept of the beginning; TAIL of the end
TAIL = (32 << 20) - 256  # so that head, note and tail together are what results.py keeps
_CHUNK = 1 << 16  # bytes


class Tee:
    """A context whose `writer` is the descriptor that a container gets as stdout and stderr.

    `file` is written as output arrives, and is left at its end. Output beyond HEAD and TAIL bytes loses its middle, and
    a note takes its place: a task may print without end. Of the secrets in `forms` neither the file nor an event has
    one. `close`, and leaving the context, wait until all output is
    written.
    """

    def __init__(self, file: IO[bytes], emit: Emit, event_id: str, forms: SecretForms | None = None) -> None:
        self._file = file
        self._emit = emit
        self._event_id = event_id
        self._forms = forms
        self._received = 0
        self._lock = threading.Lock()  # of all that follows
        self._reader = self.writer = -1

    def __enter__(self) -> Tee:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._masker = self._forms.masker() if self._forms is not None else None
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        self._receiver = _call_when_readable(self._reader, self.receive)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def bytes_left_out(self) -> int:
        """How many bytes were left out."""
        return max(0, self._received - HEAD - TAIL)

    def close(self) -> None:
        """Waits until all output is written."""
        if self.writer < 0:
            return
        self._receiver.remove(self._reader)
        os.close(self.writer)
        self.writer = -1
        with self._lock:
            if self._reader < 0:  # it failed before
                return
            os.set_blocking(self._reader, True)
            while self._receive():
                pass
            if self._reader >= 0:
                self._attempt(self._finish)
                self._end()

    def receive(self) -> None:
        """Receives what is there now, unless it is being closed."""
        if self._lock.acquire(blocking=False):
            try:
                if self._reader >= 0:
                    self._receive()
            finally:
                self._lock.release()

    def text(self, limit: int = 1 << 20) -> str:
        """Returns the last `limit` bytes of the output, decoded with replacement. Only after `close`."""
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, size - limit))
        return self._file.read().decode(errors="replace")

    def _receive(self) -> bool:
        """Receives a piece. Returns False at the end, and when there is nothing now."""
        try:
            chunk = os.read(self._reader, _CHUNK)
        except BlockingIOError:
            return False
        if chunk:
            self._attempt(self._show, chunk)
        return self._reader >= 0 and bool(chunk)

    def _attempt(self, function: Callable[..., None], *arguments: bytes) -> None:
        """Calls a function. If that fails, as on a full disk, nothing more is received, and the writer gets EPIPE."""
        try:
            function(*arguments)
        except Exception:
            self._end()
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))

    def _end(self) -> None:
        self._receiver.remove(self._reader)
        os.close(self._reader)
        self._reader = -1

    def _finish(self) -> None:
        if self._masker is not None:
            self._keep_and_emit(self._masker.finish())
        self._unroll_ring()
        self._file.flush()

    def _show(self, chunk: bytes) -> None:
        self._keep_and_emit(chunk if self._masker is None else self._masker.feed(chunk))

    def _keep_and_emit(self, chunk: bytes) -> None:
        if chunk:
            self._keep(chunk)
            self._emit(Output(id=self._event_id, text=self._decode(chunk)))

    def _keep(self, chunk: bytes) -> None:
        """Writes a chunk. After HEAD bytes the rest of the file is a ring of TAIL bytes."""
        remaining = memoryview(chunk)
        while remaining:
            offset = self._received if self._received < HEAD else HEAD + (self._received - HEAD) % TAIL
            space = HEAD + TAIL - offset
            if self._received >= HEAD + TAIL:
                self._file.seek(offset)
            self._file.write(remaining[:space])
            self._received += len(remaining[:space])
            remaining = remaining[space:]

    def _unroll_ring(self) -> None:
        if not self.bytes_left_out:
            return
        start = HEAD + (self._received - HEAD) % TAIL
        self._file.seek(HEAD)
        ring = self._file.read(TAIL)
        self._file.seek(HEAD)
        left_out = format_size(self.bytes_left_out)
        note = f"\n[envtool: {left_out} left out here; the first and the last {format_limit(HEAD)} stay]\n"
        self._file.write(note.encode())
        self._file.write(memoryview(ring)[start - HEAD :])
        self._file.write(memoryview(ring)[: start - HEAD])


class _Receiver:
    """Calls functions when descriptors are readable, in a thread that lives until the last of them is removed."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._poll = select.epoll()  # to which a thread can add a descriptor without waking the one that waits
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._poll.register(self._end, select.EPOLLIN)
        self._functions: dict[int, Callable[[], None]] = {}
        self._thread = threading.Thread(target=self._work, name="output", daemon=True)
        self._thread.start()

    def add(self, descriptor: int, function: Callable[[], None]) -> None:
        """Calls a function, which raises nothing, whenever a descriptor is readable, until `remove`."""
        self._functions[descriptor] = function
        self._poll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        """Calls its function no more; a call that has begun goes on. A second call changes nothing."""
        with _receivers_lock:
            if self._functions.pop(descriptor, None) is None:
                return
            self._poll.unregister(descriptor)
            if self._functions:
                return
            if self in _receivers:
                _receivers.remove(self)
            os.eventfd_write(self._end, 1)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _work(self) -> None:
        while True:
            ready = self._poll.poll()
            with _receivers_lock:
                functions = [function for number, _ in ready if (function := self._functions.get(number)) is not None]
                is_ended = not self._functions and any(number == self._end for number, _ in ready)
            if is_ended:
                break
            for function in functions:
                function()
        self._poll.close()
        os.close(self._end)


_receivers: list[_Receiver] = []  # the one that can be added to, if there is one
_receivers_lock = threading.Lock()


def _call_when_readable(descriptor: int, function: Callable[[], None]) -> _Receiver:
    with _receivers_lock:
        if not _receivers or _receivers[-1].process != os.getpid():
            _receivers[:] = [_Receiver()]
        _receivers[-1].add(descriptor, function)
        return _receivers[-1]
