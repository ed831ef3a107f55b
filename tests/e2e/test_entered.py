"""What a command in a running container, and a container in another one's namespaces, sees: all that a step sees."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.places import Place

pytestmark = [pytest.mark.e2e, pytest.mark.every_caller]

LOOK = """\
import ctypes, json, os, resource, signal, socket
def text(path):
    with open(path, errors="surrogateescape") as file:
        return file.read()
def tried(call, *arguments):
    try:
        return repr(call(*arguments))
    except OSError as error:
        return error.errno
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def answer(number):  # of a system call that has nothing to work on
    ctypes.set_errno(0)
    return ctypes.get_errno() if libc.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6) < 0 else 0
LEFT_OUT = {"Name", "Pid", "Tgid", "NSpid", "NStgid", "NSpgid", "NSsid", "PPid", "FDSize", "voluntary_ctxt_switches",
            "nonvoluntary_ctxt_switches", "Cpus_allowed", "Cpus_allowed_list"}
status = dict(line.split(":\\t", 1) for line in text("/proc/self/status").splitlines() if ":\\t" in line)
calls = [165, 166, 155, 308, 272, 250, 321, 323, 425, 428, 438, 440, 312, 304, 170, 103, 175, 169] if os.uname().machine == "x86_64" else []
print(json.dumps({
    "status": {name: value for name, value in status.items() if name not in LEFT_OUT and not name.startswith(("Vm", "Rss", "Huge"))},
    "environ": sorted(os.environ.items()),
    "mounts": text("/proc/self/mountinfo"),
    "limits": text("/proc/self/limits"),
    "descriptors": [(name, os.readlink(f"/proc/self/fd/{name}")) for name in ("0",)] + sorted(os.listdir("/proc/self/fd")),
    "namespaces": [(name, os.readlink(f"/proc/self/ns/{name}")) for name in sorted(os.listdir("/proc/self/ns"))],
    "places": [os.getcwd(), os.readlink("/proc/self/cwd"), os.readlink("/proc/self/root"), os.listdir("/")],
    "ids": [os.getresuid(), os.getresgid(), os.getgroups(), text("/proc/self/uid_map"), text("/proc/self/gid_map")],
    "umask": os.umask(0),
    "groups": text("/proc/self/cgroup"),
    "oom": text("/proc/self/oom_score_adj"),
    "priority": [os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)],
    "signals": [str(signal.getsignal(number)) for number in range(1, 32)],
    "personality": libc.personality(0xFFFFFFFF),
    "dumpable": libc.prctl(3, 0, 0, 0, 0),
    "death signal": [libc.prctl(2, ctypes.byref(number := ctypes.c_int()), 0, 0, 0), number.value],
    "session": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid(), os.getppid()],
    "calls": [answer(number) for number in calls],
    "name": os.uname().nodename,
    "sockets": [tried(lambda family=family: socket.socket(family).close()) for family in (1, 2, 10, 15, 16, 17, 31, 38, 40)],
    "host": [tried(os.listdir, path) for path in ("/proc/1/root", "/proc/1/fd", "/proc/1/cwd/..")] + [tried(open, "/proc/1/mem"), tried(os.readlink, "/proc/1/exe")],
}))
"""
DRIVER = """\
import os, sys
from envtool.container import supervisor
from envtool.container.program import BindMount, ContainerStep, Program, ProjectMount, Root, TextMount

top, project, look, user = sys.argv[1:5]
who = {"user": "nobody"} if user == "nobody" else {}
argv = ("/usr/bin/python3", "-I", "-S", "/look.py")
def program(steps):
    return Program(
        root=Root(lowers=(top + "/tree",)), steps=steps, user="user" if user == "user" else "root", timeout=40,
        env={"PATH": "/usr/bin:/bin", "ONE": "1"}, project=ProjectMount(source=project),
        binds=(BindMount(source="/usr", target="/usr"),), mounts=(TextMount(target="/look.py", content=look.encode()),),
    ).to_dict()
