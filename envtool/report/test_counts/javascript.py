"""Parsers for runners of JavaScript's tests: node --test (22), Jest (30), Mocha (11), Vitest (3)."""

from __future__ import annotations

import re

from envtool.report.test_counts.suite import BARE, RunnerParser, SuiteCounts, make_suite


class NodeTest(RunnerParser):
    """Eight lines at the end, such as `# pass 3` (in TAP) or `ℹ pass 3`; in TAP, after the lines that Tap counted."""

    LINE = re.compile(r"(# |ℹ )(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) (\d+)(?:\.\d+)?$")
    PLAN = re.compile(r"1\.\.\d+$")

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._after_plan = self._planned = False
        self._failed = False

    def feed_line(self, text: str) -> SuiteCounts | None:
        match = self.LINE.match(text)
        after_plan, self._after_plan = self._after_plan, bool(self.PLAN.match(text))
        if not match:
            self._counts = {}
            return None
        if match[2] == "tests":
            self._counts, self._planned = {}, after_plan and match[1] == "# "
        self._counts[match[2]] = int(match[3])
        if match[2] != "duration_ms":
            return None
        get, self._counts = self._counts.get, {}
        counts = [get(word, 0) for word in ("fail", "cancelled", "pass", "skipped", "todo")]
        if get("tests", -1) != sum(counts):
            return None
        self._failed = bool(counts[0] or counts[1])
        words = ("failed", "cancelled", "passed", "skipped", "todo")
        return make_suite(*zip(words, counts, strict=True), proven=True, replaces=int(self._planned))

    def is_epilogue(self, text: str) -> bool:
        """Accepts the list of failures, which repeats them."""
        return self._failed


class Jest(RunnerParser):
    """`Tests: 1 failed, 2 passed, 3 total` below `Test Suites: …`."""

    SUITES = re.compile(r"Test Suites: .*\d+ total$")
    TESTS = re.compile(r"Tests: +((?:\d+ \w+, )+)(\d+) total$")
    AFTER = re.compile(
        r"(Snapshots: |Time: |Ran all test suites|Force exiting|A worker process has failed|Jest did not exit)"
    )
    COUNT = re.compile(r"(\d+) (failed|skipped|todo|passed)")

    def __init__(self) -> None:
        self._below = False

    def feed_line(self, text: str) -> SuiteCounts | None:
        below, self._below = self._below, bool(self.SUITES.match(text))
        match = self.TESTS.match(text) if below else None
        if not match:
            return None
        counts = [(word, int(number)) for number, word in self.COUNT.findall(match[1])]
        return make_suite(*counts, proven=True) if sum(number for _, number in counts) == int(match[2]) else None

    def is_epilogue(self, text: str) -> bool:
        return bool(self.AFTER.match(text))


class Mocha(RunnerParser):
    """`  3 passing (5ms)`, with lines for pending and failing tests below it; each test that passed has a ✔."""

    PASSED = re.compile(r" +[✔✓] ")
    LINE = re.compile(r"  (\d+) (passing \([\d.]+m?s?\)|pending|failing)$")

    def __init__(self) -> None:
        self._seen = 0
        self._parts: list[tuple[str, int]] = []
        self._proven = self._reported = self._failed = False

    def feed_line(self, text: str) -> SuiteCounts | None:
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
        suite = make_suite(*self._parts, proven=self._proven, otherwise=BARE, replaces=int(self._reported))
        self._reported = suite is not None
        return suite

    def is_epilogue(self, text: str) -> bool:
        """Accepts the list of failures."""
        return self._failed


class Vitest(RunnerParser):
    """`Tests  1 failed | 2 passed (3)` below `Test Files  …`."""

    FILES = re.compile(r" *Test Files  .*\(\d+\)$")
    TESTS = re.compile(r" *Tests  (\d+ [a-z ]+(?: \| \d+ [a-z ]+)*) \((\d+)\)$")
    COUNT = re.compile(r"(\d+) (failed|passed|skipped|todo|expected fail)")
    AFTER = re.compile(r" *(Type Errors|Errors|Start at|Duration|Transform|JUNIT|% Coverage) ")

    def __init__(self) -> None:
        self._below = False

    def feed_line(self, text: str) -> SuiteCounts | None:
        below, self._below = self._below, bool(self.FILES.match(text))
        match = self.TESTS.match(text) if below else None
        if not match:
            return None
        counts = [
            (word.replace("expected fail", "expected failure"), int(n)) for n, word in self.COUNT.findall(match[1])
        ]
        return make_suite(*counts, proven=True) if sum(number for _, number in counts) == int(match[2]) else None

    def is_epilogue(self, text: str) -> bool:
        return bool(self.AFTER.match(text))
