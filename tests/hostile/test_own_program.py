"""What is about to become a step is our own program until its execve, and so is what a link to /proc/self/exe names then
(CVE-2019-5736). A program that belongs to the caller, as that of a virtual environment, must not be changed by a step.
"""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from envtool.container import userns
from tests.places import Place

pytestmark = pytest.mark.e2e

DRIVER = """\
import json, os, sys
from envtool.container import pid1, supervisor, syscalls
from envtool.container.program import BindMount, ContainerStep, Program, Root

top, way, user, kernel = sys.argv[1:5]
if kernel == "old":
    syscalls.confine_programs = lambda: False
change = (
    "import os\\n"
    "print('ours', os.readlink('/proc/self/exe'), flush=True)\\n"
    "for change in (lambda: os.chmod('/proc/self/exe', 0o4777), lambda: os.utime('/proc/self/exe', (1, 1)),\\n"
    "               lambda: os.setxattr('/proc/self/exe', 'user.x', b'y')):\\n"
    "    try:\\n        change()\\n        print('changed')\\n    except OSError as error: print(error)\\n"
)
script = "/tmp/script"
prepare = {
    "direct": "true",
    "link": "ln -s /proc/self/exe /tmp/program",
    "links": "ln -s /proc/self /tmp/self; ln -s self/exe /tmp/program",
    "thread": "true",
    "script": f"printf '#!/proc/self/exe -IS\\\\n' > {script}; cat /code >> {script}; chmod 755 {script}",
    "scripts": f"printf '#!/proc/self/exe -IS\\\\n' > {script}1; cat /code >> {script}1; chmod 755 {script}1;"
               f"printf '#!/tmp/script1\\\\n' > {script}; chmod 755 {script}",
    "shell": "mkdir /tmp/bin; printf ':\\\\n' > /tmp/bin/text; chmod 755 /tmp/bin/text; ln -sf /proc/self/exe /bin/sh",
    "path": "mkdir /tmp/bin; ln -s /proc/self/exe /tmp/bin/python",
}[way]
argv = {
    "direct": ("/proc/self/exe", "-I", "-S", "/code"),
    "link": ("/tmp/program", "-I", "-S", "/code"),
    "links": ("/tmp/program", "-I", "-S", "/code"),
    "thread": ("/proc/thread-self/exe", "-I", "-S", "/code"),
    "script": (script,),
    "scripts": (script,),
    "shell": ("/tmp/bin/text",),
    "path": ("python", "-I", "-S", "/code"),
}[way]
from envtool.container.program import TextMount
env = {"PATH": "/tmp/bin:/usr/bin:/bin", "HOME": "/tmp"}
steps = (ContainerStep(argv=("/usr/bin/bash", "-ec", prepare)), ContainerStep(argv=("/usr/bin/sleep", "0.5")))
steps = (*steps[:1], ContainerStep(argv=argv)) if kernel != "exec" else steps
program = Program(
    root=Root(upper=top + "/tree") if kernel == "kept" else Root(lowers=(top + "/tree",)), steps=steps, env=env, user=user, timeout=30,
    binds=(BindMount(source="/usr", target="/usr"),), mounts=(TextMount(target="/code", content=change.encode()),),
)
with supervisor.Container(program.to_dict()) as container:
    container.start()
    if kernel == "exec":
        import time
        time.sleep(0.2)
        with container.exec(argv) as execution:
            print("status", execution.wait().status, flush=True)
        container.stop()
        container.wait()
    else:
        print("status", container.wait().status, flush=True)
"""
WAYS = ("direct", "link", "links", "thread", "script", "scripts", "shell", "path")


@pytest.fixture
def arena(fresh: Place) -> Place:
    """A root without a shell of its own, and an interpreter that belongs to the caller."""
    tree = fresh.directory("tree")
    for name in ("etc", "tmp", "bin"):
        (tree / name).mkdir()
        fresh.give(tree / name)
    for name in ("lib", "lib64"):
        if os.path.islink(f"/{name}"):
            (tree / name).symlink_to(os.readlink(f"/{name}"))
    (tree / "bin/sh").symlink_to("/usr/bin/sh")
    if fresh.caller.mode == "root":  # no container has files of root itself
        os.chown(tree / "bin", *(2 * [userns.caller_ids().uids[0][1]]))
    (tree / "bin").chmod(0o777)
    python = fresh.top / "python"
    shutil.copy(os.path.realpath(fresh.caller.command[0]), python)
    fresh.give(python)
    python.chmod(0o755)
    probe = fresh.caller.spawn(
        str(python), "-c", "import envtool.container.supervisor", env=fresh.variables(), stderr=-1
    )
    said = probe.communicate()[1]
    if probe.returncode:
        pytest.skip(f"the interpreter does not run from another place: {said!r}")
    return fresh


@pytest.mark.sampled(6)
@pytest.mark.parametrize("kernel", ["new", "old", "exec", "kept"])  # kept: mount points are removed at the end
@pytest.mark.parametrize("user", ["user", "root"])
@pytest.mark.parametrize("way", WAYS)
def test_our_own_program_is_executed_by_no_step(arena, way, user, kernel):
    python = arena.top / "python"
    before = os.stat(python)
    process = arena.caller.spawn(
        str(python), "-c", DRIVER, str(arena.top), way, user, kernel, env=arena.variables(), cwd=arena.top,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    arena.running.append(process)
    out = process.communicate(timeout=60)[0].decode()
    assert "ours" not in out, out
    assert "changed" not in out, out
    after = os.stat(python)
    assert (before.st_mode, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_mode,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
    assert "status 126" in out, out
    if kernel == "kept":
        assert {"proc", "sys", "usr", "code"} & {*os.listdir(arena.top / "tree")} == set()


def test_nothing_else_is_kept_from_running(place):
    """Files that are moved, linked, removed or in memory are executed as before, and moved between directories."""
    script = (
        "cp /bin/true t; ./t; mkdir -p a/b c; mv t a/b/t; a/b/t; mv a/b c/b; c/b/t; ln c/b/t l; ./l; ln -s /bin/true s; ./s\n"
        "cp /bin/true /tmp/t; /tmp/t; mv /tmp/t ~/t; ~/t; cp /bin/sleep d; ./d 0.3 & sleep 0.1; rm d; wait $!\n"
        "printf '#!/bin/sh\\nexit 0\\n' > e; chmod 755 e; ./e; exec 7<c/b/t; rm c/b/t; /proc/self/fd/7\n"
    )
    for user in ("user", "root"):
        place.task(script, options=f"user: {user}")
        done = place.envtool("test", "--again")
        assert done.status == 0, done.said
