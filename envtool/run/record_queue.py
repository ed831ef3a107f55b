"""Records the tasks of one run after they have ended, in batches, beside those that still run.

What a task is recorded with (the project's files, this machine's) must not have changed from before its start to after
its end. A look at all of them that begins after several tasks have ended serves each of those tasks: unchanged since
before a task began, and now, is unchanged while it ran (decision 0159). For 200 trivial tasks one look for each of
them took 4 ms, and two calls of git.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from envtool.errors import Interrupted
from envtool.project import source_files
from envtool.run.host_state import ComparedStates
from envtool.run.prepared_task import take_snapshot
from envtool.run.result_cache import NotCacheable

if TYPE_CHECKING:
    from envtool.build.context import Context
    from envtool.project.snapshot import Snapshot

T = TypeVar("T")

# From the beginning of one batch to that of the next: a look takes some 20 ms of processor time. The pause doubles with
# each batch, so that a short run is recorded soon, and a long one does not look forty times.
BATCH_SECONDS, MOST_SECONDS = 0.25, 1.0
FEW = 20  # tasks of a batch that is not worth another look; what is left for the end of the run, nothing runs beside


class Moment:
    """What is read once for all tasks of a batch, at the first question: the tasks have ended by then."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._snapshot: Snapshot | NotCacheable | None = None
        self._sees_git: bool | None = None
        self._hidden: tuple[str, ...] | None = None
        self.machine = ComparedStates()

    def snapshot(self) -> Snapshot:
        """Returns the state of the project. Raises NotCacheable if there is none, Interrupted."""
        if self._snapshot is None:
            try:
                self._snapshot = take_snapshot(self._context)
            except NotCacheable as error:
                self._snapshot = error
        if isinstance(self._snapshot, NotCacheable):
            raise NotCacheable(self._snapshot.reason)
        return self._snapshot

    def sees_git(self) -> bool:
        """Returns whether a task of the project sees a git directory. Raises EnvtoolError."""
        if self._sees_git is None:
            self._sees_git = source_files.sees_git(self._context.root)
        return self._sees_git

    def appeared(self, hidden: tuple[str, ...]) -> str:
        """Returns a path that git ignores now and that was not `hidden` from a task; empty if there is none. Raises
        EnvtoolError, Interrupted."""
        if self._hidden is None:
            self._hidden = source_files.list_hidden(self._context.root, self._context.cancel.reader)
        known = {*hidden}
        tops = tuple(f"{path}/" for path in hidden)
        return next((path for path in self._hidden if path not in known and not path.startswith(tops)), "")


class RecordQueue(Generic[T]):
    """Calls the functions that record tasks, in one thread, which starts with the first of them. `keep` gets what they
    return, but for None. `expected` is the number of tasks in the run: half of those that are left make a batch, too.
    """

    def __init__(self, context: Context, keep: Callable[[T], None], expected: int = 0) -> None:
        self._context, self._keep, self._left = context, keep, expected
        self._changed = threading.Condition()
        self._waiting: list[Callable[[Moment], T | None]] = []
        self._wanted = 1  # the thread is woken when so many tasks wait
        self._ending = False
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def add(self, record: Callable[[Moment], T | None]) -> None:
        """Adds a task, which has ended. Called by any thread."""
        with self._changed:
            self._waiting.append(record)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="records", daemon=True)
                self._thread.start()
            elif len(self._waiting) >= self._wanted:
                self._changed.notify()

    def finish(self) -> None:
        """Waits until all tasks are recorded; those that an interrupt keeps from it are left out. Raises the first
        error of another sort."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        next_batch, pause = 0.0, BATCH_SECONDS
        while batch := self._next_batch(next_batch):
            next_batch = time.monotonic() + pause
            pause = max(pause, min(2 * pause, MOST_SECONDS))
            moment = Moment(self._context)
            for record in batch:
                try:
                    if (cached := record(moment)) is not None:
                        self._keep(cached)
                except Interrupted:
                    pass
                except BaseException as error:
                    self._error = self._error or error

    def _next_batch(self, begins: float) -> list[Callable[[Moment], T | None]]:
        """Waits for tasks, and returns all that wait; none at the end. It `begins` then at the earliest, on the
        monotonic clock, unless enough of them wait, or the run ends."""
        with self._changed:
            self._wait_for(1, None)
            if (pause := begins - time.monotonic()) > 0:
                self._wait_for(max(FEW, self._left // 2) if self._left else sys.maxsize, pause)
            batch, self._waiting = self._waiting, []
            self._left = max(0, self._left - len(batch))
            return batch

    def _wait_for(self, tasks: int, seconds: float | None) -> None:
        self._wanted = tasks
        self._changed.wait_for(lambda: self._ending or len(self._waiting) >= tasks, seconds)
