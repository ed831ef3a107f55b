"""A small process that forks the processes of containers, in place of a large one that has threads.

fork(2) copies the page tables of all memory, and each page that the two write to afterwards: a container costs 15 ms
more of a process of 50 MB than of one of 10 MB (decision 0158). In a run of many containers a Python of its own forks
them, which has imported what containers need and nothing else.

    supervisor --a program, and descriptors--> fork server --clone--> pid 1 (a child of the supervisor)

The server clones with CLONE_PARENT (clone(2)), so the supervisor is the parent of each container, as of one that it
forks itself: it waits for the container, signals it, and the kernel kills the container when the supervisor ends. The
server has one thread, so it makes pid 1 in its namespaces at once, without the helper that the supervisor needs: a fork
less. Where that is not possible (namespaces that the container joins, operations of rootfs.py that few containers need,
an error, which the helper then reports) it clones the helper.
"""

from __future__ import annotations

import _socket
import _thread
import gc
import marshal
import os
import select
import sys

from envtool.container import syscalls, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from envtool.container.userns import IdMaps

_MOST_DESCRIPTORS = 250  # of one request (SCM_MAX_FD, unix(7)); few containers have more than ten
_SPACE = _socket.CMSG_SPACE(4 * _MOST_DESCRIPTORS)  # bytes
_CHUNK = 1 << 16  # bytes
_NUMBER = 8  # bytes of a length, and of a number in an answer: of the process, or an errno that is negative
_HELPER, _PID1 = b"h", b"1"  # what it is the number of
_ANSWER = _NUMBER + 1  # bytes
_IGNORED_BY_SPAWN = (32, 33)  # signals of glibc's threads, which its posix_spawn(3) has the child ignore
_ANSWER_SECONDS = 60.0  # for a fork, on a machine that does little else
_LOCALE = ("LC_ALL", "LC_CTYPE", "LANG", "ENVTOOL_DEBUG")  # variables: paths are encoded as this process does it


