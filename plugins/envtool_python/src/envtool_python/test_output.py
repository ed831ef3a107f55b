"""What pytest (9.0) and unittest (CPython 3.14) print about their tests. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal, TypeAlias

from envtool import api

Outcome: TypeAlias = Literal["passed", "failed", "error", "skipped"]

RAISED = r"[\w.]*(?:Error|Exception|Failure|Exit|Interrupt|Warning)\b"  # the last line of a traceback
MAX_CASES = 10_000  # of one run: tests beyond these are counted, and not named

_WORDS = "failed|passed|skipped|deselected|xfailed|xpassed|warnings?|errors?|rerun"
# plugins have words of their own, and pytest 9 has `2 subtests passed`: they are not tests of their own
_PART = "[a-z]++(?: (?!in )[a-z]++)?"


class Pytest(api.LineReader):
    """The last line, between bars or, with -q, alone. The first line of the run proves it, with -q the progress.

    Cases are the lines of `short test summary info`, and with -v a line of each test.
    """

    BEGINS = re.compile(r"=+ test session starts =+$")
    ENDS = re.compile(
        rf"(?P<bar>=+ )?(?:(?P<counts>(?:\d++ {_PART}(?:, )?)++)|no tests ran|\d+(/\d+)? tests? collected.*)"
        r" in [\d.]+s(?: \([\d:]+\))?(?P<end> =+)?$"
    )
    COUNT = re.compile(rf"(\d+) ({_WORDS})(?=,|$)")
    WHOLE = re.compile(r".*\[100%\]$")
    DOTS = re.compile(r"[.FEsxXR]+$")
    CAPTURED = re.compile(r"-+ Captured \w+ \w+ -+$")  # the output of failing tests follows
    SUMMARY = re.compile(r"=+ short test summary info =+$")

    def __init__(self) -> None:
        self._whole = False
        self._dots = 0
        self._cases: dict[str, api.Case] = {}
        self._summed_up: dict[str, api.Case] | None = None  # of the summary, once it has begun

    def feed_line(self, text: str) -> api.Suite | None:
        if self.BEGINS.match(text):
            self.inside += 1
        self.is_doubtful = self.is_doubtful or bool(self.CAPTURED.match(text))
        match = self.ENDS.match(text)
        if not match or bool(match["bar"]) != bool(match["end"]):
            self._whole = self._whole or bool(self.WHOLE.match(text))
            self._dots = len(text) if self.DOTS.match(text) else 0
            self._read_case(text)
            return None
        counts = tuple(
            (word.removesuffix("s"), int(number)) for number, word in self.COUNT.findall(match["counts"] or "")
        )
        self.ran_nothing = self.ran_nothing or "no tests ran in" in text
        tests = sum(number for word, number in counts if word not in ("warning", "deselected", "rerun"))
        proven = self.inside > 0 if match["bar"] else self._whole or (tests > 0 and self._dots == tests)
        self._whole, self._dots = False, 0
        cases = self._take_cases(counts)
        if match["bar"] and self.inside:
            self.inside -= 1
        return None if self.inside else api.Suite.of(*counts, proven=proven, otherwise=api.BARE, cases=cases)

    def _read_case(self, text: str) -> None:
        if self.SUMMARY.match(text):
            self._summed_up = {}
        elif self._summed_up is None:
            case = _verbose_case(text)
            if case and len(self._cases) < MAX_CASES:
                self._cases[case.id] = case
        elif len(self._summed_up) < MAX_CASES:
            self._read_summary(text)

    def _read_summary(self, text: str) -> None:
        """Notes the case of a line below `short test summary info`. `SUBFAILED[message] (i=0) test_a.py::test_b` is a
        test of its own, as in the counts: pytest may call the test that it is part of passed."""
        assert self._summed_up is not None
        if text.startswith("SUBFAIL"):
            words, test, message = _split_subtest(text)
            self._cases.pop(test, None)
            if test:
                case = api.Case(id=f"{test} {words}".rstrip(), outcome="failed", message=message)
                self._summed_up[f"{len(self._summed_up)} {case.id}"] = case  # two may have one name
        elif text.startswith(("FAILED ", "ERROR ")):
            word, _, rest = text.partition(" ")
            name, message = _split_message(rest)
            if "::" in name or name.endswith(".py"):
                self._summed_up[name] = api.Case(id=name, outcome=WORDS[word], message=message)

    def _take_cases(self, counts: tuple[tuple[str, int], ...]) -> tuple[api.Case, ...]:
        """Returns the cases of the run that ends here, or () if they do not agree with its counts: then some are of
        runs that its tests made, or another program printed them."""
        cases = tuple((self._cases | (self._summed_up or {})).values())
        self._cases, self._summed_up = {}, None
        numbers = dict(counts)
        limits: dict[Outcome, int] = {
            "failed": numbers.get("failed", 0),
            "error": numbers.get("error", 0),
            "passed": numbers.get("passed", 0) + numbers.get("xpassed", 0),
            "skipped": numbers.get("skipped", 0) + numbers.get("xfailed", 0),
        }
        found = [case.outcome for case in cases]
        return cases if all(found.count(outcome) <= limit for outcome, limit in limits.items()) else ()


WORDS: dict[str, Outcome] = {  # pytest's words -> outcomes
    "PASSED": "passed", "FAILED": "failed", "ERROR": "error", "SKIPPED": "skipped", "XFAIL": "skipped",
    "XPASS": "passed",
}  # fmt: skip


def _verbose_case(text: str) -> api.Case | None:
    """Returns the case of a line as `-v` prints it: `test_a.py::test_b SKIPPED (no reason)   [ 50%]`."""
    if "::" not in text:
        return None
    if text.endswith("%]"):
        text = text[: text.rfind("[")].rstrip()
    message = ""
    for word in (" SKIPPED (", " XFAIL (", " XPASS ("):
        if (found := text.find(word)) > 0 and text.endswith(")"):
            text, message = text[: found + len(word) - 2], text[found + len(word) : -1]
            break
    name, _, word = text.rpartition(" ")
    return api.Case(id=name, outcome=WORDS[word], message=message) if "::" in name and word in WORDS else None


def _split_message(text: str) -> tuple[str, str]:
    """Splits a line of the summary, `test_a.py::test_b[1 - 2] - assert 1 == 2`, into id and message."""
    end = text.find(" - ")
    while end >= 0 and text.count("[", 0, end) > text.count("]", 0, end):  # in a test's parameters
        end = text.find(" - ", text.find("]", end)) if "]" in text[end:] else -1
    return (text[:end], text[end + 3 :]) if end >= 0 else (text, "")


def _split_subtest(text: str) -> tuple[str, str, str]:
    """Splits a line of the summary about a subtest into what pytest says of it (its message and parameters, of any
    form), the id of its test, and the message: `SUBFAILED[m] (i=0) test_a.py::test_b - assert 0`. The id is "" where
    the line has none."""
    start = text.rfind(" ", 0, max(text.find(".py::"), 0)) + 1
    if not start:
        return "", "", ""
    test, message = _split_message(text[start:])
    return text[:start].removeprefix("SUBFAIL").removeprefix("ED").strip(), test, message


class Unittest(api.LineReader):
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
    RAISED = re.compile(RAISED)

    def __init__(self) -> None:
        self._ran = -1  # the number of tests, while the line with the result is expected; else -1
        self._before = ""  # the line before
        self._problems: list[str] = []
        self._dots = ""
        self._outcomes: list[str] = []
        self._verbose = False
        self._cases: dict[str, api.Case] = {}
        self._problem = ""  # the id of the case whose traceback is being read

    def feed_line(self, text: str) -> api.Suite | None:
        before, self._before = self._before, text
        if self._ran >= 0:
            ran, self._ran = self._ran, -1
            ended = self.ENDS.match(text)
            suite = self._count_tests(ran, ended[1] or "") if ended else None
            self._problems, self._outcomes, self._dots, self._verbose = [], [], "", False
            self._cases, self._problem = {}, ""
            return suite
        self._verbose = self._verbose or bool(self.TEST_LINE.match(text))
        if self._problem and self.RAISED.match(text):
            self._cases[self._problem] = replace(self._cases[self._problem], message=text)
        if began := self.RAN.match(text):
            self._ran = int(began[1]) if before == self.RULE else -1
            self.ran_nothing = self.ran_nothing or self._ran == 0
        elif problem := self.PROBLEM.match(text):
            self._problems.append(problem[1])
            self._problem = text.partition(": ")[2]
            self._note(self._problem, "failed" if text.startswith("FAIL") else "error")
        elif outcome := self.OUTCOME_LINE.match(text):
            self._outcomes.append(outcome[2])
            word, _, reason = outcome[2].partition(" ")
            self._note(outcome[1].strip(), OUTCOMES[word], reason if word == "skipped" else "")
        elif self._verbose and (outcome := self.LATER_OUTCOME.match(text)):
            self._outcomes.append(outcome[1])
        elif self.DOTS.match(text):
            self._dots = text
        elif text not in (self.RULE, self.BAR) and not self._problems:
            self._dots = ""
        return None

    def _note(self, name: str, outcome: Outcome, message: str = "") -> None:
        if name in self._cases or len(self._cases) < MAX_CASES:
            self._cases[name] = api.Case(id=name, outcome=outcome, message=message)
        else:
            self._problem = ""

    def _count_tests(self, ran: int, counts_text: str) -> api.Suite | None:
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
        cases = tuple(self._cases.values()) if len(self._problems) == failed + errors else ()
        if is_certain and passed >= 0:
            return api.Suite.of(
                ("failed", failed), ("error", errors), ("passed", passed), *other_counts, proven=is_proven, cases=cases
            )
        return api.Suite.of(
            ("failed", failed), ("error", errors), ("run", ran), *other_counts, proven=False, cases=cases
        )


OUTCOMES: dict[str, Outcome] = {  # the first of unittest's words -> outcomes
    "ok": "passed", "FAIL": "failed", "ERROR": "error", "skipped": "skipped", "expected": "skipped",
    "unexpected": "failed",
}  # fmt: skip

READERS = (
    api.OutputReader(
        name="pytest",
        start=Pytest,
        begins=r"=|\d|[.FEsxXR]+$|no tests ran|-+ Captured |FAILED |ERROR |SUBFAIL",
        contains=r"\[100%\]$| (?:PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)(?: |$)",
    ),
    api.OutputReader(
        name="unittest",
        start=Unittest,
        begins=r"=====|-----|Ran |OK|FAIL|ERROR|[.FEsxu]+$|\w+ \([\w.<>]+\)$|ok$|skipped |expected failure"
        rf"|unexpected success|{RAISED}",
        contains=r" \.\.\. ",
    ),
)
