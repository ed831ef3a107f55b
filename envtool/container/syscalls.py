"""System calls that `os` lacks, on x86_64 and aarch64. On the hot path: imports what is loaded anyway, and `_ctypes`.

Numbers are those of the kernel's `arch/x86/entry/syscalls/syscall_64.tbl` and `include/uapi/asm-generic/unistd.h`;
calls from 424 on have one number everywhere. Every function raises OSError with the call's name as its text.

Importing `ctypes` takes 1.5 ms of each start, as much as all of our own modules, for types of every size and order,
structures and callbacks. Functions that take numbers and bytes need `_ctypes` alone; the types below are defined as
ctypes defines them.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import fcntl
import os
import sys
from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_PYTHONAPI,
    FUNCFLAG_USE_ERRNO,
    CFuncPtr,
    _SimpleCData,
    addressof,
    dlopen,
    dlsym,
    get_errno,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

MACHINE = os.uname().machine
X86_64 = MACHINE == "x86_64"
AUDIT_ARCH = 0xC000003E if X86_64 else 0xC00000B7

# fmt: off
NUMBERS = {
    "pidfd_send_signal": 424, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
    "pidfd_open": 434, "close_range": 436, "openat2": 437, "pidfd_getfd": 438, "mount_setattr": 442,
    "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
    **({"clone": 56, "pivot_root": 155, "mount": 165, "umount2": 166, "capset": 126, "seccomp": 317, "unshare": 272,
        "setns": 308, "signalfd4": 289, "getdents64": 217, "inotify_init1": 294, "inotify_add_watch": 254,
        "inotify_rm_watch": 255, "rt_sigaction": 13, "setfsuid": 122, "statfs": 137}
       if X86_64 else
       {"clone": 220, "pivot_root": 41, "mount": 40, "umount2": 39, "capset": 91, "seccomp": 277, "unshare": 97,
        "setns": 268, "signalfd4": 74, "getdents64": 61, "inotify_init1": 26, "inotify_add_watch": 27,
        "inotify_rm_watch": 28, "rt_sigaction": 134, "setfsuid": 151, "statfs": 43}),
}
# fmt: on

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_PARENT = 0x10000000, 0x20000000, 0x40000000, 0x8000
_CLONE_VM, _CLONE_VFORK = 0x100, 0x4000
WALL = 0x40000000  # of waitpid(2): children that send no signal when they end, too

SIGHUP, SIGINT, SIGKILL, SIGUSR1, SIGTERM, SIGCHLD = 1, 2, 9, 10, 15, 17
FIONREAD = 0x541B  # ioctl_tty(2); the same on x86_64 and aarch64

MAX_PROCESSES = 8192  # processes and threads of one container, where the spec has no limit
_STACK = 1 << 15  # bytes, for one system call
_LOG_BUFFER = 1 << 16  # bytes: some 150 queries; further ones are not kept
_OOM_SCORE = 500  # of 1000: how soon the kernel kills it when memory ends (proc_pid_oom_score_adj(5))

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS = 1, 4, 8
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 24, 38, 47


class _Int(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _Long(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Bytes(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "z"  # char *


class _Char(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "c"


class _Function(CFuncPtr):
    """Keeps the GIL: these calls are short, and nothing else may run between a fork and what follows it."""

    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_PYTHONAPI | FUNCFLAG_USE_ERRNO
    _restype_ = _Long


_libc = dlopen(None, 0)  # type: ignore[arg-type]  # the libraries that this process has loaded
_syscall = _Function(dlsym(_libc, "syscall"))
_memmove = _Function(dlsym(_libc, "memmove"))
_memmove.argtypes = (_Long, _Bytes, _Long)
_clone = _Function(dlsym(_libc, "clone"))
_clone.restype = _Int
_exit_function = dlsym(_libc, "_exit")
_prctl = _Function(dlsym(_libc, "prctl"))
_prctl.restype = _Int
_prctl.argtypes = (_Int, _Long, _Long, _Long, _Long)


def syscall(name: str, *arguments: int | str | bytes | None) -> int:
    """Call by name. A str becomes a path in the encoding of the file system; bytes and None are passed as pointers."""
    raw = [
        _Long(a) if isinstance(a, int) else None if a is None else _Bytes(a if isinstance(a, bytes) else os.fsencode(a))
        for a in arguments
    ]
    result = int(_syscall(_Long(NUMBERS[name]), *raw))
    if result < 0:
        error = get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


_LOOKED_UP = b"".join(
    number.to_bytes(8, sys.byteorder) for number in (os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, 0, 0x20 | 0x01)
)  # struct open_how: flags, mode, RESOLVE_CACHED | RESOLVE_NO_XDEV


def open_looked_up(directory: int, name: str) -> int:
    """Returns a descriptor (O_PATH) of a name in a directory if the kernel has it in its cache of looked-up names
    (openat2(2), RESOLVE_CACHED), without asking the file system; else a negative errno: EAGAIN for a name that it does
    not have, ENOENT for one that it knows to be missing, EXDEV for a mount point.
    """
    result = int(
        _syscall(_Long(NUMBERS["openat2"]), _Long(directory), _Bytes(os.fsencode(name)), _Bytes(_LOOKED_UP), _Long(24))
    )
    return result if result >= 0 else -get_errno()


def prctl(option: int, argument: int = 0, third: int = 0) -> None:
    """Change this process (man 2 prctl) by integer arguments."""
    if _prctl(option, argument, third, 0, 0) < 0:
        error = get_errno()
        raise OSError(error, f"prctl {option}: {os.strerror(error)}")


def die_with_parent(parent: int) -> None:
    """Be killed when the process `parent`, which started this one, ends; at once if it has ended already, since then no
    signal comes (PR_SET_PDEATHSIG(2const)).
    """
    prctl(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:
        os._exit(137)


def unshare(flags: int) -> None:
    """Enter new namespaces. (os.unshare exists only from Python 3.12 on.)"""
    syscall("unshare", flags)


def new_namespaces(*, network: bool) -> int:
    """Returns the flags for the namespaces of a container, but for that of its processes; with `network` it has that of
    its caller.
    """
    flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
    return flags if network else flags | CLONE_NEWNET


def clone(flags: int) -> int:
    """Fork by the raw system call, without a new stack, like fork. Returns 0 in the child.

    Only for a process that has one thread: glibc's and Python's handlers for fork do not run.
    """
    return syscall("clone", flags | SIGCHLD, 0, 0, 0, 0)


def has_one_thread() -> bool:
    """Returns whether this process has one thread, by the kernel's count; False where it cannot be asked."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def clone_ended(flags: int) -> int:
    """Make a process that has ended when this returns. Its parent gets no signal, and waits for it with WALL.

    The process shares this one's memory, which so is not copied, has a stack of its own, and calls _exit(2) at once:
    like posix_spawn(3), from a process with any number of threads.
    """
    stack = (_Char * _STACK)()
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())  # no handler of ours runs in it
    try:
        top = addressof(stack) + _STACK
        child = int(_clone(_Long(_exit_function), _Long(top), _Int(flags | _CLONE_VM | _CLONE_VFORK), _Long(0)))
        error = get_errno()
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
    if child < 0:
        raise OSError(error, f"clone: {os.strerror(error)}")
    return child


