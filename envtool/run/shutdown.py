"""How long an interrupted run waits: tasks may take the time that they need, since their outputs are kept; all else has
GRACE_SECONDS."""

from __future__ import annotations

import time

from envtool.events import Event, Finished, Started

GRACE_SECONDS = 0.5  # seconds: an unfinished layer is thrown away, so it is not worth a longer wait


class GracePeriod:
    """How long to wait for running work after an interrupt. `limit` is in seconds, and starts anew when the last task
    ends."""

    def __init__(self, limit: float = GRACE_SECONDS) -> None:
        self._limit = limit
        self._tasks: set[str] = set()
        self._since = 0.0  # the time of the interrupt, or of the end of the last task

    def on_event(self, event: Event) -> None:
        """Notes that a task starts or ends. May be called from any thread."""
        if isinstance(event, Started) and event.subject == "task":
            self._tasks.add(event.id)
        elif isinstance(event, Finished) and event.id in self._tasks:
            self._tasks.discard(event.id)
            self._since = time.monotonic() if self._since else 0.0

    def is_over(self) -> bool:
        """Returns whether the wait is over. The first call is at the interrupt, and starts the clock."""
        self._since = self._since or time.monotonic()
        return not self._tasks and time.monotonic() - self._since > self._limit
