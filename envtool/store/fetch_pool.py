"""Runs transfers in parallel, in daemon threads, and emits their progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager
from typing import TypeVar

from envtool import net
from envtool.errors import Interrupted
from envtool.events import Emit, Progress

Item = TypeVar("Item")
Answer = TypeVar("Answer")

EVENT_INTERVAL = 0.1  # seconds between two events
POLL_INTERVAL = 0.05  # seconds between two checks for a failure or a cancel
GRACE = 0.3  # seconds that transfers have to end after a failure or a cancel


class ProgressMeter:
    """Counts the bytes and files of all transfers together, and emits Progress at most ten times a second. `sizes` are
    in bytes, 0 for a file of unknown size."""

    def __init__(self, emit: Emit, event_id: str, phase: str, sizes: Sequence[int]) -> None:
        self._emit, self._id, self._phase = emit, event_id, phase
        self._total, self._of = sum(sizes), len(sizes)
        self._lock = threading.Lock()
        self._done = self._count = 0
        self._last_event = 0.0

    def add(self, count: int) -> None:
        """Counts bytes."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._last_event < EVENT_INTERVAL:
                return
            self._last_event = now
            self._emit_progress()

    @contextmanager
    def transfer(self) -> Iterator[Callable[[int], None]]:
        """Yields a function that counts bytes of one transfer; they are taken back if the transfer fails."""
        received = 0

        def add(count: int) -> None:
            nonlocal received
            received += count
            self.add(count)

        try:
            yield add
        except BaseException:
            self.add(-received)
            raise

    def count_file(self) -> None:
        """Counts one file that is complete."""
        with self._lock:
            self._count += 1

    def end(self) -> None:
        """Emits the last Progress."""
        with self._lock:
            self._emit_progress()

    def _emit_progress(self) -> None:
        total = max(self._total, self._done) if self._total else 0  # 0: no size is known
        self._emit(
            Progress(id=self._id, done=self._done, total=total, phase=self._phase, count=self._count, of=self._of)
        )


class TransferPool:
    """Transfers that stop together: at the first failure, or when `cancel` returns True."""

    def __init__(self, jobs: int, cancel: net.Cancelled | None, *, grace: float = GRACE) -> None:
        self._jobs, self._cancel, self._grace = jobs, cancel, grace
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def is_cancelled(self) -> bool:
        """Whether transfers are to stop."""
        return self._stop.is_set() or (self._cancel is not None and self._cancel())

    def run(self, items: Sequence[Item], transfer: Callable[[Item], Answer]) -> list[Answer]:
        """Calls `transfer` with each item, and returns the answers in the order of the items. Raises the first error of
        a transfer, else Interrupted."""
        answers: dict[int, Answer] = {}
        queue = iter(enumerate(items))

        def work_off_queue() -> None:
            try:
                while not self.is_cancelled():
                    with self._lock:
                        index, item = next(queue, (-1, None))
                    if item is None:
                        return
                    answers[index] = transfer(item)
            finally:
                net.close_session()

        running = [_start_daemon_thread(work_off_queue) for _ in range(min(self._jobs, len(items)))]
        try:
            while wait(running, timeout=POLL_INTERVAL, return_when=FIRST_EXCEPTION).not_done:
                if self.is_cancelled() or any(future.done() and future.exception() for future in running):
                    break
        finally:
            self._stop.set()
            wait(running, timeout=self._grace)
        # the first error that is a cause: threads that were stopped raise Interrupted
        errors = [error for future in running if future.done() and (error := future.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, Interrupted)):
            raise error
        if len(answers) < len(items):
            raise Interrupted
        return [answers[index] for index in range(len(items))]


def _start_daemon_thread(work: Callable[[], None]) -> Future[None]:
    """Runs `work` in a daemon thread: a thread that waits for a dead server must not delay the end of the program."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, name="fetch", daemon=True).start()
    return future
