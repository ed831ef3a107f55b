from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.container import seccomp

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x50000
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
    program = seccomp.build(single=False, sync=True, machine=name)
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
    program = seccomp.build(single=False, sync=True, machine=name)
    assert interpret(program, numbers["clone"], (0x10000011, 0, 0, 0, 0, 0), arch) == ERRNO | 1
    assert interpret(program, numbers["unshare"], (0x10020000, 0, 0, 0, 0, 0), arch) == ERRNO | 1
    assert interpret(program, numbers["ioctl"], (0, 0x5412, 0, 0, 0, 0), arch) == ERRNO | 1
    # the kernel looks at 32 bits of the request only
    assert interpret(program, numbers["ioctl"], (0, 0x1_0000_5412, 0, 0, 0, 0), arch) == ERRNO | 1
    assert interpret(program, numbers["ioctl"], (0, 0x5413, 0, 0, 0, 0), arch) == ALLOW


def test_a_single_id_pretends(machine):
    name, arch, numbers = machine
    program = seccomp.build(single=True, sync=True, machine=name)
    for call in ("fchown", "fchownat", "setuid", "setgroups", "setresgid", "capset"):
        assert interpret(program, numbers[call], arch=arch) == ERRNO, call
    for mode, answer in ((0o020666, ERRNO), (0o060600, ERRNO), (0o010600, ALLOW), (0o140755, ALLOW), (0o100644, ALLOW)):
        assert interpret(program, numbers["mknodat"], (0, 0, mode, 0, 0, 0), arch) == answer, oct(mode)


def test_sync_can_be_silenced(machine):
    name, arch, numbers = machine
    program = seccomp.build(single=False, sync=False, machine=name)
    for call in ("fsync", "fdatasync", "syncfs", "msync"):
        assert interpret(program, numbers[call], arch=arch) == ERRNO


def test_other_architectures_are_killed_and_x32_is_absent():
    program = seccomp.build(single=False, sync=True, machine="x86_64")
    assert interpret(program, 1, arch=0x40000003) == KILL  # i386
    assert interpret(program, 0x40000000 | 321) == ERRNO | 38


@given(number=st.integers(0, 0xFFFFFFFF), arguments=st.tuples(*[st.integers(0, (1 << 64) - 1)] * 6),
       single=st.booleans(), sync=st.booleans())  # fmt: skip
def test_every_call_has_an_answer(number, arguments, single, sync):
    program = seccomp.build(single=single, sync=sync, machine="x86_64")
    assert len(program) // 8 <= 4096  # BPF_MAXINSNS
    assert interpret(program, number, arguments) in {ALLOW, ERRNO, ERRNO | 1, ERRNO | 38}


def test_an_unknown_machine():
    with pytest.raises(KeyError):
        seccomp.build(single=False, sync=True, machine="vax")
