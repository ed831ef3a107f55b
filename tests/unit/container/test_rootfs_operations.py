"""The operations that make a container's file systems: their order, what they say of themselves, who applies them."""

from __future__ import annotations

import marshal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.container import extra_mounts, rootfs, rootfs_operations
from envtool.container.program import (
    BindMount,
    CacheMount,
    ContainerStep,
    ExtraTree,
    PeekMount,
    Program,
    ProjectMount,
    Root,
    TextMount,
    TmpfsMount,
)
from envtool.container.rootfs_operations import describe_operation

ROOTS = (
    Root(lowers=("/store/b", "/store/a")),
    Root(lowers=("/store/a",), upper="/draft/up", work="/draft/work"),
    Root(lowers=("/store/a",), upper="/draft/up", work="/draft/work", own=("tmp", "run")),
    Root(upper="/draft/up"),
    Root(lowers=("/store/a",), scratch="/scratch"),
    Root(lowers=("/store/a",), memory=1 << 30),
)
BINDS = tuple(
    BindMount(source=f"/host{target}", target=target, readonly=readonly, mapped=mapped)
    for target, readonly, mapped in (
        ("/etc", True, False),  # a base of kind `host`
        ("/usr", True, False),
        ("/etc/ssl/certs/ca.pem", True, True),
        ("/project/.git", True, True),
        ("/srv/cache", False, False),
        ("/dev/envtool/blobs", True, False),
        ("/run/secrets/token", True, True),
        ("/tmp/socket", False, False),
        ("/home/envtool/.netrc", True, True),
    )
)
EXTRA = (
    CacheMount(source="/store/cache", target="/root/.cache", fresh=True),
    TextMount(target="/run/secrets/key", content=b"k", mode=0o400),
    TmpfsMount(target="/project/scratch", size=1 << 20),
    PeekMount(tree="/dev/envtool/stages/one", path="/bin", target="/mnt/bin"),
    PeekMount(tree="/project", path="/src", target="/mnt/src", writable=True),
)


def covered(done: tuple[rootfs_operations.Operation, ...]) -> list[tuple[str, str]]:
    """Targets that a later operation covers: (the earlier, the later)."""
    return [
        (earlier[1], later[1])
        for number, later in enumerate(done)
        for earlier in done[:number]
        if f"{earlier[1].rstrip('/')}/".startswith(f"{later[1].rstrip('/')}/")
    ]


@st.composite
def programs(draw: st.DrawFn) -> Program:
    view = draw(st.sampled_from([None, ProjectMount(source="/p"), ProjectMount(source="/p", target="/project/sub")]))
    call = draw(st.booleans())
    chosen = draw(st.sets(st.sampled_from(range(len(BINDS)))))
    return Program(
        root=draw(st.sampled_from(ROOTS)),
        steps=(ContainerStep(call="module:function") if call else ContainerStep(argv=("true",)),),
        binds=tuple(BINDS[number] for number in sorted(chosen)),
        extra_trees=(ExtraTree(lowers=("/store/x",), target="/dev/envtool/stages/one"),) if draw(st.booleans()) else (),
        mounts=tuple(draw(st.lists(st.sampled_from(EXTRA), unique=True))),
        project=view,
        joins=(("/usr/src/own", f"{view.target}/own"), ("/opt/far", "/mnt/far"))
        if view and draw(st.booleans())
        else (),
        covering=(0,) if draw(st.booleans()) else (),
        inputs=("setup.py",),
        copies=(("/opt/made", f"{view.target}/made"),) if view and draw(st.booleans()) else (),
        user=draw(st.sampled_from(["root", "user"])),
        network=draw(st.booleans()),
    )


@given(programs())
def test_nothing_covers_what_came_before(program):
    done = program.operations()
    assert covered(done) == []
    assert done[0][0] == "root"
    assert marshal.loads(marshal.dumps(done)) == done


def test_a_cover_is_found():
    late = Program(root=ROOTS[0], steps=(), binds=(BINDS[2], BINDS[0]))  # a file below /etc, then all of /etc
    assert covered(late.operations()) == [("/etc/ssl/certs/ca.pem", "/etc")]


@given(programs())
def test_each_operation_has_a_line_of_its_own(program):
    lines = [describe_operation(operation) for operation in program.operations()]
    assert all(line.split()[0] == operation[0] for line, operation in zip(lines, program.operations(), strict=True))
    assert all(operation[1] in line for line, operation in zip(lines, program.operations(), strict=True))
    assert len({*lines}) == len(lines)
    assert not any("\n" in line for line in lines)


def test_each_kind_has_a_part_that_applies_it():
    listed = {
        line.split()[0] for line in (rootfs_operations.__doc__ or "").partition("root  ")[2].splitlines()[1:] if line
    }
    listed.add("root")
    assert listed == {*rootfs.KINDS, *extra_mounts.APPLY}
    assert not rootfs.KINDS & {*extra_mounts.APPLY}


@pytest.mark.parametrize(
    ("operation", "line"),
    [
        (("root", "/", ("/a", "/b"), "", "", "", 0), "root     / of 2 trees, writes in memory"),
        (("root", "/", ("/a",), "", "", "", 1 << 30), "root     / of 1 tree, writes in memory of 1 GiB"),
        (("root", "/", (), "/draft/up", "", "", 0), "root     / of 0 trees, writes in /draft/up"),
        (("empty", "/tmp", "tmp", 0o1777, 0), "empty    /tmp 1777, of id 0"),
        (("mask", "/proc/kcore", False), "mask     /proc/kcore"),
        (("symlink", "/dev/ptmx", "pts/ptmx"), "symlink  /dev/ptmx to pts/ptmx"),
        (("project", "/project", "/p", (), (), (), ()), "project  /project from /p, writes are lost"),
        (("project", "/project", "/p", (), (0,), (), ()), "project  /project from /p, under 1 tree, writes are lost"),
        (("join", "/project/a", "/opt/a", True), "join     /project/a from /opt/a of the root"),
        (("bind", "/t", "/s", True, False, ()), "bind     /t from /s, read-only"),
        (("bind", "/t", "/s", False, False, ()), "bind     /t from /s, writable, of the user"),
        (("hosts", "/etc/hosts", b"", True, False), "hosts    /etc/hosts with this machine's, writable"),
        (("hosts", "/etc/hosts", b"", False, True), "hosts    /etc/hosts"),
        (("account", "/etc/group", b"envtool:x:1000:\n"), "account  /etc/group with envtool:x:1000:"),
        (("file", "/k", "text0", b"secret", (0o400, 0, 0)), "file     /k of 6 bytes, 0400, of ids 0:0"),
        (("tmpfs", "/t", 1 << 20), "tmpfs    /t of 1 MiB"),
        (("peek", "/t", "peek0", "/project", "/a", True), "peek     /t from /a of /project, writes are lost"),
    ],
)
def test_what_an_operation_says(operation, line):
    assert describe_operation(operation) == line
