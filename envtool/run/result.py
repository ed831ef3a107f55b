"""What a run came to."""

from __future__ import annotations

import os
from dataclasses import dataclass

from envtool.errors import EnvtoolError, SpecError, internal
from envtool.events import Outcome
from envtool.report.source_excerpt import explain
from envtool.store.disk_errors import translate_os_error


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One task of one env. `status` is None when no command was started; `log` is the path of its whole output
    (empty when there is none); `message` says why, for everything but passed and failed."""

    env: str
    task: str
    outcome: Outcome
    status: int | None
    seconds: float
    started: float  # seconds since the epoch
    log: str = ""
    outputs: tuple[str, ...] = ()  # project-relative paths that were copied back
    message: str = ""
    commands: tuple[str, ...] = ()  # of a task that ran and did not pass: its commands, as one would type them
    where: str = ""  # of the same: the task's file and line
    host: str = ""  # of a run that is remembered (`cached`): on which machine it ran; `started` is when
    error: EnvtoolError | None = None  # why its env was not made


def to_envtool_error(raised: Exception, store: str) -> EnvtoolError:
    """What was raised while one result was worked for, as an error that can be told: what nobody foresaw is a bug.
    `store` is the store's root."""
    if isinstance(raised, EnvtoolError):
        return raised
    said = translate_os_error(store, raised) if isinstance(raised, OSError) else None
    return said or internal(raised, shown=bool(os.environ.get("ENVTOOL_DEBUG")))


def result_message(error: EnvtoolError) -> str:
    """An error as the message of a result."""
    if isinstance(error, SpecError):
        return "\n".join(explain(problem) for problem in error.problems)
    return f"{error.message}\n  {error.hint}" if error.hint else error.message
