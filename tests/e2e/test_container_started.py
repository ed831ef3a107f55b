"""What `Runner.start` returns, and the pod that it runs in: signals, the end of a whole group, sockets, files, usage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from envtool.container.program import ContainerStep, Program, Root
from envtool.container.runner import LocalRunner
from envtool.container.started import ESTABLISHED, LISTENING, read_tcp_sockets, read_usage
from envtool.errors import SandboxError
from tests.e2e.test_container import ENV, tree  # noqa: F401 - a fixture
from tests.leftovers import descriptors, nothing_left, processes, threads

pytestmark = pytest.mark.e2e


@pytest.fixture
def start(tree):  # noqa: F811
    """Starts a shell script -> the container, and a function that returns what it printed and how it ended."""
    contexts = []

    def make(script, *, joins=None, **more):
        log = tempfile.TemporaryFile()
        program = Program(
            root=Root(lowers=(tree,)), steps=(ContainerStep(argv=("/bin/sh", "-c", script)),), env=ENV, **more
        )
        found = []
        up = threading.Event()

        def live():
            with LocalRunner().start(program, stdout=log.fileno(), stderr=log.fileno(), joins=joins) as container:
                found.append(container)
                up.set()
                found.append(container.wait())

        thread = threading.Thread(target=live)
        thread.start()
        assert up.wait(20)
        container = found[0]
        contexts.append((container, thread, log))

        def result():
            thread.join(20)
            log.seek(0)
            return log.read().decode(), found[1]

        def printed():
            return os.pread(log.fileno(), 1 << 16, 0).decode()

        container.printed = printed
        return container, result

    with nothing_left(processes):
        yield make
        for container, thread, log in contexts:
            container.kill()
            thread.join(20)
            log.close()


def until(condition, seconds=15.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


STAY = "echo up; while :; do sleep 0.02; done"


@pytest.mark.parametrize("number", [1, 2, 3, 10, 12, 15, 28, 37])
def test_any_signal_reaches_the_step(start, number):
    container, result = start(f"trap 'echo got {number}; exit 5' {number}; {STAY}")
    until(lambda: "up" in container.printed())
    container.signal(number)
    text, ended = result()
    assert f"got {number}" in text
    assert ended.status == 5


def test_a_signal_that_ends_nothing(start):
    container, _ = start(f"trap 'echo again' USR1; {STAY}")
    until(lambda: "up" in container.printed())
    container.signal(10)
    until(lambda: "again" in container.printed())
    assert container.usage().processes >= 2


def test_the_whole_group_ends(start):
    """A shell ends by the signal at once, its child in its own time: nothing is killed in between."""
    child = "trap 'sleep 0.3; echo bye; exit' TERM; echo up; while :; do sleep 0.02; done"
    container, result = start(f'sh -c "{child}"; echo never')
    until(lambda: "up" in container.printed())
    container.end(15)
    text, ended = result()
    assert text.endswith("bye\n")
    assert ended.status == 143
    assert not ended.interrupted


def test_a_group_that_does_not_end_is_killed(start):
    container, result = start(f'sh -c "trap \\"\\" TERM; {STAY}"; echo never')
    until(lambda: "up" in container.printed())
    container.end(15)
    time.sleep(0.3)
    assert container.usage().processes >= 2
    with pytest.raises(SandboxError):  # it starts nothing any more
        container.exec(("/bin/sh", "-c", "true"), stdout=2).__enter__()
    container.kill()
    assert result()[1].status == 137


def test_signals_to_one_that_has_ended(start):
    container, result = start("exit 3")
    assert result()[1].status == 3
    container.signal(15)
    container.signal(10)
    container.end(15)
    container.kill()
    assert container.usage() == (0, 0.0, 0)
    assert container.tcp_sockets() == ()
    with pytest.raises(SandboxError):
        container.has_file("/tmp")


def test_files(start):
    container, _ = start(f"ln -s /etc/shadow /tmp/link; ln -s /proc/1/root/../../../tmp/there /tmp/far; {STAY}")
    until(lambda: "up" in container.printed())
    assert container.has_file("/tmp")
    assert container.has_file("/etc/os-release")
    assert not container.has_file("/tmp/there")
    with tempfile.NamedTemporaryFile() as outside:
        assert not container.has_file(outside.name)
        assert not container.has_file(f"/tmp/../..{outside.name}")
        assert not container.has_file(f"/proc/1/root{outside.name}")
    assert not container.has_file("/tmp/link"), "the link's target is looked for in the container"
    assert not container.has_file("a" * 5000)
    with container.exec(("/bin/sh", "-c", "echo > /tmp/there"), stdout=2) as command:
        assert command.wait().status == 0
    assert container.has_file("/tmp/there")
    assert container.has_file("/tmp/far")


def test_usage_is_that_of_all_its_processes(start):
    container, _ = start("sleep 50 & sleep 50 & echo up; while :; do :; done")
    until(lambda: "up" in container.printed())
    before = container.usage()
    assert before.processes >= 4  # pid 1, the shell, two children
    assert before.memory > 1 << 20
    until(lambda: container.usage().cpu_seconds > before.cpu_seconds + 0.1)
    assert read_usage(1 << 30) == (0, 0.0, 0)


def test_a_connection_from_within_the_pod(tree):  # noqa: F811
    """As a member would make it: what listens on the loopback of its container alone is not reached."""
    import shutil

    if not shutil.which("python3", path="/usr/bin"):
        pytest.skip("no /usr/bin/python3")
    script = (
        "import socket, sys, time\n"
        "a = socket.create_server(('0.0.0.0', 80)); b = socket.create_server(('127.0.0.1', 81))\n"
        "print('up', flush=True)\n"
        "while True:\n c, _ = a.accept(); c.sendall(b'hello'); time.sleep(0.5); c.close()\n"
    )
    runner = LocalRunner()
    pod = runner.pod(user=True, spare=1)
    log = tempfile.TemporaryFile()
    try:
        member = pod.add_member("db-1", "db")
        from envtool.container.program import BindMount

        binds = tuple(BindMount(source=path, target=path) for path in ("/usr", "/lib", "/lib64") if os.path.isdir(path))
        program = Program(
            root=Root(lowers=(tree,)),
            steps=(ContainerStep(argv=("/usr/bin/python3", "-c", script)),),
            binds=binds, env=ENV, hostname="db-1", address=member.address,
        )  # fmt: skip
        with (
            pod.namespaces("db-1") as joins,
            runner.start(program, stdout=log.fileno(), stderr=log.fileno(), joins=joins) as container,
        ):
            until(lambda: os.pread(log.fileno(), 100, 0))
            assert os.pread(log.fileno(), 1000, 0) == b"up\n"
            with pod.connect(member.address, 80, seconds=5) as connection:
                assert connection.recv(10) == b"hello"
                sockets = container.tcp_sockets()
                listening = {(each.address, each.port) for each in sockets if each.state == LISTENING}
                assert listening == {("0.0.0.0", 80), ("127.0.0.1", 81)}
                assert [each.port for each in sockets if each.state == ESTABLISHED] == [80]
            for port in (81, 82):
                with pytest.raises(ConnectionRefusedError):
                    pod.connect(member.address, port, seconds=5)
            ours = {each.port for each in read_tcp_sockets("/proc/self/net") if each.state == LISTENING}
            assert 81 not in ours
    finally:
        pod.close()
        log.close()


COSTS = """
import json, sys, time
from envtool.container.program import ContainerStep, Program, Root
from envtool.container.started import read_usage
from envtool.container.supervisor import Container
step = ContainerStep(argv=("/bin/sh", "-c", "sleep 1000; true"))
program = Program(root=Root(lowers=(sys.argv[1],)), steps=(step,), env={"PATH": "/usr/bin:/bin"}).to_dict()
used = {}
for held in (False, True, False, True):
    with Container(program, stdout=2, stderr=2, held=held) as container:
        container.start()
        while read_usage(container._supervisor.pid1).processes < 3:
            time.sleep(0.01)
        used[held] = read_usage(container._supervisor.pid1).memory
print(json.dumps([used[False], used[True]]))
"""


def test_it_costs_no_more_memory_than_one_that_is_only_run(tree):  # noqa: F811
    """A container that can be entered (a service's) beside one that cannot (a task's). Both are forks of a process that
    does nothing else: this one has loaded pytest, and grows meanwhile."""
    ran = subprocess.run([sys.executable, "-c", COSTS, tree], stdout=subprocess.PIPE, check=True, timeout=60)
    run, entered = json.loads(ran.stdout)
    assert 1 << 20 < entered < run + (1 << 20)


def test_a_pod_whose_end_is_not_waited_for(tree):  # noqa: F811
    """It ends all the same, and is no zombie; what asks it meanwhile is refused."""
    with nothing_left(processes, descriptors, threads):
        pod = LocalRunner().pod()
        pod.add_member("db-1", "db")
        pod.close(wait=False)
        pod.close()
        with pytest.raises(ValueError, match="closed"):
            pod.add_member("db-2", "db")
