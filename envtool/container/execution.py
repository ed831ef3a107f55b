"""Runs a further command in a container that runs: the supervisor's side, and the format of a request.

No process of the host enters the container. A request goes to pid 1 (enterable_init.py), which forks the command as it
forks each step. A request is a message ("exec", number of arguments, working directory, user, milliseconds, grace,
window) with these descriptors: the channel of the command, a file with its arguments and variables, and its standard
streams unless it gets a terminal.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import select
import stat
import sys
import time

from envtool.container import messages, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Protocol

    from envtool.container.pty import PtyTerminal
    from envtool.errors import SandboxError

    class RunningContainer(Protocol):
        """What is used here of the supervisor of a container (supervisor.py)."""

        program: dict[str, Any]
        ids: userns.IdMaps
        user: int
        result: Any
        sock: Any
        lock: Any
        up: bool
        ended: bool


MAX_REQUEST = 65536  # bytes of a message; arguments and variables come in a file
_MAX_REPORT = 65536  # bytes of a message from a command's channel
ANSWER_SECONDS = 15.0  # seconds that pid 1 has to answer: it waits for nothing, but may be frozen
_DRAIN_SECONDS = 0.5  # seconds that a terminal is read after its command has ended
_LONGEST = 10**9  # seconds of a time limit
_GET_WINDOW, _SET_WINDOW = 0x5413, 0x5414  # ioctl_tty(2): TIOCGWINSZ and TIOCSWINSZ
_STAGES = ("exec", "cwd", "internal")  # where the start of a command fails


# ---- the request ----------------------------------------------------------------------------------------------------


class ExecRequest:
    """A request to start a command, as pid 1 gets it; the descriptors are sent beside it."""

    __slots__ = ("argv", "cwd", "env", "grace", "milliseconds", "user", "window")

    def __init__(
        self,
        argv: tuple[str, ...],
        env: dict[str, str],
        cwd: str,
        user: str = "",  # "": the user of the container's program
        milliseconds: int = -1,  # until TERM is sent; -1: no limit
        grace: int = 0,  # milliseconds from TERM to KILL
        window: int = -1,  # rows << 16 | columns of its terminal; -1: it gets none
    ) -> None:
        self.argv, self.env, self.cwd, self.user = argv, env, cwd, user
        self.milliseconds, self.grace, self.window = milliseconds, grace, window

    def pack(self) -> tuple[bytes, bytes]:
        """Returns the message, and the content of the file that goes with it. Raises ValueError for what execve(2)
        cannot take.
        """
        texts = [*self.argv, *(f"{name}={value}" for name, value in self.env.items())]
        if not self.argv:
            raise ValueError("a command has at least one word")
        if any("\0" in text for text in (*texts, self.cwd, self.user)):
            raise ValueError("a null byte cannot be passed to a command")
        if any("=" in name or not name for name in self.env):
            raise ValueError("a variable has a name, which has no `=`")
        numbers = (self.milliseconds, self.grace, self.window)
        message = messages.pack("exec", len(self.argv), self.cwd, self.user, *numbers)
        if len(message) > MAX_REQUEST:
            raise ValueError("the working directory or the user is too long")
        return message, "\0".join(texts).encode("utf-8", "surrogateescape")


def unpack_request(message: tuple[int | str, ...], descriptors: list[int]) -> ExecRequest:
    """Returns the request of a message. Takes its file out of `descriptors`, which then are the three streams, or none
    for a terminal. Raises ValueError for what `ExecRequest.pack` never wrote, and OSError.
    """
    match message:
        case ("exec", int(count), str(cwd), str(user), int(milliseconds), int(grace), int(window)) if count > 0:
            pass
        case _:
            raise ValueError("not a request of ours")
    if len(descriptors) != (4 if window < 0 else 1) or milliseconds < -1 or not -1 <= window < 1 << 32 or grace < 0:
        raise ValueError("not a request of ours")
    with open(descriptors.pop(0), "rb", buffering=0) as file:
        file.seek(0)
        content = file.read()
    texts = str(content, "utf-8", "surrogateescape").split("\0")
    if len(texts) < count or not all("=" in text for text in texts[count:]):
        raise ValueError("not arguments and variables")
    env = dict(text.split("=", 1) for text in texts[count:])
    return ExecRequest(tuple(texts[:count]), env, cwd, user, milliseconds, grace, window)


def set_window(terminal: int, window: int) -> None:
    """Set the size of a terminal's window: rows << 16 | columns."""
    rows, columns = (number.to_bytes(2, sys.byteorder) for number in divmod(window, 1 << 16))
    fcntl.ioctl(terminal, _SET_WINDOW, rows + columns + bytes(4))


