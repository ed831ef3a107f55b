"""Further commands in a container that runs: by `Container.exec`, in every id mode."""

from __future__ import annotations

import os
import pty
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from envtool.container import userns
from envtool.container.program import ContainerStep, Program, Root
from envtool.container.supervisor import Container
from envtool.errors import SandboxError
from tests.e2e.test_container import ENV, tree  # noqa: F401 - a fixture
from tests.leftovers import descriptors, nothing_left, processes
from tests.load import allowed

pytestmark = pytest.mark.e2e

SERVE = "while :; do sleep 0.05; done"


@pytest.fixture
def made(tree):  # noqa: F811
    """Containers of shell scripts, which have started."""
    opened: list[Container] = []

    def make(*scripts, **more):
        steps = tuple(ContainerStep(argv=("/bin/sh", "-c", script)) for script in scripts)
        opened.append(Container(Program(root=Root(lowers=(tree,)), steps=steps, env=ENV, **more).to_dict()))
        opened[-1].start()
        return opened[-1]

    with nothing_left(processes):
        yield make
        for container in opened:
            container.__exit__()


def ran(container, script, **more):
    """Status of a script, and what it printed."""
    log = os.memfd_create("log")
    try:
        with container.exec(("/bin/sh", "-c", script), stdout=log, stderr=log, **more) as execution:
            result = execution.wait()
        return result.status, os.pread(log, 1 << 20, 0).decode()
    finally:
        os.close(log)


def waiting(container):
    """A thread in which the container is waited for, and what came of it."""
    found = []
    thread = threading.Thread(target=lambda: found.append(container.wait()))
    thread.start()
    return lambda: (thread.join(30), found[0])[1]


def test_a_command_runs_beside_the_steps(made):
    container = made(SERVE)
    end = waiting(container)
    assert ran(container, "echo $0 $HOME; exit 3") == (3, "/bin/sh /home/envtool\n")
    assert ran(container, "ps -o args= | grep -c 0.0[5]")[1] != "0\n"
    assert ran(container, "kill -KILL $$")[0] == 137
    container.stop()
    assert end().interrupted


def test_what_a_command_is_told(made):
    container = made(SERVE)
    odd = "1 \n =ä\udcff"
    assert ran(container, "LC_ALL=C; echo ${#A}", env={"A": odd}) == (0, "8\n")
    assert ran(container, "echo $A$HOME; pwd", env={"A": "1", "HOME": "/"}, workdir="/tmp") == (0, "1/\n/tmp\n")
    big = "x" * 100_000
    assert ran(container, "echo ${#A} ${#B} ${#C}", env={"A": big, "B": big, "C": big}) == (0, "100000 100000 100000\n")
    assert ran(container, "exit 0", env={"A": "x" * (3 << 20)})[0] == 126
    for wrong in ({"env": {"A=B": "1"}}, {"env": {"A": "\0"}}, {"env": {"": "1"}}, {"workdir": "\0"}, {"workdir": "/" * 70000},
                  {"timeout": -1}, {"timeout": float("nan")}, {"user": "root"}):  # fmt: skip
        with pytest.raises(ValueError):
            container.exec(["true"], **wrong)
    with pytest.raises(ValueError, match="at least one"):
        container.exec([])
    with container.exec(["true"], workdir="/none") as execution, pytest.raises(SandboxError, match="/none"):
        execution.wait()
    assert ran(container, "true")[0] == 0


def test_it_starts_where_and_as_the_last_step_does(tree):  # noqa: F811
    steps = (
        ContainerStep(argv=("true",), env={"A": "0"}),
        ContainerStep(argv=("sleep", "60"), env={"A": "1"}, cwd="/tmp"),
    )
    with Container(Program(root=Root(lowers=(tree,)), steps=steps, env=ENV).to_dict()) as container:
        container.start()
        assert ran(container, "echo $A; pwd") == (0, "1\n/tmp\n")


def test_another_user(made):
    container = made(SERVE, user="root")
    status, text = ran(container, "id -u; id -g; grep CapEff /proc/self/status", user="12:34")
    if userns.caller_ids().mode == "single":
        assert (status, "single user id" in text) == (126, True)
    else:
        assert (status, text.split()) == (0, ["12", "34", "CapEff:", "0000000000000000"])
    assert ran(container, "true", user="nobody-of-that-name")[0] == 126
    assert ran(container, "id -u", user="0") == ran(container, "id -u") == (0, "0\n")


def test_standard_streams_are_its_own(made):
    container = made(SERVE)
    read, write = os.pipe()
    with container.exec(["cat"], stdin=read, stdout=(log := os.memfd_create("log"))) as execution:
        os.close(read)
        os.write(write, b"one")
        os.close(write)
        assert execution.wait().status == 0
    assert os.pread(log, 100, 0) == b"one"
    os.close(log)
    assert ran(container, "cat; ls /proc/self/fd")[1] == "0\n1\n2\n3\n"
    read, write = os.pipe()
    with container.exec(
        ["sh", "-c", "echo two > /dev/stdout; echo three > /dev/stderr"], stdout=write, stderr=write
    ) as execution:
        assert execution.wait().status == 0
    assert os.read(read, 100) == b"two\nthree\n"
    for descriptor in (read, write):
        os.close(descriptor)


