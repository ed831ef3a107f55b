"""Which of the diff IDs decide."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envtool.build.context import Cancel, Context
from envtool.errors import BuildError, Interrupted, Problem, SpecError
from envtool.events import Finished, Started
from envtool.model import Where
from envtool.store.store import Store
from envtool.verify.comparison import PathDifference, VerifyResult
from envtool.verify.layers import VerifyContext, compare_diff_ids, detail, track_comparison

FOUND = VerifyResult(
    name="x", subject="layer", kind="run", env="unit", outcome="same", seconds=0, diff_ids=("a", "a"), stored="a"
)


@pytest.fixture
def setting():
    heard = []
    made = Context(store=Store(root="/nonexistent"), root="/", arch="x86_64", emit=heard.append, cancel=Cancel.make())
    yield made, heard
    made.cancel.close()


def bench(setting):
    return VerifyContext(scheduler=None, context=setting, clocks=None, evidence="")


@pytest.mark.parametrize(("expected", "outcome"), [("", "same"), ("a", "same"), ("b", "differs")])
def test_what_a_lock_recorded_counts(setting, expected, outcome):
    found = compare_diff_ids(replace(FOUND, expected=expected), [], "", bench(setting[0]))
    assert found.outcome == outcome
    assert found.between == ("the lock and a build" if outcome == "differs" else "")


def test_what_is_not_pinned_is_not_compared_with_the_store(setting):
    assert compare_diff_ids(replace(FOUND, stored=""), [], "", bench(setting[0])).outcome == "same"


@pytest.mark.parametrize(
    ("error", "outcome", "message"),
    [
        (BuildError("no", hint="do", output="out"), "error", "no\ndo\nout"),
        (Interrupted(), "interrupted", "interrupted"),
    ],
)
def test_an_error_is_a_result_and_is_told(setting, error, outcome, message):
    made, heard = setting
    with track_comparison(FOUND, "verify:x", made) as done:
        raise error
    assert (done[-1].outcome, done[-1].message) == (outcome, message)
    started, finished = heard
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert (started.subject, finished.outcome, started.id) == ("verify", outcome, finished.id)


def test_the_words_of_the_progress_line():
    one = PathDifference(path="/a", kinds=("mode",))
    assert detail(FOUND) == "run"
    assert detail(replace(FOUND, outcome="differs", differences=(one,))) == "1 path differs"
    assert detail(replace(FOUND, outcome="differs", differences=(one, one))) == "2 paths differ"
    assert detail(replace(FOUND, outcome="differs")) == "differs"


def test_what_is_wrong_with_the_spec_is_told_with_its_place(setting):
    made, _ = setting
    where = Where(file="envtool.yaml", line=3, column=5)
    for error, said in (
        (SpecError((Problem(where=where, message="input `x`: gone", code="x"),)), "envtool.yaml:3:5: error: input `x`: gone"),
        (ZeroDivisionError("division"), "internal error: ZeroDivisionError: division (this is a bug)"),
    ):  # fmt: skip
        with track_comparison(FOUND, "verify:x", made) as done:
            raise error
        assert done[-1].outcome == "error"
        assert said in done[-1].message
