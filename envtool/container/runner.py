"""What runs containers and works on the files of their ids. What builds layers and runs tasks gets a `Runner` with its
Context (build/context.py) and calls nothing else of this package for it.

`LocalRunner` is this machine's kernel. `testing.FakeRunner` needs none. A runner for another host or a virtual machine
(run/remote.py) will have the same methods.
"""

from __future__ import annotations

import _thread
import sys
from typing import TYPE_CHECKING, Any, Protocol

from envtool.container import userns

if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from mmap import mmap
    from socket import socket

    from envtool.container.adopted_container import AdoptedContainer
    from envtool.container.early_container import EarlyTask
    from envtool.container.execution import ExecutionResult
    from envtool.container.fork_server import ForkServer
    from envtool.container.join import Namespaces
    from envtool.container.messages import Exit
    from envtool.container.pod import Attempt, Member
    from envtool.container.program import Program
    from envtool.container.started import TcpSocket, Usage

_SERVED_FROM = 3  # containers: see LocalRunner


class StartedCommand(Protocol):
    """A command in a container that runs: see `execution.Execution`."""

    def wait(self) -> ExecutionResult:
        """Returns how it ended. Raises SandboxError."""
        ...

    def signal(self, number: int) -> None:
        """Sends a signal to its process group."""
        ...


class StartedContainer(Protocol):
    """A container that runs, for the context that `Runner.start` returned. `wait` is called by the thread that started
    it, which has to live as long as the container; everything else by any thread."""

    def wait(self) -> Exit:
        """Returns how it ended. Raises SandboxError."""
        ...

    def signal(self, number: int) -> None:
        """Sends any signal to the process group of the running step; nothing if the container has ended."""
        ...

    def end(self, number: int) -> None:
        """Sends any signal to the process group of the running step, which is to end: no further step begins, and the
        container ends when the whole group has."""
        ...

    def kill(self) -> None:
        """Kills all of it."""
        ...

    def exec(self, argv: Sequence[str], **options: Any) -> AbstractContextManager[StartedCommand]:
        """Starts a further command: see `execution.Execution`. Raises SandboxError where the container has ended."""
        ...

    def exec_channel(self, argv: Sequence[str], **options: Any) -> _socket.socket:
        """Starts a further command for another process, which gets its channel: see `execution.send_command`."""
        ...

    def has_file(self, path: str) -> bool:
        """Returns whether a path exists in it. Raises SandboxError where the container has ended."""
        ...

    def is_running(self) -> bool:
        """Returns whether its step runs now: it may have ended before `wait` returns."""
        ...

    def tcp_sockets(self) -> tuple[TcpSocket, ...]:
        """Returns the sockets of TCP in its network; none if the container has ended."""
        ...

    def usage(self) -> Usage:
        """Returns what its processes use now."""
        ...


class StartedPod(Protocol):
    """The network of one run: see `pod.Pod`."""

    def close(self, *, wait: bool = True) -> None:
        """Ends the pod: see Pod."""
        ...

    def add_member(self, name: str, service: str = "", *, default_route: bool = False) -> Member:
        """See Pod."""
        ...

    def namespaces(self, name: str) -> Namespaces:
        """See Pod."""
        ...

    def declare_service(self, service: str) -> None:
        """See Pod."""
        ...

    def set_ready(self, name: str, *, ready: bool) -> None:
        """See Pod."""
        ...

    def remove_member(self, name: str) -> None:
        """See Pod."""
        ...

    def publish(self, service: str, port: int, *, host_port: int = 0) -> tuple[int, int]:
        """See Pod."""
        ...

    def unpublish(self, number: int) -> None:
        """See Pod."""
        ...

    def open_localhost(self, member: str, service: str, port: int) -> None:
        """See Pod."""
        ...

    def connect(self, address: str, port: int, *, seconds: float) -> socket:
        """See Pod."""
        ...

    def open_end(self) -> int:
        """See Pod."""
        ...

    def attempts(self) -> tuple[tuple[Attempt, ...], int]:
        """See Pod."""
        ...

    def passed(self) -> tuple[tuple[str, int], ...]:
        """See Pod."""
        ...

    def confirm(self, newest: int | None, members: frozenset[str]) -> int:
        """Decides whether containers that began before the run asked for them (early_run.py) may stand for those that
        it will start: they began after the newest change of the project, in nanoseconds since the epoch (None: that is
        not known), and `members` are all that the pod will have. Ends them if not. Returns when the first of them
        began; 0: there is none. Without this call the run takes none over."""
        ...

    def take_place(self) -> tuple[str, int, int] | None:
        """Returns the directory that a task which began early has from FreshServer, as its path, a descriptor that
        locks it and one of a socket that listens. The caller takes them over. None if there is none."""
        ...


