"""Calls find room in one chunk of CPython's data stack, however deep they are."""

from __future__ import annotations

import resource

import pytest

from envtool.cli.main import call_with_room

DEPTH, TURNS = 400, 300


def leaf() -> None:
    pass


def most_faults(depth: int) -> int:
    """The most page faults that a loop of calls has, of the loops at each depth: a chunk that is mapped in each turn
    has at least one of each."""
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(TURNS):
        leaf()
    own = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before
    return max(own, most_faults(depth - 1)) if depth else own


def test_no_call_maps_memory_anew():
    most_faults(DEPTH)  # what is loaded once is loaded
    assert call_with_room(most_faults, DEPTH) < TURNS / 2


def test_the_call_is_that_of_the_function():
    assert call_with_room(len, (1, 2)) == 2
    with pytest.raises(TypeError):
        call_with_room(len, 2)
