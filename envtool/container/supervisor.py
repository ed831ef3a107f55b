"""Runs one container from the plain dict of `Program.to_dict()`: the supervisor's side. On every command's hot path.

    supervisor --fork--> namespaces, sources --clone--> pid 1 (a child of the supervisor too) --fork--> each step

A real fork comes first, since the supervisor may have threads: only its child, which has one, may safely call clone
by hand. A supervisor with one thread clones pid 1 itself; for many containers a small process does (fork_server.py).
"""

from __future__ import annotations

import _socket
import _thread
import os
import select
import time

from envtool.container import messages, mounts, pid1, rootfs, syscalls, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

    from envtool.container.execution import Execution
    from envtool.container.join import Namespaces
    from envtool.container.limit_watch import LimitWatch
    from envtool.container.opened_files import Record

_MESSAGE, _ANCILLARY = 65536, 128  # bytes; the latter: the sender's credentials, and some descriptors
_FIRST_LOOK = 0.1  # seconds from the first step to a look at what it uses, where it has no limits
_NEVER = float("inf")


class Container:
    """A container that this process starts, and a context: at its end nothing of the container is left.

    stdin -1 is /dev/null. With `terminal` a pty is made inside the container and joined to the descriptors 0 and 1 of
    this process. Once `cancel` is readable the container is ended; outputs are still collected for a moment.
    `outputs_to` is the directory that gets the outputs, which will belong to the caller (as root: to that directory's
    owner). Outputs whose paths are in `protected` are copied only where a pattern of the program names the very path.
    `counters` is memory that this process shares with its forks, one for each step that counts, in their order: the
    byte of each item that is done becomes 1.
    The container is made in the namespaces `joins`, which may be closed once it has started. Only one that is `held`
    can be entered. Several containers may run at once, from threads; `signal` and `stop` may come from any thread.
    `server` forks its processes in place of this process, where it can."""

    def __init__(
        self,
        program: dict[str, Any],  # of Program.to_dict()
        *,
        stdin: int = -1,
        stdout: int = 1,
        stderr: int = 2,
        terminal: bool = False,
        cancel: int = -1,
        outputs_to: str = "",
        protected: tuple[str, ...] = (),
        counters: Sequence[Any] = (),
        joins: Namespaces | None = None,
        held: bool = True,
        server: userns.Forker | None = None,
    ) -> None:
        self._began = time.monotonic()
        ids = userns.caller_ids() if server is None else server.ids()
        program = {**program, "terminal": terminal, "held": held, "collects": bool(program["outputs"] and outputs_to)}
        if joins is not None:
            if program["network"] and "network" in joins.descriptors:
                raise ValueError("a container has this machine's network, or another container's, not both")
            program["joins"] = dict(joins.descriptors)
        receiver = None
        self._records: Sequence[Record] = ()
        if program["collects"]:
            from envtool.container import outputs

            patterns, limit, owned = program["outputs"], program["outputs_limit"], ids.mode == "root"
            options = {"protected": protected, "patterns": patterns, "secrets": program.get("secrets", ())}
            receiver = outputs.open_receiver(outputs_to, owned=owned, limit=limit, **options)
        if "watch" in program or "observe" in program:
            from envtool.container import opened_files

            program, self._records = opened_files.open_records(program)
        self._supervisor = _Supervisor(program, ids, cancel, receiver, server, counters)
        self._stdio = (stdin, stdout, stderr)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self._supervisor.close()
        for record in self._records:
            record.close()

    def start(self) -> None:
        """Return when the container is made and its steps begin. Raises SandboxError where it could not be made."""
        self._supervisor.start(self._stdio)
        self._supervisor.supervise(until_up=True)

    def wait(self) -> messages.Exit:
        """Returns how it ended. Deadlines are kept, and outputs and the terminal served, only meanwhile. Raises
        SandboxError."""
        self._supervisor.supervise()
        result = self._supervisor.result
        result.seconds = time.monotonic() - self._began
        for record in self._records:
            record.report(result)
        return result

    def signal(self, number: int) -> None:
        """Send a signal to the process group of the running step. HUP, INT and TERM also keep further steps from
        running. Raises ValueError for a signal that is not forwarded."""
        if number not in pid1.FORWARDED_SIGNALS:
            raise ValueError(f"signal {number} is not forwarded to a container")
        self._supervisor.signal(number)

    def stop(self) -> None:
        """Ask the running step to end (TERM), and return. What still runs `grace` seconds, and up to one more, later is
        killed by `wait`."""
        self._supervisor.stop(syscalls.SIGTERM)

    def exec(self, argv: Sequence[str], **options: Any) -> Execution:
        """Start a further command while the steps run. Called by any thread. See `execution` for options and errors."""
        from envtool.container.execution import Execution

        return Execution(self._supervisor, argv, **options)

    def namespaces(self, *kinds: str) -> Namespaces:
        """Returns namespaces of the container ("network", "ipc", "uts") for the `joins` of another one. Called by any
        thread. Raises SandboxError where the container has ended, and ValueError.
        """
        from envtool.container.join import ask_namespaces

        return ask_namespaces(self._supervisor, kinds)


