"""What runners of Rust's tests print about them: cargo test (1.94), cargo nextest (0.9). Pure."""

from __future__ import annotations

import re
from typing import ClassVar, Literal, TypeAlias

from envtool import api

Outcome: TypeAlias = Literal["passed", "failed", "skipped"]

MAX_CASES = 10_000  # of one test program: tests beyond these are counted, and not named


class CargoTest(api.LineReader):
    """`test result: ok. 3 passed; …` of each test program, which began with `running 3 tests`. Cargo's own line before
    it names the source file of the program, which comes before the names of its tests."""

    PROGRAM = re.compile(r" +Running (?:unittests )?(\S+\.rs) \(\S+\)$|   Doc-tests \S+$")
    BEGINS = re.compile(r"running (\d+) tests?$")
    ENDS = re.compile(
        r"test result: (?:ok|FAILED)\. (\d+) passed; (\d+) failed; (\d+) ignored; (\d+) measured; \d+ filtered out"
        r"(?:; finished in [\d.]+s)?$"
    )
    AFTER = re.compile(
        r"( +Running |   Doc-tests |Caused by:|  process didn't exit|    `-p |all doctests ran in |error: (?:doc)?test)"
    )
    CRASH = re.compile(r"  process didn't exit successfully: .*?(?: \((signal: .*|exit status: .*)\))?$")
    TEST = re.compile(
        r"(?:test )?(\S.*?)(?: - (?:should panic|compile fail|compile))? (?:\.\.\.|---) (ok|FAILED|ignored)(?:, .*)?$"
    )
    PANIC = re.compile(r"thread '(.+)' (?:\(\d+\) )?panicked at (.+)$")
    OUTCOMES: ClassVar[dict[str, Outcome]] = {"ok": "passed", "FAILED": "failed", "ignored": "skipped"}

    def __init__(self) -> None:
        self._program = ""
        self._begun: list[int] = []
        self._cases: list[tuple[str, Outcome]] = []
        self._panics: dict[str, str] = {}

    def feed_line(self, text: str) -> api.Suite | None:
        if program := self.PROGRAM.match(text):
            self._program = program[1] or ""
        elif begins := self.BEGINS.match(text):
            self._begun.append(int(begins[1]))
            self.inside = len(self._begun)
            self._cases, self._panics = [], {}
        elif (panic := self.PANIC.match(text)) and len(self._panics) < MAX_CASES:
            self._panics.setdefault(panic[1], f"panicked at {panic[2].rstrip(':')}")
        elif (test := self.TEST.match(text)) and len(self._cases) < MAX_CASES:
            self._cases.append((test[1], self.OUTCOMES[test[2]]))
        elif self._begun and (crash := self.CRASH.match(text)):
            return self._end_crashed(crash[1] or "")
        match = self.ENDS.match(text)
        if not match:
            return None
        passed, failed, ignored, measured = (int(number) for number in match.groups())
        self.ran_nothing = self.ran_nothing or not any((passed, failed, ignored, measured))
        if self._begun and passed + failed + ignored + measured != self._begun[-1]:
            return None  # a test printed it
        began = bool(self._begun) and self._begun.pop() >= 0
        self.inside = len(self._begun)
        if self._begun:
            return None
        parts = (("failed", failed), ("passed", passed), ("ignored", ignored), ("measured", measured))
        otherwise = api.BARE
        return api.Suite.of(*parts, proven=began, otherwise=otherwise, cases=self._take_cases(failed))

    def _end_crashed(self, how: str) -> api.Suite | None:
        """Returns the suite of a test program that ended without a result, as by `abort()`: it failed, with the tests
        that it named before."""
        self._begun.pop()
        self.inside = len(self._begun)
        if self._begun:
            return None
        found = [outcome for _, outcome in self._cases]
        parts = (("failed", found.count("failed")), ("program failed", 1), ("passed", found.count("passed")))
        program = api.Case(id=self._program or "test program", outcome="failed", message=how)
        cases = (*self._take_cases(found.count("failed")), program)
        return api.Suite.of(*parts, ("ignored", found.count("skipped")), proven=True, cases=cases)

    def _take_cases(self, failed: int) -> tuple[api.Case, ...]:
        """Returns the cases of the program that ends, or () if more of them failed than it counted."""
        prefix = f"{self._program}::" if self._program else ""
        cases = tuple(
            api.Case(
                id=f"{prefix}{name}",
                outcome=outcome,
                message=self._panics.get(name, "") if outcome == "failed" else "",
            )
            for name, outcome in self._cases
        )
        self._cases, self._panics = [], {}
        return cases if sum(case.outcome == "failed" for case in cases) <= failed else ()

    def is_epilogue(self, text: str) -> bool:
        return bool(self.AFTER.match(text))


class Nextest(api.LineReader):
    """`PASS [   0.012s] crate tests::name` for each test, and `Summary [   0.1s] 3 tests run: 2 passed, 1 failed, 1
    skipped` at the end, after `Starting 3 tests across 2 binaries`. A test that is tried again has a line for each
    try, of which the last counts."""

    STARTS = re.compile(r" +Starting (\d+) tests? across \d+ binar(?:y|ies)")
    TEST = re.compile(
        r" +(?:TRY \d+ )?(PASS|FAIL|FLAKY|LEAK(?:-FAIL)?|SIG(?:ABRT|SEGV|BUS|ILL|FPE|TRAP|KILL|TERM)|TIMEOUT|TMT|ABORT)"
        r" (?:\d+/\d+ )?\[ *>?(\d+\.\d+)s\] (?:\( *\d+/\d+\) )?(\S+)(?: (\S.*))?$"
    )
    SUMMARY = re.compile(r" +Summary \[ *\d+\.\d+s\] (\d+)(?:/\d+)? tests? run: (.+)$")
    COUNT = re.compile(r"(\d+) (passed|failed|timed out|exec failed|skipped)(?: \([^()]*\))?")

    def __init__(self) -> None:
        self._started = False
        self._cases: dict[str, api.Case] = {}
        self._failed = False

    def feed_line(self, text: str) -> api.Suite | None:
        if self.STARTS.match(text):
            self._started, self._cases, self.inside = True, {}, 1
            return None
        if test := self.TEST.match(text):
            name = f"{test[3]}::{test[4]}" if test[4] else test[3]
            if name in self._cases or len(self._cases) < MAX_CASES:
                outcome: Outcome = "passed" if test[1] in ("PASS", "FLAKY", "LEAK") else "failed"
                message = "" if test[1] in ("PASS", "FAIL", "FLAKY", "LEAK") else test[1]
                self._cases[name] = api.Case(id=name, outcome=outcome, seconds=float(test[2]), message=message)
            return None
        match = self.SUMMARY.match(text)
        if not match:
            return None
        counts = {word: int(number) for number, word in self.COUNT.findall(match[2])}
        failed = sum(counts.get(word, 0) for word in ("failed", "timed out", "exec failed"))
        started, cases = self._started, tuple(self._cases.values())
        self._started, self._cases, self.inside, self._failed = False, {}, 0, failed > 0
        if counts.get("passed", 0) + failed != int(match[1]):
            return None
        parts = (("failed", failed), ("passed", counts.get("passed", 0)), ("skipped", counts.get("skipped", 0)))
        agree = sum(case.outcome == "failed" for case in cases) == failed
        return api.Suite.of(*parts, proven=started, cases=cases if agree else ())

    def is_epilogue(self, text: str) -> bool:
        """Accepts the list of failures, which repeats them."""
        return self._failed
