"""What an error of `prepare:` shows of a service's log, which lies in the project: others may put anything in its place."""

from __future__ import annotations

import os

import pytest

from envtool.project import rundir
from envtool.services import prepared_state


@pytest.fixture
def log(tmp_path):
    """The path of a log with 3,000 lines, in a run of a project."""
    root = tmp_path / "project"
    root.mkdir()
    run, note = rundir.open_run(str(root))
    assert not note
    path = rundir.log_path(run, "unit", "test.db-1")
    with rundir.create_file(path) as file:
        file.write(b"".join(b"line %d\n" % number for number in range(3000)))
    yield path
    rundir.close_run(str(root), run)


def test_the_end_of_a_log(log):
    text = prepared_state._last_lines(log)
    assert text.endswith("line 2998\nline 2999\n")
    assert len(text) == 8192


@pytest.mark.parametrize("kind", ["nothing", "link", "fifo", "directory"])
def test_another_thing_in_its_place(log, tmp_path, kind):
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    os.unlink(log)
    {
        "nothing": lambda: None,
        "link": lambda: os.symlink(secret, log),
        "fifo": lambda: os.mkfifo(log),
        "directory": lambda: os.mkdir(log),
    }[kind]()
    assert prepared_state._last_lines(log) == ""
