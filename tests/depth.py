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

    pytestmark = pytest.mark.dear(cases=2)    # likewise, and only two cases of the module's tests with this mark

    @pytest.mark.callers_in_turn              # CI's second run tries each case, as root or with a single id
    def test_that_depends_on_the_caller(place): ...

    def test_many(depth):                     # a loop in one test
        for number in depth.times(10, 200):
            depth.random.choice(...)
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

LONG = os.environ.get("ENVTOOL_DEPTH") == "long"
RUN = "" if LONG else os.environ.get("ENVTOOL_CI_RUN", "")  # which of the two of .ci/run: first, second
BOTH = ("tests/e2e", "tests/hostile", "tests/pinned")  # where .ci/run finds tests that have a caller for both runs
WHOLE = ("dear", "callers_in_turn")  # of these CI's second run tries every case that it has


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
    for line in (
        "sampled(count): of its parameters `count` are run in CI, all in .ci/long",
        "one_caller: of its callers one is drawn for each case, all are in .ci/long",
        "dear(cases): CI's first run tries a sixteenth of these, the second run all others; of a module's at most `cases`",
        "every_caller: it depends on who calls, so every caller tries it, in CI too",
        "callers_in_turn: likewise, but CI's second run tries each case as one of its callers, who take turns",
        "any_caller: it does not depend on who calls: the ordinary user's run is enough",
    ):
        config.addinivalue_line("markers", line)
    if not config.getoption("hypothesis_seed", default=None):
        config.option.hypothesis_seed = str(random.Random(SEED).getrandbits(32))
    from hypothesis import HealthCheck, settings

    # Slowness is the machine's, and fails no test. Those that promise a time measure it themselves.
    settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any speed")


def pytest_report_header() -> str:
    return f"depth: {'everything' if LONG else 'a sample of what counts in hundreds'}, seed {SEED} (ENVTOOL_SEED)"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    """Each process of pytest-xdist begins to collect elsewhere: what one compiles, assertions with it, the others find in
    `__pycache__` when they come there."""
    report = yield
    ours = getattr(collector.config, "workerinput", None)
    if ours and isinstance(collector, pytest.Directory) and report.result:
        first = len(report.result) * int(ours["workerid"].removeprefix("gw")) // ours["workercount"]
        report.result = report.result[first:] + report.result[:first]
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]):
    """Has one order in all processes, wherever each began to collect, before pytest groups what shares fixtures."""
    items.sort(key=lambda item: str(item.path))  # which keeps the order of a module
    yield
    _draw(config, items)