def run(program: dict[str, Any], **options: Any) -> messages.Exit:
    """Run a container to its end; the options are those of `Container`. Raises SandboxError where it cannot be made."""
    with Container(program, held=False, **options) as container:
        container.start()
        return container.wait()


def load_functions(program: dict[str, Any], counters: Sequence[Any] = ()) -> dict[str, Any]:
    """Returns a program with the functions that its container needs, which must be imported before the fork. Raises
    SandboxError where a step calls a function that this process does not have.
    """
    program = dict(program)
    if any("call" in step for step in program["steps"]):
        from envtool.container import step_functions

        program["steps"] = step_functions.load_steps(program["steps"], counters)
    if any(operation[0] not in rootfs.KINDS for operation in program["operations"]):
        from envtool.container import extra_mounts

        program |= extra_mounts.functions(program["operations"])
    if any("user" in step for step in program["steps"]) or (program["held"] and program["user"] == "root"):
        from envtool.container.step_user import become_user

        program["become_user"] = become_user
    if program["held"]:
        from envtool.container.enterable_init import EnterableInit

        program["init"] = EnterableInit
    if "joins" in program:
        from envtool.container.join import enter_namespaces

        program["join"] = enter_namespaces
    if program["collects"]:
        from envtool.container.outputs import send_outputs

        program["collect"] = program.get("without", lambda send: send)(send_outputs)
    if "watched" in program:
        from envtool.container import opened_files

        program |= opened_files.functions(program)
    if "cgroups" in program:
        from envtool.container import cgroup_mounts

        program["begin"] = (cgroup_mounts.showing(program["cgroups"]), *program.get("begin", ()))
    if "vary" in program:
        from envtool.container import perturb

        program["varied"] = perturb.ContainerPerturber(*program["vary"])
    return program


