"""pytest (9.0) and unittest (CPython 3.14)."""

from __future__ import annotations

import re

from envtool.report.test_counts.suite import BARE, RunnerParser, SuiteCounts, make_suite

_WORDS = "failed|passed|skipped|deselected|xfailed|xpassed|warnings?|errors?|rerun"


class Pytest(RunnerParser):
    """Its last line, between bars or, with -q, alone. A run between bars is seen to begin; with -q its progress is."""

    BEGINS = re.compile(r"=+ test session starts =+$")
    ENDS = re.compile(
        rf"(?P<bar>=+ )?(?:(?P<counts>(?:\d+ (?:{_WORDS})(?:, )?)+)|no tests ran|\d+(/\d+)? tests? collected.*)"
        r" in [\d.]+s(?: \([\d:]+\))?(?P<end> =+)?$"
    )
    COUNT = re.compile(rf"(\d+) ({_WORDS})")
    WHOLE = re.compile(r".*\[100%\]$")
    DOTS = re.compile(r"[.FEsxXR]+$")

    def __init__(self) -> None:
        self._whole = False
        self._dots = 0

    def line(self, text: str) -> SuiteCounts | None:
        if self.BEGINS.match(text):
            self.inside += 1
        found = self.ENDS.match(text)
        if not found or bool(found["bar"]) != bool(found["end"]):
            self._whole = self._whole or bool(self.WHOLE.match(text))
            self._dots = len(text) if self.DOTS.match(text) else 0
            return None
        counts = tuple(
            (word.removesuffix("s"), int(number)) for number, word in self.COUNT.findall(found["counts"] or "")
        )
        tests = sum(number for word, number in counts if word not in ("warning", "deselected", "rerun"))
        proven = self.inside > 0 if found["bar"] else self._whole or (tests > 0 and self._dots == tests)
        self._whole, self._dots = False, 0
        if found["bar"] and self.inside:
            self.inside -= 1
        return None if self.inside else make_suite(*counts, proven=proven, otherwise=BARE)


class Unittest(RunnerParser):
    """`Ran 3 tests in 0.1s`, and how they ended. It says how many ran, and what did not pass, more than once of a test
    with subtests, and also of fixtures, which are no tests: what passed has to be worked out, and is not always known.
    """

    RULE, BAR = "-" * 70, "=" * 70
    RAN = re.compile(r"Ran (\d+) tests? in [\d.]+s$")
    ENDS = re.compile(r"(?:OK|FAILED)(?: \(([a-z]+ ?[a-z]*=\d+(?:, [a-z]+ ?[a-z]*=\d+)*)\))?$")
    COUNT = re.compile(r"([a-z ]+)=(\d+)")
    PROBLEM = re.compile(r"(?:FAIL|ERROR): (\w+ \([^()\s]+\))")
    FIXTURE = re.compile(r"(setUp|tearDown)(Class|Module) ")
    DOTS = re.compile(r"[.FEsxu]+$")
    ASKED = re.compile(r"\w+ \([\w.<>]+\)(?: \.\.\.|$)")
    OUTCOME = "(ok|FAIL|ERROR|skipped .*|expected failure|unexpected success)"
    SAID = re.compile(rf"(.*) \.\.\. {OUTCOME}$")
    SAID_LATER = re.compile(rf"{OUTCOME}$")  # the test itself printed something, or it is of a fixture

    def __init__(self) -> None:
        self._ran = -1  # while we wait for how it ended
        self._before = ""  # the line before
        self._problems: list[str] = []
        self._dots = ""
        self._said: list[str] = []
        self._verbose = False

    def line(self, text: str) -> SuiteCounts | None:
        before, self._before = self._before, text
        if self._ran >= 0:
            ran, self._ran = self._ran, -1
            ended = self.ENDS.match(text)
            found = self._suite(ran, ended[1] or "") if ended else None
            self._problems, self._said, self._dots, self._verbose = [], [], "", False
            return found
        self._verbose = self._verbose or bool(self.ASKED.match(text))
        if began := self.RAN.match(text):
            self._ran = int(began[1]) if before == self.RULE else -1
        elif problem := self.PROBLEM.match(text):
            self._problems.append(problem[1])
        elif said := self.SAID.match(text):
            self._said.append(said[2])
        elif self._verbose and (said := self.SAID_LATER.match(text)):
            self._said.append(said[1])
        elif self.DOTS.match(text):
            self._dots = text
        elif text not in (self.RULE, self.BAR) and not self._problems:
            self._dots = ""
        return None

    def _suite(self, ran: int, said: str) -> SuiteCounts | None:
        counts = {word.strip(): int(number) for word, number in self.COUNT.findall(said)}
        failed, errors, skipped = (counts.get(word, 0) for word in ("failures", "errors", "skipped"))
        expected, unexpected = counts.get("expected failures", 0), counts.get("unexpected successes", 0)
        known = {each for each in self._problems if not self.FIXTURE.match(each)}
        passed = ran - len(known) - skipped - expected - unexpected
        rest = failed + errors + skipped + expected + unexpected
        seen = len(self._dots) == passed + rest or len(self._said) == passed + rest
        # a class that is skipped as a whole is one of the skipped, and its tests are none of those that ran
        sure = len(self._problems) == failed + errors and (not skipped or seen)
        others = (("skipped", skipped), ("expected failure", expected), ("unexpected success", unexpected))
        if sure and passed >= 0:
            return make_suite(("failed", failed), ("error", errors), ("passed", passed), *others, proven=seen)
        return make_suite(("failed", failed), ("error", errors), ("run", ran), *others, proven=False)
