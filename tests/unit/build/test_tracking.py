"""The two events of one piece of work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from envtool.build.context import Cancel, Context
from envtool.build.tracking import track_work
from envtool.errors import BuildError, Interrupted
from envtool.events import Event, Finished, Started
from envtool.store.store import Store


@pytest.fixture
def heard() -> Iterator[tuple[Context, list[Event]]]:
    events: list[Event] = []
    cancel = Cancel.make()
    yield Context(store=Store(root="/nowhere"), root="/", arch="x86_64", emit=events.append, cancel=cancel), events
    cancel.close()


def ends(heard: tuple[Context, list[Event]]) -> Finished:
    start, end = heard[1]
    assert isinstance(start, Started)
    assert isinstance(end, Finished)
    assert (start.id, start.subject, start.name, start.env) == (end.id, end.subject, end.name, end.env)
    assert end.time >= start.time
    assert end.seconds == end.time - start.time
    return end


def test_work_that_ends_says_what_came_of_it(heard: tuple[Context, list[Event]]) -> None:
    with track_work(heard[0], "task:unit:test", "task", "test", env="unit") as piece:
        piece.outcome, piece.status, piece.detail, piece.outputs = "failed", 7, "exit 7", ("dist/a",)
    end = ends(heard)
    assert (end.outcome, end.status, end.detail, end.outputs) == ("failed", 7, "exit 7", ("dist/a",))
    assert piece.seconds == end.seconds


def test_an_error_is_one_unless_the_work_had_a_better_word(heard: tuple[Context, list[Event]]) -> None:
    with pytest.raises(KeyError), track_work(heard[0], "fetch:a", "fetch", "a", total=7):
        raise KeyError
    assert ends(heard).outcome == "error"
    assert isinstance(heard[1][0], Started)
    assert heard[1][0].total == 7
    heard[1].clear()
    with pytest.raises(BuildError), track_work(heard[0], "layer:a", "layer", "a") as piece:
        piece.outcome = "failed"
        raise BuildError("make: no")
    assert ends(heard).outcome == "failed"


def test_what_is_interrupted_says_so_and_nothing_else(heard: tuple[Context, list[Event]]) -> None:
    with pytest.raises(Interrupted), track_work(heard[0], "layer:a", "layer", "a") as piece:
        piece.outcome = "failed"
        raise Interrupted
    assert ends(heard).outcome == "interrupted"
