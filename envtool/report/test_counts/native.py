"""Parsers for TAP (13, 14), prove (3.48), Automake (1.18), CTest (4.2), Meson (1.9)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from envtool.api.reporting import LineReader, OutputReader, Suite
from envtool.events import Case
from envtool.report.test_counts.sums import MAX_CASES, agreeing

if TYPE_CHECKING:
    from envtool.events import CaseOutcome


class Tap(LineReader):
    """`1..3`, before or after three lines of `ok 1 - …`, `not ok 2 - …`. Indented lines are subtests. `Bail out!` ends
    a run before its plan is fulfilled, and is an error."""

    BEGINS = re.compile(r"TAP version \d+$")
    BAILS = re.compile(r"Bail out!(.*)$", re.IGNORECASE)
    PLAN = re.compile(r"1\.\.(\d+)(?: *#.*)?$")
    RESULT = re.compile(r"(not )?ok(?: (\d+))?(?: ((?:[^#\\]|\\.)*)(?:# *(skip|todo)\b.*)?.*)?$", re.IGNORECASE)
    OUTCOMES: ClassVar[dict[str, CaseOutcome]] = {"failed": "failed", "passed": "passed"}  # others: skipped

    def __init__(self) -> None:
        self._plan = -1
        self._counts = dict.fromkeys(("failed", "passed", "skipped", "todo"), 0)
        self._cases: list[Case] = []
        self._is_tap = False  # a version was printed, and no run has ended since

    def feed_line(self, text: str) -> Suite | None:
        if plan := self.PLAN.match(text):
            if self._plan >= 0 or not self._seen():  # the plan comes before the tests
                self._begin(int(plan[1]))
                return None
            return self._end(int(plan[1]))
        if self.BEGINS.match(text):
            self._begin()
            self._is_tap = True
        elif bails := self.BAILS.match(text):
            return self._bail(bails[1].strip())
        elif result := self.RESULT.match(text):
            number = int(result[2]) if result[2] and len(result[2]) < 10 else self._seen() + 1
            if number != self._seen() + 1:
                self._begin()
                if number != 1:
                    return None
            directive = (result[4] or "").lower()
            word = {"skip": "skipped", "todo": "todo"}.get(directive, "failed" if result[1] else "passed")
            self._counts[word] += 1
            if len(self._cases) < MAX_CASES:
                name = unescape_tap((result[3] or "").strip().removeprefix("-").strip()) or f"test {number}"
                self._cases.append(Case(id=name, outcome=self.OUTCOMES.get(word, "skipped")))
            if self._seen() == self._plan:
                return self._end(self._plan)
        return None

    def _seen(self) -> int:
        return sum(self._counts.values())

    def _begin(self, plan: int = -1) -> None:
        self._plan, self._is_tap = plan, self._is_tap and plan >= 0
        self._counts, self._cases = dict.fromkeys(self._counts, 0), []

    def _bail(self, reason: str) -> Suite | None:
        known = self._is_tap or self._plan >= 0 or self._seen() > 0
        (failed, *others), cases = self._counts.items(), self._cases
        self._begin()
        wrong = Case(id="Bail out!", outcome="error", message=reason)
        return Suite.of(failed, ("error", 1), *others, proven=True, cases=(*cases, wrong)) if known else None

    def _end(self, plan: int) -> Suite | None:
        cases = agreeing(self._cases, failed=self._counts["failed"])
        suite = Suite.of(*self._counts.items(), proven=True, cases=cases) if self._seen() == plan else None
        self._begin()
        return suite

    def is_epilogue(self, text: str) -> bool:
        """Accepts comments."""
        return text.startswith("#")


def unescape_tap(name: str) -> str:
    """Returns the name of a test without TAP's escapes: a backslash before `#`, or before another one."""
    return re.sub(r"\\([#\\])", r"\1", name)


