"""Counts of tests in the output of test runners: "1 failed, 311 passed, 2 skipped". Pure.

javascript   Parsers for node --test (22), Jest (30), Mocha (11), Vitest (3)
native       Parsers for TAP (13, 14), prove (3.48), Automake (1.18), CTest (4.2), Meson (1.9)
others       Parsers for cargo test (1.94), go test (1.25), Maven Surefire (3.5), RSpec (3.13), PHPUnit (12)
python       Parsers for pytest (9.0) and unittest (CPython 3.14)
suite        The counts of one run of tests, and the base class of parsers
"""

from __future__ import annotations

import re

from envtool.report.test_counts import javascript, native, others, python
from envtool.report.test_counts.suite import BARE, LIKELY, PROVEN, RunnerParser, SuiteCounts, merge_suites
from envtool.report.text import sanitize, strip_colors

MAX_OUTPUT = 32 << 20  # characters of a task's output that are read; a task that prints more gets no counts
MAX_LINE_LENGTH = 4096  # characters of a line that is read; no summary is so long
EPILOGUE = re.compile(
    r"g?make(\[\d+\])?: |npm (err!|error|notice|warn)|\s*elifecycle\b|info visit |error command failed"
    r"|done in [\d.]+m?s|error: (recipe|test failed|\d+ targets? failed)|ninja: |failed: |=+$",
    re.IGNORECASE,
)
# Matches every line that some parser reads. Parsers get only the first of several other lines, since outputs are long.
CANDIDATE_LINE = re.compile(
    r"\s*[\d#ℹ✔✓]|=|-----|[.FEsxXRuSIWDN]+(?=\s|$)|\s*[Tt]est|\[(?:INFO|WARNING|ERROR)\]|TAP |Bail out!|no tests ran"
    r"|ok|not ok|OK|PASS|FAIL|ERROR|WARNINGS!|skipped |expected failure|unexpected success"
    r"|Ran |running |Files=|Results?\b|Finished in |(?:Ok|Expected Fail|Fail|Unexpected Pass|Skipped|Timeout|Ignored): "
    r"|.*(?: \.\.\. |--- [PFS]|\(Wstat:|\[100%\]$|\.t \.{2})"
)
CAPTURED = re.compile(r"-+ Captured \w+ \w+ -+$")  # in pytest's report: the output of failing tests follows


class RunnerCounter:
    """Counts the tests in a task's output, which comes in pieces that may end anywhere."""

    def __init__(self) -> None:
        self._parsers: tuple[RunnerParser, ...] = (
            python.Pytest(), python.Unittest(),
            javascript.NodeTest(), javascript.Jest(), javascript.Mocha(), javascript.Vitest(),
            native.Tap(), native.Prove(), native.Automake(), native.Ctest(), native.Meson(),
            others.Cargo(), others.Go(), others.Surefire(), others.Rspec(), others.Phpunit(),
        )  # fmt: skip
        self._suites: list[SuiteCounts] = []
        self._end: RunnerParser | None = None  # the parser whose summary was last in the output
        self._last_was_skipped = False  # whether the previous line was none of CANDIDATE_LINE
        self._is_doubtful = False  # captured output has begun: later summaries may be part of it
        self._partial = ""
        self._length = 0

    def feed(self, text: str) -> None:
        """Reads more of the output."""
        self._length += len(text)
        if self._length > MAX_OUTPUT:
            self._partial = ""
            return
        first, *lines = text.split("\n")
        if len(self._partial) < MAX_LINE_LENGTH:
            self._partial += first
        for line in lines:
            self._read_line(self._partial)
            self._partial = line

    def summarize(self) -> str:
        """Returns the counts ("2 failed, 10 passed"), or "" if there are none or they are uncertain. Call it at the end
        of the output."""
        self._read_line(self._partial)
        self._partial = ""
        if self._length > MAX_OUTPUT or not self._suites:
            return ""
        trusted = [suite for suite in self._suites if suite.trust > BARE]
        if self._end and self._suites[-1].trust == BARE:
            return str(self._suites[0]) if len(self._suites) == 1 else ""
        if len(trusted) > 1 and all(suite.trust == PROVEN for suite in trusted):
            return str(merge_suites(trusted))
        return str(trusted[0]) if len(trusted) == 1 else ""

    def _read_line(self, line: str) -> None:
        if "\x1b" in line or "\r" in line:
            line = strip_colors(sanitize(line.removesuffix("\r")))
        line = line.rstrip()
        if not line:
            return
        is_irrelevant = len(line) > MAX_LINE_LENGTH or not CANDIDATE_LINE.match(line)
        parsers = () if is_irrelevant and self._last_was_skipped else self._parsers
        self._last_was_skipped = is_irrelevant
        self._is_doubtful = self._is_doubtful or bool(CAPTURED.match(line))
        ending = None
        for parser in parsers:
            suite = parser.feed_line("…" if is_irrelevant else line)
            if suite and not any(other.inside for other in self._parsers if other is not parser):
                del self._suites[len(self._suites) - min(suite.replaces, len(self._suites)) :]
                self._suites.append(
                    SuiteCounts(suite.parts, min(suite.trust, LIKELY) if self._is_doubtful else suite.trust)
                )
                ending = parser
        if ending or (self._end and not EPILOGUE.match(line) and not self._end.is_epilogue(line)):
            self._end = ending
