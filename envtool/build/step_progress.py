"""Counts how far a step in a container is, in shared memory.

A `Call` (api.Call) runs in a child that is forked from this process, and shares this memory; programs that it executes
do not. Each item has one byte, which container/step_functions.py sets to 1: processes that count in parallel need no
lock, and a process in the container can change nothing but the count.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from envtool.events import Emit, Progress
from envtool.lazy_dataclass import dataclass

UPDATE_INTERVAL = 0.2  # seconds between two events


@dataclass(frozen=True, slots=True, eq=False)
class StepProgress:
    """Which of `of` items are done."""

    memory: mmap.mmap
    of: int
    phase: str

    @classmethod
    def make(cls, of: int, phase: str) -> StepProgress:
        """Returns a counter at which nothing is done."""
        return cls(mmap.mmap(-1, of), of, phase)

    def done(self) -> int:
        """How many items are done."""
        return self.of - self.memory[: self.of].count(0)


@contextmanager
def report_progress(
    counters: list[StepProgress], emit: Emit, event_id: str, after: Callable[[], Progress]
) -> Iterator[None]:
    """Emits the progress of the counters, one after the other, while the context lasts; once all items are done, emits
    what `after` returns."""
    if not counters:
        emit(after())
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        for counter in counters:
            while (done := counter.done()) < counter.of:
                emit(Progress(id=event_id, phase=counter.phase, count=done, of=counter.of))
                if ended.wait(UPDATE_INTERVAL):
                    return
        emit(after())

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for counter in counters:
            counter.memory.close()
