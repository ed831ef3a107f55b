"""Tasks that are recorded after they have ended, in batches: what one look at the project and this machine proves."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from envtool.errors import Interrupted
from envtool.run import cached_task, record_queue
from envtool.run.host_state import ComparedStates
from envtool.run.record_queue import Moment, RecordQueue
from envtool.run.result_cache import NotCacheable
from tests.leftovers import nothing_left, threads
from tests.unit.run.fakes import TASK, FakeStacks, World, stack_of

MANY = 12  # tasks


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.cancel.close()


@pytest.fixture
def looks(monkeypatch):
    """How often it is looked at the project for records."""
    calls, take = [], record_queue.take_snapshot
    monkeypatch.setattr(record_queue, "take_snapshot", lambda context: calls.append(None) or take(context))
    return calls


def perform(world, records, number, *, during=lambda: None, again=True):
    call = world.call(task=replace(TASK, name=f"t{number}"))._replace(record_later=records.add if records else None)
    return cached_task.run_task_cached(call, FakeStacks(stack_of()), again=again, run=world.runner(during=during))


def test_one_look_serves_all_tasks_that_have_ended(world, looks, monkeypatch):
    monkeypatch.setattr(record_queue, "BATCH_SECONDS", 60.0)
    kept = []
    records = RecordQueue(world.context, kept.append)
    for number in range(MANY):
        result, cached = perform(world, records, number)
        assert (result.outcome, cached) == ("passed", None)
    records.finish()
    assert sorted(trace.task for trace in kept) == sorted(f"t{number}" for number in range(MANY))
    assert len(looks) == 2, "one for the first task, which nothing waited for, and one for the others"
    assert not world.context.unremembered
    for number in range(MANY):
        assert perform(world, None, number, again=False)[0].outcome == "cached"


def test_half_of_the_tasks_that_are_left_are_not_kept_waiting(world, monkeypatch):
    monkeypatch.setattr(record_queue, "BATCH_SECONDS", 600.0)
    monkeypatch.setattr(record_queue, "FEW", 2)
    moments, recorded = [], threading.Semaphore(0)
    records = RecordQueue(world.context, lambda _: recorded.release(), 9)

    def record(moment):
        if moment not in moments:
            moments.append(moment)
        return moment

    def add(tasks):
        for _ in range(tasks):
            records.add(record)

    add(1)
    assert recorded.acquire(timeout=20), "the first"
    add(4)  # half of 8
    for _ in range(4):
        assert recorded.acquire(timeout=20)
    add(1)
    assert not recorded.acquire(timeout=0.2), "FEW make no batch"
    add(1)
    for _ in range(2):
        assert recorded.acquire(timeout=20)
    add(1)
    records.finish()
    assert recorded.acquire(timeout=0)
    assert len(moments) == 4


def test_the_first_task_is_recorded_at_once(world, monkeypatch):
    monkeypatch.setattr(record_queue, "BATCH_SECONDS", 60.0)
    recorded = threading.Event()
    records = RecordQueue(world.context, lambda _: recorded.set())
    perform(world, records, 1)
    assert recorded.wait(20)
    records.finish()


@pytest.mark.parametrize("edited", ["while it runs", "after it has ended"])
def test_an_edit_before_the_look_is_noticed(world, edited, monkeypatch):
    """Also one that is taken back."""
    monkeypatch.setattr(record_queue, "BATCH_SECONDS", 60.0)
    kept = []
    records = RecordQueue(world.context, kept.append)
    perform(world, records, 0)
    while not kept:
        time.sleep(0.01)

    def edit():
        (world.root / "file").write_text("two\n")
        (world.root / "file").write_text("one\n")

    perform(world, records, 1, during=edit if edited == "while it runs" else lambda: None)
    if edited == "after it has ended":
        edit()
    perform(world, records, 2)
    records.finish()
    # the record of the third task began after the edit
    assert [trace.task for trace in kept] == ["t0", "t2"]
    assert world.context.unremembered == {"file was touched while it ran": [f"{kept[0].env.name} t1"]}


def test_a_task_that_ends_during_a_batch_is_not_served_by_it(world):
    """The look of that batch may be from before its end."""
    moments, first, second = [], threading.Event(), threading.Event()
    records = RecordQueue(world.context, lambda _: None)

    def slow(moment):
        first.set()
        assert second.wait(20)
        moments.append(moment)

    records.add(slow)
    assert first.wait(20)
    records.add(moments.append)
    second.set()
    records.finish()
    assert len(moments) == 2
    assert moments[0] is not moments[1]


def test_a_project_that_cannot_be_read_is_a_reason_for_each(world, monkeypatch):
    calls = []

    def refuse(_):
        calls.append(None)
        raise NotCacheable("git is gone")

    monkeypatch.setattr(record_queue, "take_snapshot", refuse)
    moment = Moment(world.context)
    for _ in range(2):
        with pytest.raises(NotCacheable, match="git is gone"):
            moment.snapshot()
    assert len(calls) == 1


def test_what_a_record_raises(world):
    """An interrupt leaves records out; the first other error is one of the run, and the others are recorded."""
    kept = []
    records = RecordQueue(world.context, kept.append)

    def fail(error):
        def record(_):
            raise error

        return record

    for error in (Interrupted(), ValueError("one"), ValueError("two")):
        records.add(fail(error))
    records.add(lambda _: "kept")
    with pytest.raises(ValueError, match="one"):
        records.finish()
    assert kept == ["kept"]


def test_without_a_task_it_has_no_thread(world):
    with nothing_left(threads):
        records = RecordQueue(world.context, lambda _: None)
    records.finish()


def test_this_machine_is_compared_once_for_a_moment(tmp_path):
    paths = [str(tmp_path / name) for name in ("always", "a", "b")]
    for path in paths:
        (tmp_path / path).write_text("")
    always, first, second = paths
    trees = (str(tmp_path / "tree"),)
    states = {path: (tmp_path / path).stat().st_ctime_ns for path in paths}
    early, opened = ComparedStates(), frozenset({first})
    assert early.are_decisive_unchanged(states, trees, opened)
    time.sleep(0.05)
    (tmp_path / "always").write_text("changed")
    late = ComparedStates()
    assert not late.are_decisive_unchanged(states, trees, frozenset())
    assert not late.are_decisive_unchanged(states, trees, frozenset({second}))
    assert not late.are_decisive_unchanged(states, trees, None)
    assert late.are_decisive_unchanged({second: states[second]}, trees, frozenset({second})), "another machine"
    assert always in states
