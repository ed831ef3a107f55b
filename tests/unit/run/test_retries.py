"""The attempts of a task, without a container: what is repeated, what is reported, and where outputs go."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from envtool.errors import ServiceError
from envtool.events import Finished, Started
from envtool.project import rundir
from envtool.run import cached_task
from envtool.run.task_request import TaskResult
from tests.unit.run.fakes import TASK, FakeStacks, World, stack_of

RETRIED = replace(TASK, retries=2, outputs=("dist/*",))


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.cancel.close()


def run_as(world, *ends, write=True):
    """What runs a task: each attempt ends with the next of `ends` (an outcome, or an error), and writes an output."""
    left = [*ends]
    seen = []

    def run(task, reach):
        end = left.pop(0)
        number = len(ends) - len(left)
        call = task.call
        seen.append((call.outputs_to, reach is not None))
        call.context.emit(Started(id=call.event_id, subject="task", name="test", env="unit", time=float(number)))
        with rundir.create_file(call.log) as file:
            file.write(f"attempt {number}\n".encode())
        os.makedirs(f"{call.outputs_to}/dist/empty")
        with open(f"{call.outputs_to}/dist/a", "w") as file:
            file.write(f"{number}\n")
        os.symlink("a", f"{call.outputs_to}/dist/link")
        outcome = end if isinstance(end, str) else "error"
        status = {"passed": 0, "failed": 3, "timeout": 124}.get(outcome)
        call.context.emit(
            Finished(id=call.event_id, subject="task", name="test", env="unit", outcome=outcome, status=status,
                     time=number + 0.5, seconds=0.5)
        )  # fmt: skip
        if not isinstance(end, str):
            raise end
        if reach:
            reach.opened = ()
        message = "exit 3\na hint" if outcome == "failed" else ""
        return TaskResult(outcome=outcome, status=status, started=float(number), seconds=0.5, message=message,
                          outputs=("dist/a", "dist/link") if write else ())  # fmt: skip

    run.seen = seen
    return run


def perform(world, run, task=RETRIED):
    call = world.call(task=task)
    result, cached = cached_task.run_task_cached(call, FakeStacks(stack_of()), again=False, run=run)
    return call, result, cached


def kinds(world):
    return [(type(event).__name__, getattr(event, "outcome", "")) for event in world.events
            if getattr(event, "id", "") == "task:unit:test" and type(event).__name__ != "Progress"]  # fmt: skip


def test_a_flaky_pass(world):
    run = run_as(world, "failed", "timeout", "passed")
    call, result, cached = perform(world, run)
    assert (result.outcome, result.status, result.message) == ("flaky", 0, "flaky: passed at attempt 3 of 3")
    assert (result.started, result.seconds) == (1.0, 2.5)
    assert [(attempt.number, attempt.outcome, attempt.status) for attempt in result.attempts] == [
        (1, "failed", 3), (2, "timeout", 124), (3, "passed", 0),
    ]  # fmt: skip
    assert cached is None
    assert world.context.unremembered == {"it is flaky": ["unit test"]}
    assert kinds(world) == [("Started", ""), ("Attempted", ""), ("Attempted", ""), ("Finished", "flaky")]
    assert [recorded for _, recorded in run.seen] == [True, False, False]
    assert len({directory for directory, _ in run.seen}) == 3
    assert not any(os.path.exists(directory) for directory, _ in run.seen)
    assert (world.root / "dist" / "a").read_text() == "3\n"
    assert os.readlink(world.root / "dist" / "link") == "a"
    assert (world.root / "dist" / "empty").is_dir()
    run_directory = os.path.dirname(call.log)
    for number in (1, 2):
        with open(f"{run_directory}/unit.test.attempt-{number}.log") as log:
            assert log.read() == f"attempt {number}\n"
        with open(f"{run_directory}/{result.attempts[number - 1].outputs[0]}") as output:
            assert output.read() == f"{number}\n"
    with open(call.log) as log:
        assert log.read() == "attempt 3\n"


def test_a_clean_pass_is_remembered(world):
    _, result, cached = perform(world, run_as(world, "passed"))
    assert (result.outcome, result.attempts) == ("passed", ())
    assert cached is not None
    assert [output.path for output in cached.stored.outputs] == ["dist/a", "dist/link"]
    assert perform(world, run_as(world))[1].outcome == "cached"


def test_a_failure_of_all(world):
    _, result, cached = perform(world, run_as(world, "failed", "failed", "failed"))
    assert (result.outcome, cached) == ("failed", None)
    assert result.message == "exit 3; failed at all 3 attempts\na hint"
    assert kinds(world)[-1] == ("Finished", "failed")
    assert world.events[-1].detail == "exit 3; failed at all 3 attempts"


def test_an_interrupt_is_not_repeated(world):
    _, result, _ = perform(world, run_as(world, "interrupted"))
    assert (result.outcome, result.attempts) == ("interrupted", ())
    fails = run_as(world, "failed")

    def run(task, reach):
        world.cancel.set(2)
        return fails(task, reach)

    _, result, _ = perform(world, run)
    assert (result.outcome, result.outputs) == ("failed", ("dist/a", "dist/link")), "no further attempt after ^C"


def test_an_error_of_a_later_attempt_ends_the_work_that_began(world):
    with pytest.raises(ServiceError):
        perform(world, run_as(world, "failed", ServiceError("it never got ready", code="service-not-ready")))
    assert kinds(world) == [("Started", ""), ("Attempted", ""), ("Finished", "error")]


def test_an_output_that_cannot_be_copied_is_a_failure(world):
    (world.root / "dist").write_text("a file in the way of a directory\n")
    _, result, cached = perform(world, run_as(world, "passed"))
    assert (result.outcome, cached) == ("failed", None)
    assert "dist" in result.message


def test_a_task_that_leaves_nothing(world):
    _, result, _ = perform(world, run_as(world, "failed", "passed", write=False))
    assert (result.outcome, result.attempts[0].outputs) == ("flaky", ())


def test_results_as_json():
    run_result = TaskResult(outcome="passed", status=0, started=1.0, seconds=2.0, outputs=("a",))
    assert TaskResult.from_json(run_result.to_json()) == run_result
