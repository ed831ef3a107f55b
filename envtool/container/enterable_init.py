"""pid 1 of a container in which further commands can be started while its steps run (execution.py asks for them).

Each request comes over the container's own socket, with a socket of its own (its channel) among its descriptors. pid 1
forks the command as it forks each step, so nothing that runs in the container can tell the two apart, and no process of
the host ever enters. What pid 1 says of a command goes through that command's channel: "started", "error", "exited".
What it hears there is "signal"; a channel that the supervisor's side closes kills its command.

Imported before the root changes. Requests, deadlines and signals (by signalfd(2)) come one after the other in one loop.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import sys
import time

from envtool.container import execution, join, messages, pid1, syscalls, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


_LINGER_MILLISECONDS = 100  # between two looks at a group; that a child has ended is seen at once
_SIGNAL_SIZE = 128  # bytes of a struct signalfd_siginfo, of which the first four are the number


def _has_group(number: int) -> bool:
    """Whether a process group still has processes."""
    try:
        os.killpg(number, 0)
    except OSError as error:
        return error.errno == errno.EPERM  # they have another user's id
    return True


class _Command:
    """A command that was started by request: its channel, and its deadline on the monotonic clock (None: none)."""

    __slots__ = ("channel", "deadline", "grace", "timed_out")

    def __init__(self, channel: _socket.socket, milliseconds: int, grace: int) -> None:
        self.channel: _socket.socket | None = channel
        self.grace = grace / 1000
        self.deadline = time.monotonic() + milliseconds / 1000 if milliseconds >= 0 else None
        self.timed_out = False


class EnterableInit(pid1.Init):
    """Runs the steps as `Init` does, and serves requests meanwhile."""

    __slots__ = ("channels", "commands", "ids", "lingers", "poll", "program", "signals", "socket")

    def __init__(self, program: dict[str, Any], ids: userns.IdMaps, sock: int) -> None:
        super().__init__()
        self.program, self.ids = program, ids
        self.socket = _socket.socket(fileno=os.dup(sock))
        self.lingers = 0  # process group that is to end: what it has besides the step may end by itself
        self.commands: dict[int, _Command] = {}  # by process id, until the process is reaped
        self.channels: dict[int, int] = {}  # descriptor of a channel -> process id
        mask = sum(1 << number - 1 for number in pid1.HANDLED_SIGNALS).to_bytes(8, sys.byteorder)
        self.signals = syscalls.syscall("signalfd4", -1, mask, len(mask), os.O_CLOEXEC | os.O_NONBLOCK)
        self.poll = select.poll()
        for descriptor in (self.signals, self.socket.fileno()):
            self.poll.register(descriptor, select.POLLIN)

    def wait(self, child: int) -> int:
        """Serve requests and reap until `child` ends. Returns its status, as a shell shows it."""
        while True:
            status = self._reap(child)
            if status is not None:
                return status
            deadlines = [command.deadline for command in self.commands.values() if command.deadline is not None]
            wait = max(0.0, min(deadlines) - time.monotonic()) * 1000 + 1 if deadlines else None
            for descriptor, _ in self.poll.poll(wait):
                if descriptor == self.signals:
                    self._take_signals()
                elif descriptor == self.socket.fileno():
                    self._receive_request()
                elif descriptor in self.channels:
                    self._listen(descriptor)
            self._end_late_commands()

    def end_all(self) -> None:
        """Kill every other process. Nothing can be started from here on: the supervisor's side sees channels that are
        closed, and for further requests a socket that nobody reads. A group that was asked to end by `stop` may do so
        first: of a shell and its child both get the signal, and the shell is gone at once.
        """
        while self.lingers and _has_group(self.lingers):
            for descriptor, _ in self.poll.poll(_LINGER_MILLISECONDS):
                if descriptor == self.signals:
                    self._take_signals()
                elif descriptor == self.socket.fileno():
                    self._receive_request(serve=False)
                elif descriptor in self.channels:
                    self._listen(descriptor)
            try:
                self._reap(0)
            except ChildProcessError:  # none is left
                pass
        super().end_all()
        for command in self.commands.values():
            self._close(command)
        self.socket.shutdown(_socket.SHUT_RD)
        while self._receive_request(serve=False):
            pass

    def handle_signal(self, number: int) -> None:
        """As for the running step; commands are asked to end with it."""
        super().handle_signal(number)
        if number in {syscalls.SIGINT, syscalls.SIGTERM}:
            for child in self.commands:
                pid1.signal_group(child, number)

    def _take_signals(self) -> None:
        """Handle the signals that came; that a child has ended, the loop sees by itself."""
        taken = os.read(self.signals, _SIGNAL_SIZE * 64)
        for position in range(0, len(taken), _SIGNAL_SIZE):
            number = int.from_bytes(taken[position : position + 4], sys.byteorder)
            if number != syscalls.SIGCHLD:
                self.handle_signal(number)

    # ---- the commands that were started

    def _reap(self, step: int) -> int | None:
        """Reap whatever has ended. Returns the status of the step if that has ended."""
        while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            # Before a process is reaped nothing else has its number: after that, no signal may be sent to it.
            command = self.commands.pop(found.si_pid, None)
            if command is not None and command.timed_out:
                pid1.signal_group(found.si_pid, syscalls.SIGKILL)
            if found.si_pid == step:
                self.running = 0
            _, state, usage = os.wait4(found.si_pid, 0)
            status = os.waitstatus_to_exitcode(state)
            status = status if status >= 0 else 128 - status
            if command is not None:
                seconds = usage.ru_utime + usage.ru_stime
                self._tell(command, "exited", status, int(command.timed_out), int(seconds * 1e6), usage.ru_maxrss)
                self._close(command)
            if found.si_pid == step:
                return status
        return None

    def _tell(self, command: _Command, *values: int | str) -> None:
        if command.channel is not None:
            try:
                command.channel.send(messages.pack(*values), _socket.MSG_DONTWAIT)
            except OSError:  # its handle was closed
                pass

    def _close(self, command: _Command) -> None:
        if command.channel is not None:
            self.poll.unregister(command.channel)
            del self.channels[command.channel.fileno()]
            command.channel.close()
            command.channel = None

    def _listen(self, descriptor: int) -> None:
        child = self.channels[descriptor]
        command = self.commands[child]
        assert command.channel is not None
        try:
            message = messages.unpack(command.channel.recv(256, _socket.MSG_DONTWAIT))
        except BlockingIOError:
            return
        except (OSError, ValueError):  # at its end there is no message: nobody wants to know what comes of the command
            message = ()
        match message:
            case ("signal", int(number)) if 0 < number < 65:
                pid1.signal_group(child, number)
            case _:
                self._close(command)
                pid1.signal_group(child, syscalls.SIGKILL)

    def _end_late_commands(self) -> None:
        now = time.monotonic()
        for child, command in self.commands.items():
            if command.deadline is not None and now >= command.deadline:
                pid1.signal_group(child, syscalls.SIGKILL if command.timed_out else syscalls.SIGTERM)
                command.deadline = None if command.timed_out else now + command.grace
                command.timed_out = True

    # ---- requests

    def _receive_request(self, *, serve: bool = True) -> bool:
        """Receive a request. Returns whether there may be another one."""
        try:
            data, ancillary, flags, _ = self.socket.recvmsg(
                execution.MAX_REQUEST, 256, _socket.MSG_DONTWAIT | _socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            return False
        descriptors = messages.parse_ancillary(ancillary)[1]
        try:
            if not data:
                if serve:
                    self.poll.unregister(self.socket)
                return False
            if serve and descriptors:  # without its channel, which comes first, nobody can be told
                channel = _socket.socket(fileno=descriptors.pop(0))
                self._serve(channel, data, descriptors, complete=not flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC))
            return True
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _serve(self, channel: _socket.socket, data: bytes, descriptors: list[int], *, complete: bool) -> None:
        """Do what is asked. The channel is kept for a command that was started, else closed."""
        report: tuple[int | str, ...] | None = None
        try:
            message = messages.unpack(data)
            match message:
                case ("namespaces",):
                    join.send_namespaces(channel)
                case ("exists", str(path)):
                    report = ("exists", int(os.path.exists(path)))
                case ("running",):
                    report = ("running", int(self._step_runs()))
                case ("signal" | "stop" as word, int(number)) if 0 < number < 65:
                    if self.running:
                        pid1.signal_group(self.running, number)
                        if word == "stop":
                            self.ending, self.lingers = True, self.running
                    report = (word,)
                case _ if complete:
                    self._start_command(channel, execution.unpack_request(message, descriptors), descriptors)
                case _:
                    report = ("error", "exec", errno.EMFILE, os.strerror(errno.EMFILE))
        except OSError as error:
            report = ("error", "exec", error.errno or 0, str(error.strerror or error))
        except ValueError as error:
            report = ("error", "exec", errno.EINVAL, str(error))
        if report is not None:
            try:
                channel.send(messages.pack(*report), _socket.MSG_DONTWAIT)
            except OSError:  # its handle was closed
                pass

    def _step_runs(self) -> bool:
        """Returns whether the step runs: one that has ended may not have been reaped yet."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return self.running > 0 and os.waitid(os.P_PID, self.running, flags) is None

    def _start_command(self, channel: _socket.socket, request: execution.ExecRequest, stdio: list[int]) -> None:
        step: dict[str, Any] = {"argv": request.argv, "env": request.env, "cwd": request.cwd}
        if request.user:
            step["user"] = request.user
        master = terminal = -1
        try:
            if request.window >= 0:
                master, terminal = syscalls.open_pty(userns.TASK_UID if self.program["user"] == "user" else -1)
                execution.set_window(master, request.window)
            rights = []
            if master >= 0:
                rights.append((_socket.SOL_SOCKET, _socket.SCM_RIGHTS, master.to_bytes(4, sys.byteorder)))
            channel.sendmsg([messages.pack("started")], rights, _socket.MSG_DONTWAIT)  # before the child says anything
            child = pid1.fork_step()
            if child == 0:
                self._become_command(step, channel.fileno(), stdio, terminal)
            self.commands[child] = _Command(channel, request.milliseconds, request.grace)
            self.channels[channel.fileno()] = child
            self.poll.register(channel, select.POLLIN)
        finally:
            for descriptor in (master, terminal):
                if descriptor >= 0:
                    os.close(descriptor)

    def _become_command(self, step: dict[str, Any], report: int, stdio: list[int], terminal: int) -> NoReturn:
        try:
            for target, descriptor in enumerate(stdio):
                os.dup2(descriptor, target, inheritable=True)
            pid1.run_step(self.program, step, self.ids, report, terminal)
        finally:
            os._exit(125)
