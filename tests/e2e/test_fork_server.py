"""Containers whose processes a small process forks. tests/e2e/test_container_handle.py holds both ways to the same."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from envtool.container import supervisor
from envtool.container.fork_server import ForkServer
from envtool.container.program import ContainerStep, Program, ProjectMount, Root, TextMount
from envtool.container.runner import LocalRunner
from envtool.errors import SandboxError
from tests.e2e.test_container import ENV, tree  # noqa: F401 - a fixture
from tests.leftovers import nothing_left, processes

pytestmark = pytest.mark.e2e

PLAIN = {"steps": ()}
MANY = 6  # containers: more than a runner forks itself


def until(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def started_server() -> ForkServer:
    """A server that serves now: until then, containers are forked here."""
    server = ForkServer()
    until(lambda: server.serves(PLAIN))
    return server


def children() -> dict[int, str]:
    """The processes that this one has to wait for, with their command lines."""
    found = {}
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread or a process has ended meanwhile
            for number in Path(f"/proc/self/task/{thread}/children").read_text().split():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    found[int(number)] = Path(f"/proc/{number}/cmdline").read_text().replace("\0", " ")
    return found


def servers() -> list[int]:
    return [number for number, line in children().items() if "fork_server" in line]


@pytest.fixture
def server():
    """A server that has started, and is gone at the end."""
    server = started_server()
    yield server
    server.close()
    until(lambda: not servers())


def program(tree, *scripts, **more):  # noqa: F811
    steps = tuple(ContainerStep(argv=("/bin/sh", "-c", script)) for script in scripts)
    return Program(root=Root(lowers=(tree,)), steps=steps, env=more.pop("env", ENV), **more)


def run(server, program, **options):
    log = os.memfd_create("log")
    try:
        ended = supervisor.run(program.to_dict(), stdout=log, stderr=log, server=server, **options)
        return ended.status, os.pread(log, 1 << 20, 0).decode(errors="surrogateescape")
    finally:
        os.close(log)


def test_a_container_is_a_child_of_its_supervisor(tree, server):  # noqa: F811
    [number] = servers()
    with supervisor.Container(program(tree, "sleep 60").to_dict(), server=server) as container:
        container.start()
        pid1 = container._supervisor.pid1
        status = Path(f"/proc/{pid1}/status").read_text()
        assert f"PPid:\t{os.getpid()}\n" in status
        memory = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))
        ours = int(
            next(
                line.split()[1]
                for line in Path("/proc/self/status").read_text().splitlines()
                if line.startswith("VmRSS:")
            )
        )
        assert memory < ours / 2, "it is a fork of the server, not of this process, which has loaded pytest"
        assert not Path(f"/proc/{number}/task/{number}/children").read_text()


def started_by(container) -> str:
    """Which process the server has cloned for a container."""
    return "helper" if container._supervisor.helper else "pid 1"


def test_pid_1_is_cloned_at_once_where_that_is_possible(tree, server):  # noqa: F811
    with supervisor.Container(program(tree, "exit 3").to_dict(), server=server) as container:
        container.start()
        assert started_by(container) == "pid 1"
        assert container.wait().status == 3
        assert len(os.listdir(f"/proc/{servers()[0]}/fd")) == 3, "the server keeps none of the container's files"


def test_a_container_in_namespaces_of_another_one_is_made_by_a_helper(tree, server):  # noqa: F811
    with supervisor.Container(program(tree, "sleep 60").to_dict(), server=server) as first:
        first.start()
        joins = first.namespaces("network")
        with supervisor.Container(program(tree, "exit 4").to_dict(), server=server, joins=joins) as second:
            second.start()
            assert started_by(second) == "helper"
            assert second.wait().status == 4


def test_a_source_that_is_missing_is_reported_as_by_a_container_that_is_forked_here(tree, server):  # noqa: F811
    made = program(tree, "exit 3", project=ProjectMount(source="/no/such/project"))
    errors = []
    for forker in (server, None):
        with pytest.raises(SandboxError) as caught:
            supervisor.run(made.to_dict(), server=forker)
        errors.append((caught.value.code, caught.value.message, caught.value.hint))
    assert errors[0] == errors[1]
    [number] = servers()
    assert len(os.listdir(f"/proc/{number}/fd")) == 3
    assert run(server, program(tree, "exit 3"))[0] == 3


def test_a_caller_that_cancels_at_once(tree, server):  # noqa: F811
    read, write = os.pipe()
    os.write(write, b"x" * signal.SIGTERM)
    try:
        ended = supervisor.run(program(tree, "exec sleep 60").to_dict(), server=server, cancel=read)
    finally:
        os.close(read)
        os.close(write)
    assert ended.interrupted
    assert ended.status in (130, 143)


def test_everything_that_a_container_can_be_asked_for(tree, server, tmp_path):  # noqa: F811
    """Outputs, opened files, limits, names that are no UTF-8, and more than a message of a socket holds."""
    odd = os.fsdecode(b"caf\xe9")
    project = tmp_path / "project"
    (project / odd).mkdir(parents=True)
    (project / odd / "read").write_text("in\n")
    out = tmp_path / "out"
    out.mkdir()
    os.chmod(tmp_path, 0o755)
    text = TextMount(target="/large", content=b"x" * (3 << 20), mode=0o444)
    made = program(
        tree,
        'cat "$ODD/read"; read -r text < /large; echo ${#text}; echo out > result; ulimit -n',
        env=ENV | {"ODD": odd},
        project=ProjectMount(source=str(project)),
        mounts=(text,),
        outputs=("result",),
        watch=(f"/project/{odd}",),
    )
    made = Program(**{**vars_of(made), "steps": (ContainerStep(argv=made.steps[0].argv, cwd="/project"),)})
    log = os.memfd_create("log")
    ended = supervisor.run(made.to_dict(), stdout=log, stderr=log, server=server, outputs_to=str(out))
    printed = os.pread(log, 1 << 16, 0).decode().split()
    os.close(log)
    assert (ended.status, printed[:2]) == (0, ["in", str(3 << 20)]), printed
    assert ended.outputs == ("result",)
    assert (out / "result").read_text() == "out\n"
    assert ended.opened is not None
    assert f"/project/{odd}/read" in ended.opened


def vars_of(program: Program) -> dict:
    return {name: getattr(program, name) for name in Program.__dataclass_fields__}


def test_a_step_has_the_signals_of_one_that_is_forked_here(tree, server):  # noqa: F811
    script = "while read -r name value; do case $name in Sig*) echo $name $value;; esac; done < /proc/self/status"
    status, printed = run(server, program(tree, script))
    assert (status, printed) == run(None, program(tree, script))
    assert "SigIgn: 0000000000000000\n" in printed


def test_a_server_that_is_killed_is_not_missed(tree, server):  # noqa: F811
    """What it has forked goes on, and what comes then is forked here."""
    [number] = servers()
    with supervisor.Container(program(tree, "sleep 0.5; exit 7").to_dict(), server=server) as container:
        container.start()
        os.kill(number, signal.SIGKILL)
        until(lambda: number not in children())
        assert container.wait().status == 7
    assert run(server, program(tree, "echo here")) == (0, "here\n")
    assert not server.serves(PLAIN)
    assert run(server, program(tree, "echo again")) == (0, "again\n")


def test_a_server_that_stops_while_it_is_asked(tree, server):  # noqa: F811
    server._sock.settimeout(0.5)
    [number] = servers()
    os.kill(number, signal.SIGSTOP)
    try:
        assert run(server, program(tree, "echo here")) == (0, "here\n")
    finally:
        os.kill(number, signal.SIGCONT)
    until(lambda: not servers())


def test_the_thread_that_started_a_container_may_end(tree, server):  # noqa: F811
    """The kernel kills a container when the thread ends that forked it, or whose child did: that is one of the
    server's, which lives until the server is closed."""
    container = supervisor.Container(program(tree, "sleep 0.5; exit 7").to_dict(), server=server)
    with container:
        starter = threading.Thread(target=container.start)
        starter.start()
        starter.join()
        assert container.wait().status == 7


