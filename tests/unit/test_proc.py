from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from envtool import proc
from envtool.errors import Interrupted


def test_output_status_and_environment(monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("GIT_DIR", "x")
    done = proc.run(["/bin/sh", "-c", "env; cat; echo no >&2; exit 3"], env={"GIVEN": "1"}, input=b"in")
    assert done.status == 3
    assert b"GIVEN=1" in done.stdout
    assert done.stdout.endswith(b"in")
    assert b"SECRET" not in done.stdout
    assert b"GIT_DIR" not in done.stdout
    assert done.stderr == b"no\n"


def test_failures_can_be_pasted(tmp_path):
    done = proc.run(["sh", "-c", "echo 'it broke' >&2; exit 3"], cwd=str(tmp_path))
    assert done.failure() == f"(cd {tmp_path} && sh -c 'echo '\"'\"'it broke'\"'\"' >&2; exit 3'): exit 3: it broke"
    assert proc.run(["no-such-program"]).status == proc.NOT_FOUND
    assert proc.run(["sleep", "9"], timeout=0.05).status == proc.TIMED_OUT
    assert proc.run(["sh", "-c", "kill -9 $$"]).status == 137
    assert os.getcwd()


def test_lines_are_heard_as_they_come():
    heard = []
    done = proc.stream(
        ["/bin/sh", "-c", "umask; echo $A$HOME; cat; echo said >&2; exit 3"],
        heard.append,
        env={"A": "a"},
        umask=0o027,
        input=b"in\nput",
    )
    assert heard == [b"0027", b"a", b"in", b"put"]
    assert (done.status, done.stderr) == (3, b"said\n")


def test_it_is_killed_when_the_caller_has_enough():
    reader, writer = os.pipe()
    since = time.monotonic()
    done = proc.stream(
        ["/bin/sh", "-c", "echo one; exec sleep 60"], lambda _: os.write(writer, b"x") and None, env={}, cancel=reader
    )
    assert done.status == 137

    def refuse(_: bytes) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        proc.stream(["/bin/sh", "-c", "echo one; exec sleep 60"], refuse, env={})
    assert time.monotonic() - since < 30
    os.close(reader)
    os.close(writer)


def test_a_program_that_is_cancelled_ends_with_all_that_it_started(tmp_path):
    reader, writer = os.pipe()
    script = "sleep 61 & echo $! > pid; trap '' INT TERM; echo out; echo err >&2; [ $1 = ends ] || wait"
    words = ["/bin/sh", "-c", script, "sh"]
    done = proc.run([*words, "ends"], cwd=str(tmp_path), env={"GIVEN": "1"}, cancel=reader)
    assert (done.status, done.stdout, done.stderr) == (0, b"out\n", b"err\n")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)  # what it has left is its own
    assert proc.run([*words, "waits"], cwd=str(tmp_path), timeout=0.3, cancel=reader).status == proc.TIMED_OUT
    assert proc.run(["/bin/sh", "-c", "kill -9 $$"], cancel=reader).status == 137
    assert proc.run(["no-such-program"], cancel=reader).status == proc.NOT_FOUND
    since = time.monotonic()
    timer = threading.Timer(0.3, os.write, (writer, b"x"))
    timer.start()
    with pytest.raises(Interrupted):
        proc.run([*words, "waits"], cwd=str(tmp_path), cancel=reader)
    timer.join()
    assert time.monotonic() - since < 30
    started = int((tmp_path / "pid").read_text())
    while time.monotonic() - since < 30 and is_running(started):
        time.sleep(0.01)
    assert not is_running(started)
    os.close(reader)
    os.close(writer)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_ctrl_c_reaches_no_program_that_is_cancelled_otherwise():
    reader, writer = os.pipe()
    group = proc.run(["/bin/sh", "-c", "cut -d' ' -f5 /proc/$$/stat"], cancel=reader).stdout
    assert int(group) != os.getpgrp()
    os.close(reader)
    os.close(writer)
