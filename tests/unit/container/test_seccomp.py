from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.container import seccomp

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x50000
EPERM, ENOSYS, EAFNOSUPPORT = ERRNO | 1, ERRNO | 38, ERRNO | 97
# What Docker's default profile (moby/profiles, seccomp/default.json) refuses to a container without capabilities, of the
# calls that both machines have; refused by the kernel itself without capabilities: sethostname, setdomainname, chroot.
DOCKER_REFUSES = """
acct add_key bpf clock_settime delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick get_mempolicy
init_module io_uring_enter io_uring_register io_uring_setup kcmp kexec_file_load kexec_load keyctl lookup_dcookie
lsm_get_self_attr lsm_list_modules lsm_set_self_attr mbind migrate_pages mount mount_setattr move_mount move_pages
nfsservctl open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root process_madvise quotactl quotactl_fd reboot
request_key set_mempolicy set_mempolicy_home_node setns settimeofday swapoff swapon syslog umount2 userfaultfd vhangup
""".split()  # noqa: SIM905 - words
X86, ARM = 0xC000003E, 0xC00000B7


def interpret(program: bytes, number: int, arguments=(0,) * 6, arch: int = X86) -> int:
    """Classic BPF as the kernel's interpreter reads it, over struct seccomp_data."""
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch, 0, *arguments)
    code = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator = position = 0
    while True:
        operation, yes, no, value = code[position]
        position += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x06:
            return value
        else:
            truth = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[operation]
            position += yes if truth else no


@pytest.fixture(scope="module", params=["x86_64", "aarch64"])
def machine(request):
    name = request.param
    audit, numbers = seccomp._ARCHITECTURES[name]
    return name, audit, {**numbers, **seccomp._COMMON}


def test_what_is_refused(machine):
    name, arch, numbers = machine
    program = seccomp.build_filter(single=False, sync=True, machine=name)
    for call in (
        "bpf",
        "keyctl",
        "userfaultfd",
        "open_by_handle_at",
        "mount",
        "setns",
        "init_module",
        "perf_event_open",
    ):
        assert interpret(program, numbers[call], arch=arch) == ERRNO | 1, call
    for call in ("clone3", "io_uring_setup"):
        assert interpret(program, numbers[call], arch=arch) == ERRNO | 38, call
    for call in ("fsync", "capset", "setuid", "fchown", "clone", "unshare", "ioctl", "mknodat"):
        assert interpret(program, numbers[call], arch=arch) == ALLOW, call


def test_new_user_namespaces_and_terminal_injection(machine):
    name, arch, numbers = machine
    program = seccomp.build_filter(single=False, sync=True, machine=name)
    assert interpret(program, numbers["clone"], (0x10000011, 0, 0, 0, 0, 0), arch) == ERRNO | 1
    assert interpret(program, numbers["unshare"], (0x10020000, 0, 0, 0, 0, 0), arch) == ERRNO | 1
    assert interpret(program, numbers["ioctl"], (0, 0x5412, 0, 0, 0, 0), arch) == ERRNO | 1
    # the kernel looks at 32 bits of the request only
    assert interpret(program, numbers["ioctl"], (0, 0x1_0000_5412, 0, 0, 0, 0), arch) == ERRNO | 1
    assert interpret(program, numbers["ioctl"], (0, 0x5413, 0, 0, 0, 0), arch) == ALLOW


def test_a_single_id_pretends(machine):
    name, arch, numbers = machine
    program = seccomp.build_filter(single=True, sync=True, machine=name)
    for call in ("fchown", "fchownat", "setuid", "setgroups", "setresgid", "capset"):
        assert interpret(program, numbers[call], arch=arch) == ERRNO, call
    for mode, answer in ((0o020666, ERRNO), (0o060600, ERRNO), (0o010600, ALLOW), (0o140755, ALLOW), (0o100644, ALLOW)):
        assert interpret(program, numbers["mknodat"], (0, 0, mode, 0, 0, 0), arch) == answer, oct(mode)