def test_two_threads_that_ask_whether_it_has_started(monkeypatch):
    """It says so once: a thread that waited for a second time would have waited for a minute."""
    server = ForkServer()
    until(lambda: select.select([server._sock], [], [], 0)[0])
    both, poll = threading.Barrier(2), select.poll

    class Poll:
        """Shows the descriptor to no thread before the other one has come to this point, unless that cannot come."""

        def __init__(self):
            self._poll = poll()
            self.register = self._poll.register

        def poll(self, timeout):
            ready = self._poll.poll(timeout)
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(0.5)
            return ready

    monkeypatch.setattr(select, "poll", Poll)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(server.serves(PLAIN)), daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    server.close()
    assert answers == [True, True]


def test_only_the_process_that_started_it_is_served(server):
    child = os.fork()
    if child == 0:
        os._exit(server.serves(PLAIN))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert server.serves(PLAIN)


def test_a_function_is_called_by_who_has_it(server):
    assert not server.serves({"steps": ({"argv": ("true",)}, {"call": "module:function"})})


def test_a_runner_starts_one_for_many_containers(tree, monkeypatch):  # noqa: F811
    served = []
    fork = ForkServer.fork
    monkeypatch.setattr(ForkServer, "fork", lambda *args: served.append(fork(*args)) or served[-1])
    runner, log = LocalRunner(), os.open(os.devnull, os.O_WRONLY)
    try:
        for _ in range(2):
            assert runner.run(program(tree, "exit 3"), stdout=log, stderr=log).status == 3
        assert not servers(), "two containers are cheaper without one"
        assert runner.run(program(tree, "exit 3"), stdout=log, stderr=log).status == 3
        until(lambda: runner._server.serves(PLAIN))
        for _ in range(MANY):
            assert runner.run(program(tree, "exit 3"), stdout=log, stderr=log).status == 3
        with runner.start(program(tree, "exit 4"), stdout=log, stderr=log) as container:
            assert container.wait().status == 4
        assert len(served) == MANY + 1
        assert len(servers()) == 1
    finally:
        runner.close()
        os.close(log)
    until(lambda: not servers())
    runner.close()


