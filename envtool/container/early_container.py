"""A container that starts before a run knows what it will start: of a task without services here, of services and of a
task beside them in early_run.py.

It has a thread of its own, which starts it and waits for it: a container dies with the thread that started it.

`run/early_start.py` starts a task from what the last run noted. The run decides later, when it has read its spec and
listed the project: it takes the container over if nothing that the container could see has changed since it began
(`confirm`), and if its program is equal, value by value (`take_over`). If not, the container is ended, and the run
starts its own. What it opens of this machine is watched from before it begins: the run goes on with this watch
(`take_watch`).
"""

from __future__ import annotations

import _thread
import fcntl
import os
import select
import time
from contextlib import ExitStack, suppress

from envtool.container import pid1, supervisor, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from envtool.container.join import Namespaces
    from envtool.container.messages import Exit
    from envtool.container.opened_files import SharedWatch

_STOP = b"x"  # what a waiting container reads in place of pid1.GO
_OUTPUT_BYTES = 1 << 20  # that a container may print before it is taken over
_PIECE = 1 << 16  # bytes

_tasks: list[EarlyTask] = []  # at most one: that of this process


class _GatedContainer(supervisor.Container):
    """A container; one with a `gate`, a descriptor, is made, and its first command begins when that has a byte."""

    def __init__(
        self, program: dict[str, Any], stdout: int, joins: Namespaces | None, *, held: bool, gate: int
    ) -> None:
        super().__init__(program, stdout=stdout, stderr=stdout, joins=joins, held=held)
        if gate >= 0:
            self._supervisor.program["gate"] = gate

    def cancel(self, number: int) -> None:
        """End it by a signal, as its own `cancel` would. Called by any thread."""
        self._supervisor.stop(number)

    def kill(self) -> None:
        """Kill all of it. Called by any thread."""
        self._supervisor.signal(syscalls.SIGKILL)


class EarlyContainer:
    """A container that has started early. `program` is that of Program.to_dict(); `held`: see supervisor.Container. One
    that `waits` begins its steps at `go`."""

    __slots__ = (
        "_error", "_gate", "_over", "_printed", "_reading", "_result", "_up", "adopted", "began", "container",
        "program", "reader", "space", "went",
    )  # fmt: skip

    def __init__(self, program: dict[str, Any], joins: Namespaces | None, *, held: bool, waits: bool = False) -> None:
        self.program = program
        self.space = identify(joins)
        self.adopted = False
        self.container: _GatedContainer | None = None  # once it has started
        self._result: Exit | None = None
        self._error: BaseException | None = None
        self.began = time.time_ns()
        self.reader, writer = os.pipe()  # of what it prints
        os.set_blocking(self.reader, False)
        self._printed, self._reading = b"", _thread.allocate_lock()  # what was read of it, while the lock was held
        with suppress(OSError):  # the caller has as much in pipes as the kernel allows
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _OUTPUT_BYTES)
        self._over = os.eventfd(0, os.EFD_CLOEXEC)
        gate, self._gate = os.pipe() if waits else (-1, -1)
        self.went = self.began
        self._up = _thread.allocate_lock()
        self._up.acquire()
        _thread.start_new_thread(self._run, (joins, writer, held, gate))

    def _run(self, joins: Namespaces | None, writer: int, held: bool, gate: int) -> None:
        try:
            self._start(joins, writer, held, gate)
            if self.container is not None:
                self._result = self.container.wait()
        except BaseException as error:
            self._error = error
        finally:
            os.eventfd_write(self._over, 1)

    def _start(self, joins: Namespaces | None, writer: int, held: bool, gate: int) -> None:
        """Where it cannot start, it is as if it had not begun: the run starts its own, and reports why it cannot."""
        try:
            with joins or ExitStack(), ExitStack() as exits:
                container = _GatedContainer(self.program, writer, joins, held=held, gate=gate)
                exits.push(container)
                container.start()
                exits.pop_all()
            self.container = container
        finally:
            for descriptor in (writer, gate):
                if descriptor >= 0:
                    os.close(descriptor)
            self._up.release()

    def go(self) -> None:
        """Lets its steps begin, if they wait."""
        self._close_gate(pid1.GO)

    def _close_gate(self, answer: bytes) -> None:
        gate, self._gate = self._gate, -1
        if gate >= 0:
            self.went = time.time_ns()
            with suppress(BrokenPipeError):  # it could not be made
                os.write(gate, answer)
            os.close(gate)

    def has_printed(self, text: bytes) -> bool:
        """Returns whether it has printed a text, as far as its output is kept."""
        with self._reading:
            while not self.adopted and len(self._printed) < _OUTPUT_BYTES:
                try:
                    piece = os.read(self.reader, 1 << 16)
                except BlockingIOError:
                    break
                if not piece:
                    break
                self._printed += piece
            return text in self._printed

    def adopt(self) -> None:
        """Notes that the run has taken it over, with its output."""
        with self._reading:
            self.adopted = True
            os.set_blocking(self.reader, True)

    @property
    def printed(self) -> bytes:
        """What was read of its output before the run has taken it over; the rest comes from `reader`."""
        return self._printed

    def await_start(self) -> bool:
        """Waits until its steps begin. Returns whether they did."""
        with self._up:
            return self.container is not None

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self._over in _poll(self._over, timeout=0)

    def await_end(self, cancel: int = -1) -> Exit:
        """Returns how it ended. Once the descriptor `cancel` is readable it is ended, as supervisor.Container does it.
        Raises what the wait for it raised. Called by any thread."""
        assert self.container is not None
        while self._over not in (ready := _poll(self._over, cancel)):
            if cancel in ready:
                self.container.cancel(syscalls.requested_signal(cancel))
                cancel = -1
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def attend(self, stdout: int, cancel: int) -> Exit:
        """Returns how it ended, for a caller that has taken it over; once `cancel` is readable, it is ended. What it
        has printed, and prints, goes to the descriptor `stdout`. `early` of the answer says how many seconds it had run
        before. Nothing of it is left."""
        import threading  # a run has imported it, and what begins early has not

        before = time.time_ns() - self.went
        relaying = threading.Thread(target=relay, args=(self, os.dup(stdout)), daemon=True)
        relaying.start()
        try:
            ended = self.await_end(cancel)
        finally:
            self.kill()
            relaying.join()
            self.end()
        ended.early = before / 1e9
        return ended

    def kill(self) -> None:
        """Kills it, and returns when its processes have ended."""
        self._close_gate(_STOP)
        if self.await_start():
            assert self.container is not None
            self.container.kill()
        _poll(self._over)

    def end(self) -> None:
        """Kills it, and leaves nothing of it. Called once."""
        self.kill()
        if self.container is not None:
            self.container.__exit__()
        for descriptor in (self.reader, self._over):
            os.close(descriptor)


