"""A step looks into pid 1 and into what is about to become the next step: by every way, in every id mode, for every
kind of step. Nothing of the supervisor's memory, variables or descriptors may be had, however long a process is held
between its fork and its exec.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.places import Place

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent / "steps"
ATTACKER, DRIVER = (HERE / name for name in ("attacker.py", "driver.py"))
KINDS = [
    "user",  # commands of a task
    "user-network",
    "user-outputs",  # while pid 1 has a pipe for outputs
    "user-varied",  # beside the process that answers about directories
    "user-call",
    "user-terminal",
    "root",  # run layers, and tasks of `user: root`
    "root-other",  # RUNs of a Dockerfile, with USER
    "root-call",  # what unpacks and places files in builds
    "root-terminal",
]

needs_python = pytest.mark.skipif(not os.path.exists("/usr/bin/python3"), reason="no /usr/bin/python3 to attack with")


def attack(place: Place, kind: str) -> list[str]:
    """What the attacker reported, by line."""
    tree = place.directory("tree")
    for name in ("etc", "tmp"):
        (tree / name).mkdir()
        place.give(tree / name)
    for name in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            (tree / name).symlink_to(os.readlink(f"/{name}"))
    place.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", at=tree)
    place.environ |= {"CANARY": "canary-" + place.token}
    words = ["-c", DRIVER.read_text(), str(place.top), ATTACKER.read_text(), kind, "canary-" + place.token]
    process = place.caller.spawn(
        place.caller.command[0], *words, env=place.variables(), cwd=place.top, stdin=-3, stdout=-1, stderr=-2
    )
    place.running.append(process)
    out = process.communicate(timeout=60)[0].decode(errors="replace")
    lines = out.replace("\r", "").splitlines()
    assert "status 0 " in lines, out
    return lines


def number(lines: list[str], name: str) -> int:
    (found,) = [int(line.split()[1]) for line in lines if line.startswith(name + " ")]
    return found


@needs_python
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_supervisor_can_be_had(fresh, kind):
    lines = attack(fresh, kind)
    leaks = [line for line in lines if line.startswith("leak ")]
    assert not leaks, leaks
    works = {line.split()[1] for line in lines if line.startswith("control ")}
    ways = {"memory", "mem", "environ", "fd", "reopened", "root", "cwd", "readv", "ptrace", "robust"}
    assert ways <= works, lines
    if not kind.endswith("terminal"):
        assert number(lines, "windows") > 0, lines