def close_all_but(descriptors: set[int]) -> None:
    """Close every descriptor but these (close_range(2), Linux 5.9)."""
    first = 0
    for descriptor in sorted(descriptors):
        if descriptor > first:
            syscall("close_range", first, descriptor - 1, 0)
        first = descriptor + 1
    syscall("close_range", first, 0x7FFFFFFF, 0)


_command_line: tuple[int, int] | None = None


def command_line_range() -> tuple[int, int]:
    """Returns where the command line of this process begins and ends in its memory, and in that of every process that
    it forks; zeros where /proc is hidden, which then shows the command line to nobody.
    """
    global _command_line  # noqa: PLW0603
    if _command_line is None:
        try:
            descriptor = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return 0, 0
        fields = os.read(descriptor, 4096).rpartition(b")")[2].split()
        os.close(descriptor)
        _command_line = int(fields[45]), int(fields[46])  # arg_start and arg_end, 48 and 49 in proc_pid_stat(5)
    return _command_line


def open_pty(owner: int) -> tuple[int, int]:
    """Make a pty of the container's own devpts, in the container; it belongs to `owner` (-1: root). Returns its master
    and its slave.
    """
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, 0x40045431, bytes(4))  # TIOCSPTLCK: unlock
    number = int.from_bytes(fcntl.ioctl(master, 0x80045430, bytes(4)), sys.byteorder)  # TIOCGPTN
    slave = os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if owner >= 0:
        os.fchown(slave, owner, -1)
    return master, slave


