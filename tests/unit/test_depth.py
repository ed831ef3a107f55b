"""CI runs a sample of what counts in hundreds, drawn by the commit; `.ci/long` runs everything; a table says so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CASES = """
import pytest

@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", range(40))
def test_parameters(case):
    assert case >= 0

def test_loop(depth):
    drawn = [(number, depth.random.random()) for number in depth.times(2, 30)]
    print("drawn", drawn)

def test_list(depth):
    print("listed", depth.sample(range(100), 4))

@pytest.mark.sampled(5)
@pytest.mark.parametrize("case", range(20))
def test_that_fails(case):
    assert case < 0
"""


def run(directory: Path, text: str = CASES, **variables: str) -> str:
    (directory / "test_cases.py").write_text(text)
    (directory / "conftest.py").write_text(
        "from tests.depth import *\nfrom tests.depth import configure as pytest_configure\n"
    )
    given = {name: value for name, value in os.environ.items() if name != "ENVTOOL_CALLERS"}
    environ = {**given, "PYTHONPATH": f"{TESTS.parent}", **variables}
    words = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-rN", "--tb=no", "."]
    return subprocess.run(words, cwd=directory, env=environ, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize(
    ("variables", "rows", "passed"),
    [
        (
            {"ENVTOOL_DEPTH": ""},
            {"parameters": (3, 40, 0), "loop": (2, 30, 0), "list": (4, 100, 0), "that_fails": (5, 20, 5)},
            5,
        ),
        (
            {"ENVTOOL_DEPTH": "long"},
            {"parameters": (40, 40, 0), "loop": (30, 30, 0), "list": (100, 100, 0), "that_fails": (20, 20, 20)},
            42,
        ),
    ],
    ids=["CI", "long"],
)
def test_table(tmp_path, variables, rows, passed):
    said = run(tmp_path, ENVTOOL_SEED="one", **variables)
    for name, row in rows.items():
        assert re.search(r"^ *{} +{} +{}  \S+test_{}$".format(*row, name), said, re.MULTILINE), said
    assert f"{rows['that_fails'][2]} failed, {passed} passed" in said
    assert "seed one" in said


def test_one_seed_draws_the_same_and_others_other_cases(tmp_path):
    def drawn(seed: str) -> list[str]:
        return re.findall(r"(?:drawn|listed) .*", run(tmp_path, ENVTOOL_SEED=seed, ENVTOOL_DEPTH=""))

    first = drawn("one")
    assert len(first) == 2
    assert first == drawn("one")
    assert first != drawn("two")


def test_each_dear_case_is_tried_by_one_of_the_two_runs(tmp_path):
    """Also where the two runs collect different tests."""
    cases = """
import pytest

@pytest.mark.dear
@pytest.mark.parametrize("case", range(60))
def test_dear(case):
    print(f"tried-{case}.")
"""
    more = "\n@pytest.mark.dear\ndef test_in_the_first_run_alone():\n    pass\n"

    def tried(**variables: str) -> list[str]:
        return re.findall(r"tried-\d+", run(tmp_path, ENVTOOL_SEED="one", ENVTOOL_DEPTH="", **variables))

    first = tried(text=cases + more)
    second = tried(text=cases, ENVTOOL_CALLERS="root single")
    assert 0 < len(first) < len(second)
    assert sorted(first + second) == sorted(f"tried-{case}" for case in range(60))


def test_the_second_run_tries_every_second_case_of_what_the_first_has_tried(tmp_path):
    cases = """
import pytest

CALLERS = pytest.mark.parametrize("caller", ["root", "single"])
CASES = pytest.mark.parametrize("case", range(60))

@CALLERS
@CASES
def test_some(caller, case):
    print(f"some-{case}.")

@CALLERS
@CASES
@pytest.mark.every_caller
def test_all(caller, case):
    print(f"all-{caller}-{case}.")
"""

    def tried(seed: str) -> list[str]:
        said = run(tmp_path, text=cases, ENVTOOL_SEED=seed, ENVTOOL_DEPTH="", ENVTOOL_CALLERS="root single")
        assert len({*re.findall(r"all-\w+-\d+", said)}) == 120
        return re.findall(r"some-\d+", said)

    one, two = tried("one"), tried("two")
    assert len(one) == len({*one})
    assert 15 < len(one) < 45
    assert {*one} != {*two}
