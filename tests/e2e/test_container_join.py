"""Containers that share a network, IPC or host name with another one."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from envtool.container import join, userns
from envtool.container.program import ContainerStep, Program, Root
from envtool.container.supervisor import Container
from envtool.errors import SandboxError
from tests.e2e.test_container import ENV, tree  # noqa: F401 - a fixture
from tests.e2e.test_container_exec import ran, until
from tests.leftovers import descriptors, nothing_left, processes

pytestmark = pytest.mark.e2e

STAY = "while :; do sleep 0.05; done"


@pytest.fixture
def started(tree):  # noqa: F811
    """Containers of one shell script, which have started; `joins` are (container, kinds)."""
    opened: list[Container] = []

    def make(script=STAY, joins=None, **more):
        program = Program(
            root=Root(lowers=(tree,)), steps=(ContainerStep(argv=("/bin/sh", "-c", script)),), env=ENV, **more
        ).to_dict()
        if joins is None:
            opened.append(Container(program))
            opened[-1].start()
        else:
            with joins[0].namespaces(*joins[1:]) as namespaces:
                opened.append(Container(program, joins=namespaces))
                opened[-1].start()
        return opened[-1]

    with nothing_left(processes):
        yield make
        for container in reversed(opened):
            container.__exit__()


def namespaces_of(container):
    status, text = ran(container, "readlink /proc/self/ns/*")
    assert status == 0, text
    return dict(re.findall(r"(\w+):\[(\d+)\]", text))


@pytest.mark.parametrize("kinds", [("network",), ("ipc",), ("uts",), ("network", "ipc", "uts"), ()], ids="-".join)
def test_what_is_joined_and_nothing_else(started, kinds):
    first = started(hostname="first")
    second = started(joins=(first, *kinds), hostname="second")
    one, two = namespaces_of(first), namespaces_of(second)
    files = {"network": "net", "ipc": "ipc", "uts": "uts"}
    shared = {name for name in one if one[name] == two[name]}
    assert shared - {"time"} == {"user", *(files[kind] for kind in kinds)}
    assert ran(second, "uname -n")[1] == ("first\n" if "uts" in kinds else "second\n")
    assert ran(second, "id")[1] == ran(first, "id")[1]
    ours = dict(
        re.findall(
            r"(\w+):\[(\d+)\]", " ".join(os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns"))
        )
    )
    assert {name for name in two if two[name] == ours.get(name)} <= {"time"}


def test_a_third_joins_a_second(started):
    first = started()
    second = started(joins=(first, "network"))
    third = started(joins=(second, "network", "ipc"))
    assert namespaces_of(first)["net"] == namespaces_of(third)["net"]
    assert namespaces_of(second)["ipc"] == namespaces_of(third)["ipc"] != namespaces_of(first)["ipc"]


def test_processes_and_files_stay_apart(started):
    first = started("echo one > /tmp/mine; " + STAY)
    second = started("echo two > /tmp/mine; " + STAY, joins=(first, "network", "ipc", "uts"))
    for container, own in ((first, "one\n"), (second, "two\n")):
        until(lambda: ran(container, "cat /tmp/mine")[1] == own)  # noqa: B023 - called here
        assert ran(container, "ps -eo pid= | wc -l || true")[0] == 0
        # a shell that forks has two processes of these words for a moment
        own_step = "kill -0 -1; ps -eo args= | grep -c 'echo .[n]e\\|echo .[w]o'"
        until(lambda: ran(container, own_step)[1].endswith("1\n"))  # noqa: B023 - called here


def test_the_network_is_one(started):
    """A listener of bash is not to be had: /proc/net shows who listens, and abstract names are the network's."""
    first, lone = started(), started()
    second = started(joins=(first, "network"))
    script = "cat /proc/net/dev /proc/net/if_inet6 /proc/net/fib_trie 2>/dev/null | grep -v lo:"
    assert ran(first, script)[1] == ran(second, script)[1]
    connect = "exec 3<>/dev/tcp/127.0.0.1/9"
    for container in (first, second, lone):
        with container.exec(["bash", "-c", connect], stderr=(log := os.memfd_create("log"))) as execution:
            assert execution.wait().status
        assert b"refused" in os.pread(log, 1000, 0)
        os.close(log)


