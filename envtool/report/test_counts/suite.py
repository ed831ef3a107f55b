"""The counts of one run of tests, and the base class of parsers."""

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


# The trust in a summary. PROVEN: its tests, or the beginning of the run, were in the output. LIKELY: it has the
# runner's format, over several lines. BARE: it is one line, which any program may have printed.
PROVEN, LIKELY, BARE = 2, 1, 0


@dataclass(frozen=True, slots=True)
class SuiteCounts:
    """The numbers of tests by outcome, in the order of display, and the trust in them. `replaces`: how many of the
    suites before it are parts of this one."""

    parts: tuple[tuple[str, int], ...]
    trust: int
    replaces: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{number} {word if number == 1 else PLURALS.get(word, word)}" for word, number in self.parts)


class RunnerParser:
    """Reads one runner's output. Lines come without colours and trailing white space; empty lines are left out."""

    inside = 0  # runs that have begun and not ended, for a runner that reports their beginning

    def feed_line(self, text: str) -> SuiteCounts | None:
        """Returns the suite whose summary ends with this line, or continues with it (then it `replaces` the earlier
        one); else None."""
        raise NotImplementedError

    def is_epilogue(self, text: str) -> bool:
        """Whether the runner prints this line after its summary."""
        return False


def make_suite(*parts: tuple[str, int], proven: bool, otherwise: int = LIKELY, replaces: int = 0) -> SuiteCounts | None:
    """Returns the counts of these parts; None if nothing ran, or a number is impossible."""
    if any(not 0 <= number < 10**9 for _, number in parts) or not any(number for _, number in parts):
        return None
    return SuiteCounts(tuple(part for part in parts if part[1]), PROVEN if proven else otherwise, replaces)


def merge_suites(suites: Iterable[SuiteCounts]) -> SuiteCounts:
    """Returns the sums of several suites."""
    sums: dict[str, int] = {}
    for suite in suites:
        for word, number in suite.parts:
            sums[word] = sums.get(word, 0) + number
    words = sorted(sums, key=lambda word: ORDER.index(word) if word in ORDER else len(ORDER))
    return SuiteCounts(tuple((word, sums[word]) for word in words), PROVEN)