class Prove(LineReader):
    """`Files=2, Tests=5, …` and `Result: PASS`; above them, a line for each program that failed or had failing tests.

    With -v, the TAP of its tests is part of the suite. Skipped tests count as passed, as in TAP.
    """

    BEGINS = re.compile(r"\S*\.t \.{2,}(?: ok| skipped: .*)?$")
    PROGRAM = re.compile(r"\S.* +\(Wstat: \d+.*\bTests: (\d+) Failed: (\d+)\)$")
    TOTAL = re.compile(r"Files=\d+, Tests=(\d+), +\d+(?:\.\d+)? wallclock secs? \(.*\)$")
    RESULT = re.compile(r"Result: (PASS|FAIL)$")

    def __init__(self) -> None:
        self._failed: list[int] = []
        self._tests = -1

    def feed_line(self, text: str) -> Suite | None:
        tests, self._tests = self._tests, -1
        if self.BEGINS.match(text):
            self.inside = 1
        elif program := self.PROGRAM.match(text):
            self._failed.append(int(program[2]))
        elif total := self.TOTAL.match(text):
            self._tests = int(total[1])
        elif tests >= 0 and (result := self.RESULT.match(text)):
            failed, self._failed = self._failed if result[1] == "FAIL" else [], []
            self.inside = 0
            failed_programs = failed.count(0)  # programs that failed although none of their tests did
            return Suite.of(
                ("failed", sum(failed)),
                ("program failed", failed_programs),
                ("passed", tests - sum(failed)),
                proven=True,
            )
        return None


class Automake(LineReader):
    """`# TOTAL: 5` and the lines below it, under the title of a test suite."""

    TEST = re.compile(r"(PASS|SKIP|XFAIL|FAIL|XPASS|ERROR): (\S.*)$")
    TITLE = re.compile(r"Testsuite summary for \S")
    LINE = re.compile(r"# (TOTAL|PASS|SKIP|XFAIL|FAIL|XPASS|ERROR): +(\d+)$")
    WORDS: ClassVar = {
        "FAIL": "failed", "ERROR": "error", "PASS": "passed", "SKIP": "skipped", "XFAIL": "expected failure",
        "XPASS": "unexpected success",
    }  # fmt: skip
    OUTCOMES: ClassVar[dict[str, CaseOutcome]] = {
        "PASS": "passed", "SKIP": "skipped", "XFAIL": "skipped", "FAIL": "failed", "XPASS": "failed", "ERROR": "error",
    }  # fmt: skip
    AFTER = re.compile(r"(See .*\.log\b|Some test\(s\) failed|Please report to )")

    def __init__(self) -> None:
        self._counts: dict[str, int] | None = None
        self._cases: list[Case] = []

    def feed_line(self, text: str) -> Suite | None:
        if self.TITLE.match(text):
            self._counts = {}
            return None
        if (test := self.TEST.match(text)) and len(self._cases) < MAX_CASES:
            self._cases.append(Case(id=test[2], outcome=self.OUTCOMES[test[1]]))
        match = self.LINE.match(text)
        if self._counts is None or not match:
            return None
        self._counts[match[1]] = int(match[2])
        if match[1] != "ERROR":
            return None
        counts, self._counts, cases, self._cases = self._counts, None, self._cases, []
        if {*counts} != {"TOTAL", *self.WORDS} or counts["TOTAL"] != sum(counts[word] for word in self.WORDS):
            return None
        failed = counts["FAIL"] + counts["ERROR"] + counts["XPASS"]
        parts = ((word, counts[name]) for name, word in self.WORDS.items())
        return Suite.of(*parts, proven=True, cases=agreeing(cases, failed=failed))

    def is_epilogue(self, text: str) -> bool:
        return bool(self.AFTER.match(text))


class Ctest(LineReader):
    """`67% tests passed, 1 tests failed out of 3`; only a test's own line says that it was skipped or not run."""

    TEST = re.compile(r" *\d+/\d+ +Test +#\d+: .*?(?:\.\s+(Passed)|\*\*\*(\S.*?)) +(\d+\.\d+) sec(?: .*)?$")
    NAME = re.compile(r"[^:]+: (.+?) \.{2,}(?:\*\*\*|   ?Passed )")  # a name may have dots, too
    NOTHING = re.compile(r"No tests were found!!!$")
    TOTAL = re.compile(r"\d+% tests passed, (\d+) tests? failed out of (\d+)$")
    AFTER = re.compile(
        r"(Total Test time |Label Time Summary|The following tests |\t|Errors while running CTest"
        r'|Output from these tests |Use "--rerun-failed)'
    )

    def __init__(self) -> None:
        self._seen: list[str] = []
        self._cases: list[Case] = []

    def feed_line(self, text: str) -> Suite | None:
        if test := self.TEST.match(text):
            self._seen.append(test[1] or test[2])
            if len(self._cases) < MAX_CASES:
                self._cases.append(_ctest_case(text, self._seen[-1], float(test[3])))
            return None
        total = self.TOTAL.match(text)
        if not total:
            self.ran_nothing = self.ran_nothing or bool(self.NOTHING.match(text))
            return None
        outcomes, self._seen, cases, self._cases = self._seen, [], self._cases, []
        failed, tests = int(total[1]), int(total[2])
        skipped, disabled = outcomes.count("Skipped"), outcomes.count("Not Run (Disabled)")
        proven = len(outcomes) - disabled == tests and tests - failed == outcomes.count("Passed") + skipped
        if outcomes and not proven:
            return None
        passed = tests - failed - skipped
        parts = (("failed", failed), ("passed", passed), ("skipped", skipped), ("disabled", disabled))
        return Suite.of(*parts, proven=proven, cases=agreeing(cases, failed=failed))

    def is_epilogue(self, text: str) -> bool:
        return bool(self.AFTER.match(text))


