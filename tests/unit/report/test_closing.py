"""What a failure says to type."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from envtool.model import Command
from envtool.report.closing import failure
from envtool.report.words import Style

LONG = "pytest -q --maxfail=3 --some-option=value tests/unit/one tests/unit/two tests/unit/three"


def said(*commands: str, columns: int = 80, env: str = "unit") -> list[str]:
    result = SimpleNamespace(
        env=env, task="test", outcome="failed", log="", message="exit 1", commands=commands, outputs=(), status=1
    )
    text = failure(result, again="envtool", shown=True, style=Style(color=False, unicode=True), columns=columns)
    return text.split("\n")[1:]


def test_what_to_type_follows_the_shell():
    assert said("pytest") == ["   again, inside:  envtool shell unit   then: pytest"]
    assert said() == ["   again, inside:  envtool shell unit"]


@pytest.mark.parametrize(
    ("commands", "typed"),
    [
        (["make", "make check"], "make && make check"),
        (["a; b", "c"], "(a; b) && c"),
        (["a || b"], "a || b"),
        (["cd x\npytest"], "cd …"),
        (["echo hello there\nfalse"], "echo hello …"),
        (["make", "cat <<E\nx\nE", "true"], "make && …"),
        (["echo \x1b[31mx"], "echo x"),
    ],
)
def test_several_and_long_ones(commands, typed):
    assert said(*commands)[0].endswith(f"then: {typed}")


def test_on_a_narrow_screen_it_has_a_line_of_its_own():
    for columns in (60, 80, 100):
        first, second = said(LONG, columns=columns, env="unit[bookworm,3.12]")
        assert first == "   again, inside:  envtool shell 'unit[bookworm,3.12]'"
        assert second.startswith("            then:  pytest -q")
        assert second.endswith(" …")
        assert len(second) <= columns
    assert said("pytest", columns=40)[1] == "            then:  pytest"
    assert len(said("x" * 300, columns=60)[1]) <= 60


def test_as_one_would_type_it():
    assert Command(argv=("pytest", "-k", "a b")).typed() == "pytest -k 'a b'"
    assert Command(shell="  make && echo $X\n").typed() == "make && echo $X"
