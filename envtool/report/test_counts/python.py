"""Parsers for pytest (9.0) and unittest (CPython 3.14)."""

from __future__ import annotations

import re

from envtool.report.test_counts.suite import BARE, RunnerParser, SuiteCounts, make_suite

_WORDS = "failed|passed|skipped|deselected|xfailed|xpassed|warnings?|errors?|rerun"
# plugins have words of their own, and pytest 9 has `2 subtests passed`: they are not tests of their own
_PART = "[a-z]++(?: (?!in )[a-z]++)?"


class Pytest(RunnerParser):
    """The last line, between bars or, with -q, alone. The first line of the run proves it, with -q the progress."""

    BEGINS = re.compile(r"=+ test session starts =+$")
    ENDS = re.compile(
        rf"(?P<bar>=+ )?(?:(?P<counts>(?:\d++ {_PART}(?:, )?)++)|no tests ran|\d+(/\d+)? tests? collected.*)"
        r" in [\d.]+s(?: \([\d:]+\))?(?P<end> =+)?$"
    )
    COUNT = re.compile(rf"(\d+) ({_WORDS})(?=,|$)")
    WHOLE = re.compile(r".*\[100%\]$")
    DOTS = re.compile(r"[.FEsxXR]+$")

    def __init__(self) -> None:
        self._whole = False
        self._dots = 0

    def feed_line(self, text: str) -> SuiteCounts | None:
        if self.BEGINS.match(text):
            self.inside += 1
        match = self.ENDS.match(text)
        if not match or bool(match["bar"]) != bool(match["end"]):
            self._whole = self._whole or bool(self.WHOLE.match(text))
            self._dots = len(text) if self.DOTS.match(text) else 0
            return None
        counts = tuple(
            (word.removesuffix("s"), int(number)) for number, word in self.COUNT.findall(match["counts"] or "")
        )
        tests = sum(number for word, number in counts if word not in ("warning", "deselected", "rerun"))
        proven = self.inside > 0 if match["bar"] else self._whole or (tests > 0 and self._dots == tests)
        self._whole, self._dots = False, 0
        if match["bar"] and self.inside:
            self.inside -= 1
        return None if self.inside else make_suite(*counts, proven=proven, otherwise=BARE)


class Unittest(RunnerParser):
    """`Ran 3 tests in 0.1s`, and the result below it.

    unittest reports how many tests ran, and which did not pass: a test with subtests several times, and also fixtures,
    which are no tests. The number of tests that passed is computed from that, and not always known.
    """

    RULE, BAR = "-" * 70, "=" * 70
    RAN = re.compile(r"Ran (\d+) tests? in [\d.]+s$")
    ENDS = re.compile(r"(?:OK|FAILED)(?: \(([a-z]+ ?[a-z]*=\d+(?:, [a-z]+ ?[a-z]*=\d+)*)\))?$")
    COUNT = re.compile(r"([a-z ]+)=(\d+)")
    PROBLEM = re.compile(r"(?:FAIL|ERROR): (\w+ \([^()\s]+\))")
    FIXTURE = re.compile(r"(setUp|tearDown)(Class|Module) ")
    DOTS = re.compile(r"[.FEsxu]+$")
    TEST_LINE = re.compile(r"\w+ \([\w.<>]+\)(?: \.\.\.|$)")
    OUTCOME = "(ok|FAIL|ERROR|skipped .*|expected failure|unexpected success)"
    OUTCOME_LINE = re.compile(rf"(.*) \.\.\. {OUTCOME}$")
    LATER_OUTCOME = re.compile(rf"{OUTCOME}$")  # the test printed something before it, or it belongs to a fixture

    def __init__(self) -> None:
        self._ran = -1  # the number of tests, while the line with the result is expected; else -1
        self._before = ""  # the line before
        self._problems: list[str] = []
        self._dots = ""
        self._outcomes: list[str] = []
        self._verbose = False

    def feed_line(self, text: str) -> SuiteCounts | None:
        before, self._before = self._before, text
        if self._ran >= 0:
            ran, self._ran = self._ran, -1
            ended = self.ENDS.match(text)
            suite = self._count_tests(ran, ended[1] or "") if ended else None
            self._problems, self._outcomes, self._dots, self._verbose = [], [], "", False
            return suite
        self._verbose = self._verbose or bool(self.TEST_LINE.match(text))
        if began := self.RAN.match(text):
            self._ran = int(began[1]) if before == self.RULE else -1
        elif problem := self.PROBLEM.match(text):
            self._problems.append(problem[1])
        elif outcome := self.OUTCOME_LINE.match(text):
            self._outcomes.append(outcome[2])
        elif self._verbose and (outcome := self.LATER_OUTCOME.match(text)):
            self._outcomes.append(outcome[1])
        elif self.DOTS.match(text):
            self._dots = text
        elif text not in (self.RULE, self.BAR) and not self._problems:
            self._dots = ""
        return None

    def _count_tests(self, ran: int, counts_text: str) -> SuiteCounts | None:
        counts = {word.strip(): int(number) for word, number in self.COUNT.findall(counts_text)}
        failed, errors, skipped = (counts.get(word, 0) for word in ("failures", "errors", "skipped"))
        expected, unexpected = counts.get("expected failures", 0), counts.get("unexpected successes", 0)
        problems = {problem for problem in self._problems if not self.FIXTURE.match(problem)}
        passed = ran - len(problems) - skipped - expected - unexpected
        not_passed = failed + errors + skipped + expected + unexpected
        is_proven = len(self._dots) == passed + not_passed or len(self._outcomes) == passed + not_passed
        # a class that is skipped as a whole counts as one skipped test, and its tests are not in the number that ran
        is_certain = len(self._problems) == failed + errors and (not skipped or is_proven)
        other_counts = (("skipped", skipped), ("expected failure", expected), ("unexpected success", unexpected))
        if is_certain and passed >= 0:
            return make_suite(
                ("failed", failed), ("error", errors), ("passed", passed), *other_counts, proven=is_proven
            )
        return make_suite(("failed", failed), ("error", errors), ("run", ran), *other_counts, proven=False)
