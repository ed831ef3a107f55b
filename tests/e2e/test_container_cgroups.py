"""What a container is shown of cgroups: its own, read-only, so that programs find the limits that they are under."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envtool.container import cgroups, supervisor
from envtool.container.program import ContainerStep, Program, Root
from envtool.model import Limit
from tests.e2e.test_container import ENV, go, tree  # noqa: F401 - a fixture

pytestmark = pytest.mark.e2e

LIMITS = {"memory": Limit(64 << 20), "pids": Limit(40)}
OWN = [line.split(":", 2)[1] for line in Path("/proc/self/cgroup").read_text().splitlines()]
V1 = tuple(controllers for controllers in OWN if controllers and "=" not in controllers)
MOUNTED = "while read -r line; do case $line in *' - cgroup'*) echo $line;; esac; done < /proc/self/mountinfo"


def held_by_cgroup() -> bool:
    """Whether this caller may make cgroups here."""
    return cgroups.enforcement()["memory"].startswith("cgroup")


def mounted(text: str) -> dict[str, tuple[str, str, str]]:
    """Root, options and type of the mounts of cgroups, by where they are."""
    rows = (line.partition(" - ") for line in text.splitlines() if " - cgroup" in line)
    return {before.split()[4]: (*before.split()[3:6:2], after.split()[0]) for before, _, after in rows}


@pytest.mark.parametrize("user", ["user", "root"])
def test_a_limit_is_found_where_programs_look(tree, user):  # noqa: F811
    script = f"{MOUNTED}; cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes || true"
    result = go(tree, script, user=user, limits=LIMITS)
    assert (str(64 << 20) in result.out.split()) == held_by_cgroup(), result.out
    assert bool(mounted(result.out)) == held_by_cgroup()
    assert not mounted(go(tree, script, user=user).out), "there is nothing to be found without a limit"


@pytest.mark.parametrize("user", ["user", "root"])
def test_nothing_of_others_is_seen_and_nothing_can_be_changed(tree, user):  # noqa: F811
    """All that it sees is its own: no other cgroup, no process of others; and it may not raise its limit."""
    script = (
        f"{MOUNTED}; cat /proc/self/cgroup; cd /sys/fs/cgroup; for d in . *; do echo in $d; ls -p $d | grep / || true; done;"
        " cat cgroup.procs */cgroup.procs 2>/dev/null; echo changing;"
        " for f in memory.max memory/memory.limit_in_bytes cgroup.procs */cgroup.procs; do echo 1 > $f && echo CHANGED $f; done;"
        " for d in . *; do mkdir $d/x && echo CHANGED $d; done; true"
    )
    text = go(tree, script, user=user, limits=LIMITS).out
    assert "CHANGED" not in text
    if not held_by_cgroup():
        assert not mounted(text)
        return
    places = mounted(text)
    assert {root for root, _, _ in places.values()} == {"/"}
    assert all("ro" in options.split(",") for _, options, _ in places.values())
    paths = dict(line.split(":", 2)[1:] for line in text.splitlines() if line.count(":") == 2)
    directories = text.partition("in .\n")[2].partition("changing")[0].splitlines()
    for place in places:
        name = os.path.relpath(place, "/sys/fs/cgroup")
        at = directories.index(f"in {name}") if name != "." else -1
        assert name == "." or not directories[at + 1].endswith("/"), "a cgroup below its own"
        assert name in (".", "unified") or paths[name] == "/"
    numbers = [int(line) for line in directories if line.isdigit()]
    assert {1} < {*numbers}
    assert max(numbers) < 200, "processes as they are numbered inside; others would be 0"
    assert 0 not in numbers


@pytest.mark.parametrize("hierarchies", [("",), V1, (*V1[:1], ""), ("no-such-controller",), ("memory", "no,such")])
def test_whatever_hierarchies_a_machine_has(tree, hierarchies):  # noqa: F811
    """v2 alone is /sys/fs/cgroup itself; what cannot be mounted is not seen, and the container runs all the same."""
    step = ContainerStep(argv=("/bin/sh", "-c", f"{MOUNTED}; ls -p /sys/fs/cgroup; echo ran"))
    program = Program(root=Root(lowers=(tree,)), steps=(step,), env=ENV).to_dict()
    log = os.memfd_create("log")
    try:
        done = supervisor.run({**program, "cgroups": hierarchies}, stdout=log, stderr=log)
        text = os.pread(log, 1 << 20, 0).decode()
    finally:
        os.close(log)
    assert (done.status, text.splitlines()[-1]) == (0, "ran")
    places = mounted(text)
    assert all("ro" in options.split(",") for _, options, _ in places.values())
    if hierarchies == ("",):
        assert [kind for _, _, kind in places.values()] == ["cgroup2"]
        assert {*places} == {"/sys/fs/cgroup"}
    elif "no" in hierarchies[-1]:
        assert not places
    else:
        assert {*places} == {f"/sys/fs/cgroup/{name or 'unified'}" for name in hierarchies}
