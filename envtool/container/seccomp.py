"""System call filters, as bytes of classic BPF (seccomp(2), include/uapi/linux/seccomp.h). Pure.

What is refused follows Docker's default profile (docs/decisions/0101-what-a-step-can-reach.md lists the differences and
their reasons), and more: no nested user namespaces, no io_uring, no keyrings, no injection into terminals, no socket of
a family that tests do not need, no call that is newer than this list. In a build with a single id, calls that need more
ids (chown, setuid …) succeed without effect, as in Charliecloud: so packages install.
"""

from __future__ import annotations

import os
import struct

_ALLOW, _KILL, _ERRNO, _NOTIFY = 0x7FFF0000, 0x80000000, 0x50000, 0x7FC00000
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_S_IFCHR, _S_IFMT = 0o020000, 0o170000
_SET_ID = 0o6000  # S_ISUID, S_ISGID
_MAKES_FILE = 0o20000100  # O_CREAT, __O_TMPFILE
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
# A socket of another family loads a kernel module (AF_ALG, AF_VSOCK, AF_RXRPC …), or reaches beyond the namespace.
_FAMILIES = (1, 2, 10, 16, 17)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET
_FAMILIES_OF_HOLDER = (2, 16)  # AF_INET, AF_NETLINK
_FAMILIES_OF_GATEWAY = (1, 2, 10, 16)  # and AF_UNIX, for name services, and AF_INET6
# PER_LINUX32, UNAME26 and, for debuggers and sanitizers, ADDR_NO_RANDOMIZE; all ones reads the current value
_PERSONALITY, _ASK_PERSONALITY = 0x0060008, 0xFFFFFFFF
_NEWEST = 466  # removexattrat, Linux 6.13: newer calls must be reviewed before they are allowed

# fmt: off
# Names and numbers: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
_X86_64 = {
    "ioctl": 16, "mknod": 133, "mknodat": 259, "clone": 56, "unshare": 272, "clone3": 435, "setns": 308,
    "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260,
    "setuid": 105, "setgid": 106, "setreuid": 113, "setregid": 114, "setgroups": 116, "setresuid": 117,
    "setresgid": 119, "setfsuid": 122, "setfsgid": 123, "capset": 126,
    "open": 2, "creat": 85, "chmod": 90, "fchmod": 91, "fchmodat": 268, "openat": 257,
    "fsync": 74, "fdatasync": 75, "msync": 26, "sync": 162, "syncfs": 306, "sync_file_range": 277,
    "keyctl": 250, "add_key": 248, "request_key": 249, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
    "kexec_load": 246, "kexec_file_load": 320, "init_module": 175, "finit_module": 313, "delete_module": 176,
    "create_module": 174, "open_by_handle_at": 304, "acct": 163, "swapon": 167, "swapoff": 168, "reboot": 169,
    "settimeofday": 164, "clock_settime": 227, "clock_adjtime": 305, "adjtimex": 159, "quotactl": 179,
    "quotactl_fd": 443, "lookup_dcookie": 212, "nfsservctl": 180, "vhangup": 153, "syslog": 103, "iopl": 172,
    "ioperm": 173, "ustat": 136, "sysfs": 139, "_sysctl": 156, "uselib": 134, "fanotify_init": 300,
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "getdents64": 217,
    "execve": 59, "execveat": 322, "fork": 57, "vfork": 58, "kill": 62, "tkill": 200, "tgkill": 234, "ptrace": 101,
    "process_vm_readv": 310, "process_vm_writev": 311,
    "socket": 41, "socketpair": 53, "personality": 135, "kcmp": 312, "get_mempolicy": 239, "set_mempolicy": 238,
    "mbind": 237, "migrate_pages": 256, "move_pages": 279,
}
_AARCH64 = {
    "ioctl": 29, "mknodat": 33, "clone": 220, "unshare": 97, "clone3": 435, "setns": 268,
    "fchown": 55, "fchownat": 54, "setuid": 146, "setgid": 144, "setreuid": 145, "setregid": 143, "setgroups": 159,
    "setresuid": 147, "setresgid": 149, "setfsuid": 151, "setfsgid": 152, "capset": 91,
    "fchmod": 52, "fchmodat": 53, "openat": 56,
    "fsync": 82, "fdatasync": 83, "msync": 227, "sync": 81, "syncfs": 267, "sync_file_range": 84,
    "keyctl": 219, "add_key": 217, "request_key": 218, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
    "kexec_load": 104, "kexec_file_load": 294, "init_module": 105, "finit_module": 273, "delete_module": 106,
    "open_by_handle_at": 265, "acct": 89, "swapon": 224, "swapoff": 225, "reboot": 142,
    "settimeofday": 170, "clock_settime": 112, "clock_adjtime": 266, "adjtimex": 171, "quotactl": 60,
    "quotactl_fd": 443, "lookup_dcookie": 18, "nfsservctl": 42, "vhangup": 58, "syslog": 116, "fanotify_init": 262,
    "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "getdents64": 61,
    "execve": 221, "execveat": 281, "kill": 129, "tkill": 130, "tgkill": 131, "ptrace": 117,
    "process_vm_readv": 270, "process_vm_writev": 271,
    "socket": 198, "socketpair": 199, "personality": 92, "kcmp": 272, "get_mempolicy": 236, "set_mempolicy": 237,
    "mbind": 235, "migrate_pages": 238, "move_pages": 239,
}
_COMMON = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
    "openat2": 437, "fchmodat2": 452,
    "pidfd_send_signal": 424, "pidfd_open": 434, "pidfd_getfd": 438, "process_madvise": 440,
    "set_mempolicy_home_node": 450, "lsm_get_self_attr": 459, "lsm_set_self_attr": 460, "lsm_list_modules": 461,
}
_ARCHITECTURES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}
MACHINES = tuple(_ARCHITECTURES)

