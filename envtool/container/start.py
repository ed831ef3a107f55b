"""Run one container from a flat program: the supervisor's side. On the hot path of every command.

    supervisor --fork--> namespaces, sources --clone--> pid 1 (a child of the supervisor too) --fork--> each step

A real fork comes first, since the supervisor may have threads: only in its child, which has one, is it safe to
clone by hand.
"""

from __future__ import annotations

import _socket
import marshal
import os
import select
import stat
import sys
import time

from envtool.container import ids, inside, kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MESSAGE = 65536


class Exit:
    """How a container ended."""

    __slots__ = ("error", "interrupted", "notes", "outputs", "seconds", "status", "timed_out")

    def __init__(self) -> None:
        self.status = 125  # as a shell shows it (128+n for signals); 124 timed out
        self.timed_out = False
        self.interrupted = False
        self.seconds = 0.0
        self.outputs: tuple[str, ...] = ()  # relative paths that were copied back
        self.notes: tuple[str, ...] = ()  # what could not be copied back, and why
        self.error = ""  # of a `call` step that raised: type and text

    def __repr__(self) -> str:
        return f"Exit({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


def run(
    program: dict[str, Any],
    *,
    stdin: int = -1,
    stdout: int = 1,
    stderr: int = 2,
    terminal: bool = False,
    cancel: int = -1,
    outputs_to: str = "",
) -> Exit:
    """Run `program` (of Program.flat()) to its end.

    stdin -1 is /dev/null. With `terminal` a pty is made inside the container and joined to the descriptors 0 and 1
    of this process. `cancel`, once readable, means: end now, outputs are still collected. `outputs_to` is the
    directory that gets the outputs, owned by the caller (as root: by that directory's owner).
    Several may run at once, from threads. Raises SandboxError where the container could not be made.
    """
    begin = time.monotonic()
    for step in program["steps"]:
        if step["prepare"] is not None:
            step["prepare"]()
    own = ids.here()
    program = {**program, "terminal": terminal}
    receiver = None
    if program["outputs"] and outputs_to:
        from envtool.container import outputs

        program["collect"] = outputs.collect
        receiver = outputs.Receiver(outputs_to, owned=own.mode == "root")
    idmap = _project_map(program, own)
    supervisor = _Supervisor(program, own, cancel, receiver)
    try:
        supervisor.start((stdin, stdout, stderr), idmap)
        supervisor.watch()
    finally:
        supervisor.close()
        if idmap >= 0:
            os.close(idmap)
    result = supervisor.result
    result.seconds = time.monotonic() - begin
    return result


def _project_map(program: dict[str, Any], own: ids.Ids) -> int:
    """As root: a user namespace in which the project's owner is the container's user (root: its root)."""
    if own.mode != "root" or program["view"] is None:
        return -1
    owner = os.stat(program["view"][0])
    to = 0 if program["user"] == "root" else ids.USER
    (_, base, count), (_, group, groups) = own.uids[0], own.gids[0]
    return ids.user_namespace(
        ids.moved(owner.st_uid, to, base, count), ids.moved(owner.st_gid, to, group, groups)
    )