class Runner(Protocol):
    """Runs containers. Its methods are called by several threads at once."""

    @property
    def single_id(self) -> bool:
        """Whether containers have one id only, so that no file can be given to another owner."""
        ...

    def run(
        self,
        program: Program,
        *,
        stdout: int,
        stderr: int,
        cancel: int = -1,
        outputs_to: str = "",
        protected: tuple[str, ...] = (),
        counters: Sequence[mmap] = (),
        joins: Namespaces | None = None,
    ) -> Exit:
        """Runs a container to its end; the arguments are those of `supervisor.Container`. Raises SandboxError where it
        could not be made."""
        ...

    def start(
        self, program: Program, *, stdout: int, stderr: int, joins: Namespaces | None = None
    ) -> AbstractContextManager[StartedContainer]:
        """Returns a context that starts a container; at its end nothing of the container is left. Raises SandboxError
        where it could not be made."""
        ...

    def pod(self, *, user: bool = True, spare: int = 0, **options: Any) -> StartedPod:
        """Starts a pod, and returns at once; the arguments are those of `pod.Pod`."""
        ...

    def confirm_task(self, newest: Callable[[], int | None], trees: tuple[str, ...]) -> int:
        """Decides whether a container that began before the run asked for it (early_container.py) may stand for that of
        its only task, which has no services: it began after the newest change of the project and of this machine's
        files, which `newest` returns in nanoseconds since the epoch (None: that is not known), and what it opens in
        `trees`, directories of this machine, has been watched. Ends it if not. Returns when it began; 0: there is none.
        Without this call the run does not take it over."""
        ...

    def as_root(self, function: Callable[..., Any], *arguments: Any, at: str = "", cancel: int = -1) -> Any:
        """Calls a function as the root of containers, outside of any container: see `userns.run_as_root`. Trees of the
        store are read, captured, packed and unpacked so."""
        ...

    def remove(self, path: str) -> None:
        """Deletes a tree that ids of containers own: see `userns.remove_as_root`."""
        ...

    def give_to_root(self, path: str) -> None:
        """Lets the root of containers write to a directory that the caller has just made."""
        ...

    def expect(self, containers: int) -> None:
        """Notes how many containers will run, at least: what is worth while for so many may start now."""
        ...

    def close(self) -> None:
        """Ends what it has started to run containers, none of which runs any more."""
        ...


class LocalRunner:
    """Runs containers by the kernel of this machine. From the third container on, or from the first where three are
    expected, a small process forks them, unless it has not started yet (fork_server.py): it takes as much time as it
    saves with two.
    """

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._containers = 0
        self._server: ForkServer | None = None
        self._single_id: bool | None = None

    def expect(self, containers: int) -> None:
        """See Runner."""
        if containers >= _SERVED_FROM:
            with self._lock:
                self._start_server()

    def _find_server(self) -> ForkServer | None:
        with self._lock:
            self._containers += 1
            if self._containers == _SERVED_FROM:
                self._start_server()
            return self._server

    def _start_server(self) -> None:
        if self._server is None:
            from envtool.container.fork_server import ForkServer

            self._server = ForkServer()

    def close(self) -> None:
        """See Runner."""
        with self._lock:
            server, self._server, self._containers = self._server, None, 0
        if server is not None:
            server.close()

    @property
    def single_id(self) -> bool:
        """Whether containers have one id only. This machine is asked once for a runner."""
        if self._single_id is None:
            self._single_id = userns.caller_ids().mode == "single"
        return self._single_id

    def run(
        self,
        program: Program,
        *,
        stdout: int,
        stderr: int,
        cancel: int = -1,
        outputs_to: str = "",
        protected: tuple[str, ...] = (),
        counters: Sequence[mmap] = (),
        joins: Namespaces | None = None,
    ) -> Exit:
        """See Runner."""
        from envtool.container import supervisor

        task = find_early_task() if joins is None else None
        if task is not None and (early := task.take_over(program.to_dict)) is not None:
            return early.attend(stdout, cancel)
        if (adopted := _adopt_early(program, stdout, joins)) is not None:
            with adopted:
                return adopted.attend(cancel)
        return supervisor.run(
            program.to_dict(),
            stdout=stdout,
            stderr=stderr,
            cancel=cancel,
            outputs_to=outputs_to,
            protected=protected,
            counters=counters,
            joins=joins,
            server=self._find_server(),
        )

    def start(
        self, program: Program, *, stdout: int, stderr: int, joins: Namespaces | None = None
    ) -> AbstractContextManager[StartedContainer]:
        """See Runner."""
        from envtool.container.started import LocalContainer

        if (adopted := _adopt_early(program, stdout, joins)) is not None:
            return adopted
        return LocalContainer(program.to_dict(), stdout=stdout, stderr=stderr, joins=joins, server=self._find_server())

    def pod(self, *, user: bool = True, spare: int = 0, **options: Any) -> StartedPod:
        """See Runner."""
        from envtool.container import early_run
        from envtool.container.pod import Pod

        early = None if options else early_run.take_pod(user=user)
        return early or Pod(user=user, spare=spare, **options)

    def confirm_task(self, newest: Callable[[], int | None], trees: tuple[str, ...]) -> int:
        """See Runner."""
        early = find_early_task()
        return early.confirm(newest(), trees) if early is not None else 0

    def as_root(self, function: Callable[..., Any], *arguments: Any, at: str = "", cancel: int = -1) -> Any:
        """See Runner."""
        return userns.run_as_root(function, *arguments, at=at, cancel=cancel)

    def remove(self, path: str) -> None:
        """See Runner."""
        userns.remove_as_root(path)

    def give_to_root(self, path: str) -> None:
        """See Runner."""
        userns.give_to_root(path)


def find_early_task() -> EarlyTask | None:
    """Returns the task that began before the run asked for it; None if none did."""
    early_container = sys.modules.get("envtool.container.early_container")  # imported where something has begun
    return early_container.find_task() if early_container else None


def _adopt_early(program: Program, stdout: int, joins: Namespaces | None) -> AdoptedContainer | None:
    """Returns the container that began early for this program in a pod (early_run.py); None if there is none."""
    if joins is None:
        return None
    from envtool.container import early_run

    early = early_run.find(joins, program.to_dict)
    if early is None:
        return None
    from envtool.container.adopted_container import AdoptedContainer

    return AdoptedContainer(early, stdout)
