"""What runners of JavaScript's tests print about them: node --test (22), Jest (30), Mocha (11), Vitest (3). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal, TypeAlias

from envtool import api

Outcome: TypeAlias = Literal["passed", "failed", "skipped"]

MAX_CASES = 10_000  # of one run: tests beyond these are counted, and not named
MAX_DEPTH = 20  # suites in each other


class NodeTest(api.LineReader):
    """Eight lines at the end, such as `# pass 3` (in TAP) or `ℹ pass 3`; in TAP, after the lines that Tap counted."""

    LINE = re.compile(r"(# |ℹ )(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) (\d+)(?:\.\d+)?$")
    PLAN = re.compile(r"1\.\.\d+$")

    def __init__(self) -> None:
        self._cases = NodeCases()
        self._counts: dict[str, int] = {}
        self._after_plan = self._planned = False
        self._failed = False

    def feed_line(self, text: str) -> api.Suite | None:
        match = self.LINE.match(text)
        after_plan, self._after_plan = self._after_plan, bool(self.PLAN.match(text))
        if not match:
            self._counts = {}
            self._cases.feed_line(text)
            return None
        if match[2] == "tests":
            self._counts, self._planned = {}, after_plan and match[1] == "# "
        self._counts[match[2]] = int(match[3])
        if match[2] != "duration_ms":
            return None
        get, self._counts = self._counts.get, {}
        counts = [get(word, 0) for word in ("fail", "cancelled", "pass", "skipped", "todo")]
        cases = self._cases.take(failed=counts[0] + counts[1])
        if get("tests", -1) != sum(counts):
            return None
        self._failed = bool(counts[0] or counts[1])
        words = ("failed", "cancelled", "passed", "skipped", "todo")
        return api.Suite.of(*zip(words, counts, strict=True), proven=True, replaces=int(self._planned), cases=cases)

    def is_epilogue(self, text: str) -> bool:
        """Accepts the list of failures, which repeats them."""
        return self._failed


class NodeCases:
    """The tests of node --test: `✖ b (1.5ms)`, indented below `▶ suite`, or in TAP `not ok 2 - b` with its duration and
    its error in the lines below. What has tests below it is no case: it may be a suite, which node does not count."""

    SPEC = re.compile(r"( *)([✔✖﹣▶]) (.+?)(?: \((\d+(?:\.\d+)?)ms\)(?: # (?:.*))?)?$")
    TAP = re.compile(r"( *)(not ok|ok) \d+ - (.+)$")
    SUBTEST = re.compile(r"( *)# Subtest: (.+)$")
    DURATION = re.compile(r" +duration_ms: (\d+(?:\.\d+)?)$")
    ERROR = re.compile(r" +error: '(.+)'$")
    OUTCOMES: ClassVar[Mapping[str, Outcome]] = {
        "✔": "passed",
        "✖": "failed",
        "ok": "passed",
        "not ok": "failed",
    }

    def __init__(self) -> None:
        self._above: list[tuple[int, str]] = []  # indentation and name of the suites and tests that are open
        self._cases: dict[str, api.Case] = {}
        self._last = ""  # the id of the TAP case whose lines are being read
        self._depth = -1  # the indentation of the last result

    def feed_line(self, text: str) -> None:
        if subtest := self.SUBTEST.match(text):
            self._open(len(subtest[1]), subtest[2])
        elif result := self.TAP.match(text):
            name, skip, _ = result[3].partition(" # SKIP")
            self._close(
                len(result[1]),
                re.split(r" # todo\b", name, maxsplit=1, flags=re.IGNORECASE)[0],
                "skipped" if skip else self.OUTCOMES[result[2]],
            )
        elif (result := self.SPEC.match(text)) and result[2] == "▶":
            if not result[4]:  # with a duration it is the result of a suite (before node 22)
                self._open(len(result[1]), result[3])
        elif result and result[4]:
            self._close(len(result[1]), result[3], self.OUTCOMES.get(result[2], "skipped"), _seconds(result[4]))
        elif self._last and (value := self.DURATION.match(text)):
            self._cases[self._last] = replace(self._cases[self._last], seconds=_seconds(value[1]))
        elif self._last and (value := self.ERROR.match(text)):
            self._cases[self._last] = replace(self._cases[self._last], message=value[1])

    def take(self, *, failed: int) -> tuple[api.Case, ...]:
        """Returns the cases of the run that ends, or () if more of them failed than it counted."""
        cases = tuple(self._cases.values())
        self._above, self._cases, self._last, self._depth = [], {}, "", -1
        return cases if sum(case.outcome == "failed" for case in cases) <= failed else ()

    def _open(self, depth: int, name: str) -> None:
        self._above = [*((above, other) for above, other in self._above if above < depth), (depth, name)][:MAX_DEPTH]

    def _close(self, depth: int, name: str, outcome: Outcome, seconds: float | None = None) -> None:
        has_tests, self._depth, self._last = self._depth > depth, depth, ""
        if has_tests or len(self._cases) >= MAX_CASES:
            return
        self._last = " > ".join((*(other for above, other in self._above if above < depth), name))
        self._cases[self._last] = api.Case(id=self._last, outcome=outcome, seconds=seconds)


def _seconds(milliseconds: str) -> float:
    return round(float(milliseconds) / 1000, 6)


class Jest(api.LineReader):
    """`Tests: 1 failed, 2 passed, 3 total` below `Test Suites: …`."""

    SUITES = re.compile(r"Test Suites: .*\d+ total$")
    TESTS = re.compile(r"Tests: +((?:\d+ \w+, )+)(\d+) total$")
    AFTER = re.compile(
        r"(Snapshots: |Time: |Ran all test suites|Force exiting|A worker process has failed|Jest did not exit)"
    )
    COUNT = re.compile(r"(\d+) (failed|skipped|todo|passed)")
    FAILED = re.compile(r"  ● (.+)$")

    def __init__(self) -> None:
        self._below = False
        self._failed: dict[str, None] = {}

    def feed_line(self, text: str) -> api.Suite | None:
        below, self._below = self._below, bool(self.SUITES.match(text))
        match = self.TESTS.match(text) if below else None
        if not match:
            if (failed := self.FAILED.match(text)) and failed[1] != "Console" and len(self._failed) < MAX_CASES:
                self._failed[failed[1]] = None
            return None
        counts = [(word, int(number)) for number, word in self.COUNT.findall(match[1])]
        cases, self._failed = tuple(api.Case(id=name, outcome="failed") for name in self._failed), {}
        if sum(number for _, number in counts) != int(match[2]):
            return None
        return api.Suite.of(*counts, proven=True, cases=cases if len(cases) <= dict(counts).get("failed", 0) else ())

    def is_epilogue(self, text: str) -> bool:
        return bool(self.AFTER.match(text))


class Mocha(api.LineReader):
    """`  3 passing (5ms)`, with lines for pending and failing tests below it; each test that passed has a ✔."""

    PASSED = re.compile(r" +[✔✓] ")
    LINE = re.compile(r"  (\d+) (passing \([\d.]+m?s?\)|pending|failing)$")

    def __init__(self) -> None:
        self._seen = 0
        self._parts: list[tuple[str, int]] = []
        self._proven = self._reported = self._failed = False

    def feed_line(self, text: str) -> api.Suite | None:
        match = self.LINE.match(text)
        if not match:
            self._seen += bool(self.PASSED.match(text))
            self._parts = []
            return None
        number, word = int(match[1]), match[2].split()[0]
        self._failed = word == "failing"
        if word == "passing":
            self._parts, self._proven, self._reported = [("passed", number)], self._seen == number, False
            self._seen = 0
        elif self._parts:
            self._parts = [*self._parts, (word, number)] if word == "pending" else [("failed", number), *self._parts]
        suite = api.Suite.of(*self._parts, proven=self._proven, otherwise=api.BARE, replaces=int(self._reported))
        self._reported = suite is not None
        return suite

    def is_epilogue(self, text: str) -> bool:
        """Accepts the list of failures."""
        return self._failed


class Vitest(api.LineReader):
    """`Tests  1 failed | 2 passed (3)` below `Test Files  …`."""

    FILES = re.compile(r" *Test Files  .*\(\d+\)$")
    TESTS = re.compile(r" *Tests  (\d+ [a-z ]+(?: \| \d+ [a-z ]+)*) \((\d+)\)$")
    COUNT = re.compile(r"(\d+) (failed|passed|skipped|todo|expected fail)")
    AFTER = re.compile(r" *(Type Errors|Errors|Start at|Duration|Transform|JUNIT|% Coverage) ")
    FAILED = re.compile(r" FAIL  (\S.*)$")
    RAISED = re.compile(r"\w*Error: .*$")

    def __init__(self) -> None:
        self._below = False
        self._failed: dict[str, str] = {}  # id -> message
        self._last = ""  # the id whose message comes next

    def feed_line(self, text: str) -> api.Suite | None:
        below, self._below = self._below, bool(self.FILES.match(text))
        match = self.TESTS.match(text) if below else None
        if not match:
            self._read_case(text)
            return None
        cases = tuple(api.Case(id=name, outcome="failed", message=text) for name, text in self._failed.items())
        self._failed, self._last = {}, ""
        counts = [
            (word.replace("expected fail", "expected failure"), int(n)) for n, word in self.COUNT.findall(match[1])
        ]
        if sum(number for _, number in counts) != int(match[2]):
            return None
        return api.Suite.of(*counts, proven=True, cases=cases if len(cases) <= dict(counts).get("failed", 0) else ())

    def _read_case(self, text: str) -> None:
        last, self._last = self._last, ""
        if (failed := self.FAILED.match(text)) and len(self._failed) < MAX_CASES:
            self._last = failed[1]
            self._failed[self._last] = ""
        elif last and self.RAISED.match(text):
            self._failed[last] = text

    def is_epilogue(self, text: str) -> bool:
        return bool(self.AFTER.match(text))


READERS = (
    api.OutputReader(
        name="node --test",
        start=NodeTest,
        begins=r"[#ℹ] |1\.\.\d| *(?:[✔✖﹣▶] |(?:not )?ok \d|# Subtest: |duration_ms: |error: ')",
    ),
    api.OutputReader(name="Jest", start=Jest, begins=r"Test Suites: |Tests: |  ● "),
    api.OutputReader(name="Mocha", start=Mocha, begins=r" +(?:[✔✓] |\d+ (?:passing|pending|failing))"),
    api.OutputReader(name="Vitest", start=Vitest, begins=r" *Tests? | FAIL  |\w*Error: "),
)
