"""The watches of this machine's files that all tasks of a run share (container/opened_files.py)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from envtool.container.runner import find_early_task

if TYPE_CHECKING:
    from envtool.build.context import RunScoped
    from envtool.container.opened_files import SharedWatch


def find_watch(trees: tuple[str, ...], shared: RunScoped) -> SharedWatch | None:
    """Returns the run's watch of these directories, which is made at the first call; None where they cannot be watched
    from outside: then each container watches its own."""
    return _of_run(shared).find(trees)


def close_watches(shared: RunScoped) -> None:
    """Ends all watches of a run. What a task that still runs opened is not known then."""
    _of_run(shared).close()


def _of_run(shared: RunScoped) -> _MachineWatches:
    return shared.get("machine watches", _MachineWatches)


class _MachineWatches:
    """One watch for each list of directories: a run has one, unless the machine changes meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: dict[tuple[str, ...], SharedWatch | None] = {}
        self._closed = False

    def find(self, trees: tuple[str, ...]) -> SharedWatch | None:
        """See `find_watch`."""
        from envtool.container.opened_files import SharedWatch

        with self._lock:
            if self._closed:
                return None
            if trees not in self._watches:
                early = find_early_task()
                try:
                    self._watches[trees] = (early.take_watch(trees) if early else None) or SharedWatch(trees)
                except OSError:
                    self._watches[trees] = None
            return self._watches[trees]

    def close(self) -> None:
        """Ends all watches."""
        with self._lock:
            self._closed = True
            for watch in self._watches.values():
                if watch is not None:
                    watch.close()
            self._watches.clear()
