"""What a task's tests came to, read from what their runners print: "1 failed, 311 passed, 2 skipped". Pure.

javascript   What runs JavaScript's tests: node --test (22), Jest (30), Mocha (11), Vitest (3)
native       TAP (13, 14), prove (3.48), Automake (1.18), CTest (4.2), Meson (1.9)
others       cargo test (1.94), go test (1.25), Maven Surefire (3.5), RSpec (3.13), PHPUnit (12)
python       pytest (9.0) and unittest (CPython 3.14)
suite        What a run of tests came to, and what a reader of it is
"""

from __future__ import annotations

import re

from envtool.report.test_counts import javascript, native, others, python
from envtool.report.test_counts.suite import BARE, LIKELY, PROVEN, RunnerParser, SuiteCounts, merge_suites
from envtool.report.text import sanitize, strip_colors

MAX_OUTPUT = 32 << 20  # characters of a task's output that are read: nobody counts the tests of what prints more
MAX_LINE_LENGTH = 4096  # characters of a line; no summary has so many
EPILOGUE = re.compile(
    r"g?make(\[\d+\])?: |npm (err!|error|notice|warn)|\s*elifecycle\b|info visit |error command failed"
    r"|done in [\d.]+m?s|error: (recipe|test failed|\d+ targets? failed)|ninja: |failed: |=+$",
    re.IGNORECASE,
)
# Whatever a reader looks at. Of lines that nobody looks at one is as good as many: most outputs are long.
CANDIDATE_LINE = re.compile(
    r"\s*[\d#ℹ✔✓]|=|-----|[.FEsxXRuSIWDN]+(?=\s|$)|\s*[Tt]est|\[(?:INFO|WARNING|ERROR)\]|TAP |Bail out!|no tests ran"
    r"|ok|not ok|OK|PASS|FAIL|ERROR|WARNINGS!|skipped |expected failure|unexpected success"
    r"|Ran |running |Files=|Results?\b|Finished in |(?:Ok|Expected Fail|Fail|Unexpected Pass|Skipped|Timeout|Ignored): "
    r"|.*(?: \.\.\. |--- [PFS]|\(Wstat:|\[100%\]$|\.t \.{2})"
)
CAPTURED = re.compile(r"-+ Captured \w+ \w+ -+$")  # of a pytest: what failing tests printed


class RunnerCounter:
    """Takes a task's output in pieces that may end anywhere."""

    def __init__(self) -> None:
        self._readers: tuple[RunnerParser, ...] = (
            python.Pytest(), python.Unittest(),
            javascript.NodeTest(), javascript.Jest(), javascript.Mocha(), javascript.Vitest(),
            native.Tap(), native.Prove(), native.Automake(), native.Ctest(), native.Meson(),
            others.Cargo(), others.Go(), others.Surefire(), others.Rspec(), others.Phpunit(),
        )  # fmt: skip
        self._suites: list[SuiteCounts] = []
        self._end: RunnerParser | None = None  # whose summary the output ends with
        self._last_was_skipped = False  # the line before was one that nobody looks at
        self._is_doubtful = False  # from here on nothing proves anything
        self._rest = ""
        self._read = 0

    def feed(self, text: str) -> None:
        """More of the output."""
        self._read += len(text)
        if self._read > MAX_OUTPUT:
            self._rest = ""
            return
        first, *lines = text.split("\n")
        if len(self._rest) < MAX_LINE_LENGTH:
            self._rest += first
        for line in lines:
            self._read_line(self._rest)
            self._rest = line

    def text(self) -> str:
        """What was counted ("2 failed, 10 passed"); empty where there is nothing, or nothing certain. At the end."""
        self._read_line(self._rest)
        self._rest = ""
        if self._read > MAX_OUTPUT or not self._suites:
            return ""
        believed = [each for each in self._suites if each.trust > BARE]
        if self._end and self._suites[-1].trust == BARE:
            return str(self._suites[0]) if len(self._suites) == 1 else ""
        if len(believed) > 1 and all(each.trust == PROVEN for each in believed):
            return str(merge_suites(believed))
        return str(believed[0]) if len(believed) == 1 else ""

    def _read_line(self, line: str) -> None:
        if "\x1b" in line or "\r" in line:
            line = strip_colors(sanitize(line.removesuffix("\r")))
        line = line.rstrip()
        if not line:
            return
        dull = len(line) > MAX_LINE_LENGTH or not CANDIDATE_LINE.match(line)
        readers = () if dull and self._last_was_skipped else self._readers
        self._last_was_skipped = dull
        self._is_doubtful = self._is_doubtful or bool(CAPTURED.match(line))
        ends = None
        for reader in readers:
            found = reader.line("…" if dull else line)
            if found and not any(other.inside for other in self._readers if other is not reader):
                del self._suites[len(self._suites) - min(found.replaces, len(self._suites)) :]
                self._suites.append(
                    SuiteCounts(found.parts, min(found.trust, LIKELY) if self._is_doubtful else found.trust)
                )
                ends = reader
        if ends or (self._end and not EPILOGUE.match(line) and not self._end.trails(line)):
            self._end = ends
