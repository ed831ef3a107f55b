"""A container that `Runner.start` has started: its processes, sockets and usage, as seen from outside.

Processes and sockets are read from /proc by the number of pid 1. It is a child of this process that has not been
reaped, so no other process can have its number meanwhile. /proc/PID/net is that of the process's network namespace.
"""

from __future__ import annotations

import _thread
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from envtool.container import execution, messages, pid1, supervisor, syscalls
from envtool.errors import SandboxError

if TYPE_CHECKING:
    import _socket
    from collections.abc import Iterator, Sequence

LISTENING, ESTABLISHED = "LISTEN", "ESTABLISHED"
_STATES = {"0A": LISTENING, "01": ESTABLISHED}  # tcp_states.h
_ANY = {"00000000": "0.0.0.0", "0" * 32: "::"}
_TABLES = ("tcp", "tcp6")
_MAX_TABLE = 4 << 20  # bytes of a table of sockets that are read


class TcpSocket(NamedTuple):
    """A socket of TCP. `state` is LISTENING, ESTABLISHED or "" for all others."""

    address: str  # of this end: "127.0.0.1", "::"
    port: int
    state: str
    inode: int


class Usage(NamedTuple):
    """What the processes of a container use."""

    processes: int
    cpu_seconds: float  # of those that run, and of those that they have waited for
    memory: int  # bytes: the sum of their resident sets; pages that they share count for each


class LocalContainer(supervisor.Container):
    """A container of this machine, which has started when the context begins."""

    def __enter__(self) -> LocalContainer:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._supervisor.close()
        for record in self._records:  # closing an instance of inotify waits for the kernel, some 10 ms
            _thread.start_new_thread(record.close, ())

    def signal(self, number: int) -> None:
        """See StartedContainer."""
        if number in pid1.FORWARDED_SIGNALS:
            self._supervisor.signal(number)
            return
        self._tell("signal", number)

    def end(self, number: int) -> None:
        """See StartedContainer."""
        self._tell("stop", number)

    def _tell(self, word: str, number: int) -> None:
        """Sends a request and waits for no answer: pid 1 may be frozen."""
        with suppress(SandboxError):  # it has ended
            execution.send_request(self._supervisor, messages.pack(word, number)).close()

    def kill(self) -> None:
        """See StartedContainer."""
        self._supervisor.signal(syscalls.SIGKILL)

    def exec_channel(self, argv: Sequence[str], **options: Any) -> _socket.socket:
        """See StartedContainer."""
        return execution.send_command(self._supervisor, argv, **options)

    def has_file(self, path: str) -> bool:
        """See StartedContainer. pid 1 looks, which has the container's root: no link leads out of it."""
        message = execution.ask(self._supervisor, messages.pack("exists", path))
        match message:
            case ("exists", int(exists)):
                return exists == 1
        raise execution.broken("it sent a message out of turn")

    def is_running(self) -> bool:
        """See StartedContainer."""
        try:
            return execution.ask(self._supervisor, messages.pack("running")) == ("running", 1)
        except SandboxError:
            return False

    def tcp_sockets(self) -> tuple[TcpSocket, ...]:
        """See StartedContainer."""
        with self._supervisor.lock:
            number = self._supervisor.pid1
            return tuple(read_tcp_sockets(f"/proc/{number}/net")) if number else ()

    def usage(self) -> Usage:
        """See StartedContainer."""
        with self._supervisor.lock:
            return read_usage(self._supervisor.pid1) if self._supervisor.pid1 else Usage(0, 0.0, 0)


def read_tcp_sockets(directory: str) -> Iterator[TcpSocket]:
    """Yields the sockets of the tables in a directory like /proc/net; what cannot be read is left out."""
    for name in _TABLES:
        try:
            with open(f"{directory}/{name}", "rb") as file:
                lines = file.read(_MAX_TABLE).decode("ascii", "replace").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9:
                address, _, port = fields[1].partition(":")
                yield TcpSocket(_address(address), int(port, 16), _STATES.get(fields[3], ""), int(fields[9]))


def _address(text: str) -> str:
    """Returns an address of /proc/net/tcp, which has 32-bit words in the machine's byte order."""
    import socket
    import sys

    if text in _ANY:
        return _ANY[text]
    words = [int(text[place : place + 8], 16).to_bytes(4, sys.byteorder) for place in range(0, len(text), 8)]
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, b"".join(words))


def read_usage(top: int) -> Usage:
    """Returns what a process and all below it use. A process that ends meanwhile may be missing."""
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    processes, seconds, memory = 0, 0.0, 0
    pending = [top]
    while pending:
        number = pending.pop()
        try:
            with open(f"/proc/{number}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            with open(f"/proc/{number}/task/{number}/children", "rb") as file:
                pending += map(int, file.read().split())
        except OSError:
            continue
        processes += 1
        seconds += sum(map(int, fields[11:15])) / ticks
        memory += int(fields[21]) * page
    return Usage(processes, seconds, memory)
