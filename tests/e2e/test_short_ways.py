"""What the short ways of `exec` and `test` import, held by a set and not by a clock."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

pytestmark = pytest.mark.e2e

# Of both; what only some Pythons import (`_struct` is built in or not) is here too.
BOTH = {
    *("__future__", "binascii", "fcntl", "gc", "resource", "runpy", "struct", "_struct"),
    *(
        "envtool",
        "envtool.project.discovery",
        "envtool.fs.beneath",
        "envtool.cli",
        "envtool.cli.fastpath",
        "envtool.project.git",
        "envtool.project.repository",
    ),
    *("envtool.run", "envtool.run.fast_exec", "envtool.fs", "envtool.fs.store_files", "envtool.project"),
}
EXEC = {
    *("_ctypes", "_socket", "select"),
    *("envtool.container", "envtool.container.userns", "envtool.container.pid1", "envtool.container.syscalls"),
    *(
        "envtool.container.messages",
        "envtool.container.mounts",
        "envtool.container.rootfs",
        "envtool.container.supervisor",
    ),
}
TEST = {
    *(
        "errno",
        "select",  # where git is waited for
        "envtool.fs.directory",
        "envtool.project.rundir",
        "envtool.report",
        "envtool.report.unchanged",
        "envtool.run.fast_test",
    ),
    *("envtool.project", "envtool.project.snapshot", "envtool.run.host_state", "envtool.project.listing"),
}


def imported(place, *words):
    """Names of all modules of a command that a Python that does nothing has not."""
    place.environ |= {"PYTHONPROFILEIMPORTTIME": "1"}
    try:
        done = place.envtool(*words)
        assert done.status == 0, done.said
        # by `runpy`, which `python -m` has and the installed command has not
        words = [place.caller.command[0], "-m", "this"]
        nothing = subprocess.run(words, env=place.variables(), stdin=-3, stdout=-3, stderr=-1, check=True, text=True)
    finally:
        del place.environ["PYTHONPROFILEIMPORTTIME"]
    names = [
        {line.rpartition("|")[2].strip() for line in said.splitlines() if line.startswith("import time:")}
        for said in (done.err, nothing.stderr)
    ]
    return names[0] - names[1]


@pytest.mark.any_caller
def test_a_command_that_is_not_there_is_told_the_near_one(place):
    place.task("true")
    near = "envtool: pyhton3: not found\nhint: `pyhton3` is not in this env; did you mean `python3`?\n"
    assert place.envtool("exec", "unit", "--", "true").status == 0
    for options in ((), ("--offline",)):  # the fast path, and the long one
        done = place.envtool("exec", *options, "unit", "--", "pyhton3", "-V")
        assert (done.status, done.out) == (127, "")
        assert done.err.endswith(near), done.said
        for words, told in (
            (("no-such-command-anywhere",), "hint: `no-such-command-anywhere` is not in this env"),
            (("./pyhton3",), ""),  # a path, whose name is in the message
            (("sh", "-c", "exit 127"), ""),  # the command ran
            (("sh", "-c", "exit 126"), ""),
        ):
            done = place.envtool("exec", *options, "unit", "--", *words)
            assert done.status in (126, 127)
            assert ("hint: " in done.err, told in done.err) == (bool(told), True), done.said


@pytest.mark.any_caller
def test_a_file_of_this_machine_is_said_to_be_its_own(place):
    place.task("true")
    assert place.envtool("exec", "unit", "--", "true").status == 0
    own = "is this machine's own: its /usr is mounted read-only"
    for name, path in (("unit", "/usr/bin/env"), ("unit", "/usr"), ("host", "/usr/bin"), ("unit", "/bin/sh")):
        done = place.envtool("inspect", name, path)
        assert done.status == 0, done.said
        assert own in done.out or (path == "/bin/sh" and not os.path.islink("/bin"))
    assert json.loads(place.envtool("inspect", "unit", "/usr/bin/env", "--json").out)["mounted"] == "/usr"
    gone = place.envtool("inspect", "unit", "/usr/bin/no-such-file")
    assert gone.status == 2
    assert "no /usr/bin/no-such-file on this machine, whose /usr" in gone.err
    assert "no /opt/x in `unit`" in place.envtool("inspect", "unit", "/opt/x").err
    assert "machine" not in place.envtool("inspect", "unit", "/etc/passwd").out  # a layer has it


@pytest.mark.one_caller
def test_a_warm_exec(place):
    place.task("true")
    assert place.envtool("exec", "unit", "--", "true").status == 0
    slow = {"envtool.container.limit_watch"}  # of a command that takes a tenth of a second here
    found = imported(place, "exec", "unit", "--", "true") - slow
    assert "envtool.run.fast_exec" in found
    assert not found & {"envtool.project.git", "envtool.project.repository"}
    assert found <= BOTH | EXEC | {"envtool.project", "envtool.project.walk"}  # what git does not say, the walk finds
    place.shell("git init -q .")
    assert place.envtool("exec", "unit", "--", "true").status == 0
    assert imported(place, "exec", "unit", "--", "true") - slow <= BOTH | EXEC


@pytest.mark.one_caller
def test_an_unchanged_test(place):
    place.task("true")
    place.shell("git init -q .")
    assert place.envtool("test").status == 0
    time.sleep(1.2)  # the short way trusts no file that is younger than the run that read it
    for _ in range(2):
        assert place.envtool("test").status == 0
    found = imported(place, "test")
    assert "envtool.run.fast_test" in found
    assert found <= BOTH | TEST
