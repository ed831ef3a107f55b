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
        self.ran_nothing = self.ran_nothing or get("tests") == 0
        self._failed = bool(counts[0] or counts[1])
        words = ("failed", "cancelled", "passed", "skipped", "todo")
        return api.Suite.of(*zip(words, counts, strict=True), proven=True, replaces=int(self._planned), cases=cases)

    def is_epilogue(self, text: str) -> bool:
        """Accepts the list of failures, which repeats them."""
        return self._failed


class NodeCases:
    """The tests of node --test: `✖ b (1.5ms)`, indented below `▶ suite`, or in TAP `not ok 2 - b` with its duration and
    its error in the lines below. What has tests below it is no case: it may be a suite, which node does not count. A
    test that is still to do counts as neither passed nor failed, whatever it does."""

    SPEC = re.compile(r"( *)([✔✖⚠﹣▶]) (.+?)(?: \((\d+(?:\.\d+)?)ms\)( # .*)?)?$")
    TAP = re.compile(r"( *)(not ok|ok) \d+ - (.+)$")
    DIRECTIVE = re.compile(r" # (?:skip|todo)\b.*", re.IGNORECASE)
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
        self._cases: list[api.Case] = []
        self._is_open = False  # the lines that follow may be those of the last TAP case
        self._depth = -1  # the indentation of the last result

    def feed_line(self, text: str) -> None:
        if subtest := self.SUBTEST.match(text):
            self._open(len(subtest[1]), subtest[2])
        elif result := self.TAP.match(text):
            name, *directive = self.DIRECTIVE.split(result[3], maxsplit=1)
            outcome: Outcome = "skipped" if directive else self.OUTCOMES[result[2]]
            self._close(len(result[1]), re.sub(r"\\([#\\])", r"\1", name), outcome)
        elif (result := self.SPEC.match(text)) and result[2] == "▶":
            if not result[4]:  # with a duration it is the result of a suite (before node 22)
                self._open(len(result[1]), result[3])
        elif result and result[4]:
            outcome = "skipped" if result[5] else self.OUTCOMES.get(result[2], "skipped")
            self._close(len(result[1]), result[3], outcome, _seconds(result[4]))
        elif self._is_open and (value := self.DURATION.match(text)):
            self._cases[-1] = replace(self._cases[-1], seconds=_seconds(value[1]))
        elif self._is_open and (value := self.ERROR.match(text)):
            self._cases[-1] = replace(self._cases[-1], message=value[1])

    def take(self, *, failed: int) -> tuple[api.Case, ...]:
        """Returns the cases of the run that ends, or () if more of them failed than it counted."""
        cases = tuple(self._cases)
        self._above, self._cases, self._is_open, self._depth = [], [], False, -1
        return cases if sum(case.outcome == "failed" for case in cases) <= failed else ()

    def _open(self, depth: int, name: str) -> None:
        self._above = [*((above, other) for above, other in self._above if above < depth), (depth, name)][:MAX_DEPTH]

    def _close(self, depth: int, name: str, outcome: Outcome, seconds: float | None = None) -> None:
        has_tests, self._depth, self._is_open = self._depth > depth, depth, False
        if has_tests or len(self._cases) >= MAX_CASES:
            return
        self._is_open = True
        name = " > ".join((*(other for above, other in self._above if above < depth), name))
        self._cases.append(api.Case(id=name, outcome=outcome, seconds=seconds))


def _seconds(milliseconds: str) -> float:
    return round(float(milliseconds) / 1000, 6)


