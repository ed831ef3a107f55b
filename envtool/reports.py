"""How the tasks of a run ended, as values for reports (`api.envtool_report_formats`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from envtool.suites import Case

TaskOutcome: TypeAlias = Literal["passed", "cached", "failed", "timeout", "error", "skipped", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedTask:
    """One task of one env. All texts are safe to print: they have no control characters but tab and newline."""

    env: str
    task: str
    outcome: TaskOutcome  # "cached": unchanged since it passed, and not run again; "error": its env could not be built
    status: int | None  # exit status; None if no command was started
    started: float  # seconds since the epoch; of an unchanged task, those of the run that passed
    seconds: float
    host: str = ""  # the machine on which an unchanged task ran
    message: str = ""  # why, for each outcome but passed and cached
    output: str = ""  # the end of what it printed, at most 2**20 characters
    counts: tuple[tuple[str, int], ...] = ()  # tests by outcome: ("failed", 1), ("passed", 311); () if uncertain
    cases: tuple[Case, ...] = ()  # the tests that its output names: perhaps only those that failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A run of tasks that has ended, also by an interrupt or an error. Tasks are in the order in which they began."""

    tasks: tuple[ReportedTask, ...]
    seconds: float  # of the whole run


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFormat:
    """A format of reports. `write` returns the content of the file that `--report NAME=FILE` names; the core writes
    it, at the end of the run. Pure."""

    name: str
    write: Callable[[Report], bytes]
    counts_tests: bool = False  # True: `counts` and `cases` are filled in, for which all output is read
