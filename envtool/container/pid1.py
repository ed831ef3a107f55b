"""The container's side of a start: from the fork to pid 1, which has the mounts made, runs the steps and reaps.

Runs in forked children of the supervisor (supervisor.py) and talks to it over one socket: messages up (messages.py),
single bytes down. Nothing may be imported once mounts are made: our installation may be covered by one, and after the
change of root the module would come from the image.

All of these processes hold a copy of the supervisor's memory, so no step may look into them: they are not dumpable
(prctl(2), PR_SET_DUMPABLE) from before the first step can run until each is executed or ends. Where there is one user
id, a step has the id of pid 1 and of the process that is about to become the next step. That process has neither the
socket nor anything else that it does not need; it reports through a pipe of its own to pid 1.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import fcntl
import gc
import os
import resource
import sys

from envtool.container import messages, rootfs, syscalls, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

DOCKER_CAPABILITIES = 0xA80425FB  # what Docker leaves to root by default
_FORK_GROWTH = 4096  # kilobytes by which a step may grow before it is executed
# Seconds between the looks at the processes of a step that is too short for the supervisor's first one.
_LOOKS = (0.005, 0.015, 0.04)
_MAX_STEP_MESSAGE = 65536  # bytes of a message from a step
_EOPNOTSUPP = 95
_unused: list[object] = []  # to free it would copy the pages that it is in
_TITLE = b"envtool: a container"
GO = b"g"  # what lets the first step of a program with a `gate` begin
FORWARDED_SIGNALS = (1, 2, 3, 12, 15)  # to the running step: HUP, INT, QUIT, USR2, TERM
_END_ALL = syscalls.SIGUSR1  # from the supervisor: kill everything now, then collect
HANDLED_SIGNALS = (*FORWARDED_SIGNALS, _END_ALL, syscalls.SIGCHLD)


def fork(
    program: dict[str, Any], ids: userns.IdMaps, streams: tuple[int, ...], maps: dict[tuple[int, int], int]
) -> tuple[int, bool]:
    """Fork the first process of a container in this process. `streams` are the descriptors of the socket, of the
    standard streams and of the outputs, -1 for none. Returns its number, and whether it is pid 1: a process that has
    one thread needs no helper. Raises OSError.
    """
    sock, *stdio, output = streams
    arguments = (program, ids, sock, (stdio[0], stdio[1], stdio[2]), output, maps)
    if syscalls.has_one_thread():
        try:
            return clone_pid1(*arguments), True
        except OSError:  # the helper fails in the same way, and reports it
            pass
    helper = userns.fork()
    if helper == 0:
        run_helper(*arguments)
        os._exit(125)
    return helper, False


def clone_pid1(
    program: dict[str, Any],
    ids: userns.IdMaps,
    sock: int,
    stdio: tuple[int, int, int],
    output: int,
    maps: dict[tuple[int, int], int],
    flags: int = 0,
) -> int:
    """Make pid 1 in its namespaces by one clone(2), without a helper, from a process that has one thread. Returns its
    number. Raises OSError where that is not possible.
    """
    if "joins" in program:
        raise OSError(_EOPNOTSUPP, "namespaces of others")
    root, opened = None, list[int]()
    try:
        if stdio[0] < 0:  # in this mount namespace, as a helper: in the container's own it would have another name
            stdio = (os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), *stdio[1:])
            opened.append(stdio[0])
        if ids.mode == "root":  # it opens sources in the namespaces that they come from, a user in those of pid 1
            if "extra" in program:  # they may copy files, or wait
                raise OSError(_EOPNOTSUPP, "operations that few containers need")
            root = rootfs.open_sources(program, ids, maps, copies=False)
            opened += root.descriptors()
        namespaces = syscalls.new_namespaces(network=program["network"]) | syscalls.CLONE_NEWPID
        child = userns.clone(namespaces | flags)
        if child == 0:
            _begin_as_pid1(program, ids, sock, stdio, output, root)
        return child
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _begin_as_pid1(
    program: dict[str, Any],
    ids: userns.IdMaps,
    sock: int,
    stdio: tuple[int, int, int],
    output: int,
    root: rootfs.Rootfs | None,
) -> NoReturn:
    """What the helper does, in a pid 1 that was made without one."""
    gc.disable()
    try:
        _check_is_pid1()  # else all that follows would change the caller's namespaces
        kept = {*program.get("watched", ()), *_gate(program), *(root.descriptors() if root else ())}
        sock, output = arrange_descriptors(sock, stdio, output, kept)
        syscalls.raise_oom_score()
        messages.send(sock, begin_namespaces(program, 0), "maps")
        if root is None:
            root = rootfs.open_sources(program, ids, {})
        if os.read(sock, 1) != b"k":
            os._exit(125)
        become_root(ids, root)
        die_with_supervisor()
        if messages.is_closed(sock):
            os._exit(125)
        run_pid1(program, ids, sock, output, root)
    except BaseException as error:
        messages.report_error(sock, error)
        os._exit(125)


def run_helper(
    program: dict[str, Any],
    ids: userns.IdMaps,
    sock: int,
    stdio: tuple[int, int, int],
    output: int,
    maps: dict[tuple[int, int], int],
) -> None:
    """The forked child of the supervisor: make the namespaces, then pid 1 as a sibling of this process, and end."""
    gc.disable()  # a collection would touch, and so copy, every page that the supervisor has
    try:
        kept = {*maps.values(), *program.get("watched", ()), *program.get("joins", {}).values(), *_gate(program)}
        sock, output = arrange_descriptors(sock, stdio, output, kept)
        syscalls.raise_oom_score()
        # Root has its rights over files in the namespace that they come from, so it clones sources before unshare(2);
        # a user may clone only after it, in a mount namespace of the user's own.
        root = rootfs.open_sources(program, ids, maps) if ids.mode == "root" else None
        joined = program["join"](program["joins"], ids, program["user"]) if "joins" in program else 0
        try:
            syscalls.unshare(syscalls.new_namespaces(network=program["network"]) & ~joined)
        except OSError as error:
            raise messages.StageError("unshare", error) from error
        os.write(sock, messages.pack("maps"))
        # While the supervisor writes the maps, for which newuidmap takes a while, do the work that needs no ids.
        if root is None:
            root = rootfs.open_sources(program, ids, maps)
        log = begin_namespaces(program, joined)
        if os.read(sock, 1) != b"k":
            os._exit(125)
        become_root(ids, root)
        child = userns.clone(syscalls.CLONE_NEWPID | syscalls.CLONE_PARENT)
        if child == 0:
            _pid1(program, ids, sock, output, root)
        messages.send(sock, log, "pid", child)  # with the descriptors of the network's log
        os._exit(0)
    except BaseException as error:
        messages.report_error(sock, error)
        os._exit(125)


def begin_namespaces(program: dict[str, Any], joined: int) -> list[int]:
    """Do what new namespaces need and what needs no ids. Returns the descriptors of the network's log."""
    log: list[int] = []
    if not (program["network"] or joined & syscalls.CLONE_NEWNET):
        syscalls.loopback_up()
        log = syscalls.open_network_log()
    if not joined & syscalls.CLONE_NEWUTS:
        _socket.sethostname(program["hostname"])
    syscalls.limit_bounding_set(DOCKER_CAPABILITIES if program["user"] == "root" else 0)
    syscalls.set_process_title(_TITLE)  # steps must not see the caller's command line
    return log