_REFUSED_CALLS = (
    "keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd", "kexec_load", "kexec_file_load",
    "init_module", "finit_module", "delete_module", "create_module", "open_by_handle_at", "acct", "swapon", "swapoff",
    "reboot", "settimeofday", "clock_settime", "clock_adjtime", "quotactl", "quotactl_fd", "lookup_dcookie",
    "nfsservctl", "vhangup", "syslog", "iopl", "ioperm", "ustat", "sysfs", "_sysctl", "uselib", "fanotify_init",
    "setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "kcmp", "pidfd_getfd", "process_madvise", "get_mempolicy", "set_mempolicy", "mbind",
    "set_mempolicy_home_node", "migrate_pages", "move_pages", "lsm_get_self_attr", "lsm_set_self_attr",
    "lsm_list_modules",
)
# On ENOSYS a C library falls back to the older call, which is filtered; EPERM it would report as the result.
_ABSENT_CALLS = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register")
_SYNC_CALLS = ("fsync", "fdatasync", "msync", "sync", "syncfs", "sync_file_range")
_OWNER_CALLS = (
    "chown", "fchown", "lchown", "fchownat", "setuid", "setgid", "setreuid", "setregid", "setgroups", "setresuid",
    "setresgid", "setfsuid", "setfsgid", "capset",
)
# Calls that give a file a mode, each with the argument that is the mode, and the one that has flags (-1: none).
_MODE_CALLS = (
    ("chmod", 1, -1), ("fchmod", 1, -1), ("fchmodat", 2, -1), ("fchmodat2", 2, -1), ("creat", 1, -1), ("mknod", 1, -1),
    ("mknodat", 2, -1), ("open", 2, 1), ("openat", 3, 2),
)
# What the processes of a pod may not do, besides: start or signal a process, or look into one.
_REFUSED_TO_SERVICES = (
    "execve", "execveat", "fork", "vfork", "clone", "clone3", "kill", "tkill", "tgkill", "ptrace", "process_vm_readv",
    "process_vm_writev", "pidfd_open", "pidfd_send_signal", "chroot", "socketpair",
)
# fmt: on


def _instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("<HBBI", code, yes, no, value)


def _argument(index: int) -> bytes:
    return _instruction(_LOAD, 16 + 8 * index)  # the low half of seccomp_data.args[index], little-endian


def _rule(number: int, answer: int) -> bytes:
    return _instruction(_EQUAL, number, 0, 1) + _instruction(_RETURN, answer)


