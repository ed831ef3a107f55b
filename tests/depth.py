"""How much of what counts in hundreds is run: a sample in CI, everything in `.ci/long`.

The sample is drawn by a seed that is the commit's: each commit tries others, and one commit always the same. The header
prints the seed, `ENVTOOL_SEED=…` gives another, `ENVTOOL_DEPTH=long` runs everything. At the end a table says of each
battery how many cases ran, of how many, and how many failed.

    @pytest.mark.sampled(10)                  # of the parameters of this test ten are run in CI
    @pytest.mark.parametrize("case", CASES)
    def test_one(case): ...

    @pytest.mark.one_caller                   # each case as one sort of caller: which one, the seed says
    @pytest.mark.parametrize("case", CASES)
    def test_each(case, common): ...

    @pytest.mark.dear                         # the same, and by one of CI's two runs alone
    def test_long(common): ...

    def test_many(depth):                     # a loop in one test
        for number in depth.times(10, 200):
            depth.random.choice(...)
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
    """How many cases of one test were run, and of how many."""

    ran: int = 0
    of: int = 0
    drawn: bool = False  # when tests were collected, which each worker does: the same in all


_batteries: dict[str, Battery] = {}  # name of a test, without its parameters -> what was run of it
_failed: dict[str, int] = {}  # likewise -> how many tests of that name failed


@dataclass
class Depth:
    """How many cases a test is to try, and the chances that it takes."""

    name: str
    long: bool = LONG
    random: random.Random = field(default_factory=random.Random)

    def times(self, sample: int, everything: int) -> Iterator[int]:
        """Numbers of the cases to try: `everything` of them in .ci/long, `sample` elsewhere."""
        battery = _counting(self.name)
        battery.of += everything
        for number in range(everything if self.long else sample):
            battery.ran += 1
            yield number

    def sample(self, cases: Iterable, sample: int) -> list:
        """All cases in .ci/long, `sample` of them elsewhere, in their order."""
        known = list(cases)
        count = len(known) if self.long else min(sample, len(known))
        battery = _counting(self.name)
        battery.of += len(known)
        battery.ran += count
        return [known[number] for number in sorted(self.random.sample(range(len(known)), count))]


def _counting(name: str) -> Battery:
    """Where a test counts its own cases, they are what is told: not how many of its callers were drawn."""
    if name not in _batteries or _batteries[name].drawn:
        _batteries[name] = Battery()
    return _batteries[name]


def examples(sample: int, everything: int) -> int:
    """For hypothesis: @settings(max_examples=examples(50, 5000))."""
    return everything if LONG else sample


@pytest.fixture
def depth(request: pytest.FixtureRequest) -> Depth:
    """How much this test is to try (see Depth)."""
    test = request.node.nodeid
    return Depth(_name(test), random=random.Random(f"{SEED} {test}"))


def _name(test: str) -> str:
    return test.partition("[")[0]


def configure(config: pytest.Config) -> None:
    """Say what the markers mean, and give hypothesis our seed. Before its own plugin reads it."""
    config.addinivalue_line("markers", "sampled(count): of its parameters `count` are run in CI, all in .ci/long")
    config.addinivalue_line("markers", "one_caller: of its callers one is drawn for each case, all are in .ci/long")
    config.addinivalue_line("markers", "dear: CI's first run tries a sixteenth of these, the second run all others")
    config.addinivalue_line("markers", "every_caller: it depends on who calls, so every caller tries it, in CI too")
    config.addinivalue_line("markers", "any_caller: it does not depend on who calls: the ordinary user's run is enough")
    if not config.getoption("hypothesis_seed", default=None):
        config.option.hypothesis_seed = str(random.Random(SEED).getrandbits(32))


def pytest_report_header() -> str:
    return f"depth: {'everything' if LONG else 'a sample of what counts in hundreds'}, seed {SEED} (ENVTOOL_SEED)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a sample of the parameters of each test that is marked `sampled` or `one_caller`.

    In the second run of CI (ENVTOOL_CALLERS), where an ordinary user has tried nearly everything already, a test that is not
    marked `every_caller` is tried as one of the callers, every second case at all, and `any_caller` not at all. What is
    `dear` is shared between the two.
    """
    second = "ENVTOOL_CALLERS" in os.environ and not LONG
    if not LONG:
        items[:] = _share(items, second=second)
    kept: list[pytest.Item] = []
    groups: dict[tuple[str, str], list[pytest.Item]] = {}
    for item in items:
        others = {name: value for name, value in getattr(_call(item), "params", {}).items() if name != "caller"}
        called = "caller" in getattr(_call(item), "params", {})
        if second and item.get_closest_marker("any_caller"):
            continue
        if item.get_closest_marker("sampled"):
            groups.setdefault((_name(item.nodeid), ""), []).append(item)
        elif item.get_closest_marker("one_caller") or (
            second and called and not item.get_closest_marker("every_caller")
        ):
            groups.setdefault((_name(item.nodeid), str(others)), []).append(item)
        else:
            kept.append(item)
    for name in sorted({name for name, _ in groups}):
        parts = [(key, group) for key, group in groups.items() if key[0] == name]
        one = any(parts[0][1][0].get_closest_marker(word) for word in ("one_caller", "dear"))
        marker = parts[0][1][0].get_closest_marker("sampled")
        whole = not second or marker or parts[0][1][0].get_closest_marker("dear")
        chosen = [part for part in parts if whole or random.Random(f"{SEED} half {part[0]}").randrange(2)]
        battery = _batteries.setdefault(name, Battery(drawn=True)) if one or marker else Battery()
        battery.of += sum(len(group) for _, group in parts)
        for key, group in chosen:
            count = len(group) if LONG else min(marker.args[0] if marker else 1, len(group))
            kept += random.Random(f"{SEED} {key}").sample(group, count)
            battery.ran += count
    drawn = set(kept)
    if len(drawn) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in drawn])
        items[:] = [item for item in items if item in drawn]
    # What takes long begins first, or one process would still be at it when all others have ended.
    items.sort(key=lambda item: 0 if item.get_closest_marker("slow") else 1)


