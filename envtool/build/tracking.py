"""One piece of work as its two events: Started, and Finished however it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from envtool.build.context import Context
from envtool.errors import EnvtoolError
from envtool.events import Finished, Outcome, Started, Subject


@dataclass(slots=True, kw_only=True)
class TrackedWork:
    """What is said of the work when it ends: filled in while it goes on. It is an error until it is something else."""

    began: float  # seconds since the epoch
    outcome: Outcome = "error"
    detail: str = ""
    status: int | None = None
    outputs: tuple[str, ...] = ()
    seconds: float = 0.0  # that it took, known when it has ended


@contextmanager
def track_work(
    setting: Context, event_id: str, subject: Subject, name: str, *, env: str = "", total: int = 0, on: str = ""
) -> Iterator[TrackedWork]:
    """Say when work begins and how it ends; `on` as in events.Started. What interrupts it makes it `interrupted`,
    whatever was said before."""
    piece = TrackedWork(began=time.time())
    setting.emit(Started(id=event_id, subject=subject, name=name, time=piece.began, env=env, total=total, on=on))
    try:
        yield piece
    except EnvtoolError as error:
        if error.exit_status == 130:
            piece.outcome = "interrupted"
        raise
    finally:
        now = time.time()
        piece.seconds = now - piece.began
        setting.emit(
            Finished(
                id=event_id,
                subject=subject,
                name=name,
                env=env,
                outcome=piece.outcome,
                status=piece.status,
                time=now,
                seconds=piece.seconds,
                detail=piece.detail,
                outputs=piece.outputs,
                on=on,
            )
        )