def test_a_directory_of_the_host_is_no_stream(made):
    container = made(SERVE)
    top = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    for name in ("stdin", "stdout", "stderr"):
        with pytest.raises(ValueError, match="directory"):
            container.exec(["ls", "/proc/self/fd/0/"], **{name: top})
    os.close(top)


def test_signals_reach_the_command_and_nothing_else(made):
    container = made("trap 'echo no; exit 9' USR1 USR2 HUP INT TERM; " + SERVE)
    end = waiting(container)
    log = os.memfd_create("log")
    script = "trap 'echo one' USR1; trap 'echo two; exit 4' TERM; echo ready; while :; do sleep 0.02; done"
    with container.exec(["sh", "-c", script], stdout=log) as execution:
        until(lambda: b"ready" in os.pread(log, 100, 0))
        execution.signal(signal.SIGUSR1)
        until(lambda: b"one" in os.pread(log, 100, 0))
        execution.signal(signal.SIGSTOP)
        execution.signal(signal.SIGCONT)
        execution.signal(signal.SIGTERM)
        assert execution.wait().status == 4
        execution.signal(signal.SIGTERM)  # nothing is there any more
    for number in (0, -1, 65, 1 << 40):
        with pytest.raises(ValueError, match="no signal"):
            execution.signal(number)
    os.close(log)
    for _ in range(20):  # also before it has a session, or a program of its own
        with container.exec(["sleep", "60"]) as execution:
            execution.signal(signal.SIGTERM)
            assert execution.wait().status == 143
    assert ran(container, "true")[0] == 0
    container.stop()
    assert end().status == 9


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_time_limits(made):
    container = made(SERVE)
    began = time.monotonic()
    # Its group ends with it, in the background too, though the one that is waited for handles the signal.
    script = "(trap '' TERM; exec sleep 61) & trap 'exit 3' TERM; while :; do sleep 0.02; done"
    with container.exec(["sh", "-c", script], timeout=0.3, grace=5) as execution:
        result = execution.wait()
    assert (result.status, result.timed_out, result.with_container) == (124, True, False)
    with container.exec(["sh", "-c", "trap '' TERM; sleep 61"], timeout=0.1, grace=0.2) as execution:
        assert execution.wait().timed_out
    with container.exec(["sleep", "61"], timeout=0) as execution:
        assert execution.wait().status == 124
    assert time.monotonic() - began < allowed(10)
    assert ran(container, "ps -o args= | grep 'sleep 6[1]'")[1] == ""
    with container.exec(["true"], timeout=60) as execution:
        assert not execution.wait().timed_out


def test_a_limit_is_kept_while_nobody_waits(made):
    container = made(SERVE)
    with container.exec(["sleep", "61"], timeout=0.1) as execution:
        until(lambda: ran(container, "ps -o args= | grep 'sleep 6[1]'")[1] == "")
        assert execution.wait().timed_out


def test_a_handle_that_is_closed_ends_its_command(made):
    container = made(SERVE)
    with container.exec(["sh", "-c", "trap '' TERM; sleep 61 & sleep 61"]):
        assert "61" in ran(container, "sleep 0.1; ps -o args=")[1]
    until(lambda: "61" not in ran(container, "ps -o args=")[1])


def test_what_it_used(made):
    container = made(SERVE)
    with container.exec(["sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 0.3"]) as execution:
        busy = execution.wait()
    assert 0.02 < busy.cpu_seconds < 60
    assert busy.seconds > 0.3
    assert 1 << 20 < busy.memory < 1 << 33
    with container.exec(["sleep", "0.1"]) as execution:
        assert execution.wait().cpu_seconds < busy.cpu_seconds


def test_orphans_and_zombies_are_not_taken_for_commands(made):
    container = made("while :; do (sh -c '(exit 7) & (exit 8) & sleep 0.01' &); sleep 0.01; done")
    for status in range(20):
        assert ran(container, f"(sleep 0.01; exit 9) & (exit 5) & exit {status}")[0] == status
    assert int(ran(container, "ps -o stat= | grep -c Z || true")[1]) < 10


def test_many_at_once(made):
    container = made(SERVE)
    end = waiting(container)
    with ThreadPoolExecutor(20) as pool:
        found = [*pool.map(lambda number: ran(container, f"echo {number}; exit {number % 100}"), range(150))]
    assert found == [(number % 100, f"{number}\n") for number in range(150)]
    running = [container.exec(["sleep", "60"]) for _ in range(100)]
    container.stop()
    assert end().interrupted
    for execution in running:
        assert execution.wait().status in (137, 143)
        execution.close()