KILLED = """
import os, sys, time
from envtool.container import supervisor
from envtool.container.fork_server import ForkServer
from envtool.container.program import ContainerStep, Program, Root
server = ForkServer() if sys.argv[2] == "server" else None
while server and not server.serves({"steps": ()}):
    time.sleep(0.01)
step = ContainerStep(argv=("/bin/sh", "-c", "sleep 1000"))
container = supervisor.Container(Program(root=Root(lowers=(sys.argv[1],)), steps=(step,)).to_dict(), server=server)
container.start()
print(container._supervisor.pid1, *open(f"/proc/self/task/{os.getpid()}/children").read().split(), flush=True)
for thread in os.listdir("/proc/self/task"):
    print(*open(f"/proc/self/task/{thread}/children").read().split())
print("end", flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize(("forker", "count"), [("server", 2), ("one thread", 1)])
def test_nothing_is_left_of_a_supervisor_that_is_killed(tree, forker, count):  # noqa: F811
    with nothing_left(processes):
        ran = subprocess.Popen([sys.executable, "-c", KILLED, tree, forker], stdout=subprocess.PIPE, text=True)
        words = iter(ran.stdout.readline, "end\n")
        numbers = {int(number) for line in words for number in line.split()}
        assert len(numbers) == count, "pid 1, and the server, if there is one: it was made without a helper"
        ran.kill()
        ran.wait()
        ran.stdout.close()
        until(lambda: not any(os.path.exists(f"/proc/{number}") for number in numbers))


BOTH_WAYS = r"""
import json, os, re, sys, time
from envtool.container import supervisor
from envtool.container.fork_server import ForkServer
from envtool.container.program import BindMount, ContainerStep, Program, ProjectMount, Root
top = sys.argv[1]
looks = "id; umask; ulimit -a; hostname; pwd; cat file; echo more > new; ls -ln . /proc/self/fd; cat /proc/self/status; " \
    "cat /proc/self/[ug]id_map /proc/self/mountinfo /proc/self/cgroup /proc/self/oom_score_adj /proc/1/oom_score_adj; " \
    "cat /proc/net/dev /proc/net/if_inet6; tr '\\0' ' ' < /proc/1/cmdline; ls -l /proc/1/fd /proc/1/exe; " \
    "ls /proc/1/task | wc -l; cut -d' ' -f 4-6 /proc/1/stat; cut -d' ' -f 4-6 /proc/self/stat; echo /proc/[0-9]*"
binds = tuple(BindMount(source=path, target=path) for path in ("/bin", "/lib", "/lib64", "/usr") if os.path.exists(path))
answers = []
def look(forker):
    for user in ("user", "root"):
        step = ContainerStep(argv=("/bin/sh", "-c", looks), cwd="/project")
        made = Program(root=Root(lowers=(f"{top}/base",)), binds=binds, steps=(step,), user=user, hostname="there",
                       project=ProjectMount(source=f"{top}/project"), env={"PATH": "/usr/bin:/bin"})
        log = os.memfd_create("log")
        with supervisor.Container(made.to_dict(), stdout=log, stderr=log, held=False, server=forker) as container:
            container.start()
            alone = not container._supervisor.helper
            ended = container.wait()
        text = os.pread(log, 1 << 20, 0).decode()
        text = re.sub(r"^\d+ \d+ \d+:\d+ ", "mount ", text, flags=re.M)  # numbers of mounts
        text = re.sub(r"(Vm|Rss|.*ctxt_switches|.*allowed).*\n|pipe:\S+|\w\w\w +\d+ \d\d:\d\d|size=\S+?,", "", text)
        text = re.sub(r"^(fe80\S+ .* )c0( +lo)$", r"\g<1>80\2", text, flags=re.M)  # IFA_F_TENTATIVE: for a moment
        lines = sorted(" ".join(line.split()) for line in text.splitlines())
        answers.append((alone, ended.status, ended.network_tried, lines))
look(None)
server = ForkServer()
while not server.serves({"steps": ()}):
    time.sleep(0.01)
look(server)
look(None)
server.close()
print(json.dumps(answers))
"""


def test_what_is_in_a_container_is_the_same_without_a_helper(fresh):
    """For each sort of caller, and both users of a container: one thread, a server, and a process with threads."""
    for name in ("base", "project"):
        (fresh.top / name).mkdir(exist_ok=True)
    fresh.write("file", "content\n", at=fresh.top / "project")
    os.chown(fresh.top / "base", fresh.caller.uid, fresh.caller.gid)
    os.chown(fresh.top / "project", fresh.caller.uid, fresh.caller.gid)
    python = fresh.caller.command[0]
    process = fresh.caller.spawn(
        python, "-c", BOTH_WAYS, str(fresh.top), env=fresh.variables(), cwd=fresh.top,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err.decode()
    answers = json.loads(out)
    assert [answer[0] for answer in answers] == [True, True, True, True, False, False]
    for cloned, helped in zip(answers[:4], 2 * answers[4:], strict=True):
        assert cloned[1:3] == helped[1:3]
        assert cloned[3] == helped[3]
        assert {"content", "there"} <= {*cloned[3]}