def test_the_network_outlives_the_first_container(started):
    first = started()
    with first.namespaces("network") as namespaces:
        net = os.fstat(namespaces.descriptors["network"]).st_ino
        first.stop()
        first.wait()
        with pytest.raises(SandboxError, match="does not run"):
            first.namespaces("network")
        program = Program(root=first._supervisor.program and Root(lowers=first._supervisor.program["operations"][0][2]),
                          steps=(ContainerStep(argv=("sleep", "60")),), env=ENV)  # fmt: skip
        with Container(program.to_dict(), joins=namespaces) as second:
            second.start()
            assert namespaces_of(second)["net"] == str(net)


def test_joining_while_it_ends_never_hangs(started):
    for delay in (0.0, 0.02, 0.05):
        first = started(f"sleep {0.1 + delay}")
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                with first.namespaces("network", "uts"):
                    pass
            except SandboxError:
                break
        else:
            pytest.fail("it never ended")
        assert first.wait().status == 0


def test_users_that_differ(started):
    """As root and with a range the ids of both are the same; a single id is another one for root."""
    for user, other in (("root", "user"), ("user", "root")):
        first = started(user=user)
        if userns.caller_ids().mode == "single":
            with pytest.raises(SandboxError, match="user ids are other ones") as error:
                started(joins=(first, "network"), user=other)
            assert "single user id" in error.value.hint
        else:
            second = started(joins=(first, "network"), user=other)
            assert ran(second, "id -u")[1] == ("0\n" if other == "root" else "1000\n")


def test_what_cannot_be_joined(started, tree):  # noqa: F811
    first = started()
    for kind in ("pid", "user", "mnt", "net", ""):
        with pytest.raises(ValueError, match="is not one of"):
            first.namespaces(kind)
    with pytest.raises(ValueError, match="none of its own"):
        started(network=True).namespaces("network")
    with pytest.raises(ValueError, match="not both"):
        started(joins=(first, "network"), network=True)
    assert ran(started(joins=(first, "uts"), network=True), "true")[0] == 0
    program = Program(root=Root(lowers=(tree,)), steps=(ContainerStep(argv=("true",)),), env=ENV)
    with Container(program.to_dict()) as container, pytest.raises(SandboxError, match="does not run"):
        container.namespaces("network")
    with Container(program.to_dict(), joins=(taken := first.namespaces("network"))) as container:
        taken.close()
        with pytest.raises(SandboxError):  # closed too early
            container.start()


def test_descriptors_that_are_something_else():
    for wrong in (
        {"user": "net"},
        {"network": "net"},
        {"user": "user", "network": "uts"},
        {"user": "user", "pid": "pid"},
    ):
        descriptors = {name: os.open(f"/proc/self/ns/{file}", os.O_RDONLY) for name, file in wrong.items()}
        with pytest.raises(ValueError, match="namespace"):
            join.Namespaces(dict(descriptors))
        for descriptor in descriptors.values():
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(descriptor)
    with pytest.raises(ValueError, match="no user namespace"):
        join.Namespaces({"user": os.open("/dev/null", os.O_RDONLY)})


@pytest.mark.skipif(userns.caller_ids().mode == "root", reason="root may enter every user namespace")
def test_a_user_namespace_of_others_is_refused(started):
    own = {name: os.open(f"/proc/self/ns/{file}", os.O_RDONLY) for name, file in (("user", "user"), ("uts", "uts"))}
    program = Program(root=Root(), steps=(ContainerStep(argv=("true",)),), env=ENV).to_dict()
    with join.Namespaces(own) as namespaces, Container(program, joins=namespaces) as container:
        with pytest.raises(SandboxError, match="cannot be joined"):
            container.start()


def test_a_first_container_that_is_stopped_still_lends(started):
    first = started()
    with first.namespaces("network") as namespaces:
        os.kill(first._supervisor.pid1, signal.SIGSTOP)
        try:
            root = Root(lowers=first._supervisor.program["operations"][0][2])
            program = Program(root=root, steps=(ContainerStep(argv=("true",)),), env=ENV).to_dict()
            with Container(program, joins=namespaces) as second:
                second.start()
                assert second.wait().status == 0
        finally:
            os.kill(first._supervisor.pid1, signal.SIGCONT)


def test_nothing_is_left_open(started):
    first = started()
    started(joins=(first, "network")).stop()
    with nothing_left(descriptors):
        for _ in range(5):
            with first.namespaces("network", "ipc"):
                pass
            second = started(joins=(first, "network"))
            second.stop()
            second.wait()
            second.__exit__()
    assert ran(first, "ls -l /proc/self/fd")[1].count("ns") == 0