class ForkServer:
    """The caller's side of the process, which starts at once and ends at `close`, or when this process does.

    `fork` is called by one thread at a time (`userns.fork_lock`), and no container of it runs at `close`.
    """

    def __init__(self) -> None:
        self._parent = os.getpid()  # of its containers
        self._ids: IdMaps | None = None
        self._ready = self._ended = False
        self._greeting = _thread.allocate_lock()
        self._open = _thread.allocate_lock()
        self._open.acquire()
        self._sock, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self._sock.settimeout(_ANSWER_SECONDS)
        _thread.start_new_thread(_own, (far, self._open, self._sock))

    def close(self) -> None:
        """End the process. A second call changes nothing."""
        self._ended = True
        self._sock.close()
        if self._open.locked():
            self._open.release()

    def __del__(self) -> None:
        if hasattr(self, "_sock"):  # a run that failed early has not ended it
            self.close()

    def ids(self) -> IdMaps:
        """Returns the ids of the caller, which are read once for all of its containers."""
        if self._ids is None:
            self._ids = userns.caller_ids()
        return self._ids

    def serves(self, program: dict[str, Any]) -> bool:
        """Whether it runs, and can make this container: a function that a step calls may be one that only this process
        has, and may count in memory of this process.
        """
        if os.getpid() != self._parent:
            return False
        with self._greeting:  # if two threads saw it, one of them would wait for a second one
            if not (self._ready or self._ended):
                self._receive_greeting()
        if not self._ready or self._ended:
            return False
        return not any("call" in step for step in program["steps"]) and "gate" not in program

    def _receive_greeting(self) -> None:
        """Receive what the process sends first, if it is there."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        if poll.poll(0):
            greeting = sys.getfilesystemencoding().encode()
            try:
                self._ready = self._sock.recv(_NUMBER) == greeting
            except OSError:
                pass
            self._ended = not self._ready

    def fork(
        self, program: dict[str, Any], ids: IdMaps, streams: tuple[int, ...], maps: dict[tuple[int, int], int]
    ) -> tuple[int, bool]:
        """Fork the first process of a container. `streams` are the descriptors of the socket, of the standard streams
        and of the outputs, -1 for none. Returns its number, which is that of a child of this process, and whether it is
        pid 1 (`pid1.clone_pid1`) or the helper (`pid1.run_helper`); 0 where the server has ended. Raises OSError where
        it cannot fork.
        """
        watched, joins = program.get("watched", ()), program.get("joins", {})
        optional = [number for number in streams if number >= 0]
        descriptors = [*optional, *watched, *joins.values(), *maps.values()]
        shape = ([number >= 0 for number in streams], len(watched), [*joins], [*maps])
        request = marshal.dumps((program, (ids.mode, ids.uids, ids.gids), shape))
        if len(descriptors) > _MOST_DESCRIPTORS:
            return 0, False
        rights = b"".join(number.to_bytes(4, sys.byteorder) for number in descriptors)
        try:
            message = len(request).to_bytes(_NUMBER, "little") + request
            sent = self._sock.sendmsg([message], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
            self._sock.sendall(memoryview(message)[sent:])
            answer = self._sock.recv(_ANSWER)
        except OSError:  # it was killed, or does not answer
            answer = b""
        if len(answer) != _ANSWER:  # its containers go on, as children of this process
            self._ended = True
            self._sock.close()
            return 0, False
        number = int.from_bytes(answer[:_NUMBER], "little", signed=True)
        if number < 0:
            raise OSError(-number, f"fork: {os.strerror(-number)}")
        return number, answer[_NUMBER:] == _PID1


def _own(sock: _socket.socket, until: _thread.LockType, _near: _socket.socket) -> None:
    """A thread's work: start the process, and wait for its end and for `until`. The kernel kills a container when the
    thread ends that its parent is (PR_SET_PDEATHSIG(2const)): this one, until it is closed. It refers to the `_near`
    end, too, so that no garbage collector finds that one before `ForkServer.__del__` has closed it.
    """
    from envtool.container.pod_spawn import import_path

    code = f"import sys; sys.path[:] = {import_path()!r}\nfrom envtool.container.fork_server import main\nmain()"
    try:
        child = _spawn(code, sock.fileno())
    except OSError:  # containers are forked by this process, as long as it can
        return
    finally:
        sock.close()
    os.waitpid(child, 0)
    until.acquire()


def _spawn(code: str, sock: int) -> int:
    actions: list[Any] = [
        (os.POSIX_SPAWN_DUP2, sock, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    ]
    if not os.environ.get("ENVTOOL_DEBUG"):
        actions.append((os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0))
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-X", f"utf8={sys.flags.utf8_mode}", "-I", "-S", "-c", code],
        {"PATH": "/usr/bin:/bin", **{name: os.environ[name] for name in _LOCALE if name in os.environ}},
        file_actions=actions,
        setpgroup=0,  # ^C at the terminal is for tasks
        setsigmask=(),
    )


# ---- the process -----------------------------------------------------------------------------------------------------


def main() -> NoReturn:
    """Serve the socket that is descriptor 0, until its other end is closed."""
    from envtool.container import enterable_init, opened_files, outputs, supervisor  # noqa: F401

    syscalls.command_line_range()
    for signal in _IGNORED_BY_SPAWN:  # a step would have them ignored, too
        syscalls.syscall("rt_sigaction", signal, bytes(32), None, 8)  # SIG_DFL; glibc's function refuses these
    gc.disable()
    gc.freeze()
    sock = _socket.socket(fileno=0)
    sock.sendall(sys.getfilesystemencoding().encode())
    while True:
        request, descriptors = _receive(sock)
        if not request:
            os._exit(0)
        try:
            number, kind = _fork(request, descriptors)
        except OSError as error:
            number, kind = -(error.errno or 5), _HELPER
        syscalls.close_all_but({0, 1, 2})  # the request's descriptors, and sources that were opened for it
        sock.sendall(number.to_bytes(_NUMBER, "little", signed=True) + kind)


def _receive(sock: _socket.socket) -> tuple[bytes, list[int]]:
    """Returns a request and its descriptors; an empty one at the end."""
    from envtool.container.messages import parse_ancillary

    data, descriptors = b"", list[int]()
    length = _NUMBER
    while len(data) < length:
        part, ancillary, _, _ = sock.recvmsg(min(_CHUNK, length - len(data)), _SPACE, _socket.MSG_CMSG_CLOEXEC)
        if not part:
            return b"", []
        data += part
        descriptors += parse_ancillary(ancillary)[1]
        if length == _NUMBER and len(data) >= _NUMBER:
            length += int.from_bytes(data[:_NUMBER], "little")
    return data[_NUMBER:], descriptors


def _fork(request: bytes, descriptors: list[int]) -> tuple[int, bytes]:
    """Returns the number of the first process of a container, which is a child of our parent, and its kind. Raises
    OSError.
    """
    from envtool.container import pid1, supervisor
    from envtool.container.userns import IdMaps

    program, numbers, (given, watched, joins, maps) = marshal.loads(request)
    remaining = iter(descriptors)
    sock, *stdio, output = (next(remaining) if is_given else -1 for is_given in given)
    if watched:
        program["watched"] = tuple(next(remaining) for _ in range(watched))
    if joins:
        program["joins"] = dict(zip(joins, remaining, strict=False))
    owners = dict(zip(maps, remaining, strict=False))
    program, ids = supervisor.load_functions(program), IdMaps(*numbers)
    streams = (stdio[0], stdio[1], stdio[2])
    try:
        return pid1.clone_pid1(program, ids, sock, streams, output, owners, syscalls.CLONE_PARENT), _PID1
    except OSError:  # the helper fails in the same way, and reports it
        pass
    child = syscalls.clone(syscalls.CLONE_PARENT)
    if child == 0:
        pid1.run_helper(program, ids, sock, streams, output, owners)
        os._exit(125)
    return child, _HELPER