def set_process_title(title: bytes) -> None:
    """Overwrite the command line, which all may read (proc_pid_cmdline(5)), with `title`, cut to its length."""
    begin, end = command_line_range()
    if begin:
        _memmove(begin, title.ljust(end - begin, b"\0"), end - begin)


def raise_oom_score() -> None:
    """Let the kernel kill this container before the machine's other work. A step may undo this, unless root called."""
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # /proc is hidden from us
        return
    try:
        if int(os.read(descriptor, 16)) < _OOM_SCORE:
            os.pwrite(descriptor, b"%d" % _OOM_SCORE, 0)
    finally:
        os.close(descriptor)


def requested_signal(cancel: int) -> int:
    """Returns the signal that the caller wants sent. The number of bytes in the pipe is the signal: many containers
    watch one pipe, so none of them may read from it.
    """
    waiting = int.from_bytes(fcntl.ioctl(cancel, FIONREAD, bytes(4)), sys.byteorder)
    return waiting if waiting in (SIGHUP, SIGINT, SIGTERM) else SIGTERM


def loopback_up() -> None:
    """Bring loopback up, with an address of each family besides 127.0.0.1 and ::1: glibc's getaddrinfo(3) does not
    count these two for AI_ADDRCONFIG, and would not resolve `localhost` for a program that asks for IPv4 or IPv6 by it.
    """
    control = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
    try:  # SIOCSIFFLAGS: UP, LOOPBACK, RUNNING
        fcntl.ioctl(control.fileno(), 0x8914, b"lo".ljust(16, b"\0") + (0x49).to_bytes(2, sys.byteorder) + bytes(22))
    finally:
        control.close()
    requests = _address_message(_socket.AF_INET, b"\x7f\xff\xff\xfe") + _address_message(
        _socket.AF_INET6, b"\xfe\x80" + bytes(13) + b"\1"
    )
    try:
        netlink = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 0)  # NETLINK_ROUTE
    except OSError:  # a sandbox around us may forbid netlink: then there is plain loopback
        return
    try:  # the kernel has handled the requests when send returns; without IPv6 it refuses the second
        netlink.send(requests)
    finally:
        netlink.close()


def _address_message(family: int, address: bytes) -> bytes:
    """Returns the netlink message that gives `lo`, the first interface of every network namespace, a further address
    (rtnetlink(7): RTM_NEWADDR, NLM_F_CREATE, RT_SCOPE_HOST, IFA_LOCAL).
    """

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, sys.byteorder)

    body = bytes((family, len(address) * 8, 0, 254)) + number(1, 4) + number(4 + len(address), 2) + number(2, 2)
    return number(16 + len(body) + len(address), 4) + number(20, 2) + number(0x401, 2) + bytes(8) + body + address


# Classic BPF over an IPv4 packet: pass 512 bytes of what goes to port 53. (8 bytes each: code, jumps, value)
_TO_PORT_53 = bytes.fromhex("b100000000000000 4800000002000000 1500000135000000 0600000000020000 0600000000000000")


