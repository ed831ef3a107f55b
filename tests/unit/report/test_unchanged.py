"""What the short way prints, against the long way's words."""

from __future__ import annotations

import io
import os
import string
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.cli import console
from envtool.events import Finished, Started
from envtool.report import formatting, unchanged
from envtool.report.formatting import Style
from envtool.report.progress import ProgressState
from envtool.report.text import visible_width

NOW = time.mktime((2026, 3, 30, 9, 30, 0, 0, 0, -1))  # the day after Europe's clocks change
names = st.text(string.ascii_letters + string.digits + "[]=,._-", min_size=1, max_size=40)


def finished(env, task, since, host, **rest):
    return Finished(
        id="t", subject="task", name=task, env=env, outcome="cached", status=0, time=NOW, seconds=1.5, since=since,
        host=host, **rest,
    )  # fmt: skip


rows = st.tuples(names, names, st.floats(0, NOW), st.sampled_from(["", "builder.example", os.uname().nodename]))


@given(st.lists(rows, max_size=4), st.booleans(), st.sampled_from([0, 0, 40, 60, 62, 80, 100, 160]))
def test_the_short_lines_are_the_long_ways(found, color, columns):
    board = ProgressState()
    for env, task, *_ in found:
        board.apply(Started(id="t", subject="task", name=task, env=env, time=NOW))
    long = [
        formatting.format_finished(
            finished(*row), None, fetched=None, style=Style(color=color), columns=columns, layout=board.layout(columns)
        )
        for row in found
    ]
    given_rows = [dict(zip(("env", "task", "since", "host"), row, strict=True)) for row in found]
    short = unchanged.lines(given_rows, now=NOW, color=color, columns=columns)
    assert short == long if short is not None else columns, "what has no room goes the long way"
    assert all(visible_width(line) <= columns for lines in short or () for line in lines.split("\n") if columns)


@given(st.integers(1, 300), st.floats(0, 58), st.booleans(), st.booleans())
def test_the_short_end_is_the_long_ways(count, spent, color, unicode):
    results = [SimpleNamespace(outcome="cached")] * count
    style = Style(color=color, unicode=unicode)
    assert unchanged.format_total(count, spent, color=color, unicode=unicode) == formatting.format_total(
        results, spent, interrupted=False, style=style
    )


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1"}, {"TERM": "dumb"}, {"NO_COLOR": ""}])
@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_the_short_way_paints_where_the_long_way_does(variables, terminal, encoding, monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    file.isatty = lambda: terminal
    style = console.detect_style(file, "auto")
    assert unchanged.detect_capabilities(file, os.environ) == (style.color, style.unicode)


def test_the_day_is_named_where_it_is_not_todays():
    assert unchanged.format_moment(NOW - 60, now=NOW) == "09:29"
    assert unchanged.format_moment(NOW - 10 * 3600, now=NOW) == "yesterday 23:30"
    assert unchanged.format_moment(NOW - 86400 * 10, now=NOW).startswith("2026-03-20 ")


def test_what_was_said_of_the_run_is_said_again():
    text = formatting.format_finished(
        finished("unit", "build", NOW, "", detail="x: nothing matches", outputs=("dist/a", "dist/b")),
        None,
        fetched=None,
        style=Style(unicode=False),
    )
    assert (
        text
        == " = unit           build   unchanged since 09:30, not run again; x: nothing matches; > dist/a and 1 more"
    )