def become_root(ids: userns.IdMaps, root: rootfs.Rootfs) -> None:
    """Become the container's root, once its maps are written."""
    if ids.mode != "root":
        rootfs.copy_foreign_project(root)
    rootfs.prepare_copies(root)
    _forbid_imports()
    userns.become_root(ids.mode)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # not before: who writes the maps must own our /proc files


def arrange_descriptors(sock: int, stdio: tuple[int, int, int], output: int, needed: set[int]) -> tuple[int, int]:
    """Put the standard descriptors in their places and close all that are not needed. Returns the new `sock` and
    `output`.
    """
    # All go above the others first: the caller's may be 0, 1 and 2 in any order.
    floor = max((*needed, 19)) + 1
    high = [fcntl.fcntl(n, fcntl.F_DUPFD_CLOEXEC, floor) if n >= 0 else -1 for n in (sock, *stdio, output)]
    if high[1] < 0:
        high[1] = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    for target in range(3):
        os.dup2(high[1 + target], target, inheritable=True)
    syscalls.close_all_but({0, 1, 2, high[0], *needed, *([high[4]] if output >= 0 else [])})
    return high[0], high[4]


def _pid1(program: dict[str, Any], ids: userns.IdMaps, sock: int, output: int, root: rootfs.Rootfs) -> NoReturn:
    try:
        die_with_supervisor()
        if os.read(sock, 1) != b"g":
            os._exit(125)
        run_pid1(program, ids, sock, output, root)
    except BaseException as error:
        messages.report_error(sock, error)
        os._exit(125)


