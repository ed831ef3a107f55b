"""Whatever is raised while one env is made or run is that env's result: nothing leaves the run loop but an answer."""

from __future__ import annotations

import errno
import time
from types import SimpleNamespace

import pytest

from envtool import errors
from envtool.app import tasks
from envtool.app.command_request import CommandRequest
from envtool.build.context import Cancel
from envtool.cli.session import compute_exit_status
from envtool.model import Where
from envtool.project.snapshot import SnapshotError
from envtool.run import fast_plan
from envtool.run.result import Result

SPEC = "version: 1\nenvs: {a: {tasks: {test: x}}, bad: {tasks: {test: x}}, z: {tasks: {test: x}}}\n"
HERE = Where(file="envtool.yaml", line=2, column=30)
RAISED = {
    "of the spec": (errors.SpecError((errors.Problem(where=HERE, message="no such thing", code="x"),)), 2, "no such thing"),
    "of a lock": (errors.SpecError((errors.Problem(where=HERE, message="odd pins", code="lock-pins"),)), 2, "odd pins"),
    "of the command line": (errors.UsageError("not allowed", code="outside", hint="allow it"), 3, "allow it"),
    "of a build": (errors.BuildError("exit 1", output="its words"), 3, "exit 1"),
    "of the store": (errors.StoreError("damaged"), 3, "damaged"),
    "of git": (errors.EnvtoolError("the project cannot be read", code="project-git"), 3, "cannot be read"),
    "a full disk": (OSError(errno.ENOSPC, "No space left on device", "/store/x"), 3, "no space left"),
    "a library's own": (OSError("odd"), 3, "this is a bug"),
    "a bug": (ZeroDivisionError("division by zero"), 3, "ZeroDivisionError: division by zero (this is a bug)"),
    "a deep one": (RecursionError("too deep"), 3, "this is a bug"),
    "of a view": (SnapshotError("odd"), 3, "this is a bug"),
    "no memory": (MemoryError(), 3, "this is a bug"),
}  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVTOOL_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("ENVTOOL_DEBUG", raising=False)
    (tmp_path / "project").mkdir()
    (tmp_path / "project/envtool.yaml").write_text(SPEC)
    return tmp_path / "project"


def passed(asked):
    return Result(
        env=asked.env.name, task=asked.task.name, outcome="passed", status=0, seconds=0.1, started=time.time()
    )


def run(project, monkeypatch, error):
    def perform(asked, stacks, *, again, audit=None):
        if asked.env.name == "bad":
            raise error
        return passed(asked), None

    monkeypatch.setattr(tasks.cached_task, "run_task_cached", perform)
    cancel = Cancel.make()
    try:
        return tasks.run(CommandRequest(directory=str(project), jobs=1), "test", lambda event: None, cancel)
    finally:
        cancel.close()


@pytest.mark.parametrize("case", RAISED)
def test_it_is_the_envs_own(project, monkeypatch, case):
    error, code, said = RAISED[case]
    results = run(project, monkeypatch, error)
    assert [each.outcome for each in results] == ["passed", "error", "passed"]
    assert said in results[1].message
    assert "Traceback" not in results[1].message
    assert results[1].error is not None
    assert compute_exit_status(results) == code
    failed = Result(env="f", task="test", outcome="failed", status=1, seconds=0.0, started=0.0)
    assert compute_exit_status([*results, failed]) == 1
    assert compute_exit_status(results, interrupted=True) == 130


def test_a_wrong_spec_outweighs_what_could_not_be_made():
    def of(error):
        return Result(env="e", task="t", outcome="error", status=None, seconds=0.0, started=0.0, error=error)

    assert compute_exit_status([of(errors.StoreError("x")), of(RAISED["of the spec"][0])]) == 2


def test_a_bug_is_shown_where_it_is_asked_for(project, monkeypatch):
    monkeypatch.setenv("ENVTOOL_DEBUG", "1")
    result = run(project, monkeypatch, ZeroDivisionError("x"))[1]
    with open(result.log) as file:
        assert "Traceback" in file.read()


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), errors.EnvtoolError("git is gone")])
def test_what_is_only_a_help_ends_no_run(project, monkeypatch, error):
    def unchanged(*args, **options):
        raise error

    monkeypatch.setattr(fast_plan, "write_test_plan", unchanged)
    monkeypatch.setattr(
        tasks.cached_task, "run_task_cached", lambda asked, stacks, again, audit: (passed(asked), _Trace(asked))
    )
    cancel = Cancel.make()
    results = tasks.run(CommandRequest(directory=str(project), jobs=1), "test", lambda event: None, cancel)
    cancel.close()
    assert [each.outcome for each in results] == ["passed"] * 3


class _Trace:
    def __init__(self, asked):
        self.env, self.task, self.stored = asked.env, asked.task.name, SimpleNamespace(outputs=())


@pytest.mark.parametrize("error", [errors.Interrupted(), ZeroDivisionError("x"), OSError("x")])
def test_looking_for_more_that_is_wrong_hides_nothing(project, monkeypatch, error):
    def wrong(node, setting):
        raise error

    monkeypatch.setattr(tasks.all_problems.resolution, "input_problems", wrong)
    problem = errors.Problem(where=HERE, message="there is no such file", code="input-missing")
    results = run(project, monkeypatch, errors.SpecError((problem,)))
    assert [each.outcome for each in results] == ["passed", "error", "passed"]
    assert "there is no such file" in results[1].message


@pytest.mark.parametrize("fails", [True, False])
def test_one_line_allows_all_that_kept_envs_from_being_made(project, monkeypatch, fails):
    """What somebody was refused who could do without is not worth a word."""
    told = []

    def perform(asked, stacks, *, again, audit=None):
        for name in ("A", "B"):
            asked.context.allowed.line("--allow-pass", name)
        if fails:
            raise errors.UsageError("not allowed", code="outside")
        return passed(asked), None

    monkeypatch.setattr(tasks.cached_task, "run_task_cached", perform)
    cancel = Cancel.make()
    tasks.run(CommandRequest(directory=str(project), jobs=1, called=(("test",), ())), "test", told.append, cancel)
    cancel.close()
    notes = [event.text for event in told if type(event).__name__ == "Noted"]
    assert [note for note in notes if "to allow all" in note] == (
        ["to allow all that you were asked for here: envtool test --allow-pass A --allow-pass B"] if fails else []
    )
