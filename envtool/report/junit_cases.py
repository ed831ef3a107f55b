"""The tests of a task as `testcase` elements of JUnit XML: their names, classes, times, and why they did not pass.

A CI service finds a test again by `classname` and `name`. So both are the same in every run, no two tests of a task
have both in common, and `classname` begins with the env and the task: a matrix runs one test in many envs.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from junitparser import TestCase

    from envtool.events import Case, ReportedTask

MAX_TESTS = 50_000  # of one report: some 15 MB
MAX_NAME = 1000  # characters of a name, a class or a message
_INVALID = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2
# What test runners write between a test and what it is in. An id that fits none of these is a name without a class.
_UNITTEST = re.compile(  # `test_a (tests.test_b.C.test_a)`
    r"(?P<name>\w+) \((?P<group>[^\W\d]\w*(?:\.\w+)+?)(?:\.(?P=name))?\)"
)
_GO = re.compile(r"(?P<group>[^\s\[\]]+)\.(?P<name>(?:Test|Example|Fuzz|Benchmark)\w*(?:/.*)?)")
_JAVA = re.compile(r"(?P<group>(?:[a-z_][\w$]*\.)+[A-Z][\w$]*)\.(?P<name>[a-z_$][\w$]*(?:[\[(].*)?)")


def replace_invalid(text: str) -> str:
    """Returns a text with U+FFFD in place of each character that XML 1.0 cannot have."""
    return _INVALID.sub("\ufffd", text)


def split_id(test_id: str) -> tuple[str, str]:
    """Returns the class of a test and its name there, from its runner's own name for it; the class is "" if the runner
    names none. Classes of pytest are as in pytest's own JUnit file: `tests.test_a.TestB`."""
    head = test_id.partition("[")[0]  # parameters of pytest may have any text
    if "::" in head:
        group, _, name = head.rpartition("::")
        name += test_id[len(head) :]
        path, colons, rest = group.partition("::")
        group = path.removesuffix(".py").replace("/", ".") + (f".{rest.replace('::', '.')}" if colons else "")
        return (group, name) if name.strip() else ("", test_id)
    for separator in (" > ", " › "):
        group, found, name = test_id.rpartition(separator)
        if found and group.strip() and name.strip():
            return group, name
    for form in (_UNITTEST, _GO, _JAVA):
        if match := form.fullmatch(test_id):
            return match["group"], match["name"]
    return "", test_id


def choose_cases(tasks: Iterable[ReportedTask]) -> dict[int, tuple[Case, ...]]:
    """Returns the tests that a report has of each task, by the number of the task: at most MAX_TESTS. Tests that did
    not pass go before others."""
    cases = {number: task.cases for number, task in enumerate(tasks)}
    total = sum(map(len, cases.values()))
    if total <= MAX_TESTS:
        return cases
    wrong = sum(_is_wrong(case) for own in cases.values() for case in own)
    left = {True: min(wrong, MAX_TESTS), False: max(0, MAX_TESTS - wrong)}
    chosen: dict[int, tuple[Case, ...]] = {}
    for number, own in cases.items():
        kept: list[Case] = []
        for case in own:
            if left[_is_wrong(case)]:
                left[_is_wrong(case)] -= 1
                kept.append(case)
        chosen[number] = tuple(kept)
    return chosen


def make_testcases(task: ReportedTask, cases: Iterable[Case]) -> Iterator[TestCase]:
    """Yields the elements of a task's tests. Of tests with the same class and name, the second gets ` (2)`: a CI
    service would show one of them, perhaps not the one that failed."""
    from junitparser import Error, Failure, Skipped, TestCase

    numbers: dict[tuple[str, str], int] = {}
    for case in cases:
        group, name = split_id(case.id)
        classname = _cut(".".join(filter(None, (task.env, task.task, group))))
        name = _cut(name) or "?"
        number = numbers[classname, name] = numbers.get((classname, name), 0) + 1
        while number > 1 and (classname, f"{name} ({number})") in numbers:
            number = numbers[classname, name] = number + 1
        if number > 1:
            name = f"{name} ({number})"
            numbers[classname, name] = 1
        element = TestCase(name, classname=classname, time=_time(case))
        if case.outcome != "passed":
            kind = {"failed": Failure, "error": Error}.get(case.outcome, Skipped)
            result = kind(_cut(case.message) or case.outcome, case.outcome)
            if case.message:
                result.text = _cut(case.message)
            element.result = [result]
        yield element


def _time(case: Case) -> float | None:
    """Returns the seconds that a test took, with three digits; None if they are unknown or impossible."""
    seconds = case.seconds
    return round(seconds, 3) if seconds is not None and math.isfinite(seconds) and 0 <= seconds < 1e9 else None


def _is_wrong(case: Case) -> bool:
    return case.outcome in ("failed", "error")


def _cut(text: str) -> str:
    line = replace_invalid(text)
    return line if len(line) <= MAX_NAME else f"{line[: MAX_NAME - 1]}…"
