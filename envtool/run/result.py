"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass

from envtool.events import Outcome


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
    host: str = ""  # of a run that is remembered (`cached`): on which machine it ran; `started` is when
