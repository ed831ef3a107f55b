"""The events of a run, and how it ended. The terminal, `--json`, the reports and plugins subscribe to this one stream,
and print nothing else.

Times are seconds since the epoch (float), sizes are bytes. Events of one piece of work have the same `id`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from envtool.lazy_dataclass import dataclass, field

Subject: TypeAlias = Literal[
    "base", "layer", "fetch", "resolve", "task", "verify", "export", "push", "cache", "store", "service",
    "prepare",
]  # fmt: skip
Outcome: TypeAlias = Literal[
    "built", "cached", "pulled", "done", "passed", "same", "differs", "failed", "timeout", "interrupted", "error",
    "skipped", "flaky",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A piece of work begins. `env` is empty if several envs share the work."""

    id: str
    subject: Subject
    name: str
    time: float
    env: str = ""
    detail: str = ""  # "88 packages, 41 MB"
    total: int = 0  # bytes expected, 0 when unknown
    on: str = ""  # the base below ("trixie"), if the run builds other layers of the same name


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A piece of work goes on. Either a `note` ("waiting for another envtool"), or the progress of its `phase`
    ("fetching"; empty: the phase of the last event): bytes `done` of `total`, items `count` of `of`; 0 is unknown."""

    id: str
    done: int = 0
    total: int = 0
    note: str = ""
    phase: str = ""
    count: int = 0
    of: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A piece of a command's output (both streams, in order of arrival), decoded with replacement."""

    id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A notice for the caller, usually about no piece of work."""

    text: str
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What a run with `--learn-network` connected to: the smallest `network: {allow:}` that it needed, sorted. `task`
    is empty for a command. `complete` False: it failed or was ended, and may need more."""

    env: str
    task: str
    allow: tuple[str, ...]  # "host:port"
    complete: bool
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAttempt:
    """One attempt of a task with `retries:`."""

    number: int  # from 1
    outcome: Outcome
    status: int | None
    started: float  # seconds since the epoch
    seconds: float
    message: str = ""  # as Result.message
    log: str = ""  # path of what it printed
    outputs: tuple[str, ...] = ()  # paths of what it left; of an attempt that was repeated, below the run's directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """An attempt of a task failed, and the next one of at most `of` begins. The work of this `id` goes on."""

    id: str
    env: str
    name: str
    attempt: TaskAttempt
    of: int
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A piece of work ended. For tasks `status` is the exit status as in a shell."""

    id: str
    subject: Subject
    name: str
    outcome: Outcome
    time: float
    seconds: float
    env: str = ""
    status: int | None = None
    detail: str = ""  # "14 packages", "exit 1", "timed out after 30s"
    outputs: tuple[str, ...] = field(default=())  # project-relative paths copied back
    since: float = 0.0  # tasks that are `cached`: the time at which the remembered run began
    host: str = ""  # tasks that are `cached`: the name of the machine on which they ran
    on: str = ""  # as in Started
    attempts: tuple[TaskAttempt, ...] = field(default=())  # of a task that ran more than once: all, the last one too
    # Tasks and builds that ran; of a task that is `cached`, the remembered run.
    memory: int = 0  # bytes of all processes together, at the peak that was seen; 0: unknown
    cpu_seconds: float = 0.0  # user and system time of all processes
    written: int = 0  # bytes that they wrote to files
    limit: str = ""  # the limit that ended it: "memory", "cpus", "pids", "disk", "files", "time" or "idle"


Event: TypeAlias = Started | Progress | Output | Noted | Learned | Attempted | Finished
Emit: TypeAlias = Callable[[Event], None]


# ---- how a run ended ---------------------------------------------------------------------------------------------

CaseOutcome: TypeAlias = Literal["passed", "failed", "error", "skipped"]
TaskOutcome: TypeAlias = Literal["passed", "flaky", "cached", "failed", "timeout", "error", "skipped", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test that the output names. `id` is the runner's own name for it, as in `tests/test_a.py::test_b`."""

    id: str
    outcome: CaseOutcome
    seconds: float | None = None  # None: the output does not say
    message: str = ""  # why it did not pass, in one line


class ReportedAttempt(NamedTuple):
    """One attempt of a task that ran more than once."""

    outcome: TaskOutcome
    status: int | None
    started: float  # seconds since the epoch
    seconds: float
    message: str = ""
    output: str = ""  # the end of what it printed, as in ReportedTask


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedTask:
    """One task of one env. All texts are safe to print: they have no control characters but tab and newline."""

    env: str
    task: str
    # "cached": unchanged since it passed, and not run again; "flaky": it passed after it had failed in this same run;
    # "error": its env could not be built
    outcome: TaskOutcome
    status: int | None  # exit status; None if no command was started
    started: float  # seconds since the epoch; of an unchanged task, those of the run that passed
    seconds: float
    host: str = ""  # the machine on which an unchanged task ran
    message: str = ""  # why, for each outcome but passed and cached
    output: str = ""  # the end of what it printed, at most 2**20 characters
    memory: int = 0  # as in Finished, like the next three
    cpu_seconds: float = 0.0
    written: int = 0
    limit: str = ""
    counts: tuple[tuple[str, int], ...] = ()  # tests by outcome: ("failed", 1), ("passed", 311); () if uncertain
    cases: tuple[Case, ...] = ()  # the tests that its output names: perhaps only those that failed
    attempts: tuple[ReportedAttempt, ...] = ()  # of a task that ran more than once: all, the last one too
    outputs: tuple[str, ...] = ()  # that are in the project though it did not pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A run of tasks that has ended, also by an interrupt or an error. Tasks are in the order in which they began."""

    tasks: tuple[ReportedTask, ...]
    seconds: float  # of the whole run
