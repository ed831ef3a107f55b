"""The result of one task of one env, and the message of one that is an error."""

from __future__ import annotations

from envtool.errors import EnvtoolError, SpecError
from envtool.events import Outcome, TaskAttempt
from envtool.lazy_dataclass import dataclass
from envtool.model import ReadFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One task of one env. `status` is the exit status, None if no command was started; `log` is the path of its whole
    output (empty if there is none); `message` says why, for each outcome but passed and failed."""

    env: str
    task: str
    outcome: Outcome
    status: int | None
    seconds: float
    started: float  # seconds since the epoch
    log: str = ""
    outputs: tuple[str, ...] = ()  # project-relative paths that were copied back
    message: str = ""
    memory: int = 0  # what it used, and the limit that ended it: as in events.Finished
    cpu_seconds: float = 0.0
    written: int = 0
    limit: str = ""
    commands: tuple[str, ...] = ()  # of a task that ran and did not pass: its commands, as one would type them
    where: str = ""  # of the same: the task's file and line
    host: str = ""  # of a cached result: the machine on which it ran; `started` says when
    error: EnvtoolError | None = None  # why its env could not be built
    attempts: tuple[TaskAttempt, ...] = ()  # of a task that ran more than once: all, the last one too
    reads: ReadFiles | None = None  # of a task that passed, and whose result is stored


def result_message(error: EnvtoolError) -> str:
    """Returns an error as the message of a result."""
    if isinstance(error, SpecError):
        from envtool.report.source_excerpt import explain  # a run without errors needs none

        return "\n".join(explain(problem) for problem in error.problems)
    return f"{error.message}\n  {error.hint}" if error.hint else error.message
