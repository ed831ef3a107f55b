"""How far a step is that runs in a container, as its processes count: memory that they share with us.

A `Call` (api.Call) runs in a child forked from here, and so has this memory as we do; what it executes has it no more.
It is one byte for each thing, so that processes that count side by side need no lock, and what is written there can
say nothing but how many are done.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from envtool.events import Emit, Progress

UPDATE_INTERVAL = 0.2  # seconds between two looks


@dataclass(frozen=True, slots=True, eq=False)
class StepProgress:
    """Which of `of` things are done."""

    memory: mmap.mmap
    of: int
    phase: str

    @classmethod
    def make(cls, of: int, phase: str) -> StepProgress:
        """One at which nothing is done yet."""
        return cls(mmap.mmap(-1, of), of, phase)

    def count(self, index: int) -> None:
        """One more is done."""
        if 0 <= index < self.of:
            self.memory[index] = 1

    def done(self) -> int:
        """How many."""
        return self.of - self.memory[: self.of].count(0)


@contextmanager
def report_progress(
    tallies: list[StepProgress], emit: Emit, event_id: str, after: Callable[[], Progress]
) -> Iterator[None]:
    """Say how far they are, one after the other, while the context lasts; once all is counted, what `after` says."""
    if not tallies:
        emit(after())
        yield
        return
    over = threading.Event()

    def watch() -> None:
        for tally in tallies:
            while (done := tally.done()) < tally.of:
                emit(Progress(id=event_id, phase=tally.phase, count=done, of=tally.of))
                if over.wait(UPDATE_INTERVAL):
                    return
        emit(after())

    thread = threading.Thread(target=watch, name="tally", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for tally in tallies:
            tally.memory.close()
