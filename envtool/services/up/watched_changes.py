"""Finds the changes of watched files that count: those that a service itself makes at each of its starts would restart
it for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable

AFTER_SECONDS = 3.0  # after a restart: what changes then may have been changed by it
TIMES = 5  # in a row, after which a file does not count any more


class WatchedChanges:
    """The files that changed after each restart. Called by one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ended = float("-inf")
        self._last: frozenset[str] = frozenset()  # the files for which services were restarted last
        self._counts: dict[str, int] = {}
        self._ignored: set[str] = set()

    def select(self, paths: set[str]) -> tuple[set[str], set[str]]:
        """Returns the changed files that count, and those that did until now."""
        soon = self._clock() - self._ended <= AFTER_SECONDS
        self._counts = {path: self._counts.get(path, 0) + 1 for path in paths & self._last} if soon else {}
        new = {path for path, count in self._counts.items() if count >= TIMES} - self._ignored
        self._ignored |= new
        return paths - self._ignored, new

    def note_restart(self, paths: set[str]) -> None:
        """Notes that services have been restarted because of these files."""
        self._last, self._ended = frozenset(paths), self._clock()

    def forget(self) -> None:
        """Lets all files count again."""
        self._counts, self._last = {}, frozenset()
        self._ignored.clear()