class _Supervisor:
    """One running container as its supervisor sees it."""

    def __init__(self, program: dict[str, Any], own: ids.Ids, cancel: int, receiver: Any) -> None:
        self.program, self.own, self.cancel, self.receiver = program, own, cancel, receiver
        self.result = Exit()
        self.failure: tuple[str, int, str] | None = None
        self.helper = self.pid1 = 0
        self.sock: Any = None
        self.output = -1
        self.master = -1
        self.ended = False

    def start(self, stdio: tuple[int, int, int], idmap: int) -> None:
        self.sock, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        write = -1
        try:
            if self.receiver is not None:
                self.output, write = os.pipe()
            if self.own.mode == "root":
                self._give_pipes(stdio[1:])
            self.helper = ids.fork()
            if self.helper == 0:
                inside.first(self.program, self.own, far.fileno(), stdio, write, idmap)
                os._exit(125)
        finally:
            far.close()
            if write >= 0:
                os.close(write)

    def _give_pipes(self, descriptors: tuple[int, ...]) -> None:
        # /dev/stdout of a pipe is opened anew by its owner's id: let that be the container's user.
        outside = self.own.outside(0 if self.program["user"] == "root" else ids.USER)
        for descriptor in descriptors:
            found = os.fstat(descriptor)
            if stat.S_ISFIFO(found.st_mode) and found.st_uid != outside:
                os.fchown(descriptor, outside, -1)

    def watch(self) -> None:
        """Answer the container until its socket closes, with its deadline and the caller's wish to end."""
        timeout = self.program["timeout"]
        deadline = time.monotonic() + timeout if timeout is not None else None
        killed = False
        poll = select.poll()
        poll.register(self.sock.fileno(), select.POLLIN)
        if self.output >= 0:
            poll.register(self.output, select.POLLIN)
        if self.cancel >= 0:
            poll.register(self.cancel, select.POLLIN)
        open_ends = 2 if self.output >= 0 else 1
        while open_ends:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            ready = [descriptor for descriptor, _ in poll.poll(wait)]
            if self.sock.fileno() in ready and not self._message():
                poll.unregister(self.sock.fileno())
                open_ends -= 1
            if self.output in ready and not self.receiver.feed(self.output):
                poll.unregister(self.output)
                open_ends -= 1
            if self.cancel in ready and self.pid1:
                poll.unregister(self.cancel)
                self.cancel = -1
                if not self.ended and not self.result.timed_out:
                    self.result.interrupted = True
                    self._signal(kernel.SIGTERM)
                    deadline = time.monotonic() + self.program["grace"]
            elif deadline is not None and time.monotonic() >= deadline and not self.ended:
                if self.result.timed_out or self.result.interrupted:
                    self._signal(kernel.SIGUSR1 if not killed else kernel.SIGKILL)
                    deadline = time.monotonic() + 10.0
                    killed = True
                else:
                    self.result.timed_out = True
                    self._signal(kernel.SIGTERM)
                    deadline = time.monotonic() + self.program["grace"]
            if self.ended:
                deadline = None
        self._reap()
        if self.failure is not None:
            from envtool.container.refusals import refusal

            raise refusal(*self.failure)
        if not self.ended and not (self.result.timed_out or self.result.interrupted):
            self.result.status = 137  # someone killed pid 1
        if self.result.timed_out:
            self.result.status = 124
        if self.receiver is not None:
            self.result.outputs, self.result.notes = self.receiver.finish()

    def _message(self) -> bool:
        data, rights, _, _ = self.sock.recvmsg(_MESSAGE, 64)
        if not data:
            return False
        if data == b"m":
            uids, gids = self.own.extents(user=self.program["user"] == "user")
            try:
                ids.write_map(self.helper, uids, gids, self.own.mode)
            except OSError as error:
                self.failure = ("ids", error.errno or 0, str(error.strerror))
                self.sock.send(b"x")
                return True
            self.sock.send(b"k")
            return True
        kind, *values = marshal.loads(data)
        if kind == "pid":
            self.pid1 = values[0]
            self.sock.send(b"g")
        elif kind == "error":
            if self.failure is None:
                self.failure = (values[0], values[1], values[2])
        elif kind == "raised":
            self.result.error = values[0]
        elif kind == "end":
            self.ended = True
            self.result.status = values[0]
        elif kind == "pty":
            self.master = int.from_bytes(rights[0][2][:4], sys.byteorder)
        return True

    def _signal(self, number: int) -> None:
        if self.pid1:
            try:
                os.kill(self.pid1, number)
            except ProcessLookupError:
                pass

    def _reap(self) -> None:
        for child in (self.helper, self.pid1):
            if child:
                try:
                    os.waitpid(child, 0)
                except ChildProcessError:
                    pass
        self.helper = self.pid1 = 0

    def close(self) -> None:
        """Whatever happened: nothing of the container is left."""
        if self.helper or self.pid1:
            for child in (self.helper, self.pid1):
                if child:
                    try:
                        os.kill(child, kernel.SIGKILL)
                    except ProcessLookupError:
                        pass
            self._reap()
        if self.sock is not None:
            self.sock.close()
        for descriptor in (self.output, self.master):
            if descriptor >= 0:
                os.close(descriptor)
