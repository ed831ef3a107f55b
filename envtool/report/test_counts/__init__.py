"""The numbers of tests in what test runners print: "1 failed, 311 passed, 2 skipped". Pure.

Each test runner has a reader (api.OutputReader). Those of Python, JavaScript, Rust and Go are in their plugins; the
others are here until their languages have plugins.

native   Readers for TAP (13, 14), prove (3.48), Automake (1.18), CTest (4.2), Meson (1.9)
others   Readers for Maven Surefire (3.5), RSpec (3.13), PHPUnit (12)
sums     Sums of several suites, and their text
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from envtool import plugin_calls
from envtool.api.reporting import BARE, LIKELY, PROVEN, LineReader, Suite
from envtool.events import Case
from envtool.report.test_counts.sums import format_parts, merge_suites
from envtool.report.text import sanitize, strip_colors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from envtool.api.reporting import OutputReader
    from envtool.errors import PluginError
    from envtool.plugin_calls import Offer

MAX_OUTPUT = 32 << 20  # characters of a task's output that are read; a task that prints more gets no counts
MAX_LINE_LENGTH = 4096  # characters of a line that is read; no summary is so long
UNFINISHED = "tests began and did not end"
NONE_RAN = "no tests ran"
EPILOGUE = re.compile(
    r"g?make(\[\d+\])?: |npm (err!|error|notice|warn)|\s*elifecycle\b|info visit |error command failed"
    r"|done in [\d.]+m?s|error: (recipe|test failed|\d+ targets? failed)|ninja: |failed: |=+$",
    re.IGNORECASE,
)


def candidate_lines(readers: Sequence[OutputReader]) -> re.Pattern[str]:
    """Returns an expression that matches every line that one of the readers needs."""
    begins = "|".join(reader.begins for reader in readers)
    contains = "|".join(reader.contains for reader in readers if reader.contains)
    return re.compile(f"{begins}|.*?(?:{contains})" if contains else begins)


class OutputCounter:
    """Counts the tests in a task's output, which comes in pieces that may end anywhere.

    A reader that fails is not asked again, and `complain` gets an error that names its plugin.
    """

    def __init__(
        self, readers: Sequence[Offer[OutputReader]], complain: Callable[[PluginError], None] = lambda _: None
    ) -> None:
        self._complain = complain
        self._readers: list[tuple[Offer[OutputReader], LineReader]] = []
        for offer in readers:
            try:
                self._readers.append((offer, _start(offer.value)))
            except Exception as error:
                self._drop(offer, error)
        self._candidate = candidate_lines([offer.value for offer, _ in self._readers]) if self._readers else None
        self._suites: list[Suite] = []
        self._end: LineReader | None = None  # the reader whose summary was last in the output
        self._last_was_skipped = False  # whether the previous line was no candidate
        self._partial = ""
        self._length = 0

    def feed(self, text: str) -> None:
        """Reads more of the output."""
        self._length += len(text)
        if self._length > MAX_OUTPUT or self._candidate is None:
            self._partial = ""
            return
        first, *lines = text.split("\n")
        if len(self._partial) < MAX_LINE_LENGTH:
            self._partial += first
        for line in lines:
            self._read_line(self._partial)
            self._partial = line

    def suite(self) -> Suite | None:
        """Returns the sum of the runs of tests; None if there are none or they are uncertain. Call it at the end of the
        output."""
        self._read_line(self._partial)
        self._partial = ""
        if self._length > MAX_OUTPUT or not self._suites:
            return None
        trusted = [suite for suite in self._suites if suite.trust > BARE]
        if self._end and self._suites[-1].trust == BARE:
            return self._suites[0] if len(self._suites) == 1 else None
        if len(trusted) > 1 and all(suite.trust == PROVEN for suite in trusted):
            return merge_suites(trusted)
        return trusted[0] if len(trusted) == 1 else None

    def summarize(self) -> str:
        """Returns the numbers of `suite` ("2 failed, 10 passed"); NONE_RAN if a test runner said that there were no
        tests, which most runners take for a success; else ""."""
        if suite := self.suite():
            return format_parts(suite.parts)
        is_read = not self._suites and self._length <= MAX_OUTPUT
        return NONE_RAN if is_read and any(reader.ran_nothing is True for _, reader in self._readers) else ""

    def note_unfinished(self) -> str:
        """Returns UNFINISHED if a run of tests began and its runner did not say how it ended, else "". A test that ends
        the process with status 0, by `exit(0)`, hides the tests behind it. Call it at the end of the output."""
        is_read = self._length <= MAX_OUTPUT
        return UNFINISHED if is_read and any(reader.inside for _, reader in self._readers) else ""

    def _read_line(self, line: str) -> None:
        if "\x1b" in line or "\r" in line:
            line = strip_colors(sanitize(line.removesuffix("\r")))
        line = line.rstrip()
        if not line or self._candidate is None:
            return
        is_irrelevant = len(line) > MAX_LINE_LENGTH or not self._candidate.match(line)
        asked = () if is_irrelevant and self._last_was_skipped else tuple(self._readers)
        self._last_was_skipped = is_irrelevant
        ending = None
        for offer, reader in asked:
            suite = self._ask(offer, reader, "…" if is_irrelevant else line)
            if suite and not any(other.inside for _, other in self._readers if other is not reader):
                self._add(suite)
                ending = reader
        if ending or (self._end and not EPILOGUE.match(line) and not self._is_epilogue(line)):
            self._end = ending

    def _add(self, suite: Suite) -> None:
        del self._suites[len(self._suites) - min(suite.replaces, len(self._suites)) :]
        is_doubtful = any(reader.is_doubtful for _, reader in self._readers)
        trust = min(suite.trust, LIKELY) if is_doubtful else suite.trust
        self._suites.append(Suite(parts=suite.parts, trust=trust, cases=suite.cases))

    def _ask(self, offer: Offer[OutputReader], reader: LineReader, line: str) -> Suite | None:
        try:
            suite = reader.feed_line(line)
            if suite is not None:
                _check(suite)
        except Exception as error:
            self._drop(offer, error)
            return None
        return suite

    def _is_epilogue(self, line: str) -> bool:
        for offer, reader in self._readers:
            if reader is self._end:
                try:
                    return bool(reader.is_epilogue(line))
                except Exception as error:
                    self._drop(offer, error)
        return False

    def _drop(self, offer: Offer[OutputReader], error: Exception) -> None:
        self._readers = [pair for pair in self._readers if pair[0] is not offer]
        self._complain(plugin_calls.plugin_error(offer.owner, _name(offer), error))


def _start(reader: OutputReader) -> LineReader:
    started: object = reader.start()
    if not isinstance(started, LineReader):
        raise TypeError(f"`start` returned {type(started).__name__} in place of a LineReader")
    return started


def _check(suite: object) -> None:
    """Raises TypeError for a value of a reader that a report could not use."""
    if not isinstance(suite, Suite):
        raise TypeError(f"`feed_line` returned {type(suite).__name__} in place of a Suite or None")
    fields = (suite.parts, suite.cases)
    if not all(isinstance(field, tuple) for field in fields) or not isinstance(suite.replaces, int):
        raise TypeError("`parts` and `cases` of its Suite are tuples, and `replaces` is an int")
    if not all(isinstance(word, str) and type(number) is int for word, number in suite.parts):
        raise TypeError("`parts` of its Suite are pairs of a str and an int")
    if not all(isinstance(case, Case) and isinstance(case.id, str) for case in suite.cases):
        raise TypeError("`cases` of its Suite are Cases")


def _name(offer: Offer[OutputReader]) -> str:
    return f"the reader of {offer.value.name}"
