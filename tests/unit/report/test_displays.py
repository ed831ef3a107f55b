from __future__ import annotations

import io
import re
from types import SimpleNamespace

import pytest

from envtool.events import Finished, Learned, Output, Progress, Started
from envtool.plugins import discover, output_readers
from envtool.report import formatting
from envtool.report.formatting import Style
from envtool.report.plain import ANNOUNCE_SECONDS, Plain
from envtool.report.progress import RunningWork
from envtool.report.summary import format_summary
from envtool.report.terminal import Terminal


def started(key, subject="layer", name="deps", env="", **rest):
    return Started(id=key, subject=subject, name=name, time=100.0, env=env, **rest)


def finished(key, outcome="built", subject="layer", name="deps", env="", **rest):
    return Finished(id=key, subject=subject, name=name, outcome=outcome, time=102.0, seconds=2.0, env=env, **rest)


def test_plain_announces_once_what_takes_long():
    file = io.StringIO()
    display = Plain(file, style=Style())
    display.event(started("a", detail="12 wheels"))
    assert display.tick(100.0 + ANNOUNCE_SECONDS - 0.1)
    assert file.getvalue() == ""
    assert not display.tick(100.0 + ANNOUNCE_SECONDS)
    display.tick(200.0)
    assert file.getvalue() == " layer  deps              12 wheels                         …\n"


def test_a_policy_is_never_broken_or_coloured():
    rules = (*(f"{number}.files.example.net:443" for number in range(40)), "evil\x1b[31m:1")
    event = Learned(env="u\x07nit", task="test", allow=rules, complete=False)
    for display in (Terminal, Plain):
        for verbosity in (0, -1):
            file = io.StringIO()
            file.isatty = lambda: True
            more = {"verbosity": verbosity} if display is Plain else {}
            display(file, style=Style(), **more).event(event)
            *_, policy, end = file.getvalue().split("\n")
            assert end == ""
            assert policy.startswith('    network: {allow: ["0.files.example.net:443", ')
            assert policy.endswith("]}")
            assert policy.count(":443") == 40
            assert "\x1b" not in file.getvalue()
            assert "may need more" in " ".join(file.getvalue().split())


def test_quiet_shows_failures_only():
    file = io.StringIO()
    display = Plain(file, style=Style(), verbosity=-1)
    display.event(started("a"))
    assert not display.tick(1000.0)
    display.event(finished("a"))
    assert file.getvalue() == ""
    display.event(started("t", "task", "test", "unit"))
    display.event(finished("t", "timeout", "task", "test", "unit", detail="timed out after 30s"))
    assert file.getvalue() == " ✗ unit           test    timed out after 30s               2.0s\n"


def test_streaming_stops_when_company_comes():
    file = io.StringIO()
    display = Terminal(file, style=Style())
    display.event(started("t", "task", "test", "unit"))
    display.event(Output(id="t", text="alone..."))
    display.event(started("l"))
    display.event(Output(id="t", text="not shown now\n"))
    display.event(finished("t", "failed", "task", "test", "unit", status=1))
    assert "alone...\n" in file.getvalue()
    assert "not shown now" not in file.getvalue()
    assert display.shown == set(), "its output must be shown whole at the end"


def test_what_a_lone_task_printed_counts_as_shown():
    file = io.StringIO()
    display = Terminal(file, style=Style())
    display.event(started("t", "task", "test", "unit"))
    display.event(Output(id="t", text="no newline"))
    display.event(finished("t", "failed", "task", "test", "unit", status=1))
    assert display.shown == {("unit", "test")}
    assert file.getvalue().endswith("no newline\n ✗ unit           test    exit 1                            2.0s\n")


RULE = "-" * 70
BEGAN = "===== test session starts =====\na.py::test_a "


@pytest.mark.parametrize(
    ("output", "status", "words"),
    [
        (f"\n{RULE}\nRan 0 tests in 0.000s\n\nOK\n", 0, "no tests ran"),
        (BEGAN, 0, "tests began and did not end"),
        (BEGAN, 139, "exit 139"),
        (f".\n{RULE}\nRan 1 test in 0.000s\n\nOK\n{BEGAN}", 0, "1 passed, tests began and did not end"),
    ],
)
def test_a_success_without_tests_and_one_in_the_middle_of_tests_say_so(output, status, words):
    file = io.StringIO()
    display = Plain(file, style=Style(), readers=output_readers(discover()))
    display.event(started("t", "task", "test", "unit"))
    display.event(Output(id="t", text=output))
    display.event(finished("t", "failed" if status else "passed", "task", "test", "unit", status=status))
    (line,) = [line for line in file.getvalue().splitlines() if "unit           test" in line]
    assert re.fullmatch(rf" . unit +test +{re.escape(words)} +2\.0s", line)


