"""Parsers for Maven Surefire (3.5), RSpec (3.13), PHPUnit (12)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envtool.api.reporting import BARE, LineReader, OutputReader, Suite
from envtool.events import Case
from envtool.report.test_counts.sums import MAX_CASES, agreeing

if TYPE_CHECKING:
    from envtool.events import CaseOutcome


class Surefire(LineReader):
    """The line below a module's `Results:`, which has no time; the lines of classes have one."""

    RESULTS = re.compile(r"(?:\[INFO\] )?Results ?:$")
    COUNTS = r"Tests run: (\d+), Failures: (\d+), Errors: (\d+), Skipped: (\d+)(?:, Flakes: \d+)?"
    LINE = re.compile(rf"(\[(?:INFO|WARNING|ERROR)\] )?{COUNTS}(, Time elapsed: .*)?$")
    # `x.SumsTest.adds(int)[2] -- Time elapsed: …  <<< FAILURE!`, before 3.0 `adds(x.SumsTest)  …`
    FAILED = re.compile(
        r"(?:\[ERROR\] )?([\w.$]+)((?:\[[^\]]{0,200}\]|\([^)]{0,200}\)){0,3})"
        r" +(?:-- )?Time elapsed: (\d+(?:[.,]\d+)?) s(?:ec)? +<<< (FAILURE|ERROR)!$"
    )
    NOTHING = re.compile(r"\[INFO\] No tests (?:to run|were executed)[.!]")
    SECTION = re.compile(r"(?:\[(?:WARNING|ERROR)\] )?(Flakes|Failures|Errors): *$")
    FLAKE = re.compile(r"(?:\[WARNING\] )?(\S+)$")  # a test that failed, and passed when it ran again
    AFTER = re.compile(r"\[(INFO|WARNING|ERROR)\]")

    def __init__(self) -> None:
        self._classes = [0, 0, 0, 0]
        self._results = False
        self._cases: list[Case] = []
        self._section = ""
        self._flakes: set[str] = set()

    def feed_line(self, text: str) -> Suite | None:
        match = self.LINE.match(text)
        if not match:
            self._read_other(text)
            return None
        counts = [int(number) for number in match.groups()[1:5]]
        if match[6]:
            self._classes = [a + b for a, b in zip(self._classes, counts, strict=True)]
            return None
        if not self._results and not match[1]:  # with -q there is no line `Results:`
            return None
        proven = self._results and counts == self._classes
        self._results, self._classes = False, [0, 0, 0, 0]
        run, failed, errors, skipped = counts
        cases = agreeing(self._take_cases(failed + errors), failed=failed + errors)
        passed = run - failed - errors - skipped
        parts = (("failed", failed), ("error", errors), ("passed", passed), ("skipped", skipped))
        return Suite.of(*parts, proven=proven, cases=cases)

    def _read_other(self, text: str) -> None:
        self._results = self._results or bool(self.RESULTS.match(text))
        self.ran_nothing = self.ran_nothing or bool(self.NOTHING.match(text))
        if section := self.SECTION.match(text):
            self._section = section[1]
        elif wrong := self.FAILED.match(text):
            if len(self._cases) < MAX_CASES:
                self._cases.append(_surefire_case(wrong))
        elif self._section == "Flakes" and (flake := self.FLAKE.match(text)) and len(self._flakes) < MAX_CASES:
            self._flakes.add(flake[1])

    def _take_cases(self, failed: int) -> list[Case]:
        """Returns the cases of the module that ends. With `rerunFailingTestsCount` a test has a line for each time that
        it failed, also if it passed in the end."""
        cases, flakes = self._cases, self._flakes
        self._cases, self._flakes, self._section = [], set(), ""
        if len(cases) > failed:
            cases = [case for case in {case.id: case for case in cases}.values() if case.id not in flakes]
        return cases

    def is_epilogue(self, text: str) -> bool:
        return bool(self.AFTER.match(text))


