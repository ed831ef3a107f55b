"""Sums of several suites, and their text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.api.reporting import PROVEN, Suite

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envtool.events import Case

MAX_CASES = 10_000  # of one run of tests

PLURALS = {
    "error": "errors",
    "warning": "warnings",
    "expected failure": "expected failures",
    "unexpected success": "unexpected successes",
    "package passed": "packages passed",
    "package failed": "packages failed",
    "program failed": "programs failed",
}
ORDER = (
    "failed", "error", "program failed", "cancelled", "timed out", "passed", "package failed", "package passed", "run",
    "skipped", "ignored", "pending", "todo", "deselected", "xfailed", "xpassed", "expected failure",
    "unexpected success",
)  # fmt: skip


def format_parts(parts: Iterable[tuple[str, int]]) -> str:
    """Returns the numbers of tests as a text: "1 failed, 2 errors, 311 passed"."""
    return ", ".join(f"{number} {word if number == 1 else PLURALS.get(word, word)}" for word, number in parts)


def agreeing(cases: Iterable[Case], *, failed: int) -> tuple[Case, ...]:
    """Returns at most MAX_CASES cases, or () if more of them failed than the summary counts: then some are of runs that
    tests made, or another program printed them."""
    kept = tuple(cases)
    return kept[:MAX_CASES] if sum(case.outcome in ("failed", "error") for case in kept) <= failed else ()


def merge_suites(suites: Iterable[Suite]) -> Suite:
    """Returns the sums of several suites."""
    sums: dict[str, int] = {}
    suites = tuple(suites)
    for suite in suites:
        for word, number in suite.parts:
            sums[word] = sums.get(word, 0) + number
    words = sorted(sums, key=lambda word: ORDER.index(word) if word in ORDER else len(ORDER))
    cases = tuple(case for suite in suites for case in suite.cases)
    return Suite(parts=tuple((word, sums[word]) for word in words), trust=PROVEN, cases=cases)