def window_of(descriptors: tuple[int, ...]) -> int:
    """Returns the size of the first terminal among the descriptors, 0 if there is none."""
    for descriptor in descriptors:
        try:
            size = fcntl.ioctl(descriptor, _GET_WINDOW, bytes(8))
        except OSError:
            continue
        return int.from_bytes(size[:2], sys.byteorder) << 16 | int.from_bytes(size[2:4], sys.byteorder)
    return 0


def send_request(supervisor: RunningContainer, message: bytes, descriptors: tuple[int, ...] = ()) -> _socket.socket:
    """Send a request to pid 1. Returns the near end of its channel. Raises SandboxError."""
    end = time.monotonic() + ANSWER_SECONDS
    while True:
        with userns.fork_lock:
            near, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
            rights = b"".join(number.to_bytes(4, sys.byteorder) for number in (far.fileno(), *descriptors))
            try:
                if _send(supervisor, message, rights):
                    return near
            except OSError as error:
                busy = error.errno in (errno.EAGAIN, errno.ETOOMANYREFS, errno.ENOBUFS)
            else:
                busy = False
            finally:
                far.close()
        near.close()
        if not busy:
            raise ended()
        if time.monotonic() > end:
            raise _silent()
        time.sleep(0.01)  # hundreds of requests may be waiting


def send_command(
    supervisor: RunningContainer,
    argv: Sequence[str],
    *,
    stdin: int = -1,  # /dev/null
    stdout: int = 1,
    stderr: int = 2,
    window: int = -1,  # rows << 16 | columns of a terminal that it gets in place of the streams; -1: none
    env: Mapping[str, str] | None = None,
    workdir: str = "",
    user: str = "",
    timeout: float | None = None,
    grace: float = 2.0,
) -> _socket.socket:
    """Send the request for a command to pid 1. Returns its channel, which an Execution serves: in this process, or in
    another one that gets the descriptor. The command is killed once the last copy is closed. Raises SandboxError,
    ValueError.
    """
    step = supervisor.program["steps"][-1]
    if user and supervisor.program["user"] != "root":
        raise ValueError("only a container of root has other users")
    request = ExecRequest(
        tuple(argv),
        {**step["env"], **(env or {})},
        workdir or step["cwd"],
        user or step.get("user", ""),
        -1 if timeout is None else _milliseconds(timeout),
        _milliseconds(grace),
        window,
    )
    stdio = (stdin, stdout, stderr)
    if window < 0:
        _check_streams(stdio)
        if supervisor.ids.mode == "root":
            userns.give_pipes((stdout, stderr), supervisor.ids.host_id(supervisor.user))
    message, content = request.pack()
    descriptors = [os.memfd_create("command", os.MFD_CLOEXEC)]
    try:
        with open(descriptors[0], "wb", closefd=False) as file:
            file.write(content)
        if window < 0:
            descriptors += stdio if stdin >= 0 else [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), *stdio[1:]]
        return send_request(supervisor, message, tuple(descriptors))
    finally:
        os.close(descriptors[0])
        if stdin < 0 and len(descriptors) > 1:
            os.close(descriptors[1])


def _send(supervisor: RunningContainer, message: bytes, rights: bytes) -> bool:
    """Returns False where the container has no steps that run. Raises OSError, also while too many requests wait."""
    with supervisor.lock:  # the socket may be closed by another thread
        result = supervisor.result
        running = supervisor.up and not (supervisor.ended or result.interrupted or result.timed_out)
        if not supervisor.program["held"] or not running:
            return False
        supervisor.sock.sendmsg([message], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)], _socket.MSG_DONTWAIT)
        return True