def _rule_if(number: int, tests: bytes, answer: int) -> bytes:
    """Returns a rule whose `tests` load an argument and end with a jump that falls through when the answer applies, and
    else skips one instruction.
    """
    body = tests + _instruction(_RETURN, answer) + _instruction(_LOAD, 0)
    return _instruction(_EQUAL, number, 0, len(body) // 8) + body


def _has_any_bit(index: int, mask: int) -> bytes:
    return _argument(index) + _instruction(_ANY_BIT, mask, 0, 1)


def _equals(index: int, value: int) -> bytes:
    return _argument(index) + _instruction(_EQUAL, value, 0, 1)


def _none_of(index: int, values: tuple[int, ...]) -> bytes:
    """Returns tests that fall through when the argument is none of the values."""
    count = len(values)
    return _argument(index) + b"".join(
        _instruction(_EQUAL, value, count - position, 0) for position, value in enumerate(values)
    )


def _device(index: int) -> bytes:
    # S_IFCHR and S_IFBLK (0o060000) are the only types with this bit but S_IFDIR-less ones: sockets (0o140000) and
    # fifos (0o010000) lack it.
    return _argument(index) + _instruction(_AND, _S_IFMT) + _instruction(_ANY_BIT, _S_IFCHR, 0, 1)


def _sets_id(mode: int, flags: int) -> bytes:
    tests = _argument(mode) + _instruction(_ANY_BIT, _SET_ID, 0, 1)
    return tests if flags < 0 else _argument(flags) + _instruction(_ANY_BIT, _MAKES_FILE, 0, 3) + tests


def build_filter(
    *, single: bool, sync: bool, ask: tuple[str, ...] = (), set_id: bool = True, machine: str = ""
) -> bytes:
    """Returns the filter of a container. `single`: chown and its kin answer 0 without effect (and so does mknod of
    devices). `sync` False: fsync and its kin too. The calls in `ask` are answered by the process that listens
    (perturb.py). `set_id` False: no file gets a setuid or setgid bit. Raises KeyError for a machine whose call numbers
    are not known.
    """
    wanted = (single, sync, ask, set_id, machine or os.uname().machine)
    if wanted not in _built:
        _built[wanted] = _build(*wanted)
    return _built[wanted]


_built: dict[tuple[bool, bool, tuple[str, ...], bool, str], bytes] = {}  # what `build_filter` has returned


def _build(single: bool, sync: bool, ask: tuple[str, ...], set_id: bool, machine: str) -> bytes:
    audit, numbers_of_machine = _ARCHITECTURES[machine]
    numbers = {**numbers_of_machine, **_COMMON}
    program = _instruction(_LOAD, 4) + _instruction(_EQUAL, audit, 1, 0) + _instruction(_RETURN, _KILL)
    program += _instruction(_LOAD, 0)
    # As an older kernel would answer. This includes the numbers of x32, which name the same calls again.
    program += _instruction(_AT_LEAST, _NEWEST + 1, 0, 1) + _instruction(_RETURN, _ERRNO | ENOSYS)
    for name in ask:
        program += _rule(numbers[name], _NOTIFY)
    for name in _ABSENT_CALLS:
        program += _rule(numbers[name], _ERRNO | ENOSYS)
    if not set_id:
        program += _rule(numbers["openat2"], _ERRNO | ENOSYS)  # its mode is in memory that a filter does not see
        for name, mode, flags in _MODE_CALLS:
            if name in numbers:
                program += _rule_if(numbers[name], _sets_id(mode, flags), _ERRNO | EPERM)
    for name in ("clone", "unshare"):
        program += _rule_if(numbers[name], _has_any_bit(0, _NEW_NAMESPACES), _ERRNO | EPERM)
    for name in ("socket", "socketpair"):
        program += _rule_if(numbers[name], _none_of(0, _FAMILIES), _ERRNO | EAFNOSUPPORT)
    tests = _argument(0) + _instruction(_EQUAL, _ASK_PERSONALITY, 2, 0)
    tests += _instruction(_ANY_BIT, _ASK_PERSONALITY & ~_PERSONALITY, 0, 1)
    program += _rule_if(numbers["personality"], tests, _ERRNO | EPERM)
    for request in (_TIOCSTI, _TIOCLINUX):
        program += _rule_if(numbers["ioctl"], _equals(1, request), _ERRNO | EPERM)
    if single:
        for name in _OWNER_CALLS:
            if name in numbers:
                program += _rule(numbers[name], _ERRNO)
        for name, index in (("mknod", 1), ("mknodat", 2)):
            if name in numbers:
                program += _rule_if(numbers[name], _device(index), _ERRNO)
    if not sync:
        for name in _SYNC_CALLS:
            program += _rule(numbers[name], _ERRNO)
    for name in _REFUSED_CALLS:
        if name in numbers:
            program += _rule(numbers[name], _ERRNO | EPERM)
    return program + _instruction(_RETURN, _ALLOW)


def build_holder_filter(machine: str = "") -> bytes:
    """Returns the filter of the process that holds a pod (pod_holder.py), which makes networks and answers packets."""
    return _build_service_filter(_FAMILIES_OF_HOLDER, ("setns",), machine)


def build_gateway_filter(machine: str = "") -> bytes:
    """Returns the filter of the process that connects a pod to what its policy allows (gateway.py)."""
    return _build_service_filter(_FAMILIES_OF_GATEWAY, (), machine)


def _build_service_filter(families: tuple[int, ...], allowed: tuple[str, ...], machine: str) -> bytes:
    """Returns the filter of a process that starts no other one, with sockets of some families."""
    machine = machine or os.uname().machine
    audit, numbers_of_machine = _ARCHITECTURES[machine]
    numbers = {**numbers_of_machine, **_COMMON}
    program = _instruction(_LOAD, 4) + _instruction(_EQUAL, audit, 1, 0) + _instruction(_RETURN, _KILL)
    program += _instruction(_LOAD, 0)
    program += _instruction(_AT_LEAST, _NEWEST + 1, 0, 1) + _instruction(_RETURN, _ERRNO | ENOSYS)
    program += _rule_if(numbers["socket"], _none_of(0, families), _ERRNO | EAFNOSUPPORT)
    for name in (*_ABSENT_CALLS, *_REFUSED_CALLS, *_REFUSED_TO_SERVICES):
        if name in numbers and name not in allowed:
            program += _rule(numbers[name], _ERRNO | EPERM)
    return program + _instruction(_RETURN, _ALLOW)