def test_all_descriptors_and_processes_are_given_back(made):
    container = made(SERVE)
    ran(container, "true")
    with nothing_left(descriptors, processes):
        for _ in range(30):
            ran(container, "true", timeout=5)
            with pytest.raises(ValueError, match="null"):
                ran(container, "\0")
    assert len(ran(container, "ls -l /proc/self/fd")[1].splitlines()) == 5


def test_when_the_limit_of_processes_is_reached(made):
    container = made("ulimit -u 60; " + SERVE)
    with container.exec(["sh", "-c", "ulimit -u 30; for i in 1 2 3 4 5 6 7 8 9; do sleep 60 & done; wait"]):
        status, text = ran(container, "true")
        assert status == 0 or "retry" in text


def test_the_containers_end_is_the_end_of_its_commands(made):
    for how in ("stop", "end", "timeout", "close"):
        container = made("sleep 0.7" if how == "end" else SERVE, timeout=0.7 if how == "timeout" else None, grace=0.2)
        end = waiting(container) if how != "close" else None
        with container.exec(["sh", "-c", "trap '' TERM; sleep 60"]) as execution:
            if how == "stop":
                until(lambda: "sleep 60" in ran(container, "ps -o args=")[1])  # noqa: B023 - called here
                container.stop()
            if how == "close":
                container.__exit__()
            result = execution.wait()
        assert (result.status, result.with_container) == (137, True), how
        if end:
            end()
        for ask in (lambda: container.exec(["true"]), lambda: container.namespaces("network")):  # noqa: B023 - called here
            with pytest.raises(SandboxError, match="does not run"):
                ask()


def test_commands_may_end_well_when_the_container_is_stopped(made):
    container = made("trap 'sleep 0.5; exit 0' TERM; " + SERVE)
    log = os.memfd_create("log")
    script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.02; done"
    with container.exec(["sh", "-c", script], stdout=log) as execution:
        until(lambda: b"ready" in os.pread(log, 100, 0))
        container.stop()
        assert execution.wait().status == 5
    container.wait()
    os.close(log)


def test_not_before_it_has_started_and_not_after_its_end(tree):  # noqa: F811
    program = Program(root=Root(lowers=(tree,)), steps=(ContainerStep(argv=("true",)),), env=ENV)
    with Container(program.to_dict()) as container:
        with pytest.raises(SandboxError, match="does not run"):
            container.exec(["true"])
        container.start()
        until_it_ends(container)
        container.wait()


def until_it_ends(container):
    while True:
        try:
            with container.exec(["true"]) as execution:
                execution.wait()
        except SandboxError as error:
            if "does not run" in error.message:
                return
            raise


def test_commands_that_come_while_the_last_step_ends_never_hang(made):
    for delay in (0, 0.01, 0.02, 0.05):
        container = made(f"sleep {0.05 + delay}")
        end = waiting(container)
        with ThreadPoolExecutor(4) as pool:
            for work in [pool.submit(until_it_ends, container) for _ in range(4)]:
                work.result(20)
        assert end().status == 0


def test_stopped_steps_do_not_hinder(made):
    container = made("kill -STOP $$; " + SERVE)
    until(lambda: "T" in ran(container, "ps -o stat=")[1])
    assert ran(container, "echo here")[1] == "here\n"


def test_a_pid_1_that_does_not_answer_is_told(made, monkeypatch):
    from envtool.container import execution as module

    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.3)
    container = made(SERVE)
    os.kill(container._supervisor.pid1, signal.SIGSTOP)
    try:
        with pytest.raises(SandboxError, match="has not answered"):
            container.exec(["true"])
    finally:
        os.kill(container._supervisor.pid1, signal.SIGCONT)
    assert ran(container, "true")[0] == 0


def test_terminal(made):
    container = made(SERVE)
    child, master = pty.fork()
    if child == 0:
        try:
            with container.exec(
                ["sh", "-c", "tty; stty size; read line; echo got $line; exit 6"], terminal=True
            ) as execution:
                os._exit(execution.wait().status)
        finally:
            os._exit(1)
    os.write(master, b"hello\n")
    text = b""
    while True:
        try:
            text += os.read(master, 4096)
        except OSError:
            break
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 6, text
    os.close(master)
    words = text.decode().replace("\r", "").split("\n")
    assert "/dev/pts/0" in words
    assert "got hello" in words
    assert ran(container, "tty")[0] == 1


def test_a_container_that_nobody_holds_serves_nothing(tree):  # noqa: F811
    program = Program(root=Root(lowers=(tree,)), steps=(ContainerStep(argv=("sleep", "60")),), env=ENV, timeout=2)
    with Container(program.to_dict(), held=False) as container:
        container.start()
        with pytest.raises(SandboxError, match="does not run"):
            container.exec(["true"])
