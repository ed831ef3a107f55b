"""How much of what counts in hundreds is run: a sample in CI, everything in `.ci/long`.

The sample is drawn by a seed that is the commit's: each commit tries others, and one commit always the same. The header
prints the seed, `ENVTOOL_SEED=…` gives another, `ENVTOOL_DEPTH=long` runs everything. At the end a table says of each
battery how many cases ran, of how many, and how many failed.

    @pytest.mark.sampled(10)                  # of the parameters of this test ten are run in CI
    @pytest.mark.parametrize("case", CASES)
    def test_one(case): ...

    def test_many(depth):                     # a loop in one test
        for number in depth.times(10, 200):
            depth.random.choice(...)
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

LONG = os.environ.get("ENVTOOL_DEPTH") == "long"


def _seed() -> str:
    """The commit, or what was asked for."""
    if given := os.environ.get("ENVTOOL_SEED"):
        return given
    top = Path(__file__).parents[1]
    words = ["git", "-c", f"safe.directory={top}", "-C", str(top), "rev-parse", "--short=12", "HEAD"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git here, or a copy without its repository
        return "none"


SEED = _seed()


@dataclass
class Battery:
    """What was run of the cases of one test, and how many of its tests failed."""

    ran: int = 0
    of: int = 0
    failed: int = 0


_batteries: dict[str, Battery] = {}
_tests: dict[str, str] = {}  # id of a test -> its battery


@dataclass
class Depth:
    """How many cases a test is to try, and the chances that it takes."""

    name: str
    long: bool = LONG
    random: random.Random = field(default_factory=random.Random)

    def times(self, sample: int, everything: int) -> Iterator[int]:
        """Numbers of the cases to try: `everything` of them in .ci/long, `sample` elsewhere."""
        battery = _batteries.setdefault(self.name, Battery())
        battery.of += everything
        for number in range(everything if self.long else sample):
            battery.ran += 1
            yield number

    def sample(self, cases: Iterable, sample: int) -> list:
        """All cases in .ci/long, `sample` of them elsewhere, in their order."""
        known = list(cases)
        count = len(known) if self.long else min(sample, len(known))
        battery = _batteries.setdefault(self.name, Battery())
        battery.of += len(known)
        battery.ran += count
        return [known[number] for number in sorted(self.random.sample(range(len(known)), count))]


def examples(sample: int, everything: int) -> int:
    """For hypothesis: @settings(max_examples=examples(50, 5000))."""
    return everything if LONG else sample


@pytest.fixture
def depth(request: pytest.FixtureRequest) -> Depth:
    """How much this test is to try (see Depth)."""
    test = request.node.nodeid
    _tests[test] = test.partition("[")[0]
    return Depth(_tests[test], random=random.Random(f"{SEED} {test}"))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sampled(count): of its parameters `count` are run in CI, all in .ci/long")
    if not config.getoption("hypothesis_seed", default=None):  # its own plugin reads it after us
        config.option.hypothesis_seed = str(random.Random(SEED).getrandbits(32))


def pytest_report_header() -> str:
    return f"depth: {'everything' if LONG else 'a sample of what counts in hundreds'}, seed {SEED} (ENVTOOL_SEED)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a sample of the parameters of each test that is marked `sampled`."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sampled"):
            groups.setdefault(item.nodeid.partition("[")[0], []).append(item)
    dropped = set()
    for name, group in groups.items():
        marker = group[0].get_closest_marker("sampled")
        count = len(group) if LONG else min(marker.args[0], len(group))
        kept = set(random.Random(f"{SEED} {name}").sample(group, count))
        dropped |= set(group) - kept
        _batteries[name] = Battery(ran=count, of=len(group))
        _tests.update((item.nodeid, name) for item in kept)
    if dropped:
        config.hook.pytest_deselected(items=[item for item in items if item in dropped])
        items[:] = [item for item in items if item not in dropped]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed and report.nodeid in _tests and (battery := _batteries.get(_tests[report.nodeid])):
        battery.failed += 1


def pytest_terminal_summary(terminalreporter) -> None:
    if not _batteries:
        return
    terminalreporter.section(f"what counts in hundreds, seed {SEED}")
    terminalreporter.line(f"{'ran':>6} {'of':>6} {'failed':>6}  battery")
    for name, battery in sorted(_batteries.items()):
        terminalreporter.line(f"{battery.ran:6} {battery.of:6} {battery.failed:6}  {name}")
