from __future__ import annotations

import os

from envtool import proc


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
