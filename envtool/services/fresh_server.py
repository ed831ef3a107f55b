"""Serves `fresh NAME` to the task of a pod, over a socket that only the task's container has.

    task: fresh db  -->  the service ends at once, starts anew on its prepared state, is ready  -->  ok

The answer to any other request is one line that says what is wrong. The server handles one request at a time, so that a
task cannot start containers faster than they are ready. A request has at most 256 bytes, and must arrive within 5 s.
Whatever a task sends, the server holds one connection and one line.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from envtool.container.program import BindMount
from envtool.errors import EnvtoolError, Interrupted, internal
from envtool.services import fresh_directory
from envtool.services.fresh_directory import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Mapping

LINE, SECONDS = 256, 5.0  # bytes of a request, and seconds in which it must arrive
ANSWER = 4096  # characters
_PAUSE = 0.1  # seconds until the next accept(2), after one that failed: the process has no free descriptor
_ENDED = b"the run is being ended\n"


class FreshServer:
    """Serves requests for fresh services, as a context. `fresh` makes one service fresh, and raises EnvtoolError; it
    must return soon after its event is set, which the end of the context does. `directory` is an empty directory, which
    is mounted at `DIRECTORY` in the task's container; or it has been filled before, and `listener` is its socket."""

    def __init__(
        self, directory: str, fresh: Callable[[str, threading.Event], None], listener: int | None = None
    ) -> None:
        self._directory, self._given = directory, listener
        self._fresh = fresh
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="fresh", daemon=True)

    def __enter__(self) -> FreshServer:
        listener = self._given if self._given is not None else fresh_directory.fill(self._directory)
        self._listener = socket.socket(fileno=listener)
        self._end, self._wake = os.pipe2(os.O_CLOEXEC)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        os.close(self._wake)
        self._thread.join()
        self._listener.close()
        os.close(self._end)

    @property
    def binds(self) -> tuple[BindMount, ...]:
        """The mounts of the task's container."""
        return (BindMount(source=self._directory, target=DIRECTORY),)

    @property
    def variables(self) -> Mapping[str, str]:
        """Directories that are appended to variables of the task, by the variable's name."""
        return fresh_directory.VARIABLES

    def _serve(self) -> None:
        while self._wait(self._listener.fileno(), None) == "data":
            try:
                connection, _ = self._listener.accept()
            except OSError:
                self._wait(-1, _PAUSE)
                continue
            with connection, suppress(OSError):  # the client has closed the connection
                connection.setblocking(False)
                line = self._read_line(connection)
                if line is None:
                    return
                connection.send(self._answer(line))  # fits into the socket's buffer, whether the client reads or not

    def _wait(self, descriptor: int, seconds: float | None) -> Literal["data", "late", "end"]:
        """Waits until a descriptor (-1: none) has data, a time in seconds has passed, or the context ends."""
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        if descriptor >= 0:
            poll.register(descriptor, select.POLLIN)
        events = poll.poll(None if seconds is None else max(0.0, seconds) * 1000)
        if any(ready == self._end for ready, _ in events):
            return "end"
        return "data" if events else "late"

    def _read_line(self, connection: socket.socket) -> bytes | None:
        """Returns a request, or its part that arrived in time; None at the end of the context. Raises OSError."""
        data, deadline = b"", time.monotonic() + SECONDS
        while b"\n" not in data and len(data) <= LINE:
            waited = self._wait(connection.fileno(), deadline - time.monotonic())
            if waited == "end":
                return None
            received = connection.recv(LINE + 1 - len(data)) if waited == "data" else b""
            if not received:
                break
            data += received
        return data

    def _answer(self, line: bytes) -> bytes:
        word, blank, name = line.removesuffix(b"\n").partition(b" ")
        is_whole = line.endswith(b"\n") and line.count(b"\n") == 1 and len(line) <= LINE
        if (
            not is_whole
            or word != b"fresh"
            or not blank
            or not name.isascii()
            or not name.decode("ascii").isprintable()
        ):
            return b"a request is `fresh NAME` and a line feed\n"
        try:
            self._fresh(name.decode("ascii"), self._over)
        except Interrupted:
            return _ENDED
        except EnvtoolError as error:
            text = " ".join(": ".join(filter(None, (error.message, error.hint))).split())
            return f"{text[:ANSWER]}\n".encode(errors="replace")
        except Exception as error:  # a bug fails the request, and the server continues
            return f"{internal(error).message}\n"[:ANSWER].encode(errors="replace")
        return _ENDED if self._over.is_set() else b"ok\n"
