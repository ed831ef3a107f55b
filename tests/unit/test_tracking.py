"""The two events of one piece of work."""

from __future__ import annotations

import pytest

from envtool.errors import BuildError, Interrupted
from envtool.events import Event, Finished, Started
from envtool.tracking import track_work


@pytest.fixture
def heard() -> list[Event]:
    return []


def ends(heard: list[Event]) -> Finished:
    start, end = heard
    assert isinstance(start, Started)
    assert isinstance(end, Finished)
    assert (start.id, start.subject, start.name, start.env) == (end.id, end.subject, end.name, end.env)
    assert end.time >= start.time
    assert end.seconds == end.time - start.time
    return end


def test_work_that_ends_says_what_came_of_it(heard: list[Event]) -> None:
    with track_work(heard.append, "task:unit:test", "task", "test", env="unit") as piece:
        piece.outcome, piece.status, piece.detail, piece.outputs = "failed", 7, "exit 7", ("dist/a",)
    end = ends(heard)
    assert (end.outcome, end.status, end.detail, end.outputs) == ("failed", 7, "exit 7", ("dist/a",))
    assert piece.seconds == end.seconds


def test_an_error_is_one_unless_the_work_had_a_better_word(heard: list[Event]) -> None:
    with pytest.raises(KeyError), track_work(heard.append, "fetch:a", "fetch", "a", total=7):
        raise KeyError
    assert ends(heard).outcome == "error"
    assert isinstance(heard[0], Started)
    assert heard[0].total == 7
    heard.clear()
    with pytest.raises(BuildError), track_work(heard.append, "layer:a", "layer", "a") as piece:
        piece.outcome = "failed"
        raise BuildError("make: no")
    assert ends(heard).outcome == "failed"


def test_what_is_interrupted_says_so_and_nothing_else(heard: list[Event]) -> None:
    for interruption in (Interrupted, KeyboardInterrupt):
        heard.clear()
        with pytest.raises(interruption), track_work(heard.append, "layer:a", "layer", "a") as piece:
            piece.outcome = "failed"
            raise interruption
        assert ends(heard).outcome == "interrupted"
