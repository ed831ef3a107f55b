"""A step looks into pid 1 and into what is about to become the next step: by every way, in every id mode, for every
kind of step. Nothing of the supervisor's memory, variables or descriptors may be had, however long a process is held
between its fork and its exec.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.places import Place

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent / "steps"
ATTACKER, CALLS, DRIVER = (HERE / name for name in ("attacker.py", "calls.py", "driver.py"))
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
# Commands that are executed in a running container, and containers in the namespaces of another one.
ENTERED = ["user+exec", "user-outputs+exec", "user-terminal+exec", "user-varied+exec", "root+exec", "root-other+exec",
           "root-terminal+exec", "user+join", "user-outputs+join", "user-call+join", "root+join", "root-terminal+join"]  # fmt: skip

needs_python = pytest.mark.skipif(not os.path.exists("/usr/bin/python3"), reason="no /usr/bin/python3 to attack with")


@pytest.fixture
def arena(fresh: Place) -> Place:
    """A place with a root in which the attacker runs."""
    tree = fresh.directory("tree")
    for name in ("etc", "tmp"):
        (tree / name).mkdir()
        fresh.give(tree / name)
    for name in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            (tree / name).symlink_to(os.readlink(f"/{name}"))
    fresh.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", at=tree)
    fresh.environ |= {"CANARY": "canary-" + fresh.token}
    return fresh


def attack(place: Place, kind: str, attacker: Path = ATTACKER) -> list[str]:
    """What the attacker reported, by line."""
    words = ["-c", DRIVER.read_text(), str(place.top), attacker.read_text(), kind, "canary-" + place.token]
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
@pytest.mark.sampled(12)
@pytest.mark.parametrize("kind", [*KINDS, *ENTERED])
def test_nothing_of_the_supervisor_can_be_had(arena, kind):
    ways = {"memory", "mem", "environ", "fd", "reopened", "root", "cwd", "readv", "ptrace", "robust"}
    for _ in range(20):  # on a busy machine every step may have been executed before the attacker looked
        lines = attack(arena, kind)
        leaks = [line for line in lines if line.startswith("leak ")]
        assert not leaks, leaks
        assert ways <= {line.split()[1] for line in lines if line.startswith("control ")}, lines
        if "terminal" in kind or number(lines, "windows"):
            return
    pytest.fail(f"no process was seen between its fork and its exec: {lines}")


EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
REFUSED = """
kcmp pidfd_getfd process_madvise get_mempolicy set_mempolicy mbind move_pages migrate_pages userfaultfd
open_by_handle_at keyctl lsm_list_modules unshare-user unshare-time clone-net read-implies-exec
""".split()  # noqa: SIM905 - words


@needs_python
@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "kind", [f"{user}-alone{entry}" for user in ("user", "root") for entry in ("", "+exec", "+join")]
)
def test_what_a_step_asks_the_kernel_for(arena, kind):
    lines = attack(arena, kind, CALLS)
    answers = {line.split()[0]: int(line.split()[1]) for line in lines if not line.startswith("status")}
    assert {name: answers[name] for name in REFUSED} == dict.fromkeys(REFUSED, EPERM)
    for name in ("io_uring_setup", "open_tree_attr", "next", *(["x32"] if "int80" in answers else [])):
        assert answers[name] == ENOSYS, name
    for name in ("aslr", "personality", "rseq-less", "ptrace-a-child", "family-1", "family-2"):
        assert answers[name] == 0, name
    families = {int(name.split("-")[1]) for name, error in answers.items() if name.startswith("family-") and error == 0}
    assert families <= {1, 2, 10, 16, 17}
    assert all(answers[f"family-{family}"] == EAFNOSUPPORT for family in (15, 21, 29, 31, 33, 38, 40, 44))
    assert answers.get("int80", signal.SIGSYS) == signal.SIGSYS
    assert answers["core"] in (0, 1)
    assert answers["oom"] >= 500


@needs_python
@pytest.mark.sampled(2)
@pytest.mark.parametrize("where", ["task", "layer"])
def test_commands_of_a_project(place, where):
    """The same by what users write: a list of commands, of which the first stays to look."""
    place.write("attacker.py", ATTACKER.read_text())
    lines = [
        "/usr/bin/python3 -I -S attacker.py 20 /tmp/report /tmp/stop </dev/null >/tmp/said 2>&1 &",
        "while [ ! -e /tmp/said ]; do :; done; sleep 0.3",
        *["sleep 0.03"] * 4,
        "touch /tmp/stop; while [ ! -e /tmp/report ]; do sleep 0.05; done; cat /tmp/said /tmp/report",
        *(["false"] if where == "layer" else []),  # what a layer printed is shown when it fails
    ]
    words = "".join(f"        - {json.dumps(line)}\n" for line in lines)
    place.environ |= {"CANARY": "canary-" + place.token}
    if where == "task":
        place.spec(f"envs:\n  unit:\n    tasks:\n      test:\n        run:\n{words}")
    else:
        place.spec(
            f"layers:\n  look:\n    inputs: [attacker.py]\n    run:\n{words}"
            "envs: {unit: {layers: [look], tasks: {test: 'true'}}}\n"
        )
    done = place.envtool("test", "-v", "--junit", f"canary-{place.token}.xml")
    assert "control memory" in done.said, done.said
    assert "leak " not in done.said, done.said
