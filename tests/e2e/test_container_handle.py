"""A container that is held in the hand: started, signalled, stopped, and what it used."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from envtool.container import supervisor
from envtool.container.program import BindMount, ContainerStep, Program, Root
from envtool.errors import SandboxError
from tests.e2e.test_container import ENV, tree  # noqa: F401 - a fixture
from tests.e2e.test_fork_server import started_server
from tests.leftovers import descriptors, nothing_left, processes
from tests.load import allowed

pytestmark = pytest.mark.e2e


@pytest.fixture(params=["forked here", "forked by a server"])
def server(request):
    """What forks the processes of containers: this process (None), or a server."""
    if request.param == "forked here":
        yield None
        return
    server = started_server()
    yield server
    server.close()


@pytest.fixture
def made(tree, server):  # noqa: F811
    """Containers of shell scripts, one after the other, with what they print."""
    logs = []

    def make(*scripts, **more):
        steps = tuple(ContainerStep(argv=("/bin/sh", "-c", script)) for script in scripts)
        held = more.pop("held", True)
        program = Program(root=Root(lowers=(tree,)), steps=steps, env=ENV, **more)
        logs.append(os.memfd_create("log"))
        return supervisor.Container(program.to_dict(), stdout=logs[-1], stderr=logs[-1], held=held, server=server)

    make.text = lambda: os.pread(logs[-1], 1 << 16, 0).decode()
    with nothing_left(processes):
        yield make
    for log in logs:
        os.close(log)


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


SERVE = "trap 'echo got HUP' HUP; trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done"


def test_it_runs_while_the_caller_does_other_things(made):
    with made(SERVE, "echo never") as container:
        container.start()
        until(lambda: "ready" in made.text())
        container.stop()
        result = container.wait()
    assert (result.status, result.interrupted, result.timed_out) == (3, True, False)
    assert made.text().split()[-1] == "bye"  # the shell has said "Terminated" of its sleep, and no further step ran


def test_stop_comes_from_another_thread_and_what_does_not_end_is_killed(made):
    with made("trap '' TERM; echo ready; while :; do sleep 0.05; done", grace=0.2) as container:
        container.start()
        until(lambda: "ready" in made.text())
        threading.Timer(0.1, container.stop).start()
        began = time.monotonic()
        result = container.wait()
    assert result.interrupted
    assert result.status == 137
    assert time.monotonic() - began < allowed(10)


@pytest.mark.parametrize("held", [True, False])
def test_a_step_that_has_hardly_begun_is_stopped_too(made, held):
    """Before its execve, and before pid 1 knows its number, a process had a handler of pid 1, or got no signal."""
    for _ in range(40):
        with made("sleep 600", grace=60, held=held) as container:
            container.start()
            began = time.monotonic()
            container.stop()
            assert container.wait().interrupted
        assert time.monotonic() - began < 40, "it was killed when its grace was over"


def test_a_signal_reaches_the_step_and_none_else_is_forwarded(made):
    with made("trap 'echo two' USR2; echo ready; while :; do sleep 0.05; done") as container:
        container.start()
        until(lambda: "ready" in made.text())
        container.signal(signal.SIGUSR2)
        until(lambda: "two" in made.text())
        for number in (signal.SIGKILL, signal.SIGUSR1, signal.SIGSTOP, 0, 64, -1):
            with pytest.raises(ValueError, match="not forwarded"):
                container.signal(number)
        container.signal(signal.SIGTERM)
        result = container.wait()
    assert (result.status, result.interrupted) == (143, False)
    container.signal(signal.SIGTERM)  # nothing is there any more
    container.stop()


def test_a_container_that_nobody_waits_for_ends_with_its_context(made):
    others = processes()
    with nothing_left(processes), made(SERVE) as container:
        container.start()
        until(lambda: "ready" in made.text())
        assert processes().keys() - others.keys()


def test_a_container_that_cannot_be_made_says_so_at_the_start(made):
    with made("true", binds=(BindMount(source="/proc/none-of-that", target="/x"),)) as container:
        with pytest.raises(SandboxError, match="none-of-that"):
            container.start()


def test_a_container_that_is_not_started_leaves_nothing(tree, server):  # noqa: F811
    program = Program(root=Root(lowers=(tree,)), steps=(ContainerStep(argv=("true",)),), env=ENV).to_dict()
    with (
        nothing_left(descriptors, processes),
        supervisor.Container(program, stdout=2, stderr=2, held=True, server=server),
    ):
        pass


def test_what_it_used_is_known(made):
    with made(
        "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done",
        "x=xxxxxxxxxxxxxxxx; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do x=$x$x; done; sleep 0.5",
    ) as container:
        container.start()
        result = container.wait()
    assert result.status == 0
    assert 0.02 < result.cpu_seconds < 60
    assert 1 << 20 < result.memory < 1 << 33
    with made("sleep 0.5") as container:
        container.start()
        idle = container.wait()
    assert idle.cpu_seconds < result.cpu_seconds + 1
    assert idle.seconds > 0.5


def test_one_that_is_stopped_before_it_is_started_runs_nothing(made):
    with made("echo ran") as container:
        container.stop()
        container.start()
        result = container.wait()
    assert result.interrupted
    assert made.text() == ""


def test_one_that_has_ended_is_waited_for_twice_and_stopped_in_vain(made):
    with made("echo ran; exit 4") as container:
        container.start()
        first = container.wait()
        container.stop()
        container.signal(signal.SIGHUP)
        assert container.wait() is first
    assert (first.status, first.interrupted) == (4, False)
