"""Emits the events of one piece of work: Started, and Finished whether it succeeds or fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from envtool.errors import Interrupted
from envtool.events import Emit, Finished, Outcome, Started, Subject
from envtool.lazy_dataclass import dataclass


@dataclass(slots=True, kw_only=True)
class TrackedWork:
    """What Finished will report: filled in while the work goes on. The outcome is `error` until it is set."""

    began: float  # seconds since the epoch
    outcome: Outcome = "error"
    detail: str = ""
    status: int | None = None
    outputs: tuple[str, ...] = ()
    memory: int = 0  # as in events.Finished, like the next three
    cpu_seconds: float = 0.0
    written: int = 0
    limit: str = ""
    seconds: float = 0.0  # how long the work took; set at its end


@contextmanager
def track_work(
    emit: Emit, event_id: str, subject: Subject, name: str, *, env: str = "", total: int = 0, on: str = ""
) -> Iterator[TrackedWork]:
    """Emits Started and Finished around the work; `on` as in events.Started. The outcome of interrupted work is
    `interrupted`, whatever was set before."""
    work = TrackedWork(began=time.time())
    emit(Started(id=event_id, subject=subject, name=name, time=work.began, env=env, total=total, on=on))
    try:
        yield work
    except (Interrupted, KeyboardInterrupt):
        work.outcome = "interrupted"
        raise
    finally:
        now = time.time()
        work.seconds = now - work.began
        emit(
            Finished(
                id=event_id,
                subject=subject,
                name=name,
                env=env,
                outcome=work.outcome,
                status=work.status,
                time=now,
                seconds=work.seconds,
                detail=work.detail,
                outputs=work.outputs,
                on=on,
                memory=work.memory,
                cpu_seconds=work.cpu_seconds,
                written=work.written,
                limit=work.limit,
            )
        )
