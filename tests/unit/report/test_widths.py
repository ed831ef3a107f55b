"""Nothing of ours is wider than the screen, and the time is always there."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.cli import tables
from envtool.errors import MakeError, Problem, SpecError
from envtool.events import Finished, Output, Progress, Started
from envtool.model import Where
from envtool.report import error_text, formatting
from envtool.report.formatting import Style
from envtool.report.plain import Plain
from envtool.report.progress import ProgressState
from envtool.report.source_excerpt import explain
from envtool.report.text import clip, elide_middle, format_seconds, strip_colors, visible_width, wrap

WIDTHS = (60, 80, 100, 160, 200)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=90)
columns = st.integers(30, 200)
styles = st.builds(Style, color=st.booleans(), unicode=st.booleans())


def piece_of(*events):
    board = ProgressState()
    piece = None
    for event in events:
        piece = board.apply(event)
    return piece


def started(subject="layer", name="deps", env="", **rest):
    return Started(id="1", subject=subject, name=name, time=100.0, env=env, **rest)


def finished(subject="layer", name="deps", env="", outcome="built", spent=2.0, **rest):
    return Finished(id="1", subject=subject, name=name, outcome=outcome, time=102.0, seconds=spent, env=env, **rest)


@given(
    columns,
    st.sampled_from(["base", "layer", "fetch", "resolve", "task", "verify", "cache"]),
    names,
    names,
    names,
    st.builds(
        Progress,
        id=st.just("1"),
        done=st.integers(0, 10**10),
        total=st.integers(0, 10**10),
        phase=st.sampled_from(["", "index", "fetching", "unpacking"]),
        note=st.sampled_from(["", "waiting for another envtool (pid 17) to fetch something_1.2-3_amd64.deb"]),
        count=st.integers(0, 500),
        of=st.integers(0, 500),
    ),
    st.floats(0, 90_000),
    styles,
)
def test_a_moving_line_fits_and_tells_the_time(columns, subject, name, env, on, progress, spent, style):
    piece = piece_of(started(subject, name, env, on=on), progress)
    line = formatting.format_running(piece, 100.0 + spent, style=style, columns=columns)
    assert "\n" not in line
    assert visible_width(line) <= columns
    assert strip_colors(line).endswith(format_seconds(spent)) or abs(spent % 0.1 - 0.05) < 0.01, line


@given(
    columns,
    st.sampled_from(["base", "layer", "task", "verify", "cache"]),
    names,
    names,
    names,
    st.sampled_from(["built", "cached", "passed", "failed", "timeout", "error", "skipped", "interrupted"]),
    names,
    st.one_of(st.none(), st.floats(0, 9999)),
    styles,
)
def test_a_finished_line_fits_and_loses_nothing_but_blanks(
    columns, subject, name, env, on, outcome, detail, fetched, style
):
    detail = " ".join(re.findall(r"\w{1,20}", detail))
    event = finished(subject, name, env, outcome, on=on, detail=detail, since=100.0, status=1)
    said = formatting.format_finished(event, None, fetched=fetched, style=style, columns=columns)
    assert all(visible_width(line) <= columns for line in said.split("\n")), said
    told = " ".join(strip_colors(said).split())
    assert " ".join(detail.split()) in told
    if not (subject == "task" and outcome == "cached") and subject != "cache":
        assert strip_colors(said.split("\n")[0]).endswith(" 2.0s")


@pytest.mark.parametrize("columns", WIDTHS)
def test_every_line_of_a_display_fits(columns, monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", str(columns))
    file = Screen()
    display = Plain(file, style=Style(unicode=True))
    name, env = "a-layer-whose-name-is-longer-than-most", "integration[trixie,py3.13,postgresql-16]"
    display.event(started("layer", name, on="debian-trixie-with-everything"))
    display.event(Progress(id="1", phase="installing"))
    display.tick(1000.0)
    display.event(finished("layer", name, on="debian-trixie-with-everything", detail="188 packages, 320 MB"))
    display.event(started("task", "test", env))
    display.event(finished("task", "test", env, "failed", detail="exit 1", status=1))
    display.say("interrupted: stopping (Ctrl-C again: at once)", over=True)
    lines = file.getvalue().splitlines()
    assert max(map(visible_width, lines)) <= columns
    assert sum(line.rstrip().endswith(("built 2.0s", " 2.0s")) for line in lines) == 2
    assert "exit 1" in file.getvalue()
    assert "188 packages, 320 MB" in file.getvalue()


def test_a_name_loses_its_middle():
    assert elide_middle("integration[trixie,py3.13]", 15) == "integra…py3.13]"
    assert elide_middle("abcdefghij", 10) == "abcdefghij"
    assert elide_middle("abcdefghij", 5) == "ab…ij"
    assert elide_middle("abcdefghij", 4) == "ab…j"
    assert elide_middle("abcdefghij", 1) == "…"
    assert elide_middle("日本語日本語", 7) == "日本…語"
    assert clip("abcdefghij", 5) == "abcd…"
    assert clip("abc", 0) == ""


def test_what_is_to_be_typed_stays_in_one_piece():
    text = "hint: if it is gone for good, `envtool lock --upgrade deps` moves to what there is now"
    assert wrap(text, 40, indent="  ").split("\n") == [
        "hint: if it is gone for good,",
        "  `envtool lock --upgrade deps` moves to",
        "  what there is now",
    ]
    assert wrap(text, 0) == text
    assert wrap("   indented words go on so", 12) == "   indented\n   words go\n   on so"


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("at", [0, 30, 120, 290])
def test_an_excerpt_fits_and_the_caret_is_right(columns, at):
    text = "    " + "0123456789" * 30
    text = f"{text[:at]}WRONG{text[at:]}"
    problem = Problem(
        where=Where(file="envtool.yaml", line=1234, column=at + 1),
        message="unknown layer `WRONG`, and more words about it than have room on a narrow screen",
        code="x",
        hint="did you mean `WRANG`? (envtool.yaml:6) or something else altogether",
        text=text,
        width=5,
    )
    lines = error_text.format_error(SpecError((problem,)), style=Style(), columns=columns).split("\n")
    assert max(map(visible_width, lines)) <= columns, lines
    (source,) = [line for line in lines if line.startswith(" 1234 │")]
    (carets,) = [line for line in lines if "^" in line]
    assert source[carets.index("^") : carets.rindex("^") + 1] == "WRONG"


@given(
    columns,
    st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=400),
    st.integers(1, 420),
    st.integers(0, 420),
    names,
)
def test_an_excerpt_of_anything_fits(columns, text, column, marked, hint):
    where = Where(file="f", line=7, column=column)
    problem = Problem(where=where, message="m", code="x", hint=hint, text=text, width=marked)
    lines = explain(problem, columns).split("\n")
    shown = [line for line in lines if re.match(r" *7? *│", line)]
    assert all(visible_width(line) <= columns for line in shown), lines


def test_errors_are_prose_in_lines_that_fit():
    error = MakeError("a sentence of many words that says what is wrong " * 4, hint="and what to do about it " * 6)
    assert (
        max(map(visible_width, error_text.format_error(error, style=Style(color=True), columns=60).split("\n"))) <= 60
    )


# ---- phases ----------------------------------------------------------------------------------------------------------


def running(*events, now=103.0, columns=100):
    return formatting.format_running(piece_of(*events), now, style=Style(), columns=columns)


def test_a_phase_is_named_and_its_bar_is_never_full():
    base = started("base", "trixie")
    assert "index" in running(base, Progress(id="1", phase="index", done=9, total=9, count=3, of=3))
    line = running(base, Progress(id="1", phase="fetching", done=3_000_000, total=32_000_000, count=12, of=88))
    assert "╌ fetching 12 of 88, 3.0 MB of 32 MB" in line
    for progress in (
        Progress(id="1", phase="fetching", done=32, total=32, count=88, of=88),
        Progress(id="1", phase="unpacking", count=88, of=88),
        Progress(id="1", done=32, total=32),
    ):
        assert "━" * 16 not in running(base, progress), "a bar that is full while work goes on"
    line = running(base, Progress(id="1", phase="fetching", done=32, total=32), Progress(id="1", phase="capturing"))
    assert "capturing" in line
    assert "━" not in line
    assert "32 B" not in line, "no number outlives its phase"
    waits = Progress(id="1", note="waiting for another envtool")
    assert "waiting for another envtool" in running(base, Progress(id="1", phase="fetching", done=1, total=9), waits)


@pytest.mark.parametrize("columns", [58, 60, 80, 100])
@pytest.mark.parametrize("name", ["bookworm", "a-layer-with-a-long-name-indeed", "a-name-of-many-words" * 3])
def test_a_number_is_never_cut_and_a_name_gives_way_first(columns, name):
    layer = started("layer", name, on="trixie")
    fetching = Progress(id="1", phase="fetching", done=3_000_000, total=132_000_000, count=12, of=188)
    assert f"fetching 12 of 188, 3.0 MB{' of 132 MB' if columns > 64 else ''} " in running(
        layer, fetching, columns=columns
    )
    assert "resolving 12 requirements " in running(
        layer, Progress(id="1", note="resolving 12 requirements"), columns=columns
    )
    waits = "waiting for another envtool (pid 123456) to fetch 120 MB of something"
    said = running(layer, Progress(id="1", note=waits), columns=columns)
    assert set(re.findall(r"\d\S*", said.removesuffix(" 3.0s"))) <= {"123456)", "120"}
    for at in range(10, 80):
        words = running(layer, Progress(id="1", note=waits), columns=at)
        assert ("120" in words) == ("120 MB" in words)


def test_what_a_phase_had_is_told_while_it_goes_on():
    base = started("base", "trixie")
    index = Progress(id="1", phase="index", done=9_200_000, total=9_200_000, count=3, of=3)
    assert "index 3 of 3, 9.2 MB " in running(base, index, columns=60)
    assert "━" not in running(base, index)


def test_names_that_are_not_unique_say_what_they_are_on():
    assert "python3 [trixie]" in running(started(name="python3", on="trixie"))
    said = formatting.format_finished(finished(name="python3", on="trixie"), None, fetched=None, style=Style())
    assert " layer  python3 [trixie] " in said


def test_a_task_that_takes_long_shows_its_last_line():
    task = started("task", "test", "unit")
    printed = Output(id="1", text="collected 40 items\n\x1b[32mtests/test_a.py ....\x1b[0m\n\n")
    assert "test_a" not in running(task, printed, now=100.0 + formatting.LAST_LINE_SECONDS - 0.1)
    line = formatting.format_running(
        piece_of(task, printed), 100.0 + formatting.LAST_LINE_SECONDS, style=Style(color=True), columns=100
    )
    assert "\x1b[2mtests/test_a.py ....\x1b[0m" in line
    assert "tests/test" in running(task, printed, now=200.0, columns=60)
    assert "50%" in running(task, Output(id="1", text="10%\r50%"), now=200.0)


# ---- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", WIDTHS)
def test_tables_fit(columns):
    rows = [("env", "base", "layers", "tasks")]
    rows += [
        (f"integration-and-unit[trixie-{number},py3.13]", "debian-bookworm", "a, b, c, d " * 9, "test")
        for number in "ab"
    ]
    lines = tables.table(rows, columns)
    assert max(map(visible_width, lines)) <= columns
    assert all(line.endswith("test") for line in lines[1:])
    assert len({*lines}) == 3, "names that differ are still told apart"
    check = SimpleNamespace(
        name="user ids", state="ok", text="root of this machine is never root inside: " * 3, mend=""
    )
    assert max(map(visible_width, tables.format_checks([check], Style(), columns=columns).split("\n"))) <= columns