def open_network_log() -> list[int]:
    """Returns descriptors by which is seen later what processes of this network namespace tried to reach
    (lone_network.py): a socket that gets a copy of each DNS query which is sent within it, and the kernel's counters of
    IPv4 and IPv6; none where the kernel refuses that. Nothing else changes: who asks is refused at once, as ever.
    """
    descriptors = []
    try:
        log = _socket.socket(_socket.AF_INET, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 17)  # UDP
        _memory, program = filter_program(_TO_PORT_53)
        log.setsockopt(_socket.SOL_SOCKET, 26, program)  # SO_ATTACH_FILTER, struct sock_fprog
        log.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVBUF, _LOG_BUFFER)
        descriptors.append(log.detach())
        descriptors.append(os.open("/proc/thread-self/net/snmp", os.O_RDONLY | os.O_CLOEXEC))
        descriptors.append(os.open("/proc/thread-self/net/snmp6", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:  # there is no IPv6, or a sandbox around us
        pass
    return descriptors


def limit_resources(processes: int, files: int) -> None:
    """Limit what this process and those that it starts may have: processes and threads of its user (0: the default),
    open files of each process (0: as many as this one), and no core file. Limits of the caller that are lower stay.
    """
    import resource  # pid 1 has it

    # A limit of 0 does not keep a crash from a core handler of the host (core(5), a pattern with a pipe); 1 does.
    if resource.getrlimit(resource.RLIMIT_CORE)[1]:
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    # A fork bomb stays inside: processes are counted by user namespace (since 5.14; before, by user of the host). With
    # a limit of the spec there is room beyond it, so that limit_watch.py can see that it is exceeded.
    most = processes + max(8, processes // 8) if processes else MAX_PROCESSES
    for kind, value in ((resource.RLIMIT_NPROC, most), (resource.RLIMIT_NOFILE, files)):
        if value:
            soft, hard = (value if limit < 0 else min(limit, value) for limit in resource.getrlimit(kind))
            resource.setrlimit(kind, (soft, hard))


def bytes_used(path: str | int) -> int:
    """Returns the bytes that are in use on the file system of a path or descriptor."""
    status = os.statvfs(path)
    return (status.f_blocks - status.f_bfree) * status.f_bsize


def file_system_type(path: str) -> int:
    """Returns the type of a path's file system: `f_type` of statfs(2)."""
    status = (_Char * 256)()
    result = int(_syscall(_Long(NUMBERS["statfs"]), _Bytes(os.fsencode(path)), status))
    if result < 0:
        error = get_errno()
        raise OSError(error, f"statfs: {os.strerror(error)}")
    return int.from_bytes(bytes(status)[:8], sys.byteorder)


def limit_bounding_set(keep: int) -> None:
    """Drop every capability that is not in the bit mask `keep` from the bounding set; those that are held stay."""
    drop = _prctl  # called forty times at each start
    for capability in range(64):
        if not keep >> capability & 1 and drop(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            error = get_errno()
            if error != 22:  # EINVAL: this kernel knows no more
                raise OSError(error, f"prctl {PR_CAPBSET_DROP}: {os.strerror(error)}")
            break
    prctl(PR_CAP_AMBIENT, 4)  # PR_CAP_AMBIENT_CLEAR_ALL


def set_capabilities(mask: int) -> None:
    """Set the effective and permitted capabilities to `mask`, the inheritable ones to none (capset(2), version 3)."""
    low, high = (mask & 0xFFFFFFFF).to_bytes(4, "little"), (mask >> 32).to_bytes(4, "little")
    header = (0x20080522).to_bytes(4, "little") + bytes(4)
    syscall("capset", header, low + low + bytes(4) + high + high + bytes(4))


def filter_program(code: bytes) -> tuple[object, bytes]:
    """Returns a struct sock_fprog of classic BPF (linux/filter.h), and the memory that it points to, which its caller
    keeps until the kernel has read it."""
    memory = _Bytes(code)
    return memory, (len(code) // 8).to_bytes(8, sys.byteorder) + bytes(memory)  # of a pointer: its address


def load_seccomp(program: bytes, *, listen: bool = False, all_threads: bool = False) -> int:
    """Install a classic BPF filter for this process and all that it becomes (seccomp(2)). With `listen` it returns the
    descriptor on which the kernel notifies of the calls that another process answers (seccomp_unotify(2)). With
    `all_threads` it is a filter of the threads that there are already, too.
    """
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    _memory, filters = filter_program(program)
    flags = (8 if listen else 0) | (1 if all_threads else 0)  # SECCOMP_FILTER_FLAG_NEW_LISTENER, _TSYNC
    return syscall("seccomp", 1, flags, filters)  # SECCOMP_SET_MODE_FILTER


def confine_programs() -> bool:
    """Let this process and its children execute only files below the root (landlock(7)): /proc/self/exe, which is our
    own program on the host until they are executed, no more. Neither may mount anything from then on. Returns False
    where the kernel cannot: before Linux 5.19 the same would forbid renames from one directory to another.
    """
    rights = (1 << 0 | 1 << 13).to_bytes(8, "little")  # LANDLOCK_ACCESS_FS_EXECUTE, _REFER
    try:
        rules = syscall("landlock_create_ruleset", rights, len(rights), 0)
    except OSError:
        return False
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        below = rights + root.to_bytes(4, sys.byteorder)
        syscall("landlock_add_rule", rules, 1, below, 0)  # LANDLOCK_RULE_PATH_BENEATH
        syscall("landlock_restrict_self", rules, 0)
    except OSError:  # sixteen confinements around us
        return False
    finally:
        os.close(root)
        os.close(rules)
    return True


def is_own_program(path: str) -> bool:
    """Returns whether executing a file would execute the program that runs here, by a link or as the interpreter of a
    script. What others change meanwhile is not seen: for kernels that cannot confine programs.
    """
    try:
        for _ in range(5):  # as often as the kernel follows interpreters (execve(2))
            if os.path.samefile(path, "/proc/self/exe"):
                return True
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # it may be a fifo
            words = os.read(file, 256).partition(b"\n")[0].split()
            os.close(file)
            if not words or not words[0].startswith(b"#!"):
                return False
            path = os.fsdecode(words[0][2:] or b"".join(words[1:2]))
    except OSError:
        pass
    return False


def execute(argv: tuple[str, ...], env: dict[str, str], *, confined: bool) -> NoReturn:
    """Execute argv, with PATH searched in the step's own environment (os.execvpe imports, and uses ours)."""
    name = argv[0]
    paths = [name] if "/" in name else [f"{d or '.'}/{name}" for d in env.get("PATH", "").split(":")]
    status, reason = 127, "not found"
    for path in paths:
        try:
            _execve(path, argv, env, confined=confined)
        except (FileNotFoundError, NotADirectoryError):
            if os.path.isfile(path):  # the file exists: the interpreter in its first line, or its loader, does not
                status, reason = 127, "its interpreter or loader is not found"
        except OSError as error:
            if error.errno == 8 and os.access(path, os.X_OK):  # ENOEXEC: a script without #!
                argv, name = ("/bin/sh", path, *argv[1:]), "/bin/sh"
                try:
                    _execve("/bin/sh", argv, env, confined=confined)
                except OSError as second:
                    error = second
            if status == 127:
                status, reason = 126, str(error.strerror).lower()
    os.write(2, f"envtool: {name}: {reason}\n".encode())
    os._exit(status)


def _execve(path: str, argv: tuple[str, ...], env: dict[str, str], *, confined: bool) -> NoReturn:
    """Execute a file, never our own program: its owner is perhaps the user of the step, who then could change it on the
    host through /proc/self/exe (CVE-2019-5736). If `confined`, the kernel sees to that.
    """
    if not confined and is_own_program(path):
        raise PermissionError(13, "permission denied")
    os.execve(path, argv, env)


def getdents(directory: int, buffer: object, size: int) -> int:
    """Fill a ctypes buffer with the next entries of an open directory (getdents64(2)). Returns the number of bytes."""
    result = int(_syscall(_Long(NUMBERS["getdents64"]), _Long(directory), buffer, _Long(size)))
    if result < 0:
        error = get_errno()
        raise OSError(error, f"getdents64: {os.strerror(error)}")
    return result


def kernel_version() -> tuple[int, int]:
    """Returns the kernel's (major, minor)."""
    major, _, rest = os.uname().release.partition(".")
    minor = ""
    for character in rest:
        if not character.isdigit():
            break
        minor += character
    return int(major), int(minor or 0)
