"""The one stream that everything shown is made of: terminal, `--json`, JUnit and plugins subscribe to it.

Times are seconds since the epoch (float), sizes bytes. An `id` joins the events of one piece of work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Subject: TypeAlias = Literal["base", "layer", "fetch", "resolve", "task", "verify", "export", "push", "cache", "store"]
Outcome: TypeAlias = Literal[
    "built", "cached", "pulled", "done", "passed", "same", "differs", "failed", "timeout", "interrupted", "error",
    "skipped",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A piece of work begins. `env` is empty for work that several envs share."""

    id: str
    subject: Subject
    name: str
    time: float
    env: str = ""
    detail: str = ""  # "88 packages, 41 MB"
    total: int = 0  # bytes expected, 0 when unknown
    on: str = ""  # what it stands on ("trixie"), where others of its name are made too


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Work goes on. Either a `note` ("waiting for another envtool"), or how far its `phase` is ("fetching"; empty: the
    one that was named last goes on): bytes `done` of `total`, things `count` of `of`; 0 is unknown."""

    id: str
    done: int = 0
    total: int = 0
    note: str = ""
    phase: str = ""
    count: int = 0
    of: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A piece of what a command printed (both streams, in order of arrival), decoded with replacement."""

    id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What the caller should know, and what belongs to no piece of work."""

    text: str
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A piece of work ended. For tasks `status` is the exit status as a shell shows it."""

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
    since: float = 0.0  # tasks that are `cached`: when the run that is remembered began
    host: str = ""  # and the name of the machine on which it ran
    on: str = ""  # as in Started


Event: TypeAlias = Started | Progress | Output | Noted | Finished
Emit: TypeAlias = Callable[[Event], None]