def _draw(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a sample of the parameters of each test that is marked `sampled` or `one_caller`.

    .ci/run has two runs (ENVTOOL_CI_RUN): as a user with a range of ids, then as root and with a single id.
    The second run tries `every_caller` as each of its callers, `callers_in_turn` as one of them and `any_caller` not at
    all; of `sampled` ones half as many. All other tests with a caller are tried once, as one of the three: the second run
    has a quarter of each module's cases, at least one, and the first run has the others. `dear` is shared between the two.
    """
    collected = len(items)
    if not LONG:
        items[:] = _share(items, second=RUN == "second")
    if RUN == "first":
        items[:] = _leave_to_second_run(items)
    kept: list[pytest.Item] = []
    groups: dict[tuple[str, str], list[pytest.Item]] = {}
    turns: dict[str, list[pytest.Item]] = {}
    for item in items:
        called = "caller" in getattr(_call(item), "params", {})
        if RUN == "second" and item.get_closest_marker("any_caller"):
            continue
        if item.get_closest_marker("sampled"):
            groups.setdefault((_name(item.nodeid), ""), []).append(item)
        elif RUN == "second" and called and not item.get_closest_marker("every_caller"):
            turns.setdefault(str(item.path), []).append(item)
        elif item.get_closest_marker("one_caller"):
            groups.setdefault((_name(item.nodeid), _case(item)), []).append(item)
        else:
            kept.append(item)
    for (name, case), group in groups.items():
        marker = group[0].get_closest_marker("sampled")
        count = len(group) if LONG else min(marker.args[0] if marker else 1, len(group))
        if (
            RUN == "second"
            and "caller" in getattr(_call(group[0]), "params", {})
            and not group[0].get_closest_marker("dear")
        ):
            count = -(-count // 2)  # the first run has tried as many as the mark says
        chosen = random.Random(f"{SEED} {case or name}").sample(group, count)
        _count_drawn(name, group, chosen)
        kept += chosen
    for module in turns.values():
        chosen = _take_turns(module)
        for item in module:
            if item.get_closest_marker("one_caller") or item.get_closest_marker("dear"):
                _count_drawn(_name(item.nodeid), [item], [item] if item in chosen else [])
        kept += chosen
    drawn = set(kept)
    if len(drawn) < collected:
        config.hook.pytest_deselected(items=[item for item in items if item not in drawn])
        items[:] = [item for item in items if item in drawn]
    items[:] = _longest_first(items, getattr(config, "workerinput", {}).get("workercount", 1))


def _count_drawn(name: str, cases: list[pytest.Item], chosen: list[pytest.Item]) -> None:
    battery = _batteries.setdefault(name, Battery(drawn=True))
    battery.of += len(cases)
    battery.ran += len(chosen)


def _share(items: list[pytest.Item], *, second: bool) -> list[pytest.Item]:
    """All, but of what is dear a sixteenth, or all else of it; a case is the same one whoever calls. Where a module's marks
    say how many cases, as many are drawn first. Each case is shared by itself: the two runs collect different tests, and a
    case must not fall between them."""
    modules: dict[tuple[str, int], set[str]] = {}  # those of one file with one count -> cases
    for item in items:
        if marker := item.get_closest_marker("dear"):
            modules.setdefault((_module(item), marker.kwargs.get("cases", 0)), set()).add(_case(item))
    cases: set[str] = set()
    for (module, count), known in modules.items():
        fewer = random.Random(f"{SEED} {module}").sample(sorted(known), min(count or len(known), len(known)))
        cases.update(fewer)
    ours = {case for case in cases if (random.Random(f"{SEED} {case}").randrange(16) != 0) == second}
    if cases:
        _batteries["what is dear"] = Battery(ran=len(ours), of=sum(map(len, modules.values())), drawn=True)
    return [item for item in items if not item.get_closest_marker("dear") or _case(item) in ours]


def _take_turns(module: list[pytest.Item]) -> list[pytest.Item]:
    """Of a module's cases those that CI's second run tries, each as one of its callers. Callers take turns: each has as
    many cases as any other, or one fewer."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in module:
        cases.setdefault(_case(item), []).append(item)
    whole = [name for name, (item, *_) in cases.items() if not _is_shared(item)]
    names = whole + _second_runs({name for name in cases if name not in whole}, module[0])
    turn = random.Random(f"{SEED} turn {_module(module[0])}").randrange(len(cases[names[0]]))
    return [cases[name][(turn + number) % len(cases[name])] for number, name in enumerate(names)]


def _leave_to_second_run(items: list[pytest.Item]) -> list[pytest.Item]:
    """All but the cases that CI's second run tries; a module's only case is tried by both."""
    modules: dict[str, dict[str, pytest.Item]] = {}
    for item in items:
        if _is_shared(item) and _module(item).startswith(BOTH):
            modules.setdefault(_module(item), {})[_case(item)] = item
    theirs = {
        case
        for cases in modules.values()
        if len(cases) > 1
        for case in _second_runs({*cases}, next(iter(cases.values())))
    }
    return [item for item in items if not (_is_shared(item) and _case(item) in theirs)]


def _is_shared(item: pytest.Item) -> bool:
    """Whether a case is tried once, by one of CI's two runs, because the marks of its test say nothing else."""
    marks = ("every_caller", "any_caller", "sampled", *WHOLE)
    return "caller" in getattr(_call(item), "params", {}) and not any(map(item.get_closest_marker, marks))


def _second_runs(cases: set[str], item: pytest.Item) -> list[str]:
    """A quarter of the cases of the module of an item: which ones both runs know."""
    return random.Random(f"{SEED} second {_module(item)}").sample(sorted(cases), -(-len(cases) // 4))


def _module(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _longest_first(items: list[pytest.Item], processes: int) -> list[pytest.Item]:
    """What takes long begins first, or one process would still be at it when all others have ended. pytest-xdist gives each
    process one part of the list to begin with: each part begins with its share of what takes long."""
    long = [item for item in items if item.get_closest_marker("dear")]
    long += [item for item in items if item.get_closest_marker("slow") and not item.get_closest_marker("dear")]
    begun = set(long)
    others = iter([item for item in items if item not in begun])
    ordered: list[pytest.Item] = []
    for number in range(processes):
        size = (len(items) - len(ordered)) // (processes - number)
        share = long[number::processes][:size]
        ordered += share
        ordered += itertools.islice(others, size - len(share))
    return ordered


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