def die_with_supervisor() -> None:
    """After the change of ids, which clears it. The socket tells of a supervisor that died before."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, syscalls.SIGKILL)
    os.setsid()
    os.umask(0o022)


def run_pid1(program: dict[str, Any], ids: userns.IdMaps, sock: int, output: int, root: rootfs.Rootfs) -> NoReturn:
    """Be pid 1: make the file systems, run the steps, and end."""
    _check_is_pid1()
    made = rootfs.build_rootfs(root)
    for begin in program.get("begin", ()):
        begin()
    kept = {*program.get("kept", ()), *_gate(program), *([output] if output >= 0 else [])}
    syscalls.close_all_but({0, 1, 2, sock, *kept})
    terminal = _send_pty(program, sock) if program.get("terminal") else -1
    init = program["init"](program, ids, sock) if "init" in program else Init()
    if "varied" in program:
        program["varied"].begin()
    # Where mount points are removed at the end, each step confines itself.
    program["confined"] = not made and syscalls.confine_programs()
    init.looks = os.readlink("/proc/self") == "1"  # else it is that of a container around envtool
    used = _begin_usage(program, sock, own=init.looks)
    status = init.run(program, ids, sock, terminal)
    init.end_all()
    os.write(sock, messages.pack("end", status, *_measure_usage(used, init.largest)))
    if "lookups" in program:
        program["lookups"].end()
    if output >= 0:
        program["collect"](program["outputs_at"], program["outputs"], output, program["outputs_limit"])
    rootfs.remove_mount_points(made)
    os.write(sock, messages.pack("done"))
    os._exit(0)


def _begin_usage(program: dict[str, Any], sock: int, *, own: bool) -> int:
    """Send "up", with what the supervisor looks at while steps run: /proc, if it has the processes of this container
    alone (`own`), and a directory of the file system in memory that holds what they write. Returns the bytes that this
    holds now; -1 if they write to a disk.
    """
    descriptors = []
    if own:
        descriptors.append(os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    in_memory = not program["operations"][0][5]  # no scratch on disk
    if in_memory and descriptors:
        descriptors.append(os.open("/dev", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    messages.send(sock, descriptors, "up")
    for descriptor in descriptors:
        os.close(descriptor)
    return syscalls.bytes_used("/dev") if in_memory else -1


def _measure_usage(before: int, seen: int) -> tuple[int, int, int]:
    """Returns what the steps used: microseconds of the processors, bytes of the largest process, and bytes that they
    wrote (since `before`, and to disks). The kernel's peak of a step is at least that of this process, of which it was
    a fork before it was executed; if the step stayed below, the peak is what was `seen` of its processes (kilobytes).
    """
    usage, own = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
    memory = usage.ru_maxrss if usage.ru_maxrss > own.ru_maxrss + _FORK_GROWTH else seen
    growth = max(0, syscalls.bytes_used("/dev") - before) if before >= 0 else 0
    return int((usage.ru_utime + usage.ru_stime) * 1e6), memory * 1024, growth + usage.ru_oublock * 512


def _largest_process() -> int:
    """Returns the kilobytes of the largest process in this container, at its largest. What is still a fork of pid 1
    does not count. Returns 0 where the container's memory is at its limit, and the kernel has none for the list.
    """
    largest = 0
    try:
        names = os.listdir("/proc")
    except OSError:  # ENOMEM; the supervisor sees which limit that is
        return 0
    for name in names:
        if name.isdigit() and name != "1":
            try:
                with open(f"/proc/{name}/cmdline", "rb", buffering=0) as file:
                    if file.read(len(_TITLE)) == _TITLE:
                        continue
                with open(f"/proc/{name}/status", "rb", buffering=0) as file:
                    peak = file.read(4096).partition(b"VmHWM:")[2]
                largest = max(largest, int(peak.split(None, 1)[0]))
            except (OSError, IndexError):  # it has ended
                continue
    return largest


def _check_is_pid1() -> None:
    if os.getpid() != 1:  # killing all processes of a container would kill the caller's
        raise messages.StageError("internal", OSError(), "it has no process ids of its own")


def _forbid_imports() -> None:
    """Make every later import fail, wherever envtool is installed: the ids of the container may not be allowed to read
    the installation, and the first mount may cover it.
    """
    _unused.extend((sys.path, sys.path_hooks, sys.path_importer_cache))
    sys.path, sys.path_hooks, sys.path_importer_cache = [], [], {}
    sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") != "PathFinder"]


def _send_pty(program: dict[str, Any], sock: int) -> int:
    """Make a pty and send its master to the supervisor. Returns the slave."""
    master, slave = syscalls.open_pty(userns.TASK_UID if program["user"] == "user" else -1)
    messages.send(sock, [master], "pty")
    os.close(master)
    os.read(sock, 1)  # the supervisor has set the window size
    return slave


class Init:
    """pid 1 while steps run: the process group of the running step, and whether all is to end.

    Signals are blocked, and taken one by one: none is lost between a look at the children and the wait for more.
    """

    __slots__ = ("ending", "largest", "looks", "running")

    def __init__(self) -> None:
        self.running = 0
        self.looks = False  # whether /proc has the processes of this container alone
        self.largest = 0  # kilobytes of the largest process that was seen
        self.ending = False
        _signal.pthread_sigmask(_signal.SIG_SETMASK, HANDLED_SIGNALS)

    def run(self, program: dict[str, Any], ids: userns.IdMaps, sock: int, terminal: int) -> int:
        """Run the steps one after the other. Returns 0, or the status of the first that fails, as a shell shows it."""
        for step in program["steps"]:
            if self.ending:
                return 128 + syscalls.SIGTERM
            read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self.running = child = fork_step(calls="call" in step)
            if child == 0:
                run_step(program, step, ids, write_end, terminal)
            os.close(write_end)
            for gate in _gate(program):  # only the first step waits
                os.close(gate)
                del program["gate"]
            status = self.wait(child)
            self.running = 0
            if status:
                _forward_failure(read_end, sock)
                return status
            os.close(read_end)
        return 0

    def wait(self, child: int) -> int:
        """Handle signals and reap until `child` ends. Returns its status, as a shell shows it."""
        looks = [*_LOOKS[::-1]] if self.looks else []
        while True:
            number = self._await_signal(looks)
            if number != syscalls.SIGCHLD:
                self.handle_signal(number)
                continue
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == child:
                    status = os.waitstatus_to_exitcode(ended[1])
                    return status if status >= 0 else 128 - status

    def _await_signal(self, looks: list[float]) -> int:
        """Returns the next signal. Looks at the processes after each of these times, and removes it from the list."""
        while looks:
            info = _signal.sigtimedwait(HANDLED_SIGNALS, looks[-1])
            if info is not None:
                return int(info.si_signo)
            looks.pop()
            self.largest = max(self.largest, _largest_process())
        return int(_signal.sigwait(HANDLED_SIGNALS))

    def handle_signal(self, number: int) -> None:
        """Do what the supervisor wants by a signal: forward it to the running step, or kill all."""
        if number == _END_ALL:
            self.ending = True
            try:
                os.kill(-1, syscalls.SIGKILL)
            except ProcessLookupError:
                pass
            return
        if number in {syscalls.SIGHUP, syscalls.SIGINT, syscalls.SIGTERM}:
            self.ending = True  # no further step
        if self.running:
            signal_group(self.running, number)

    def end_all(self) -> None:
        """Kill and reap every other process: nothing may write while outputs are collected."""
        try:
            os.kill(-1, syscalls.SIGKILL)
            while True:
                os.waitpid(-1, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def fork_step(*, calls: bool = False) -> int:
    """Fork. Returns 0 in the child, where no signal is blocked and no handler is left of those that Python has set.
    Only a step that `calls` a function needs Python's own handlers of a fork: pid 1 has one thread.
    """
    child = os.fork() if calls else syscalls.clone(0)
    if child == 0:
        for number in (1, 2, 3, 10, 12, 13, 15, 25):
            _signal.signal(number, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, [])
    return child


def signal_group(child: int, number: int) -> None:
    """Send a signal to the process group of a child that is not reaped yet."""
    try:
        try:
            os.killpg(child, number)
        except ProcessLookupError:  # between the fork and its setsid
            os.kill(child, number)
    except OSError:  # it has another user's id, and no process of ours is left in its group
        pass


def _forward_failure(pipe: int, sock: int) -> None:
    """Forward what a step reported before its execve, or a failed `call`. No other message is passed on."""
    try:
        message = os.read(pipe, _MAX_STEP_MESSAGE)
        if message and messages.unpack(message)[:1] in (("error",), ("raised",)):
            os.write(sock, message)
    except (BlockingIOError, ValueError):  # its children still hold the pipe; a text that was cut off
        pass


def run_step(program: dict[str, Any], step: dict[str, Any], ids: userns.IdMaps, report: int, terminal: int) -> NoReturn:
    """The forked child of pid 1 becomes a step. It has the descriptors 0, 1 and 2, or takes them from `terminal`."""
    try:
        needed = program["varied"].needed_descriptors() if "varied" in program else set()
        syscalls.close_all_but({0, 1, 2, report, *needed, *_gate(program), *([terminal] if terminal >= 0 else [])})
        os.setsid()
        if terminal >= 0:
            fcntl.ioctl(terminal, 0x540E, 0)  # TIOCSCTTY
            for target in range(3):
                os.dup2(terminal, target, inheritable=True)
        limits = program.get("limits", {})
        syscalls.limit_resources(*(int(limits[name][0]) if name in limits else 0 for name in ("pids", "files")))
        confined = program["confined"] or syscalls.confine_programs()
        _restrict(program, ids, step)
        try:
            os.chdir(step["cwd"])
        except OSError as error:
            raise messages.StageError("cwd", error, f"{step['cwd']}: {error.strerror}") from error
        for gate in _gate(program):
            if os.read(gate, 1) != GO:
                os._exit(125)
            os.close(gate)
        if "call" in step:
            step["run"](step, report)
        syscalls.execute(step["argv"], step["env"], confined=confined)
    except BaseException as error:
        messages.report_error(report, error)
        os._exit(125)


def _gate(program: dict[str, Any]) -> tuple[int, ...]:
    """Returns the descriptor by which the caller lets the first step begin, or nothing where no step waits."""
    return (program["gate"],) if "gate" in program else ()


def _restrict(program: dict[str, Any], ids: userns.IdMaps, step: dict[str, Any]) -> None:
    if program["user"] == "root":
        user = program["become_user"](ids, step) if "user" in step else 0
        _drop_capabilities(0 if user else DOCKER_CAPABILITIES)
        _load_filter(program, program["seccomp_single" if ids.mode == "single" else "seccomp"])
        return
    if ids.mode != "single":
        userns.change_ids(userns.TASK_UID, userns.TASK_UID, [])
    _drop_capabilities(0)
    _load_filter(program, program["seccomp"])


def _drop_capabilities(capabilities: int) -> None:
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    syscalls.set_capabilities(capabilities)


def _load_filter(program: dict[str, Any], code: bytes) -> None:
    if "varied" in program:
        program["varied"].install_filter(code)
    else:
        syscalls.load_seccomp(code)
