"""The pod of a FakeRunner, and containers that run in it, without a kernel."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from envtool.container.execution import ExecutionResult
from envtool.container.messages import Exit
from envtool.container.pod import Attempt, Member
from envtool.container.program import ContainerStep, Program
from envtool.container.service_table import ServiceTable
from envtool.container.started import LISTENING, TcpSocket, Usage
from envtool.errors import SandboxError

if TYPE_CHECKING:
    from envtool.container.join import Namespaces
    from envtool.testing.fake_container import FakeContainer


class FakeContainers(Protocol):
    """What is used here of a FakeRunner."""

    started: list[FakeContainer]

    def begin(self, program: Program, stdout: int, *, started: bool = True) -> FakeContainer:
        """Notes that a container begins."""

    def end(self, container: FakeContainer) -> None:
        """Notes that it has ended."""

    def answer(self, container: FakeContainer, *, stays: bool = False) -> None:
        """Does what it does."""


_ENDING = (1, 2, 3, 9, 15)  # signals that end what does not handle them, of those that are sent


class FakePod:
    """A pod in which containers of a FakeRunner have addresses. `table` has its members and services; `published` has
    (service, port, port of this machine) by number; `taken` are ports of this machine that are in use; `noted` and
    `reached` are what its members tried and reached outside."""

    def __init__(self, runner: FakeContainers, options: dict[str, Any]) -> None:
        self.options = options
        self.table = ServiceTable()
        self.history: list[tuple[str, ...]] = []  # what was asked of it: ("member", "db-1"), ("ready", "db-1") …
        self.published: dict[int, tuple[str, int, int]] = {}
        self.taken: set[int] = set()
        self.noted: list[Attempt] = []
        self.reached: list[tuple[str, int]] = []
        self.closed = False
        self._runner = runner
        self._numbers = iter(range(2, 1 << 16))
        self._addresses: dict[str, str] = {}
        self._lock = threading.Lock()
        self._end = os.eventfd(0, os.EFD_CLOEXEC)

    def close(self, *, wait: bool = True) -> None:
        """See Pod."""
        del wait
        if not self.closed:
            os.close(self._end)
        self.closed = True

    def add_member(self, name: str, service: str = "", *, default_route: bool = False) -> Member:
        """See Pod."""
        del default_route
        with self._lock:
            address = f"10.64.0.{next(self._numbers)}"
            self.table.add(name, service, address)
            self._addresses[name] = address
            self.history.append(("member", name))
        return Member(name, address, -1)

    def namespaces(self, name: str) -> Namespaces:
        """See Pod. They are those of this process."""
        from envtool.container.join import Namespaces

        del name
        return Namespaces({kind: os.open(f"/proc/self/ns/{file}", os.O_RDONLY) for kind, file in _FILES})

    def declare_service(self, service: str) -> None:
        """See Pod."""
        with self._lock:
            self.table.declare(service)

    def set_ready(self, name: str, *, ready: bool) -> None:
        """See Pod."""
        with self._lock:
            if name not in self._addresses:
                raise ValueError(f"`{name}` is not in this pod")
            self.table.set_ready(name, ready=ready)
            self.history.append(("ready" if ready else "not ready", name))

    def remove_member(self, name: str) -> None:
        """See Pod."""
        with self._lock:
            self.table.remove(name)
            del self._addresses[name]
            self.history.append(("remove", name))

    def publish(self, service: str, port: int, *, host_port: int = 0) -> tuple[int, int]:
        """See Pod."""
        if host_port in self.taken:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        number = len(self.published) + 1
        self.published[number] = (service, port, host_port or 40000 + number)
        return number, self.published[number][2]

    def unpublish(self, number: int) -> None:
        """See Pod."""
        del self.published[number]

    def open_localhost(self, member: str, service: str, port: int) -> None:
        """See Pod."""
        if port in self.taken:
            raise SandboxError(os.strerror(errno.EADDRINUSE), code="network-kernel")
        self.history.append(("localhost", member, service, str(port)))

    def connect(self, address: str, port: int, *, seconds: float) -> socket.socket:
        """See Pod. What listens answers any request with its HTTP status."""
        del seconds
        for container in self._runner.started:
            status = container.listening.get(port)  # it may end meanwhile
            if container.program.address == address and status is not None:
                near, far = socket.socketpair()
                with far:
                    far.sendall(b"HTTP/1.1 %d Fake\r\n\r\n" % status)
                return near
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))

    def open_end(self) -> int:
        """See Pod. It is readable after `lose`."""
        return os.dup(self._end)

    def lose(self) -> None:
        """Lets the pod be one whose holder has ended."""
        os.eventfd_write(self._end, 1)

    def attempts(self) -> tuple[tuple[Attempt, ...], int]:
        """See Pod."""
        return tuple(self.noted), 0

    def passed(self) -> tuple[tuple[str, int], ...]:
        """See Pod."""
        return tuple(sorted(self.reached))

    def confirm(self, newest: int | None, members: frozenset[str]) -> int:
        """See StartedPod: nothing began early in this pod."""
        del newest, members
        return 0

    def take_place(self) -> tuple[str, int, int] | None:
        """See StartedPod."""
        return None


_FILES = (("user", "user"), ("network", "net"))


class FakeStartedContainer:
    """A container of a FakeRunner that runs in a thread, and a context."""

    def __init__(self, runner: FakeContainers, program: Program, stdout: int) -> None:
        self._runner, self._program = runner, program
        self._stdout = os.dup(stdout)
        self._error: BaseException | None = None

    def __enter__(self) -> FakeStartedContainer:
        self._container = self._runner.begin(self._program, self._stdout)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._thread.join()
        self._runner.end(self._container)

    def _run(self) -> None:
        try:
            self._runner.answer(self._container, stays=True)
        except BaseException as error:
            self._error = error
        finally:
            self._container.listening.clear()
            self._container.close_output()

    def wait(self) -> Exit:
        """See StartedContainer."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._container.exit

    def signal(self, number: int) -> None:
        """See StartedContainer."""
        self._container.signals.append(number)
        if number in _ENDING and number not in self._container.handled:
            self._container.stopping.set()

    def end(self, number: int) -> None:
        """See StartedContainer."""
        self.signal(number)

    def kill(self) -> None:
        """See StartedContainer."""
        if self._thread.is_alive():
            self._container.signals.append(9)
            self._container.stopping.set()

    def exec(self, argv: Sequence[str], **options: Any) -> FakeCommand:
        """See StartedContainer. The rules that match the command say what comes of it."""
        if not self._thread.is_alive():
            raise SandboxError("the container does not run", code="container-ended")
        program = replace(self._program, steps=(ContainerStep(argv=tuple(argv)),))
        return FakeCommand(self._runner, program, options["stdout"])

    def exec_channel(self, argv: Sequence[str], **options: Any) -> NoReturn:
        """Another process cannot be given a command that a function stands in for. Raises SandboxError."""
        raise SandboxError("a container of a FakeRunner has no channels", code="fake-runner")

    def has_file(self, path: str) -> bool:
        """See StartedContainer."""
        return path in self._container.files

    def is_running(self) -> bool:
        """See StartedContainer."""
        return self._thread.is_alive()

    def tcp_sockets(self) -> tuple[TcpSocket, ...]:
        """See StartedContainer."""
        listening = [TcpSocket("0.0.0.0", port, LISTENING, port) for port in self._container.listening]
        return (*listening, *self._container.connections)

    def usage(self) -> Usage:
        """See StartedContainer."""
        return Usage(2, 0.01, 1 << 20) if self._thread.is_alive() else Usage(0, 0.0, 0)


class FakeCommand:
    """A command in such a container, and a context. It runs within `wait`."""

    def __init__(self, runner: FakeContainers, program: Program, stdout: int) -> None:
        self._runner, self._program, self._stdout = runner, program, stdout

    def __enter__(self) -> FakeCommand:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self) -> ExecutionResult:
        """See StartedCommand."""
        result = ExecutionResult()
        container = self._runner.begin(self._program, self._stdout, started=False)
        try:
            self._runner.answer(container)
        finally:
            self._runner.end(container)
        result.status = container.exit.status
        return result

    def signal(self, number: int) -> None:
        """See StartedCommand."""