class EarlyTask:
    """A container that has started, and what it holds until its end: `locks` are descriptors of its layers. `trees` are
    the directories of this machine in which the kernel reports what is opened."""

    def __init__(self, program: dict[str, Any], trees: tuple[str, ...], locks: list[int]) -> None:
        """Raises OSError where the directories cannot be watched: then nothing starts."""
        self._lock = _thread.RLock()
        self._trees = trees
        self._watch: SharedWatch | None = None  # until the run takes it
        self._is_watch_taken = not trees
        self._is_confirmed = False
        if trees:
            from envtool.container import opened_files

            self._watch = opened_files.SharedWatch(trees, begun=True)
        self.is_adopted = False
        try:
            self._container: EarlyContainer | None = EarlyContainer(program, None, held=False)
        except OSError:
            self._container = None
            self._drop()
            raise
        self._locks = locks
        _tasks.append(self)

    def await_start(self) -> None:
        """Waits until its steps begin, or it is known that they do not."""
        if self._container is not None:
            self._container.await_start()

    def confirm(self, newest: int | None, trees: tuple[str, ...]) -> int:
        """See Runner.confirm_task."""
        with self._lock:
            container = self._container
            if container is None or newest is None or newest >= container.began or trees != self._trees:
                self._drop()
                return 0
            self._is_confirmed = True
            return container.began

    def take_watch(self, trees: tuple[str, ...]) -> SharedWatch | None:
        """Returns the watch of these directories, for the caller to close; None if this is another one."""
        with self._lock:
            if not self._is_confirmed or trees != self._trees:
                return None
            watch, self._watch = self._watch, None
            self._is_watch_taken = self._is_watch_taken or watch is not None
            return watch

    def take_over(self, make_program: Callable[[], dict[str, Any]]) -> EarlyContainer | None:
        """Returns the container, for the caller to end, if the run has confirmed it, has its watch, and wants this very
        program. Ends it if the run has confirmed it and wants another one."""
        with self._lock:
            container = self._container
            if container is None or not self._is_confirmed or self.is_adopted:
                return None
            if self._is_watch_taken and is_same(container.program, make_program()) and container.await_start():
                container.adopt()
                self.is_adopted = True
                return container
            self._drop()
            return None

    def _drop(self) -> None:
        """Ends what the run has not taken over. The lock is held."""
        self._is_confirmed = False
        if self._container is not None and not self.is_adopted:
            self._container.end()
            self._container = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def close(self) -> None:
        """Ends what the run has not taken over, and frees the rest. Called once, at the end of the run."""
        with self._lock:
            self._drop()
        for descriptor in self._locks:
            os.close(descriptor)


def find_task() -> EarlyTask | None:
    """Returns the task that began early in this process; None if none did."""
    return _tasks[0] if _tasks else None


def end_task() -> None:
    """Ends the task that began early, if it was not taken over."""
    while _tasks:
        _tasks.pop().close()


def relay(early: EarlyContainer, writer: int) -> None:
    """Carries what a container prints until all have closed their ends of the pipe. Closes `writer`."""
    try:
        _write_all(writer, early.printed)
        while os.splice(early.reader, writer, _PIECE):
            pass
    except OSError:  # nobody reads it
        while os.read(early.reader, _PIECE):
            pass
    finally:
        os.close(writer)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def identify(joins: Namespaces | None) -> tuple[int, int]:
    """Returns what tells the network of these namespaces from all others; (0, 0): it has none but its own."""
    if joins is None:
        return 0, 0
    info = os.fstat(joins.descriptors["network"])
    return info.st_dev, info.st_ino


def is_same(early: dict[str, Any], program: dict[str, Any]) -> bool:
    """Returns whether two programs are equal. Of the paths that are hidden or watched the order does not count."""
    return _sorted(early) == _sorted(program)


def _sorted(program: dict[str, Any]) -> dict[str, Any]:
    return {**program, "hidden": sorted(program["hidden"]), "watch": sorted(program.get("watch", ()))}


def _poll(*descriptors: int, timeout: int | None = None) -> list[int]:
    poll = select.poll()
    for descriptor in descriptors:
        if descriptor >= 0:
            poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(timeout)]