class Jest(api.LineReader):
    """`Tests: 1 failed, 2 passed, 3 total` below `Test Suites: …`. A file that could not be loaded is in no number of
    tests: it is an error of its own."""

    SUITES = re.compile(r"Test Suites: .*\d+ total$")
    TESTS = re.compile(r"Tests: +((?:\d+ \w+, )*)(\d+) total$")
    AFTER = re.compile(
        r"(Snapshots: |Time: |Ran all test suites|Force exiting|A worker process has failed|Jest did not exit)"
    )
    COUNT = re.compile(r"(\d+) (failed|skipped|todo|passed)")
    FILE = re.compile(r"FAIL +(\S.*?)(?: \([\d.]+ m?s\))?$")
    FAILED = re.compile(r"  ● (.+)$")
    NOT_RUN = "Test suite failed to run"

    def __init__(self) -> None:
        self._below = False
        self._file = ""
        # by file and name, since Jest may list them twice
        self._failed: dict[tuple[str, str], api.Case] = {}

    def feed_line(self, text: str) -> api.Suite | None:
        below, self._below = self._below, bool(self.SUITES.match(text))
        match = self.TESTS.match(text) if below else None
        if not match:
            self._read_case(text)
            return None
        counts = [(word, int(number)) for number, word in self.COUNT.findall(match[1])]
        cases, self._failed, self._file = tuple(self._failed.values()), {}, ""
        if sum(number for _, number in counts) != int(match[2]):
            return None
        return _with_errors(dict(counts), cases)

    def _read_case(self, text: str) -> None:
        if file := self.FILE.match(text):
            self._file = file[1]
        elif (failed := self.FAILED.match(text)) and failed[1] != "Console" and len(self._failed) < MAX_CASES:
            case = api.Case(id=failed[1], outcome="failed")
            if failed[1] == self.NOT_RUN:
                case = api.Case(id=self._file or self.NOT_RUN, outcome="error", message=self.NOT_RUN)
            self._failed[self._file, failed[1]] = case

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
    """`Tests  1 failed | 2 passed (3)` below `Test Files  …`. No number of tests has a file that could not be loaded
    (` FAIL  a.mjs [ a.mjs ]`), or an error outside of tests (`Errors  1 error`): they are errors of their own."""

    FILES = re.compile(r" *Test Files  .*\(\d+\)$")
    TESTS = re.compile(r" *Tests  (?:(\d+ [a-z ]+(?: \| \d+ [a-z ]+)*) \((\d+)\)|no tests)$")
    ERRORS = re.compile(r" *Errors  (\d+) errors?$")
    COUNT = re.compile(r"(\d+) (failed|passed|skipped|todo|expected fail)")
    AFTER = re.compile(r" *(Type Errors|Errors|Start at|Duration|Transform|JUNIT|% Coverage) ")
    FAILED = re.compile(r" FAIL  (\S.*)$")
    RAISED = re.compile(r"\w*Error: .*$")

    def __init__(self) -> None:
        self._below = False
        self._failed: dict[str, str] = {}  # id -> message
        self._last = ""  # the id whose message comes next
        self._suite: api.Suite | None = None  # that ended with the line before
        self._after = False  # that line was the one with the tests

    def feed_line(self, text: str) -> api.Suite | None:
        below, self._below = self._below, bool(self.FILES.match(text))
        match = self.TESTS.match(text) if below else None
        after, self._after = self._after, match is not None
        if not match:
            if after and (errors := self.ERRORS.match(text)) and len(errors[1]) < 10:
                return self._add_errors(int(errors[1]))
            self._read_case(text)
            return None
        cases = tuple(_vitest_case(name, text) for name, text in self._failed.items())
        self._failed, self._last = {}, ""
        counts = [
            (word.replace("expected fail", "expected failure"), int(n))
            for n, word in self.COUNT.findall(match[1] or "")
        ]
        if sum(number for _, number in counts) != int(match[2] or 0):
            return None
        self._suite = _with_errors(dict(counts), cases)
        return self._suite

    def _add_errors(self, number: int) -> api.Suite | None:
        """Returns the suite that ended with these errors outside of tests."""
        suite, self._suite = self._suite, None
        return _with_errors(
            dict(suite.parts if suite else ()), suite.cases if suite else (), number, int(suite is not None)
        )

    def _read_case(self, text: str) -> None:
        last, self._last = self._last, ""
        if (failed := self.FAILED.match(text)) and len(self._failed) < MAX_CASES:
            self._last = failed[1]
            self._failed[self._last] = ""
        elif last and self.RAISED.match(text):
            self._failed[last] = text

    def is_epilogue(self, text: str) -> bool:
        return bool(self.AFTER.match(text))


def _with_errors(
    counts: dict[str, int], cases: tuple[api.Case, ...], more: int = 0, replaces: int = 0
) -> api.Suite | None:
    """Returns the suite with these numbers of tests, and the number of errors among its cases. It has no cases if more
    of them failed than were counted."""
    failed, errors = (sum(case.outcome == outcome for case in cases) for outcome in ("failed", "error"))
    kept = cases if failed <= counts.get("failed", 0) else ()
    parts = {"failed": counts.pop("failed", 0), "error": max(counts.pop("error", 0), errors if kept else 0) + more}
    return api.Suite.of(*(parts | counts).items(), proven=True, replaces=replaces, cases=kept)


def _vitest_case(name: str, message: str) -> api.Case:
    file, _, again = name.partition(" [ ")
    if again == f"{file} ]":
        return api.Case(id=file, outcome="error", message=message)
    return api.Case(id=name, outcome="failed", message=message)


READERS = (
    api.OutputReader(
        name="node --test",
        start=NodeTest,
        begins=r"[#ℹ] |1\.\.\d| *(?:[✔✖⚠﹣▶] |(?:not )?ok \d|# Subtest: |duration_ms: |error: ')",
    ),
    api.OutputReader(name="Jest", start=Jest, begins=r"Test Suites: |Tests: |  ● |FAIL "),
    api.OutputReader(name="Mocha", start=Mocha, begins=r" +(?:[✔✓] |\d+ (?:passing|pending|failing))"),
    api.OutputReader(name="Vitest", start=Vitest, begins=r" *(?:Tests? |Errors )| FAIL  |\w*Error: "),
)
