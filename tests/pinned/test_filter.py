"""The filter of system calls that tasks and builds have, byte for byte: as the kernel gives it to root, by ptrace(2)."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import signal
import struct
from pathlib import Path

import pytest

from tests.pinned.shared import PROGRAM, X86_64, golden

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.every_caller,
    X86_64,
    pytest.mark.skipif(os.geteuid() != 0, reason="the kernel gives a filter to root alone (PTRACE_SECCOMP_GET_FILTER)"),
]

ATTACH, DETACH, GET_FILTER = 16, 17, 0x420C  # of ptrace(2), <linux/ptrace.h>
EVERY_CHILD = 0x40000000  # __WALL of waitpid(2)
PROBE = "echo asleep; sleep 30"
SPEC = """\
bases:
  tiny: {{tarball: {{path: root.tar.gz, sha256: {sha256}}}}}
  docker: {{dockerfile: Dockerfile}}
layers:
  sleeps: {{run: "{probe}"}}
defaults: {{base: tiny}}
envs:
  task: {{tasks: {{task: "{probe}"}}}}
  root: {{tasks: {{root: {{run: "{probe}", user: root}}}}}}
  layer: {{layers: [sleeps], tasks: {{layer: "true"}}}}
  run: {{base: docker, tasks: {{run: "true"}}}}
"""
DOCKERFILE = "FROM scratch\nADD root.tar.gz /\nRUN --network=none {probe}\n"


def sleeper(token: str) -> int:
    """The process of the place's container that sleeps, 0 as long as there is none."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes()
            if words.startswith(b"/bin/sh\0") and f"echo {token}".encode() in words:
                return int(name)
    return 0


def filters(pid: int) -> list[bytes]:
    """The filters of a process, the newest first."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    libc.ptrace.restype = ctypes.c_long
    assert libc.ptrace(ATTACH, pid, None, None) == 0, os.strerror(ctypes.get_errno())
    os.waitpid(pid, EVERY_CHILD)
    found = []
    try:
        while (count := libc.ptrace(GET_FILTER, pid, len(found), None)) > 0:
            data = ctypes.create_string_buffer(count * 8)
            assert libc.ptrace(GET_FILTER, pid, len(found), data) == count
            found.append(data.raw)
        if not found and ctypes.get_errno() in (22, 5):  # EINVAL, EIO: built without CONFIG_CHECKPOINT_RESTORE
            pytest.skip("this kernel gives no filters")
    finally:
        libc.ptrace(DETACH, pid, None, None)
    return found


def test_the_filter_is_the_same(caller, fresh):
    place = fresh
    place.write("root.tar.gz", PROGRAM.read_bytes())
    found = {}
    for what in ("task", "root", "layer", "run"):
        probe = f"{PROBE}; echo {place.token}"
        place.write("Dockerfile", DOCKERFILE.format(probe=probe))
        place.spec(SPEC.format(sha256=hashlib.sha256(PROGRAM.read_bytes()).hexdigest(), probe=probe))
        process = place.start("run", what)
        place.until(lambda: sleeper(place.token), f"{what} sleeps", 30)
        pid = sleeper(place.token)
        programs = filters(pid)
        os.kill(pid, signal.SIGKILL)
        place.finish(process)
        found[what] = [
            {"instructions": len(each) // 8, "sha256": hashlib.sha256(each).hexdigest()} for each in programs
        ]
        assert all(struct.unpack_from("=HBBI", each)[0] for each in programs)
    golden(f"filter-{caller.mode}.json", found)
