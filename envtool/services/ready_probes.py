"""The probes of `ready:`. Each attempt checks once; `reason` says in words why the last attempt failed.

A service's answers and output are not trusted: an answer is read up to a limit, and a regular expression, which may run
for ever, is matched in a process of its own that is killed with the probe.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import signal
import threading
import time
import warnings
from collections import deque
from typing import TYPE_CHECKING, NoReturn, Protocol

from envtool.container import syscalls, userns
from envtool.container.started import LISTENING
from envtool.errors import SandboxError
from envtool.report.text import one_line

if TYPE_CHECKING:
    import socket

    from envtool.container.runner import StartedContainer, StartedPod
    from envtool.services.replica_log import LogPump, ReplicaLog
    from envtool.services.service_request import ReadyProbe

MAX_LINE = 4096  # bytes of a line that a regular expression sees
_MAX_ANSWER = 4096  # bytes of an HTTP status line
MAX_WAITING = 16 << 20  # bytes of output that wait to be compared
ATTEMPT_SECONDS = 30.0  # limit of one attempt: a server that is starting may accept a connection and never answer
_CONNECT_SECONDS = 1.0
_READ_SECONDS = 0.1  # that the last output of a command has to arrive
_MAX_SHOWN = 8  # sockets that a message names


class ProbeTarget:
    """What probes need of a replica."""

    __slots__ = ("address", "container", "log", "name", "pod", "pump")

    def __init__(
        self, name: str, address: str, container: StartedContainer, pod: StartedPod, log: ReplicaLog, pump: LogPump
    ) -> None:
        self.name, self.address = name, address
        self.container, self.pod, self.log, self.pump = container, pod, log, pump


class Probe(Protocol):
    """One check of one replica; `close` ends it."""

    def attempt(self, seconds: float) -> bool:
        """Returns whether it succeeds now; takes no longer than `seconds`."""
        ...

    def reason(self) -> str:
        """Returns why the last attempt failed."""
        ...

    def close(self) -> None:
        """Leaves nothing behind."""
        ...


def make_probe(check: ReadyProbe, target: ProbeTarget) -> Probe:
    """Returns the probe of a check."""
    match check.how:
        case "tcp":
            return TcpProbe(check, target)
        case "http":
            return HttpProbe(check, target)
        case "command":
            return CommandProbe(check, target)
        case "log":
            return LogProbe(check, target)
        case "file":
            return FileProbe(check, target)


class TcpProbe:
    """Succeeds when a port accepts a connection from within the pod."""

    def __init__(self, check: ReadyProbe, target: ProbeTarget) -> None:
        self._check, self._target = check, target
        self._found: tuple[str, str] | None = None  # error and first line of the answer, of the last attempt

    def attempt(self, seconds: float) -> bool:
        """See Probe. If the deadline ends an attempt, the result of the attempt before it stays."""
        deadline = time.monotonic() + seconds
        end = min(deadline, time.monotonic() + ATTEMPT_SECONDS)
        error = answer = ""
        try:
            with self._target.pod.connect(
                self._target.address, self._check.port, seconds=min(seconds, _CONNECT_SECONDS)
            ) as connection:
                answer = self._ask(connection, end)
        except OSError as raised:
            error = "refused" if raised.errno == errno.ECONNREFUSED else raised.strerror or str(raised)
        if self._found is None or time.monotonic() < deadline:
            self._found = error, answer
        return not error and self._is_good(answer)

    def _ask(self, connection: socket.socket, end: float) -> str:
        """Returns the first line of what the service answers until `end` (time.monotonic). Raises OSError."""
        del connection, end
        return ""

    def _is_good(self, answer: str) -> bool:
        del answer
        return True

    def reason(self) -> str:
        """See Probe. Names the ports on which the container listens."""
        port = self._check.port
        error, answer = self._found or ("refused", "")
        if answer:
            return f"GET {self._check.text} on port {port} answered `{one_line(answer)[:200]}`"
        if error != "refused":
            return f"port {port} does not answer ({error})"
        sockets = self._target.container.tcp_sockets()
        listening = {(sock.address, sock.port) for sock in sockets if sock.state == LISTENING}
        if listening & {("127.0.0.1", port), ("::1", port)}:
            return f"it listens on port {port} of its own loopback only: let it bind 0.0.0.0"
        if not listening:
            return f"nothing listens on port {port}, nor on any other"
        places = sorted(f"{f'[{address}]' if ':' in address else address}:{number}" for address, number in listening)
        more = f" and {len(places) - _MAX_SHOWN} more" if len(places) > _MAX_SHOWN else ""
        return f"nothing listens on port {port}; it listens on {', '.join(places[:_MAX_SHOWN])}{more}"

    def close(self) -> None:
        """See Probe."""


class HttpProbe(TcpProbe):
    """Succeeds when GET of a path answers with a status from 200 to 399."""

    def _ask(self, connection: socket.socket, end: float) -> str:
        path = self._check.text if self._check.text.startswith("/") else f"/{self._check.text}"
        host = f"{self._target.name}:{self._check.port}"
        lines = (f"GET {path} HTTP/1.1", f"Host: {host}", "User-Agent: envtool", "Accept: */*", "Connection: close")
        connection.settimeout(max(0.001, end - time.monotonic()))
        connection.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        answer = b""
        while b"\n" not in answer and len(answer) < _MAX_ANSWER and time.monotonic() < end:
            connection.settimeout(max(0.001, end - time.monotonic()))
            piece = connection.recv(_MAX_ANSWER)
            if not piece:
                break
            answer += piece
        return answer.partition(b"\n")[0].decode(errors="replace").strip() or "nothing"

    def _is_good(self, answer: str) -> bool:
        status = re.fullmatch(r"HTTP/1\.[01] ([1-5][0-9][0-9])( .*)?", answer)
        return status is not None and 200 <= int(status[1]) < 400


class CommandProbe:
    """Succeeds when a command in the container has the status 0."""

    def __init__(self, check: ReadyProbe, target: ProbeTarget) -> None:
        self._check, self._target = check, target
        self._output, self._result = b"", ""  # of the last attempt that the deadline did not end

    def attempt(self, seconds: float) -> bool:
        """See Probe."""
        self._output = b""
        writer, done = self._target.pump.open(self._feed)
        limit = min(seconds, ATTEMPT_SECONDS)
        try:
            with self._target.container.exec(
                self._check.command, stdout=writer, stderr=writer, timeout=limit, grace=0.2
            ) as command:
                ended = command.wait()
        except SandboxError as error:
            self._result = error.message
            return False
        finally:
            os.close(writer)
            done.wait(_READ_SECONDS)
            self._target.pump.drop(done)  # a process that the command left may have the other end
        if not ended.timed_out:
            self._result = f"exit {ended.status}{self._last_line()}"
        elif limit < seconds:
            self._result = f"it took longer than {limit:g} s{self._last_line()}"
        elif not self._result:
            self._result = f"it took too long{self._last_line()}"
        return ended.status == 0

    def _feed(self, data: bytes) -> None:
        self._output = (self._output + data)[-_MAX_ANSWER:]

    def reason(self) -> str:
        """See Probe."""
        return f"`{self._shown_command()}` has not succeeded ({self._result})"

    def _last_line(self) -> str:
        lines = self._output.decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f": {one_line(last)[:200]}" if last else ""

    def _shown_command(self) -> str:
        words = self._check.command
        return one_line(words[2] if words[:2] == ("/bin/sh", "-ec") else " ".join(words))[:200]

    def close(self) -> None:
        """See Probe."""


class FileProbe:
    """Succeeds when a path exists in the container."""

    def __init__(self, check: ReadyProbe, target: ProbeTarget) -> None:
        self._check, self._target = check, target

    def attempt(self, seconds: float) -> bool:
        """See Probe."""
        del seconds
        try:
            return self._target.container.has_file(self._check.text)
        except SandboxError:  # it has ended, and the replica reports that
            return False

    def reason(self) -> str:
        """See Probe."""
        return f"there is no {self._check.text} in it"

    def close(self) -> None:
        """See Probe."""


class LogProbe:
    """Succeeds when a line that the service prints matches a regular expression (`re.search`). A child process compares
    the first MAX_LINE bytes of each line: some expressions run for ever on some lines, and a process can be killed."""

    def __init__(self, check: ReadyProbe, target: ProbeTarget) -> None:
        self._check, self._log = check, target.log
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()  # not yet sent to the process
        self._size = 0  # bytes of that
        self._lost = False
        self._process, self._to, self._from = _fork_matcher(check.text)
        with self._lock:  # so that later output comes after earlier output
            self._add(self._log.listen(self._feed))

    def _feed(self, data: bytes) -> None:
        with self._lock:
            self._add(data)
            self._send()

    def _add(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)
        while self._size > MAX_WAITING:
            self._size -= len(self._waiting.popleft())
            self._lost = True

    def _send(self) -> None:
        """Sends as many bytes as fit into the pipe now."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while self._waiting and self._to >= 0:
                data = self._waiting[0]
                written = os.write(self._to, data)
                self._size -= written
                if written < len(data):
                    self._waiting[0] = data[written:]
                else:
                    self._waiting.popleft()

    def attempt(self, seconds: float) -> bool:
        """See Probe."""
        del seconds
        with self._lock:
            self._send()
        poll = select.poll()
        poll.register(self._from, select.POLLIN)
        return bool(poll.poll(5)) and os.read(self._from, 1) == b"y"

    def reason(self) -> str:
        """See Probe."""
        if self._lost or self._waiting:
            return f"`{self._check.text}` takes too long to compare with what it prints"
        return f"it has printed no line that matches `{self._check.text}`"

    def close(self) -> None:
        """See Probe."""
        self._log.unlisten(self._feed)
        with self._lock:
            os.close(self._to)
            self._to = -1
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._from)


def _fork_matcher(pattern: str) -> tuple[int, int, int]:
    """Returns a process that reads lines until one matches, the pipe to it, and the pipe from it."""
    parent = os.getpid()
    down_read, down_write = os.pipe2(os.O_CLOEXEC)
    up_read, up_write = os.pipe2(os.O_CLOEXEC)
    with userns.fork_lock:
        process = userns.fork()
        if process == 0:
            _match_lines(pattern, parent, down_read, up_write)
    os.close(down_read)
    os.close(up_write)
    os.set_blocking(down_write, False)
    return process, down_write, up_read


def _match_lines(pattern: str, parent: int, reader: int, writer: int) -> NoReturn:
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        syscalls.die_with_parent(parent)
        syscalls.close_all_but({reader, writer})
        warnings.simplefilter("ignore")
        search = re.compile(pattern).search
        rest = b""
        while chunk := os.read(reader, 1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            if any(search(line[:MAX_LINE].decode(errors="replace").rstrip("\r")) for line in lines):
                os.write(writer, b"y")
                break
            rest = rest[:MAX_LINE]
    finally:
        os._exit(0)