def _surefire_case(failed: re.Match[str]) -> Case:
    name, behind = failed[1], failed[2]
    if "." not in name and behind.endswith(")"):
        behind, _, group = behind[:-1].rpartition("(")
        name = f"{group}.{name}"
    outcome: CaseOutcome = "error" if failed[4] == "ERROR" else "failed"
    return Case(id=name + behind, outcome=outcome, seconds=float(failed[3].replace(",", ".")))


class Rspec(LineReader):
    """`5 examples, 1 failure, 1 pending` below `Finished in …`."""

    FINISHED = re.compile(r"Finished in .*seconds? \(files took .* to load\)$")
    ENDS = re.compile(
        r"(\d+) examples?, (\d+) failures?(?:, (\d+) pending)?(?:, (\d+) errors? occurred outside of examples)?$"
    )
    AFTER = re.compile(r"(Failed examples:$|rspec \S|Randomized with seed |Coverage report |(Line|Branch) Coverage: )")

    def __init__(self) -> None:
        self._finished = False

    def feed_line(self, text: str) -> Suite | None:
        finished, self._finished = self._finished, bool(self.FINISHED.match(text))
        match = self.ENDS.match(text)
        if not match:
            return None
        examples, failed, pending, errors = (int(number or 0) for number in match.groups())
        passed = examples - failed - pending
        return Suite.of(
            ("failed", failed),
            ("error", errors),
            ("passed", passed),
            ("pending", pending),
            proven=finished,
            otherwise=BARE,
        )

    def is_epilogue(self, text: str) -> bool:
        return bool(self.AFTER.match(text))


class Phpunit(LineReader):
    """`OK (5 tests, 9 assertions)`, or `Tests: 5, Assertions: 9, Failures: 1.` below a headline. Before that, each test
    has a letter."""

    PROGRESS = re.compile(r"([.FEWRSIDN]+) +(\d+) / (\d+) \( *\d+%\)$")
    OK = re.compile(r"OK \((\d+) tests?, \d+ assertions?\)$")
    HEADLINE = re.compile(r"(FAILURES!|ERRORS!|WARNINGS!|OK, but )")
    ENDS = re.compile(r"Tests: (\d+), Assertions: \d+((?:, [A-Z][A-Za-z ]+: \d+)*)\.$")
    COUNT = re.compile(r"([A-Z][A-Za-z ]+): (\d+)")

    def __init__(self) -> None:
        self._letters = ""
        self._headline = False

    def feed_line(self, text: str) -> Suite | None:
        headline, self._headline = self._headline, bool(self.HEADLINE.match(text))
        if progress := self.PROGRESS.match(text):
            self._letters = progress[1] if len(progress[1]) == int(progress[2]) else self._letters + progress[1]
            return None
        if ok := self.OK.match(text):
            letters, self._letters = self._letters, ""
            return Suite.of(("passed", int(ok[1])), proven=len(letters) == int(ok[1]))
        ends = self.ENDS.match(text) if headline else None
        if not ends:
            return None
        letters, self._letters = self._letters, ""
        counts = {word: int(number) for word, number in self.COUNT.findall(ends[2])}
        get, tests = counts.get, int(ends[1])
        failures = (("failed", get("Failures", 0)), ("error", get("Errors", 0)))
        other_counts = (
            ("skipped", get("Skipped", 0)),
            ("incomplete", get("Incomplete", 0)),
            ("risky", get("Risky", 0)),
        )
        passed = tests - sum(number for _, number in (*failures, *other_counts))
        return Suite.of(*failures, ("passed", passed), *other_counts, proven=len(letters) == tests)


READERS = (
    OutputReader(
        name="Surefire",
        start=Surefire,
        begins=r"\[(?:INFO|WARNING|ERROR)\]|Results ?:|Tests run: ",
        contains=r" <<< (?:FAILURE|ERROR)!$",
    ),
    OutputReader(name="RSpec", start=Rspec, begins=r"\d+ examples?, |Finished in "),
    OutputReader(
        name="PHPUnit",
        start=Phpunit,
        begins=r"[.FEWRSIDN]+ |OK[ ,]|FAILURES!|ERRORS!|WARNINGS!|Tests: \d",
    ),
)