def receive(channel: _socket.socket, seconds: float) -> tuple[tuple[int | str, ...], list[int]]:
    """Returns the next message of a channel and its descriptors, which the caller closes; () at its end. Raises
    SandboxError for what is no message, or after `seconds`.
    """
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    if not poll.poll(seconds * 1000):
        raise _silent()
    try:
        data, ancillary, flags, _ = channel.recvmsg(_MAX_REPORT, 128, _socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:  # it ended without reading our last message
        return (), []
    descriptors = messages.parse_ancillary(ancillary)[1]
    message: tuple[int | str, ...] = ()
    try:
        message = messages.unpack(data) if data and not flags & _socket.MSG_TRUNC else ()
    except ValueError:
        pass
    if data and not message:
        for descriptor in descriptors:
            os.close(descriptor)
        raise broken("it sent an invalid message")
    return message, descriptors


def ask(supervisor: RunningContainer, message: bytes) -> tuple[int | str, ...]:
    """Send a request that pid 1 answers at once, and return its answer. Raises SandboxError."""
    channel = send_request(supervisor, message)
    try:
        answer, descriptors = receive(channel, ANSWER_SECONDS)
    finally:
        channel.close()
    for descriptor in descriptors:
        os.close(descriptor)
    match answer:
        case ():
            raise ended()
        case ("error", str(stage), int(number), str(text)):
            raise start_error(stage, number, text)
    return answer


def ended() -> SandboxError:
    """Returns the error for a container that cannot be entered any more."""
    from envtool.errors import SandboxError

    return SandboxError("the container does not run", code="container-ended", hint="")


def broken(text: str) -> SandboxError:
    """Returns the error for a container that does not keep to the protocol."""
    from envtool.container.kernel_errors import sandbox_error

    return sandbox_error("broken", 0, text)


def _silent() -> SandboxError:
    from envtool.errors import SandboxError

    return SandboxError(
        f"the container has not answered for {ANSWER_SECONDS:g} s",
        code="container-silent",
        hint="it may be frozen: see cgroup.freeze of its cgroup",
    )


# ---- the handle -----------------------------------------------------------------------------------------------------


class ExecutionResult:
    """How a command ended."""

    def __init__(self) -> None:
        self.status = 137  # as a shell shows it (128+n for signals); 124 timed out
        self.timed_out = False
        self.with_container = False  # it was killed because its container ended
        self.seconds = 0.0
        self.cpu_seconds = 0.0  # user and system time of its process, and of those that it has waited for (wait4(2))
        self.memory = 0  # bytes of its largest process, at its largest

    def __repr__(self) -> str:
        return f"ExecutionResult({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class Execution:
    """A command that runs in a container, and a context: at its end the command does not run any more.

    It runs as the last step of the container does (user, capabilities, filter, limits, variables, working directory),
    but for what its arguments say: those of `send_command`, and `terminal`, for a pty that is joined to the descriptors
    0 and 1 of this process. Its processes belong to the container: what it leaves in the background runs until the
    container ends.
    """

    def __init__(self, supervisor: RunningContainer, argv: Sequence[str], **options: Any) -> None:
        terminal = bool(options.pop("terminal", False))
        window = window_of((0, 1)) if terminal else -1
        self._attach(send_command(supervisor, argv, window=window, **options), terminal=terminal)

    @classmethod
    def of_channel(cls, channel: _socket.socket, *, terminal: bool) -> Execution:
        """Returns the command of a channel that `send_command` returned, perhaps in another process of this user."""
        execution = cls.__new__(cls)
        execution._attach(channel, terminal=terminal)  # noqa: SLF001 - of its own class
        return execution

    def _attach(self, channel: _socket.socket, *, terminal: bool) -> None:
        self._began = time.monotonic()
        self._result: ExecutionResult | None = None
        self._terminal: PtyTerminal | None = None
        self._failure: SandboxError | None = None
        self._channel = channel
        self._poll = select.poll()
        self._poll.register(self._channel, select.POLLIN)
        try:
            self._hear_start(terminal=terminal)
        except BaseException:
            self._channel.close()
            raise

    def _hear_start(self, *, terminal: bool) -> None:
        message, descriptors = receive(self._channel, ANSWER_SECONDS)
        try:
            match message:
                case ("started",) if len(descriptors) == terminal and all(map(os.isatty, descriptors)):
                    if terminal:
                        from envtool.container.pty import PtyTerminal

                        self._terminal = PtyTerminal()
                        self._terminal.attach(descriptors.pop(), self._poll)
                case ("error", str(stage), int(number), str(text)):
                    raise start_error(stage, number, text)
                case ():
                    raise ended()
                case _:
                    raise broken("it sent a message out of turn")
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def __enter__(self) -> Execution:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self) -> ExecutionResult:
        """Returns how it ended. A terminal is served only meanwhile. Raises SandboxError where it could not begin: its
        working directory cannot be entered. A command that is not found prints that, and has the status 127 or 126.
        """
        end: float | None = None  # of what its terminal still has
        while self._result is None or (self._terminal is not None and end is not None):
            left = 1000.0 if end is None else max(0.0, end - time.monotonic()) * 1000
            ready = [descriptor for descriptor, _ in self._poll.poll(left)]
            if self._result is None and self._channel.fileno() in ready:
                self._receive()
                if self._result is not None and self._terminal is not None:
                    end = time.monotonic() + _DRAIN_SECONDS
            self._serve_terminal(ready)
            if end is not None and time.monotonic() >= end:
                self._restore_terminal()
        if self._failure is not None:
            raise self._failure
        return self._result

    def signal(self, number: int) -> None:
        """Send any signal to the process group of the command; nothing once it has ended. Called by any thread. Raises
        ValueError for a number that is no signal.
        """
        if not 0 < number < 65:
            raise ValueError(f"{number} is no signal")
        try:
            self._channel.send(messages.pack("signal", number))
        except OSError:  # it has ended
            pass

    def close(self) -> None:
        """Kill the command's process group if the command runs, and restore the terminal."""
        self._restore_terminal()
        self._channel.close()

    def _restore_terminal(self) -> None:
        if self._terminal is not None:
            self._terminal.restore()
            self._terminal = None

    def _serve_terminal(self, ready: list[int]) -> None:
        terminal = self._terminal
        if terminal is None:
            return
        if 0 in ready:
            terminal.forward_input()
        if terminal.master in ready and not terminal.forward_output():
            terminal.stop_watching(self._poll)
            self._restore_terminal()

    def _receive(self) -> None:
        """Handle what pid 1, or the command before its execve, says. The result is set when that was the last."""
        message, descriptors = receive(self._channel, 0)
        for descriptor in descriptors:
            os.close(descriptor)
        result = ExecutionResult()
        match message:
            case () if self._failure is not None:  # its process could not be made
                pass
            case ():
                result.with_container = True
            case ("error", str(stage), int(number), str(text)) if self._failure is None:
                self._failure = start_error(stage, number, text)
                return
            case ("exited", int(status), int(timed_out), int(microseconds), int(kilobytes)) if (
                0 <= status <= 255 and timed_out in (0, 1) and microseconds >= 0 and kilobytes >= 0
            ):
                result.timed_out = timed_out == 1
                result.status = 124 if result.timed_out else status
                result.cpu_seconds, result.memory = microseconds / 1e6, kilobytes * 1024
            case _:
                raise broken("it sent a message out of turn")
        result.seconds = time.monotonic() - self._began
        self._poll.unregister(self._channel)
        self._result = result


def _milliseconds(seconds: float) -> int:
    if not 0 <= seconds <= _LONGEST:
        raise ValueError(f"{seconds!r} is not a number of seconds from 0 to {_LONGEST}")
    return int(seconds * 1000)


def _check_streams(descriptors: tuple[int, ...]) -> None:
    """Raises ValueError for a directory: through its descriptor the host's files could be reached (CVE-2024-21626)."""
    for descriptor in descriptors:
        if descriptor >= 0 and stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise ValueError(f"descriptor {descriptor} is a directory, which a container must not have")


def start_error(stage: str, number: int, text: str) -> SandboxError:
    """Returns the error for a report ("error", stage, number, text)."""
    from envtool.errors import SandboxError

    if stage == "exec":
        full = number in (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
        return SandboxError(
            f"the command could not be started in the container: {text}",
            code="container-exec",
            hint="the limit of processes, open files or memory is reached" if full else "",
        )
    from envtool.container.kernel_errors import sandbox_error

    return sandbox_error(stage if stage in _STAGES else "broken", number & 0xFFF, text)
