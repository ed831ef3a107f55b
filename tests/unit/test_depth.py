"""CI runs a sample of what counts in hundreds, drawn by the commit; `.ci/long` runs everything; a table says so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import depth

TESTS = Path(__file__).parents[1]
CONFTEST = "from tests.depth import *\nfrom tests.depth import configure as pytest_configure\n"
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
    (directory / "conftest.py").write_text(CONFTEST)
    given = {name: value for name, value in os.environ.items() if name != "ENVTOOL_CI_RUN"}
    environ = {**given, "PYTHONPATH": f"{TESTS.parent}", **variables}
    without = [word for plugin in ("cacheprovider", "xdist", "hypothesispytest") for word in ("-p", f"no:{plugin}")]
    words = [sys.executable, "-m", "pytest", "-q", "-s", *without, "-rN", "--tb=no", "."]
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


def tried(path: Path, cases: str, words: str = r"tried-\S+", **variables: str) -> list[str]:
    """Which cases printed that they were tried."""
    return re.findall(words, run(path, text=cases, ENVTOOL_DEPTH="", **variables))


def test_each_dear_case_is_tried_by_one_of_the_two_runs(tmp_path):
    """Also where the two runs collect different tests."""
    cases = """
import pytest
from hypothesis import HealthCheck, settings

@pytest.mark.dear
@pytest.mark.parametrize("case", range(60))
def test_dear(case):
    print(f"tried-{case} ")
"""
    more = "\n@pytest.mark.dear\ndef test_in_the_first_run_alone():\n    pass\n"
    first = tried(tmp_path, cases + more, ENVTOOL_SEED="one")
    second = tried(tmp_path, cases, ENVTOOL_SEED="one", ENVTOOL_CI_RUN="second")
    assert 0 < len(first) < len(second)
    assert sorted(first + second) == sorted(f"tried-{case}" for case in range(60))


def test_of_a_modules_dear_cases_as_many_are_tried_as_its_marks_say(tmp_path):
    """By the two runs together, and by any number of commits each."""
    cases = """
import pytest
from hypothesis import HealthCheck, settings

@pytest.mark.dear(cases=2)
@pytest.mark.parametrize("caller", ["root", "single"])
@pytest.mark.parametrize("case", range(5))
def test_one(case, caller):
    print(f"tried-{case} ")

@pytest.mark.dear(cases=2)
def test_other():
    print("tried-other ")

@pytest.mark.dear
def test_always():
    print("tried-always ")
"""
    known = set()
    for seed in ("one", "two"):
        both = tried(tmp_path, cases, ENVTOOL_SEED=seed, ENVTOOL_CI_RUN="second")
        both += {*tried(tmp_path, cases, ENVTOOL_SEED=seed)}  # a test of both callers is one case
        assert len(both) == len({*both}) == 3
        assert "tried-always" in both
        known |= {*both}
    assert len(known) > 3, "another commit draws others"


CALLERS = """
import pytest
from hypothesis import HealthCheck, settings

CALLERS = pytest.mark.parametrize("caller", ["root", "single"])
CASES = pytest.mark.parametrize("case", range(60))

@CALLERS
@CASES
def test_some(caller, case):
    print(f"some-{caller}-{case} ")

@CALLERS
@CASES
@pytest.mark.every_caller
def test_all(caller, case):
    print(f"all-{caller}-{case} ")

@CALLERS
@CASES
@pytest.mark.callers_in_turn
def test_in_turn(caller, case):
    print(f"turn-{caller}-{case} ")

@CALLERS
@CASES
@pytest.mark.any_caller
def test_any(caller, case):
    print(f"any-{caller}-{case} ")

@CALLERS
@CASES
@pytest.mark.sampled(5)
def test_sampled(caller, case):
    print(f"sampled-{caller}-{case} ")
"""
ALONE = """
import pytest
from hypothesis import HealthCheck, settings

@pytest.mark.parametrize("caller", ["root", "single"])
def test_alone(caller):
    print(f"alone-{caller}-0 ")
