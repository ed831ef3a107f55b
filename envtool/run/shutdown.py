"""How a run ends that was asked to: tasks are given their time, since their outputs are kept; all else has LIMIT."""

from __future__ import annotations

import time

from envtool.events import Event, Finished, Started

GRACE_SECONDS = 0.5  # seconds: what is being made is not kept, so nobody waits for it longer


class GracePeriod:
    """How long is waited for what runs, once the end was asked for. `limit` is in seconds."""

    def __init__(self, limit: float = GRACE_SECONDS) -> None:
        self._limit = limit
        self._tasks: set[str] = set()
        self._since = 0.0  # when it was asked for, or the last task ended

    def on_event(self, event: Event) -> None:
        """Tasks begin and end. From any thread."""
        if isinstance(event, Started) and event.subject == "task":
            self._tasks.add(event.id)
        elif isinstance(event, Finished) and event.id in self._tasks:
            self._tasks.discard(event.id)
            self._since = time.monotonic() if self._since else 0.0

    def is_over(self) -> bool:
        """Whether nothing is worth any more time. Asked for the first time when the end was asked for."""
        self._since = self._since or time.monotonic()
        return not self._tasks and time.monotonic() - self._since > self._limit