class _Supervisor:
    """One running container, on the supervisor's side."""

    def __init__(
        self,
        program: dict[str, Any],
        ids: userns.IdMaps,
        cancel: int,
        receiver: Any,
        server: userns.Forker | None = None,
        counters: Sequence[Any] = (),
    ) -> None:
        self.program, self.ids, self.cancel, self.receiver = program, ids, cancel, receiver
        self.server, self.counters = server, counters
        self.user = 0 if program["user"] == "root" else userns.TASK_UID
        self.result = messages.Exit()
        self.failure: tuple[str, int, str] | None = None  # an error that the container reported
        self.refused: tuple[str, int, str] | None = None  # an error of ours, perhaps because the container had ended
        self.helper = self.pid1 = 0
        self.sock: Any = None
        self.terminal: Any = None
        self.output, self.network_log, self.watched = -1, list[int](), list[int]()
        self.limits: LimitWatch | None = None
        self.look_at = _NEVER  # when it is looked at what its steps use, on the monotonic clock
        self.last_message = ""
        self.registered = self.up = self.ended = self.killed = self.gentle = self.hurried = False
        timeout = program["timeout"]
        self.deadline = time.monotonic() + timeout if timeout is not None else None
        self.poll = select.poll()
        self.lock = _thread.allocate_lock()  # of the two process numbers and the socket
        self.open = 1

    def start(self, stdio: tuple[int, int, int]) -> None:
        sources = mounts.sources_with_owners(self.program["operations"])
        maps = mounts.owner_namespaces(sources, self.user, self.ids)
        syscalls.command_line_range()  # every process that is forked from here on knows it
        if self.ids.mode == "root":
            userns.give_pipes(stdio[1:], self.ids.host_id(self.user))
        if self.program.get("limits") and (event := self._ending().open_limits(self).event) >= 0:
            self.poll.register(event, select.POLLIN)
        if self.server is None or not (self.server.serves(self.program) and self._fork(stdio, maps, self.server)):
            self._fork(stdio, maps, None)

    def _fork(
        self, stdio: tuple[int, int, int], maps: dict[tuple[int, int], int], server: userns.Forker | None
    ) -> bool:
        """Fork the helper or pid 1, in this process or by a server. Returns False where the server has ended."""
        program = self.program if server else load_functions(self.program, self.counters)
        write = -1
        with userns.fork_lock:
            self.sock, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
            self.sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)  # the kernel names the sender
            try:
                if self.receiver is not None:
                    self.output, write = os.pipe()
                fork = server.fork if server else pid1.fork
                child, is_pid1 = fork(program, self.ids, (far.fileno(), *stdio, write), maps)
                self.helper, self.pid1 = (0, child) if is_pid1 else (child, 0)
            finally:
                far.close()
                if write >= 0:
                    os.close(write)
        if self.pid1:  # it has its user namespace already
            self._write_maps(self.pid1)
        if not (made := bool(self.helper or self.pid1)):  # what the server still forked reads the end of the socket
            self.sock.close()
            if self.output >= 0:
                os.close(self.output)
        return made

    def supervise(self, *, until_up: bool = False) -> None:
        """Answer the container until it has closed all its ends; enforce the deadline and the caller's cancel. With
        `until_up` only until its steps begin.
        """
        if not self.registered:
            self.registered = True
            for descriptor in (self.sock.fileno(), self.output, self.cancel):
                if descriptor >= 0:
                    self.poll.register(descriptor, select.POLLIN)
            self.open += self.output >= 0
        while self.open > 0:
            if until_up and self.up:
                return
            # Bounded: a signal just before poll() sets a flag that Python looks at only after poll() returns.
            due = min(self.deadline or _NEVER, self.look_at)
            milliseconds = min(1000.0, max(0.0, due - time.monotonic()) * 1000)
            ready = [descriptor for descriptor, _ in self.poll.poll(milliseconds)]
            self._handle_events(ready)
            if time.monotonic() >= self.look_at or (self.limits is not None and self.limits.event in ready):
                self._ending().watch_limits(self)
            if self.deadline is not None and time.monotonic() >= self.deadline:
                self._ending().handle_deadline(self)
        self.signal(syscalls.SIGKILL)  # it has closed every descriptor that it could report by
        self._reap()
        if self.ended and self.last_message != "done" and not (self.killed or self.failure):
            self.failure = ("broken", 0, "it ended before its work was done")
        failure = self.failure or self.refused
        if failure is not None and not self.result.interrupted:  # an interrupt killed it half made
            from envtool.container.kernel_errors import sandbox_error

            raise sandbox_error(*failure)
        self._conclude()

    def _conclude(self) -> None:
        result = self.result
        if not self.ended:
            result.status = 130 if result.interrupted else 137  # someone killed pid 1
        if result.timed_out:
            result.status = 124
        elif result.exceeded is not None:
            result.status = 137
        if self.receiver is not None:
            result.outputs, result.notes = self.receiver.finish()
            result.lost = result.lost or self.receiver.lost
        if self.limits is not None:
            result.memory = max(result.memory, self.limits.memory)
            result.notes = (*result.notes, *self.limits.notes)

    def _handle_events(self, ready: list[int]) -> None:
        if self.sock.fileno() in ready and not self._receive_message():
            self.close_end(self.sock.fileno())
        if self.output in ready and not self.receiver.feed(self.output):
            self.close_end(self.output)
        if self.cancel in ready:
            number = syscalls.requested_signal(self.cancel)
            self.poll.unregister(self.cancel)
            self.cancel = -1
            if self.ended and self.output >= 0:
                self.result.interrupted = True
                self._ending().end_late_work(self)
            else:
                self.stop(number)
        if self.terminal is not None:
            if 0 in ready:
                self.terminal.forward_input()
            if self.terminal.master in ready and not self.terminal.forward_output():
                self.terminal.stop_watching(self.poll)
                self.open -= 1

    def close_end(self, descriptor: int) -> None:
        """Serve a descriptor no more: the socket, or the pipe of the outputs, which is closed."""
        self.poll.unregister(descriptor)
        self.open -= 1
        if descriptor == self.output:
            os.close(self.output)
            self.output = -1

    def stop(self, number: int) -> None:
        """End the container by a signal, unless its steps have ended. Called by any thread."""
        if not self.ended and not self.result.timed_out:
            self.result.interrupted = True
            self.end(number)

    @staticmethod
    def _ending() -> ModuleType:
        from envtool.container import ending  # few containers need it

        return ending

    def end(self, number: int = syscalls.SIGTERM) -> None:
        """Ask the step to end; it has `grace` seconds. A container that is still being made is killed at once."""
        self.signal(number if self.up else syscalls.SIGKILL)
        self.gentle = number != syscalls.SIGTERM
        self.deadline = time.monotonic() + self.program["grace"]

    def _receive_message(self) -> bool:
        """Receive one message. Returns False when there will be no more."""
        try:
            data, ancillary, flags, _ = self.sock.recvmsg(_MESSAGE, _ANCILLARY, _socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:  # it ended without reading our last reply; its messages can still be read
            return True
        sender, descriptors = messages.parse_ancillary(ancillary)
        try:
            if data:
                self._handle_message(
                    sender, descriptors, messages.unpack(data) if not flags & _socket.MSG_TRUNC else ()
                )
        except ValueError:
            self.failure = ("broken", 0, "it sent an invalid message")
            self.open = 0
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        if not data:
            self.signal(syscalls.SIGKILL)  # without the socket it can do nothing but end
            return False
        return self.last_message != "done"

    def _handle_message(self, sender: int, descriptors: list[int], message: tuple[int | str, ...]) -> None:
        """Handle a message; the kernel tells who sent it. Raises ValueError for a message out of turn or from the wrong
        process. A descriptor that is taken out of `descriptors` stays open.
        """
        kind = message[0] if message else ""
        from_helper = self.helper and (kind in ("maps", "pid") or (kind == "error" and sender == self.helper))
        if sender <= 0 or sender != (self.helper if from_helper else self.pid1):
            raise ValueError("not from whom it has to come")
        if kind == "error":
            if self.failure is not None:
                raise ValueError("an error was heard already")
        elif not messages.is_in_turn(str(kind), self.last_message, terminal=self.program["terminal"]):
            raise ValueError("not in its turn")
        else:
            self.last_message = str(kind)
        match message:
            case ("maps",):
                if self.limits is not None:
                    self.limits.attach(sender)
                if self.helper and "joins" not in self.program:  # else a user namespace that has its maps
                    self._write_maps(sender)
                if not self.helper:
                    self.last_message, self.network_log, descriptors[:] = "pid", descriptors[:], []
                self._reply(b"x" if self.refused or (not self.helper and self.result.ends_early) else b"k")
            case ("pid", int(number)):
                try:
                    os.waitid(os.P_PID, number, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                except (OSError, OverflowError):
                    raise ValueError("not a child of ours") from None
                self.pid1 = number
                self.network_log, descriptors[:] = descriptors[:], []
                self._reply(b"x" if self.result.ends_early else b"g")
            case ("pty",):
                self._attach_terminal(descriptors)
            case ("up",):
                self.up = True
                self.watched, descriptors[:2] = descriptors[:2], []
                self.look_at = time.monotonic() + (_FIRST_LOOK if self.limits is None else 0.02)
            case ("error", str(stage), int(number), str(text)):
                self.failure = (stage if stage in messages.FAILURE_STAGES else "broken", number & 0xFFF, text)
            case ("raised", str(text)):
                self.result.error = text
            case ("end", int(status), int(microseconds), int(memory), int(written)) if (
                0 <= status <= 255 and min(microseconds, memory, written) >= 0
            ):
                self.ended, self.look_at = True, _NEVER
                self.result.status = status
                self.result.cpu_seconds, self.result.memory, self.result.written = microseconds / 1e6, memory, written
                if (status or "disk" in self.program.get("limits", {})) and self.watched:
                    self._ending().watch_limits(self)
                if status or self.result.timed_out:
                    from envtool.container.lone_network import read_attempts

                    self.result.network_tried = read_attempts(self.network_log)
                hurry = self.result.interrupted
                self.deadline = time.monotonic() + (messages.HURRY_SECONDS if hurry else messages.COLLECT_SECONDS)
            case ("done",):
                pass
            case _:
                raise ValueError("not a message of ours")

    def _write_maps(self, process: int) -> None:
        self.refused = userns.write_maps(process, self.ids, user=self.program["user"] == "user")

    def _attach_terminal(self, descriptors: list[int]) -> None:
        if len(descriptors) != 1 or not os.isatty(descriptors[0]):
            raise ValueError("not a terminal")
        from envtool.container.pty import PtyTerminal

        self.terminal = PtyTerminal()
        self.terminal.attach(descriptors.pop(), self.poll)
        self.open += 1
        self._reply(b"t")

    def _reply(self, byte: bytes) -> None:
        try:
            self.sock.send(byte)
        except OSError:  # it has ended, and the end of the socket tells
            pass

    def signal(self, number: int) -> None:
        """Send a signal to pid 1, and KILL to the helper too. Called by any thread."""
        with self.lock:  # a number that was reaped may belong to another process
            for child in (self.pid1,) if number != syscalls.SIGKILL else (self.helper, self.pid1):
                if child:
                    try:
                        os.kill(child, number)
                    except ProcessLookupError:
                        pass
        if number == syscalls.SIGKILL and not self.pid1 and self.sock is not None:
            # The helper may have made a pid 1 and been killed before it reported: that pid 1 waits for our reply.
            try:
                self.sock.shutdown(_socket.SHUT_WR)
            except OSError:
                pass

    def _reap(self) -> None:
        with self.lock:
            for child in (self.helper, self.pid1):
                if child:
                    try:
                        usage = os.wait4(child, 0)[2]
                    except ChildProcessError:
                        continue
                    if not self.ended:  # else pid 1 has counted what its steps used
                        self.result.cpu_seconds += usage.ru_utime + usage.ru_stime
            self.helper = self.pid1 = 0

    def close(self) -> None:
        """Kill and reap what is left of the container, and restore the terminal."""
        self.signal(syscalls.SIGKILL)
        self._reap()
        if self.terminal is not None:
            self.terminal.restore()
        if self.limits is not None:
            self.limits.close()
        if self.receiver is not None:
            self.receiver.finish()
        with self.lock:
            if self.sock is not None:
                self.sock.close()
        descriptors = (self.output, *self.network_log, *self.watched)
        self.output, self.network_log, self.watched = -1, [], []  # close them only once
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)