def _ctest_case(text: str, word: str, seconds: float) -> Case:
    outcome: CaseOutcome = "passed" if word == "Passed" else "failed"
    if word in ("Skipped", "Not Run (Disabled)"):
        outcome = "skipped"
    named = Ctest.NAME.match(text)
    name = named[1] if named else text.partition(": ")[2].partition(" .")[0]
    return Case(id=name, outcome=outcome, seconds=seconds, message=word if outcome == "failed" else "")


class Meson(LineReader):
    """`Ok: 3` and the lines below it; before them, each test has a line."""

    TEST = re.compile(
        r" *(\d+)/\d+ (.*) (OK|EXPECTEDFAIL|FAIL|UNEXPECTEDPASS|SKIP|TIMEOUT|ERROR|INTERRUPT|IGNORED) +(\d+\.\d+) ?s\b"
    )
    LINE = re.compile(r"(Ok|Expected Fail|Fail|Unexpected Pass|Skipped|Timeout|Ignored): +(\d+)$")
    WORDS: ClassVar = {
        "Fail": "failed", "Timeout": "timed out", "Ok": "passed", "Skipped": "skipped", "Ignored": "ignored",
        "Expected Fail": "expected failure", "Unexpected Pass": "unexpected success",
    }  # fmt: skip
    NOTHING = re.compile(r"No suitable tests defined\.$")
    AFTER = re.compile(r"Full log written to ")

    def __init__(self) -> None:
        self._tests: set[str] = set()  # numbers: Meson reports a failed test twice
        self._cases: dict[str, Case] = {}
        self._counts: dict[str, int] = {}
        self._reported = False

    def feed_line(self, text: str) -> Suite | None:
        match = self.LINE.match(text)
        if not match or (match[1] != "Ok" and not self._counts):
            if self._counts:
                self._tests, self._cases, self._counts, self._reported = set(), {}, {}, False
            self.ran_nothing = self.ran_nothing or bool(self.NOTHING.match(text))
            if test := self.TEST.match(text):
                self._tests.add(test[1])
                if len(self._cases) < MAX_CASES:
                    self._cases[test[1]] = _meson_case(test[2].strip(), test[3], float(test[4]))
            return None
        self._counts[match[1]] = int(match[2])
        proven = sum(self._counts.values()) == len(self._tests)
        parts = ((word, self._counts.get(name, 0)) for name, word in self.WORDS.items())
        failed = sum(self._counts.get(name, 0) for name in ("Fail", "Timeout", "Unexpected Pass"))
        cases = agreeing(self._cases.values(), failed=failed) if proven else ()
        suite = Suite.of(*parts, proven=proven, replaces=int(self._reported), cases=cases)
        self._reported = self._reported or suite is not None
        return suite

    def is_epilogue(self, text: str) -> bool:
        return bool(self.AFTER.match(text))


def _meson_case(name: str, word: str, seconds: float) -> Case:
    outcome: CaseOutcome = "passed" if word == "OK" else "failed"
    if word in ("EXPECTEDFAIL", "SKIP", "IGNORED"):
        outcome = "skipped"
    return Case(id=name, outcome=outcome, seconds=seconds, message=word if outcome == "failed" else "")


READERS = (
    OutputReader(name="TAP", start=Tap, begins=r"TAP |Bail out!|1\.\.\d|(?i:(?:not )?ok)(?: |$)|#"),
    OutputReader(name="prove", start=Prove, begins=r"Files=|Result: ", contains=r"\(Wstat:|\.t \.{2}"),
    OutputReader(
        name="Automake",
        start=Automake,
        begins=r"(?:PASS|SKIP|XFAIL|FAIL|XPASS|ERROR): |Testsuite summary|# [A-Z]+:|See |Some test|Please report",
    ),
    OutputReader(name="CTest", start=Ctest, begins=r" *\d+[/%]|No tests were"),
    OutputReader(
        name="Meson",
        start=Meson,
        begins=r" *\d+/\d|No suitable tests|(?:Ok|Expected Fail|Fail|Unexpected Pass|Skipped|Timeout|Ignored): ",
    ),
)
