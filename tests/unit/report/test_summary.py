"""What a failure says to type."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

from envtool.errors import BuildError, ResolveError, StoreError
from envtool.model import Command
from envtool.report.formatting import Style
from envtool.report.summary import format_failure, format_summary

LONG = "pytest -q --maxfail=3 --some-option=value tests/unit/one tests/unit/two tests/unit/three"
STANDS = "the commands of the task, envtool.yaml:14, each by `sh -ec`"


def said(*commands: str, columns: int = 80, env: str = "unit", screen: int = 0) -> list[str]:
    result = SimpleNamespace(
        env=env, task="test", outcome="failed", log="", message="exit 1", commands=commands, outputs=(), status=1,
        where="envtool.yaml:14", error=None,
    )  # fmt: skip
    text = format_failure(result, again="envtool", shown=True, style=Style(color=False, unicode=True), columns=columns,
                   screen=screen)  # fmt: skip
    return text.split("\n")[1:]


def test_what_to_type_follows_the_shell():
    assert said("pytest") == ["   again, inside:  envtool shell unit   then: pytest"]
    assert said() == ["   again, inside:  envtool shell unit"]


@pytest.mark.parametrize(
    ("commands", "typed"),
    [
        (["make", "make check"], ["make && make check"]),
        (["a; b", "c"], ["sh -ec 'a; b' && c"]),
        (["a | b", "c"], ["(a | b) && c"]),
        (["cd /tmp", "pwd"], ["(cd /tmp) && pwd"]),
        (["cd x && make", "make # check"], ["(cd x && make)", "make # check"]),
        (["x=1", "x=1 make"], ["(x=1) && x=1 make"]),
        (["cd x && make"], ["cd x && make"]),
        (["exit 3"], ["(exit 3)"]),
        (["grep 'a;b' c"], ["grep 'a;b' c"]),
        (["for x in 1; do false; done"], ["sh -ec 'for x in 1; do false; done'"]),
        (["a || b"], ["a || b"]),
        (["make # all", "make check"], ["make # all", "make check"]),
        (["server &", "pytest"], ["server &", "pytest"]),
        (["pytest " + "x" * 90], ["pytest " + "x" * 90]),
        ([LONG], [LONG]),
        (["cd x\npytest"], [STANDS]),
        (["make", "cat <<E\nx\nE", "true"], [STANDS]),
        (["echo \x1b[31mx"], [STANDS]),
        (["make " + "y" * 60, LONG], ["make " + "y" * 60, LONG]),
    ],
)
@pytest.mark.parametrize("columns", [40, 60, 80, 100, 160, 200])
def test_a_command_that_is_to_be_typed_is_never_cut(commands, typed, columns):
    first, *more = said(*commands, columns=columns)
    assert first.startswith("   again, inside:  envtool shell unit")
    shown = [line[19:] for line in more] if more else [first.partition("then: ")[2]]
    assert shown == typed or (len(commands) > 1 and shown == [" && ".join(commands)]), "in one piece, or one a line"


def test_it_has_a_line_of_its_own_where_there_is_no_room_beside():
    first, second = said(LONG, columns=80, env="unit[bookworm,3.12]")
    assert first == "   again, inside:  envtool shell 'unit[bookworm,3.12]'"
    assert second == f"            then:  {LONG}"
    assert said("pytest", columns=40)[1] == "            then:  pytest"
    assert said("pytest", "make " + "z" * 40, columns=60)[1:] == [
        "            then:  pytest",
        "                   make " + "z" * 40,
    ]


@pytest.mark.parametrize("screen", [40, 60, 72, 80, 100])
def test_nothing_that_has_room_is_broken_by_the_terminal(screen):
    for env in ("integration[trixie,py3.13,pg-16]", "integration[bookworm,3.12]"):
        for commands in ([f"python -m pytest {'x' * count}"] for count in (3, 25, 40, 60)):
            lines = said(*commands, "make check", columns=60, env=env, screen=screen)
            for whole in (f"envtool shell '{env}'", commands[0]):
                (line,) = [line for line in lines if whole in line]
                assert len(line) <= max(screen, 19 + len(whole) if len(whole) > screen else 0), lines


def ended(outcome: str, **rest) -> SimpleNamespace:
    given = {"env": "unit", "task": "test", "log": "", "message": "", "commands": (), "outputs": (), "error": None}
    return SimpleNamespace(outcome=outcome, **given | rest)


def last(*results, interrupted=False, typed="envtool test", kept=("what was fetched",), screen=0) -> list[str]:
    text = format_summary(
        results, 2.0, interrupted=interrupted, again="envtool", typed=typed, kept=kept, shown=(),
        style=Style(color=False, unicode=True), columns=60, screen=screen,
    )  # fmt: skip
    return text.partition(" in 2.0s ──\n")[2].split("\n")


def test_a_run_that_was_interrupted_says_what_is_kept_and_what_to_type():
    assert last(interrupted=True) == ["   kept:   what was fetched", "   again:  envtool test"]
    one = last(ended("interrupted"), ended("passed", outputs=("a", "b")))
    assert one == ["   kept:   what was fetched, the outputs of 1 task", "   again:  envtool test"]
    typed = "envtool test -e 'integration[trixie,py3.13]' -- -k 'not slow'"
    lines = last(ended("interrupted"), kept=(), typed=typed, screen=60)
    assert lines == ["   again:", typed]
    assert last(ended("passed")) == last(ended("failed", status=1)) == [""]


def test_a_full_disk_has_the_last_word():
    full = ended("error", message="the disk is full", error=StoreError("full", code="store-space"))
    assert last(full, ended("passed")) == ["   again, on another disk:  ENVTOOL_STORE=DIR envtool test"]
    assert last(full, screen=40) == ["   again, on another disk:", "     ENVTOOL_STORE=DIR envtool test"]
    assert last(ended("error", error=StoreError("damaged", code="store"))) == [""]


def test_as_one_would_type_it():
    assert Command(argv=("pytest", "-k", "a b")).typed() == "pytest -k 'a b'"
    assert Command(shell="  make && echo $X\n").typed() == "make && echo $X"


def test_a_heading_names_whole_envs():
    name = "integration-tests-with-a-long-name"
    some = [
        SimpleNamespace(env=f"{name}-{number}", task="test", outcome="error", log="", message="broken", error=None)
        for number in range(5)
    ]

    def heading(screen):
        text = format_failure(
            some[0],
            again="envtool",
            shown=False,
            style=Style(color=False, unicode=True),
            columns=min(62, screen),
            screen=screen,
            others=some[1:],
        )
        return text.splitlines()[0]

    assert heading(200).startswith(f"── {name}-0 test, {name}-1 test, {name}-2 test and 2 more ─")
    assert heading(110).startswith(f"── {name}-0 test, {name}-1 test and 3 more ─")
    assert heading(70).startswith(f"── {name}-0 test and 4 more ─")
    assert len(heading(60)) <= 60


@pytest.mark.parametrize(("error", "named"), [(ResolveError, True), (BuildError, False)])
def test_what_a_resolver_printed_is_named_and_what_a_build_printed_is_shown(tmp_path, error, named):
    log = tmp_path / "unit.test.log"
    log.write_text("Collecting six\nERROR: no\n")
    result = SimpleNamespace(
        env="unit", task="test", outcome="error", log=str(log), message="it is not so", error=error("it is not so")
    )
    style = Style(color=False, unicode=True)
    text = format_failure(result, again="envtool", shown=False, style=style, columns=80)
    assert text.endswith(f"   it is not so\n   all that was printed: {log}" if named else "ERROR: no\n   it is not so")
    assert ("Collecting" in text) != named
    result.log = ""
    assert format_failure(result, again="envtool", shown=False, style=style, columns=80).endswith("\n   it is not so")


@pytest.mark.parametrize(
    "commands",
    [
        ["false; echo after"], ["cd /tmp", "pwd"], ["x=1; false | true; echo $x"], ["x=7", "echo ${x:-unset}"], ["exit 3"],
        ["cd / && exit 4"], ['echo "$(false; echo b)"'], ["echo 'a;b'", "false; true", "echo never"], ["export y=2", "echo ${y:-unset}"],
        ["echo it\\'s; false; echo x"], ["true || cd /", "pwd"], ["set -u", "echo $unset_name"], ["sh -ec 'false; echo a'"],
        ["(false; echo a); echo b"], ["cd / | true", "pwd"],
    ],
)  # fmt: skip
def test_what_is_to_be_typed_does_what_the_task_did(commands, tmp_path):
    """The task: each command by `/bin/sh -ec`, up to the first that fails. What is typed must not end the shell."""
    output, status = "", 0
    for command in commands:
        done = subprocess.run(["/bin/sh", "-ec", command], cwd=tmp_path, capture_output=True, text=True, check=False)
        output, status = output + done.stdout, done.returncode
        if status:
            break
    (line,) = said(*commands, columns=300)
    typed = line.partition("then: ")[2]
    script = f"{typed}\necho =$?="
    done = subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == f"{output}={status}=\n", typed
