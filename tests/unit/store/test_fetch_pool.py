"""Transfers side by side: every answer once and in order, the first cause as the error, and all stop together."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.errors import FetchError, Interrupted
from envtool.store.fetch_pool import ProgressMeter, TransferPool


@given(st.lists(st.integers(), max_size=30), st.integers(1, 6))
def test_answers_come_in_the_order_of_the_items(items, jobs):
    assert TransferPool(jobs, None).run(items, lambda item: item + 1) == [item + 1 for item in items]


@given(st.integers(1, 6), st.data())
def test_a_cause_comes_before_those_that_were_stopped(jobs, data):
    count = data.draw(st.integers(1, 12))
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1))

    def transfer(item):
        if item in bad:
            raise FetchError(f"no {item}", code="fetch-gone")
        while not pool.is_cancelled():
            time.sleep(0.001)
        raise Interrupted

    pool = TransferPool(max(jobs, count), None)
    with pytest.raises(FetchError, match="no ") as caught:
        pool.run(range(count), transfer)
    assert caught.value.code == "fetch-gone"
    assert pool.is_cancelled()


def test_nothing_is_begun_after_a_failure():
    begun = []

    def transfer(item):
        begun.append(item)
        raise FetchError("no", code="fetch-gone")

    with pytest.raises(FetchError):
        TransferPool(1, None).run(range(50), transfer)
    assert begun == [0]


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_cancel_ends_those_that_heed_it_and_waits_for_no_other(jobs):
    cancel, deaf = threading.Event(), threading.Event()

    def transfer(item):
        cancel.set()
        deaf.wait(120)

    began = time.monotonic()
    with pytest.raises(Interrupted):
        TransferPool(jobs, cancel.is_set, grace=0.05).run(range(8), transfer)
    deaf.set()
    assert time.monotonic() - began < 30


def test_no_more_at_once_than_jobs():
    lock, running, most = threading.Lock(), [0], [0]

    def transfer(_):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.002)
        with lock:
            running[0] -= 1

    TransferPool(3, None).run(range(20), transfer)
    assert most[0] <= 3


def test_bytes_of_a_transfer_that_fails_are_taken_back():
    events = []
    meter = ProgressMeter(events.append, "id", "fetching", [10, 0])
    with meter.transfer() as add:
        add(10)
    with pytest.raises(FetchError), meter.transfer() as add:
        add(7)
        raise FetchError("no", code="fetch-gone")
    meter.count_file()
    meter.end()
    assert (events[-1].done, events[-1].total, events[-1].count, events[-1].of) == (10, 10, 1, 2)
