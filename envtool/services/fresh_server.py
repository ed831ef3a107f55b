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

if TYPE_CHECKING:
    from collections.abc import Mapping

DIRECTORY = "/run/envtool"  # in the task's container
LINE, SECONDS = 256, 5.0  # bytes of a request, and seconds in which it must arrive
ANSWER = 4096  # characters
_BACKLOG = 16
_PAUSE = 0.1  # seconds until the next accept(2), after one that failed: the process has no free descriptor
_ENDED = b"the run is being ended\n"
_METADATA = "Metadata-Version: 2.1\nName: envtool-fresh\nVersion: 1\n"
_ENTRY_POINTS = "[pytest11]\nenvtool_fresh = envtool_fresh\n"
_COMMAND = f"""#!/bin/sh
# Makes services of this run fresh: envtool-fresh SERVICE...
if command -v python3 >/dev/null 2>&1; then
    exec python3 -IS {DIRECTORY}/python/envtool_fresh.py "$@"
fi
exec perl -MIO::Socket::UNIX -e '
    @ARGV or die "usage: envtool-fresh SERVICE...\\n";
    for my $name (@ARGV) {{
        my $connection = IO::Socket::UNIX->new(Peer => "{DIRECTORY}/fresh.sock")
            or die "envtool does not answer: $!\\n";
        print $connection "fresh $name\\n";
        $connection->flush;
        my $answer = <$connection>;
        defined $answer or die "envtool has ended\\n";
        $answer eq "ok\\n" or die $answer;
    }}
' "$@"
"""


class FreshServer:
    """Serves requests for fresh services, as a context. `fresh` makes one service fresh, and raises EnvtoolError; it
    must return soon after its event is set, which the end of the context does. `directory` is an empty directory, which
    is mounted at `DIRECTORY` in the task's container."""

    def __init__(self, directory: str, fresh: Callable[[str, threading.Event], None]) -> None:
        self._directory = directory
        self._fresh = fresh
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="fresh", daemon=True)

    def __enter__(self) -> FreshServer:
        _write_clients(self._directory)
        self._end, self._wake = os.pipe2(os.O_CLOEXEC)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # the path of a socket may have 107 bytes
            self._listener.bind(f"/proc/self/fd/{descriptor}/fresh.sock")
            os.chmod("fresh.sock", 0o666, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        self._listener.listen(_BACKLOG)
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
        return {"PATH": f"{DIRECTORY}/bin", "PYTHONPATH": f"{DIRECTORY}/python"}

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


def _write_clients(directory: str) -> None:
    """Writes the command `envtool-fresh` and the module `envtool_fresh`, which is a plugin of pytest."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fresh_client.py")
    with open(source, encoding="utf-8") as file:
        client = file.read()
    files = {
        "bin/envtool-fresh": (_COMMAND, 0o755),
        "python/envtool_fresh.py": (client, 0o644),
        "python/envtool_fresh-1.dist-info/METADATA": (_METADATA, 0o644),
        "python/envtool_fresh-1.dist-info/entry_points.txt": (_ENTRY_POINTS, 0o644),
    }
    for name, (text, mode) in files.items():
        path = os.path.join(directory, name)
        parent = os.path.dirname(path)
        while not os.path.isdir(parent):
            above = parent
            while not os.path.isdir(os.path.dirname(above)):
                above = os.path.dirname(above)
            os.mkdir(above)
            os.chmod(above, 0o755)  # the container's ids read it, whatever the umask
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