def test_a_lone_task_that_is_silent_has_a_moving_line_until_it_prints():
    file = io.StringIO()
    display = Terminal(file, style=Style())
    display.event(started("t", "task", "test", "unit"))
    assert display.tick(101.0)
    assert "unit" in file.getvalue().splitlines()[-1], "who runs is on the screen"
    display.event(Output(id="t", text="hello\n"))
    since = len(file.getvalue())
    assert not display.tick(102.0)
    assert len(file.getvalue()) == since, "nothing is drawn into its output"
    assert file.getvalue().endswith("hello\n")


def test_what_has_finished_does_not_move_any_more():
    file = io.StringIO()
    display = Terminal(file, style=Style())
    for key in "ab":
        display.event(started(key, name=f"layer-{key}"))
    display.tick(101.0)
    since = len(file.getvalue())
    display.event(finished("a", name="layer-a"))
    printed = file.getvalue()[since:]
    assert printed.count("layer-a") == 1, "and that is the line that says so"
    assert "layer-b" in printed


def test_events_of_unknown_work_are_harmless():
    for display in (
        Plain(io.StringIO(), style=Style(), verbosity=1),
        Terminal(io.StringIO(), style=Style(), verbosity=1),
    ):
        display.event(Output(id="?", text="x"))
        display.event(Progress(id="?", done=1))
        display.event(finished("?"))
        display.tick(1.0)
        display.close()


def test_names_of_others_cannot_move_the_cursor():
    file = io.StringIO()
    display = Plain(file, style=Style())
    display.event(finished("l", name="a\x1b[2J\nb", detail="c\rd"))
    assert "\x1b" not in file.getvalue()
    assert file.getvalue().count("\n") == 1
    assert "\r" not in file.getvalue()


def closed(*names, shown):
    results = [
        SimpleNamespace(
            env=name,
            task="test",
            outcome="failed",
            outputs=(),
            status=1,
            seconds=1.0,
            log="",
            message="exit 1",
            commands=(),
            error=None,
        )
        for name in names
    ]
    more = {"interrupted": False, "again": "envtool", "style": Style(), "columns": 40}
    return format_summary(results, 1.0, shown={(name, "test") for name in shown}, **more)


def test_a_task_whose_output_is_on_the_screen_has_its_title_there_and_not_again():
    assert "── unit test ─" not in closed("unit", shown=["unit"])
    assert closed("unit", shown=["unit"]).startswith("   again, inside:  envtool shell unit\n")
    assert "── unit test ─" in closed("unit", shown=[])
    assert closed("unit", "lint", shown=["unit"]).count("── unit test ─") == 1, "one of several is told apart"
    assert closed("unit", "lint", shown=["unit", "lint"]).count("── lint test ─") == 1


def test_what_takes_long_says_something_about_itself():
    for detail, note, said in (("", "", "under way"), ("", "index", "index"), ("14 packages", "", "14 packages")):
        piece = RunningWork(started=Started(id="l", subject="layer", name="apt", time=0.0, detail=detail), note=note)
        assert said in formatting.format_started(piece)


def test_what_was_half_made_when_all_was_interrupted_has_no_line():
    file = io.StringIO()
    display = Plain(file, style=Style())
    for name in "ab":
        display.event(started(name, name=name))
    display.event(finished("a", "interrupted", name="a"))
    display.event(started("t", "task", "test", "unit"))
    display.event(finished("t", "interrupted", "task", "test", "unit"))
    assert file.getvalue() == " ✗ unit           test    interrupted                       2.0s\n"


def test_lines_are_in_line_for_long_names():
    file = io.StringIO()
    display = Plain(file, style=Style())
    names = ("a-layer-with-a-long-name", "deps")
    for name in names:
        display.event(started(name, name=name, on="trixie"))
    envs = ("integration[trixie]", "unit")
    for env in envs:
        display.event(started(env, "task", "test", env))
    for name in names:
        display.event(finished(name, name=name, on="trixie", detail="4 packages"))
    for env in envs:
        display.event(finished(env, "passed", "task", "test", env, detail="3 passed"))
    lines = file.getvalue().splitlines()
    assert len({line.index("4 packages") for line in lines[:2]} | {line.index("3 passed") for line in lines[2:]}) == 1
    assert len({line.index("test ") for line in lines[2:]}) == 1
    assert len({line.rindex("2.0s") - ("built" in line) * len("built ") for line in lines}) == 1, lines
