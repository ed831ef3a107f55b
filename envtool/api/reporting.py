"""Readers of what test runners print, formats of reports, and tasks that failed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from envtool.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from envtool.events import Case, Report

# How sure it is that a summary is that of the tests which ran: any program can print any line.
BARE = 0  # it is one line, which any program may have printed
LIKELY = 1  # it has the runner's format, over several lines
PROVEN = 2  # its tests, or the beginning of the run, were in the output


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One run of tests. `parts` are the numbers of tests by outcome, in the order of display: ("failed", 1), ("passed",
    311). `cases` are the tests that the output names: perhaps only those that failed. `replaces`: how many of the
    suites before it are parts of this one."""

    parts: tuple[tuple[str, int], ...]
    trust: int  # BARE, LIKELY or PROVEN
    replaces: int = 0
    cases: tuple[Case, ...] = ()

    @classmethod
    def of(
        cls,
        *parts: tuple[str, int],
        proven: bool,
        otherwise: int = LIKELY,
        replaces: int = 0,
        cases: tuple[Case, ...] = (),
    ) -> Suite | None:
        """Returns the suite with these parts, without those that are 0. Returns None if nothing ran, or if a number is
        impossible. `otherwise` is the trust if it is not `proven`."""
        if any(not 0 <= number < 10**9 for _, number in parts) or not any(number for _, number in parts):
            return None
        trust = PROVEN if proven else otherwise
        return cls(parts=tuple(part for part in parts if part[1]), trust=trust, replaces=replaces, cases=cases)


class LineReader:
    """Reads one output of one test runner; there is one object for each output. Lines come without colours and trailing
    white space, and are at most 4096 characters long; empty lines are left out, and of several lines that no reader
    wants, only the first comes, as `…`.

    The output comes from a stranger: whatever it is, a line must cost little time and memory.
    """

    inside = 0  # runs that have begun and not ended, for a runner that reports their beginning
    ran_nothing = False  # True: the runner said that there were no tests
    is_doubtful = False  # True: what follows may be output of tests, so its summaries prove nothing

    def feed_line(self, text: str) -> Suite | None:
        """Returns the suite whose summary ends with this line, or continues with it (then it `replaces` the earlier
        one); else None."""
        raise NotImplementedError

    def is_epilogue(self, text: str) -> bool:
        """Returns whether the runner prints this line after its summary."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputReader:
    """A reader of the output of one test runner.

    `begins` and `contains` are regular expressions without groups that capture. Together they match all lines that the
    reader needs, `begins` at the beginning of a line and `contains` anywhere in it. A line that does not match is not
    read, since outputs are long.
    """

    name: str  # of the test runner
    start: Callable[[], LineReader]  # called once for each output
    begins: str
    contains: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFormat:
    """A format of reports. `write` returns the content of the file that `--report NAME=FILE` names; the core writes
    it, at the end of the run. Pure."""

    name: str
    write: Callable[[Report], bytes]
    counts_tests: bool = False  # True: `counts` and `cases` are filled in, for which all output is read


def no_packages() -> frozenset[str]:
    """Returns no package: none is known to be installed."""
    return frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTask:
    """A task that failed, for hints. `packages_with` returns, for each end of a path (`zlib.h`, `bin/cmake`), the
    package of the base's own distribution that has a file with such a path; it may use the network. `installed` returns
    the names of Debian's packages that the env has."""

    env: str
    task: str
    status: int  # exit status of the command that failed
    output: str  # what it printed last: at most 64 KiB, from a stranger
    base_kind: str
    packages_with: Callable[[Sequence[str]], Mapping[str, str]]
    installed: Callable[[], Collection[str]] = no_packages