def _share(items: list[pytest.Item], *, second: bool) -> list[pytest.Item]:
    """All, but of what is dear a sixteenth, or all else of it; a case is the same one whoever calls. Each case is drawn by
    itself: the two runs collect different tests, and a case must not fall between them."""
    cases = {_case(item) for item in items if item.get_closest_marker("dear")}
    ours = {case for case in cases if (random.Random(f"{SEED} {case}").randrange(16) != 0) == second}
    if cases:
        _batteries["what is dear"] = Battery(ran=len(ours), of=len(cases), drawn=True)
    return [item for item in items if not item.get_closest_marker("dear") or _case(item) in ours]


def _case(item: pytest.Item) -> str:
    others = {name: value for name, value in getattr(_call(item), "params", {}).items() if name != "caller"}
    return f"{_name(item.nodeid)} {others}"


def _call(item: pytest.Item) -> Any:
    return getattr(item, "callspec", None)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        _failed[_name(report.nodeid)] = _failed.get(_name(report.nodeid), 0) + 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist tells the process that prints the table."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["batteries"] = {name: asdict(each) for name, each in _batteries.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker ended."""
    for name, counts in getattr(node, "workeroutput", {}).get("batteries", {}).items():
        theirs = Battery(**counts)
        ours = _batteries.setdefault(name, Battery(drawn=theirs.drawn))
        if theirs.drawn:
            if ours.drawn:
                ours.ran, ours.of = theirs.ran, theirs.of
        elif ours.drawn:
            _batteries[name] = theirs
        else:
            ours.ran, ours.of = ours.ran + theirs.ran, ours.of + theirs.of


def pytest_terminal_summary(terminalreporter) -> None:
    if not _batteries:
        return
    terminalreporter.section(f"what counts in hundreds, seed {SEED}")
    terminalreporter.line(f"{'ran':>6} {'of':>6} {'failed':>6}  battery")
    for name, battery in sorted(_batteries.items()):
        terminalreporter.line(f"{battery.ran:6} {battery.of:6} {_failed.get(name, 0):6}  {name}")