"""


def test_what_the_second_run_tries_of_what_the_first_has_tried(tmp_path):
    kinds = ("some", "all", "turn", "any", "sampled", "alone")
    (tmp_path / "test_module_of_one_test.py").write_text(ALONE)

    def drawn(seed: str) -> dict[str, list[tuple[str, str]]]:
        words = rf"({'|'.join(kinds)})-(root|single)-(\d+)"
        rows = tried(tmp_path, CALLERS, words, ENVTOOL_SEED=seed, ENVTOOL_CI_RUN="second")
        return {kind: [row[1:] for row in rows if row[0] == kind] for kind in kinds}

    one, two = drawn("one"), drawn("two")
    for each in (one, two):
        assert len({*each["all"]}) == 120
        assert not each["any"]
        assert len(each["alone"]) == 1, "of every module something is tried"
        assert len(each["sampled"]) == 3
        assert {case for _, case in each["turn"]} == {str(case) for case in range(60)}
        assert len(each["turn"]) == 60
        assert len({case for _, case in each["some"]}) == len(each["some"]) == 15
        callers = [caller for caller, _ in each["turn"] + each["some"]]
        assert abs(callers.count("root") - callers.count("single")) <= 1
    assert {*one["some"]} != {*two["some"]}
    assert {*one["turn"]} != {*two["turn"]}


def test_each_shared_case_is_tried_by_one_of_the_two_runs(tmp_path):
    """Of a test whose marks say nothing of callers, in a directory of both runs; a module's only case by both."""
    cases = """
import pytest

@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("case", range(30))
def test_some(caller, case):
    print(f"tried-{case} ")

@pytest.mark.one_caller
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("case", range(10))
def test_one_caller(caller, case):
    print(f"tried-one-{case} ")
"""
    both = tmp_path / "tests" / "e2e"
    both.mkdir(parents=True)
    elsewhere = tmp_path / "tests" / "cli"
    elsewhere.mkdir()

    def run_one(callers: str, this: str) -> list[str]:
        head = f"CALLERS = {callers.split()!r}\n"
        (both / "test_many.py").write_text(head + cases)
        (both / "test_only.py").write_text(head + cases.partition("@pytest.mark.one_caller")[0].replace("30", "1"))
        (elsewhere / "test_elsewhere.py").write_text(head + cases.replace("tried-", "tried-elsewhere-"))
        return tried(tmp_path, "", ENVTOOL_SEED="one", ENVTOOL_CI_RUN=this)

    first, second = run_one("me", "first"), run_one("root single", "second")
    known = [f"tried-{case}" for case in range(30)] + [f"tried-one-{case}" for case in range(10)]
    here = [case for case in first + second if "elsewhere" not in case]
    assert sorted(here) == sorted([*known, "tried-0", "tried-0"])
    assert len([case for case in second if "elsewhere" not in case]) == 11
    assert len([case for case in first if "elsewhere" in case]) == 40, "no other run has these"


def test_both_runs_find_what_they_share():
    """.ci/run names the directories of the second run."""
    named = (
        (TESTS.parent / ".ci/run").read_text().replace("\\\n", "").partition("set -- ")[2].partition("\n")[0].split()
    )
    assert {*depth.BOTH} <= {*named}


class Marked:
    """What `_longest_first` asks of a test."""

    def __init__(self, name: str, mark: str = "") -> None:
        self.name, self.mark = name, mark

    def get_closest_marker(self, mark: str) -> bool:
        return mark == self.mark


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_each_process_begins_with_its_share_of_what_takes_long(processes):
    """pytest-xdist gives each process in turn as many as are left, divided by the processes that are left."""
    items = [Marked(f"{n}", "slow" if n % 10 == 3 else "dear" if n % 10 == 7 else "") for n in range(101)]
    ordered = depth._longest_first(items, processes)
    assert sorted(item.name for item in ordered) == sorted(item.name for item in items)
    short = [item for item in ordered if not item.mark]
    assert short == [item for item in items if not item.mark], "others keep their order"
    rest = list(ordered)
    for number in range(processes):
        part, rest = rest[: len(rest) // (processes - number)], rest[len(rest) // (processes - number) :]
        marks = [bool(item.mark) for item in part]
        assert marks == sorted(marks, reverse=True)
        assert 20 // processes <= sum(marks) <= -(-20 // processes)
    assert not rest


def test_processes_that_begin_to_collect_elsewhere_have_one_order(tmp_path):
    """pytest-xdist refuses to run anything if two processes have different tests, or another order."""
    for name in ("a", "b", "c/one", "c/two", "d"):
        path = tmp_path / f"{name.replace('/', '/test_')}.py" if "/" in name else tmp_path / f"test_{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            "import pytest\n"
            "@pytest.fixture(scope='session', params=['root', 'single'])\n"
            "def caller(request): return request.param\n"
            "def test_z(): pass\n"
            "def test_caller(caller): pass\n"
            "def test_a(): pass\n"
        )
    (tmp_path / "conftest.py").write_text(CONFTEST)
    environ = {**os.environ, "PYTHONPATH": f"{TESTS.parent}", "ENVTOOL_DEPTH": "long"}
    words = [sys.executable, "-m", "pytest", "-n3", "--dist=worksteal", "-q", "-p", "no:cacheprovider", "."]
    done = subprocess.run(words, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert "20 passed" in done.stdout, done.stdout + done.stderr


def test_no_machine_is_too_slow_for_hypothesis():
    assert settings.default.deadline is None
    assert HealthCheck.too_slow in settings.default.suppress_health_check
    texts = [path.read_text() for top in ("tests", "plugins") for path in (TESTS.parent / top).rglob("test_*.py")]
    suppressed = [
        names for text in texts for names in re.findall(r"suppress_health_check=(\[.*?\]|list\(.*?\))", text, re.DOTALL)
    ]
    assert len(suppressed) > 9
    assert not [names for names in suppressed if "too_slow" not in names and names != "list(HealthCheck)"]