def test_no_setuid_bit_where_files_belong_to_the_caller(machine):
    name, arch, numbers = machine
    create, temporary = 0o100, 0o20200000  # O_CREAT; O_TMPFILE
    for single in (False, True):
        program = seccomp.build_filter(single=single, sync=True, set_id=False, machine=name)
        usual = seccomp.build_filter(single=single, sync=True, machine=name)
        for call, position in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("fchmodat2", 2), ("creat", 1)):
            if call not in numbers:
                continue
            for mode in (0o4755, 0o2755, 0o6000, 0o2777, 0o104755, 1 << 16 | 0o4000):
                arguments = [7] * 6
                arguments[position] = mode
                assert interpret(program, numbers[call], arguments, arch) == EPERM, (call, oct(mode))
                assert interpret(usual, numbers[call], arguments, arch) == ALLOW
            for mode in (0o755, 0o1777, 0, 0o100644):
                arguments[position] = mode
                assert interpret(program, numbers[call], arguments, arch) == ALLOW, (call, oct(mode))
        for call, flags in (("open", 1), ("openat", 2)):
            if call not in numbers:
                continue
            for flag, answer in ((create, EPERM), (create | 1, EPERM), (temporary, EPERM), (0, ALLOW), (0o1003, ALLOW)):
                arguments = [0] * 6
                arguments[flags : flags + 2] = flag, 0o4755
                assert interpret(program, numbers[call], arguments, arch) == answer, (call, oct(flag))
                arguments[flags + 1] = 0o1755
                assert interpret(program, numbers[call], arguments, arch) == ALLOW, (call, oct(flag))
        assert interpret(program, numbers["openat2"], arch=arch) == ENOSYS
        assert interpret(usual, numbers["openat2"], arch=arch) == ALLOW
        assert interpret(program, numbers["mknodat"], (0, 0, 0o104755, 0, 0, 0), arch) == EPERM
        assert interpret(program, numbers["mknodat"], (0, 0, 0o100755, 0, 0, 0), arch) == ALLOW


def test_sync_can_be_silenced(machine):
    name, arch, numbers = machine
    program = seccomp.build_filter(single=False, sync=False, machine=name)
    for call in ("fsync", "fdatasync", "syncfs", "msync"):
        assert interpret(program, numbers[call], arch=arch) == ERRNO


def test_other_architectures_are_killed_and_x32_is_absent():
    program = seccomp.build_filter(single=False, sync=True, machine="x86_64")
    assert interpret(program, 1, arch=0x40000003) == KILL  # i386
    assert interpret(program, 0x40000000 | 321) == ERRNO | 38


@pytest.mark.parametrize("call", DOCKER_REFUSES)
def test_what_docker_refuses(machine, call):
    name, arch, numbers = machine
    for single in (False, True):
        program = seccomp.build_filter(single=single, sync=True, machine=name)
        assert interpret(program, numbers[call], arch=arch) in {EPERM, ENOSYS}


@pytest.mark.parametrize("call", ["socket", "socketpair"])
def test_families_of_sockets(machine, call):
    name, arch, numbers = machine
    program = seccomp.build_filter(single=False, sync=True, machine=name)
    for family in range(256):
        answer = ALLOW if family in (1, 2, 10, 16, 17) else EAFNOSUPPORT
        for high in (0, 1 << 32, 40 << 32):  # of the argument the kernel looks at 32 bits only
            assert interpret(program, numbers[call], (high | family, 1, 0, 0, 0, 0), arch) == answer, family
    assert interpret(program, numbers[call], (0xFFFFFFFF, 1, 0, 0, 0, 0), arch) == EAFNOSUPPORT