more = {"env": {"TWO": "2"}, "cwd": "/project", **who}
looks = (ContainerStep(argv=argv, **more),)
stays = (ContainerStep(argv=("/usr/bin/sleep", "60"), **more),)
read, write = os.pipe()
with supervisor.Container(program((*looks, *stays)), stdout=write) as container:
    container.start()
    with open(read) as printed:  # the first step has ended before anything else is compared with it
        print(printed.readline(), end="", flush=True)
    with container.exec(argv) as execution:
        assert execution.wait().status == 0
    with container.namespaces("network", "ipc", "uts") as joins, supervisor.Container(program(looks), joins=joins) as joined:
        joined.start()
        assert joined.wait().status == 0
    container.stop()
    container.wait()
"""


TRACE = """\
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
(pid,) = [int(name) for name in os.listdir("/proc") if name.isdigit() and open(f"/proc/{name}/comm").read() == "sleep\\n"]
assert libc.ptrace(ctypes.c_long(0x4206), ctypes.c_long(pid), None, None) == 0, os.strerror(ctypes.get_errno())
open(f"/proc/{pid}/mem", "rb").close()
print("traced")
"""
YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
needs_python = pytest.mark.skipif(not os.path.exists("/usr/bin/python3"), reason="no /usr/bin/python3 to look with")


@pytest.mark.skipif(
    YAMA.exists() and YAMA.read_text() != "0\n",
    reason="Yama keeps processes from tracing each other",
)
@needs_python
@pytest.mark.parametrize("user", ["user", "root"])
def test_a_debugger_that_is_executed_reaches_the_steps(fresh: Place, user):
    """All processes of a container are confined together: had each step confined itself, none could trace another's."""
    driver = DRIVER[: DRIVER.index("with supervisor")]
    driver += (
        "with supervisor.Container(program(stays)) as container:\n"
        "    container.start()\n"
        "    import time; time.sleep(0.2)\n"
        "    with container.exec(argv) as execution:\n"
        "        print(execution.wait().status)\n"
    )
    status, out, err = run_driver(fresh, driver, TRACE, user)
    assert (status, out) == (0, "traced\n0\n"), err


@needs_python
@pytest.mark.parametrize("user", ["user", "root", "nobody"])
def test_commands_and_joined_containers_see_what_a_step_sees(fresh: Place, user):
    if user == "nobody" and fresh.caller.mode == "single":
        pytest.skip("there is no other id")
    status, out, err = run_driver(fresh, DRIVER, LOOK, user)
    assert status == 0, err
    compare(out)


def run_driver(fresh: Place, driver: str, look: str, user: str) -> tuple[int, str, str]:
    """Run a driver as the caller. Returns its status, and what it printed."""
    tree = fresh.directory("tree")
    for name in ("etc", "tmp"):
        (tree / name).mkdir()
        fresh.give(tree / name)
    for name in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            (tree / name).symlink_to(os.readlink(f"/{name}"))
    fresh.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n", at=tree)
    fresh.environ |= {"CANARY": "of the caller"}
    process = fresh.caller.spawn(
        fresh.caller.command[0], "-c", driver, str(fresh.top), str(fresh.project), look, user, env=fresh.variables(), cwd=fresh.top,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    fresh.running.append(process)
    out, err = (text.decode() for text in process.communicate(timeout=60))
    return process.returncode, out, err


def compare(out: str) -> None:
    """Compare what a step, a command and a joined container printed."""
    step, executed, joined = (json.loads(line) for line in out.splitlines())
    assert executed == step
    assert ["ONE", "1"] in step["environ"]
    assert "CANARY" not in out
    shared = {"net", "ipc", "uts", "user"}
    for name in ("namespaces", "mounts"):
        assert joined[name] != step[name]
    both = {name for (name, one), (_, two) in zip(joined["namespaces"], step["namespaces"], strict=True) if one == two}
    assert both - {"time", "time_for_children"} == shared
    for view in (step, joined):  # the numbers of devices are each container's own
        del view["namespaces"], view["mounts"]
    assert joined == step
