"""What a run of tests came to, and what a reader of it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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


# How far a summary can be believed: its tests were seen one by one, or the run was seen to begin; it is as its runner
# writes it, over several lines; it is one line that anybody may have printed.
PROVEN, LIKELY, BARE = 2, 1, 0


@dataclass(frozen=True, slots=True)
class SuiteCounts:
    """How many tests came to what, in the order in which it is told, and how far that can be believed. `replaces`: how
    many suites before it were only a part of this one."""

    parts: tuple[tuple[str, int], ...]
    trust: int
    replaces: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{number} {word if number == 1 else PLURALS.get(word, word)}" for word, number in self.parts)


class RunnerParser:
    """Reads one runner's output. Lines have no colours, and no white space at the end; empty ones are left out."""

    inside = 0  # runs that have begun and not ended, of a runner that says when one begins

    def line(self, text: str) -> SuiteCounts | None:
        """The suite whose summary ends with this line, or goes on with it (it `replaces` what it was before)."""
        raise NotImplementedError

    def trails(self, text: str) -> bool:
        """Whether this line belongs to what is printed after the summary."""
        return False


def make_suite(*parts: tuple[str, int], proven: bool, otherwise: int = LIKELY, replaces: int = 0) -> SuiteCounts | None:
    """One of these parts; None where nothing was run, or where they cannot be."""
    if any(not 0 <= number < 10**9 for _, number in parts) or not any(number for _, number in parts):
        return None
    return SuiteCounts(tuple(each for each in parts if each[1]), PROVEN if proven else otherwise, replaces)


def merge_suites(suites: Iterable[SuiteCounts]) -> SuiteCounts:
    """Several as one."""
    sums: dict[str, int] = {}
    for each in suites:
        for word, number in each.parts:
            sums[word] = sums.get(word, 0) + number
    known = sorted(sums, key=lambda word: ORDER.index(word) if word in ORDER else len(ORDER))
    return SuiteCounts(tuple((word, sums[word]) for word in known), PROVEN)