def test_personalities(machine):
    name, arch, numbers = machine
    program = seccomp.build_filter(single=False, sync=True, machine=name)
    bits = {1 << bit: ALLOW if 1 << bit in (0x8, 0x20000, 0x40000) else EPERM for bit in range(32)}
    bits |= {0: ALLOW, 0x60008: ALLOW, 0xFFFFFFFF: ALLOW, 0x440000: EPERM, 0xFFFFFFFE: EPERM, 0x10008: EPERM}
    for value, answer in bits.items():
        assert interpret(program, numbers["personality"], (value, 0, 0, 0, 0, 0), arch) == answer, hex(value)


def test_namespaces_of_every_kind(machine):
    name, arch, numbers = machine
    program = seccomp.build_filter(single=False, sync=True, machine=name)
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        for call in ("clone", "unshare"):
            assert interpret(program, numbers[call], (flag | 17, 0, 0, 0, 0, 0), arch) == EPERM, hex(flag)
    assert interpret(program, numbers["clone"], (0x3D0F00, 0, 0, 0, 0, 0), arch) == ALLOW  # a thread
    assert interpret(program, numbers["unshare"], (0x600, 0, 0, 0, 0, 0), arch) == ALLOW  # CLONE_FS, CLONE_FILES


def test_calls_that_are_younger_than_the_list_are_absent(machine):
    name, arch, _ = machine
    program = seccomp.build_filter(single=False, sync=True, machine=name)
    for number in (467, 468, 512, 547, 1000, 0x40000000, 0x40000027, 0xFFFFFFFF):
        assert interpret(program, number, arch=arch) == ENOSYS, number
    assert interpret(program, 466, arch=arch) == ALLOW


def test_what_tests_of_projects_need_stays(machine):
    name, arch, _ = machine
    program = seccomp.build_filter(single=False, sync=True, machine=name)
    own = {"x86_64": (101, 310, 311, 324, 334), "aarch64": (117, 270, 271, 283, 293)}[name]
    # ptrace, process_vm_readv and writev, membarrier, rseq; pidfd_open, landlock, memfd_secret, futex_waitv, cachestat
    for number in (*own, 434, 444, 445, 446, 447, 449, 451):
        assert interpret(program, number, arch=arch) == ALLOW, number


@given(number=st.integers(0, 0xFFFFFFFF), arguments=st.tuples(*[st.integers(0, (1 << 64) - 1)] * 6),
       single=st.booleans(), sync=st.booleans())  # fmt: skip
def test_every_call_has_an_answer(number, arguments, single, sync):
    program = seccomp.build_filter(single=single, sync=sync, machine="x86_64")
    assert len(program) // 8 <= 4096  # BPF_MAXINSNS
    assert interpret(program, number, arguments) in {ALLOW, ERRNO, EPERM, ENOSYS, EAFNOSUPPORT}


def test_an_unknown_machine():
    with pytest.raises(KeyError):
        seccomp.build_filter(single=False, sync=True, machine="vax")


def test_the_processes_of_a_pod_start_no_other_one(machine):
    name, arch, numbers = machine
    for program, families, entered in (
        (seccomp.build_holder_filter(name), {2, 16}, True),
        (seccomp.build_gateway_filter(name), {1, 2, 10, 16}, False),
    ):
        for call in (
            "execve",
            "clone",
            "kill",
            "tgkill",
            "ptrace",
            "process_vm_writev",
            "pidfd_open",
            "mount",
            "bpf",
            "socketpair",
        ):
            assert interpret(program, numbers[call], arch=arch) == EPERM, call
        assert interpret(program, numbers["clone3"], arch=arch) == EPERM
        assert interpret(program, numbers["setns"], arch=arch) == (ALLOW if entered else EPERM)
        allowed = {
            family
            for family in range(46)
            if interpret(program, numbers["socket"], (family, 1, 0, 0, 0, 0), arch) == ALLOW
        }
        assert allowed == families
        assert interpret(program, 0, arch=arch ^ 1) == KILL
