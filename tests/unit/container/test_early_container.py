"""When a run takes over a task that began early, alone."""

from __future__ import annotations

import os

import pytest

from envtool.container import early_container, opened_files
from envtool.container.early_container import EarlyTask

BEGAN = 5_000_000_000
TREES = ("/usr/local/bin",)


class Container:
    """Stands in for an EarlyContainer."""

    def __init__(self, program, joins, *, held):
        assert joins is None
        assert not held
        self.program, self.began = program, BEGAN
        self.adopted = self.is_over = False
        self.starts = True

    def adopt(self):
        self.adopted = True

    def await_start(self):
        return self.starts

    def end(self):
        assert not self.is_over, "it is ended once"
        self.is_over = True


class Watch:
    """Stands in for a SharedWatch."""

    def __init__(self, trees, *, begun):
        assert begun, "what the task opens at once is reported too"
        self.trees, self.is_closed = trees, False

    def close(self):
        self.is_closed = True


def program(**more):
    return {"steps": (), "hidden": ("a", "b"), "watch": ("/project/.git", "/project/.git/refs"), **more}


@pytest.fixture
def begin(monkeypatch):
    """Begins a task early: what it began with, its container and its watch."""
    monkeypatch.setattr(early_container, "EarlyContainer", Container)
    monkeypatch.setattr(opened_files, "SharedWatch", Watch)
    locks = []

    def begin(trees=TREES):
        locks.append(os.open("/", os.O_RDONLY))
        task = EarlyTask(program(), trees, [locks[-1]])
        assert early_container.find_task() is task
        return task, task._container, task._watch

    yield begin
    early_container.end_task()
    assert early_container.find_task() is None
    for lock in locks:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(lock)


@pytest.mark.parametrize("trees", [TREES, ()])
def test_it_is_taken_over_with_its_watch(begin, trees):
    task, container, watch = begin(trees)
    assert task.confirm(BEGAN - 1, trees) == BEGAN
    assert task.take_watch(trees) is watch
    same = program(hidden=("b", "a"), watch=("/project/.git/refs", "/project/.git"))
    assert task.take_over(lambda: same) is container
    assert container.adopted
    assert task.is_adopted
    assert task.take_over(lambda: same) is None, "once"
    early_container.end_task()
    assert not container.is_over, "the run ends it"
    assert watch is None or not watch.is_closed


@pytest.mark.parametrize(
    ("newest", "trees"),
    [(None, TREES), (BEGAN, TREES), (BEGAN + 1, TREES), (1, ()), (1, (*TREES, "/usr/local/lib"))],
    ids=["nobody-knows", "changed-as-it-began", "changed-since", "no-trees", "more-trees"],
)
def test_a_run_that_sees_something_else_ends_it(begin, newest, trees):
    task, container, watch = begin()
    assert task.confirm(newest, trees) == 0
    assert container.is_over
    assert watch.is_closed
    assert task.take_watch(trees) is None
    assert task.take_over(program) is None
    assert not task.is_adopted


def test_without_its_watch_it_is_not_taken_over(begin):
    """What it opened would not be known."""
    task, container, _ = begin()
    task.confirm(1, TREES)
    assert task.take_over(program) is None
    assert container.is_over


@pytest.mark.parametrize("change", [{"more": 1}, {"hidden": ("a",)}, {"steps": ((),)}, {"watch": ()}])
def test_another_program_ends_it(begin, change):
    task, container, _ = begin()
    task.confirm(1, TREES)
    task.take_watch(TREES)
    assert task.take_over(lambda: program() | change) is None
    assert container.is_over
    assert not task.is_adopted


def test_what_runs_before_the_run_confirms_it_leaves_it_alone(begin):
    """The container of a layer, which is built before the task."""
    task, container, watch = begin()
    assert task.take_over(lambda: program(layer=1)) is None
    assert task.take_watch(TREES) is None, "what else is opened is none of the task's"
    assert not container.is_over
    assert task.confirm(1, TREES) == BEGAN
    assert task.take_watch(TREES) is watch
    assert task.take_over(program) is container


def test_one_that_could_not_start_is_left_to_the_run(begin):
    task, container, _ = begin()
    task.confirm(1, TREES)
    task.take_watch(TREES)
    container.starts = False
    assert task.take_over(program) is None
    assert container.is_over


def test_what_no_run_asks_for_is_ended(begin):
    _, container, watch = begin()
    early_container.end_task()
    assert container.is_over
    assert watch.is_closed


def test_without_a_watch_nothing_begins(monkeypatch):
    def refuse(trees, *, begun):
        raise OSError(24, "no instances left")

    monkeypatch.setattr(opened_files, "SharedWatch", refuse)
    monkeypatch.setattr(early_container, "EarlyContainer", None)
    with pytest.raises(OSError, match="no instances"):
        EarlyTask(program(), TREES, [])
    assert early_container.find_task() is None


def test_a_watch_that_cannot_be_used_is_closed(monkeypatch):
    watches = []

    def refuse(program, joins, *, held):
        raise OSError(24, "no descriptors left")

    monkeypatch.setattr(
        opened_files, "SharedWatch", lambda *_, **__: watches.append(Watch((), begun=True)) or watches[0]
    )
    monkeypatch.setattr(early_container, "EarlyContainer", refuse)
    with pytest.raises(OSError, match="no descriptors"):
        EarlyTask(program(), TREES, [])
    assert watches[0].is_closed
    assert early_container.find_task() is None
