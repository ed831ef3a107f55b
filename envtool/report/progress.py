"""What is running now, kept from events: the state behind the live and the plain display."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from envtool.events import Event, Finished, Output, Progress, Started
from envtool.report.columns import Layout
from envtool.report.text import one_line, sanitize, visible_width

TAIL_LENGTH = 4096  # characters of output kept for each piece: enough for its last line

if TYPE_CHECKING:
    from envtool.report.test_counts import RunnerCounter


@dataclass(slots=True, kw_only=True)
class RunningWork:
    """One piece of work under way."""

    started: Started
    done: int = 0
    total: int = 0
    count: int = 0
    of: int = 0
    phase: str = ""
    note: str = ""
    tail: str = ""
    counter: RunnerCounter | None = None  # of a task's tests, as soon as it has printed something
    announced: bool = False

    def apply_progress(self, event: Progress) -> None:
        """What is told last is what goes on: no number outlives its phase."""
        goes_on = event.phase in ("", self.phase)
        self.note, self.phase = event.note, event.phase or self.phase
        self.total = event.total or (self.total if goes_on else 0)
        self.done, self.count, self.of = event.done, event.count, event.of

    def feed_test_output(self, text: str) -> None:
        """Hear more of what a task prints."""
        if self.counter is None:
            from envtool.report.test_counts import RunnerCounter  # a run in which nothing is run does without

            self.counter = RunnerCounter()
        self.counter.feed(text)

    def last_line(self) -> str:
        """The last line of its output that has something on it, on one safe line."""
        lines = sanitize(self.tail).split("\n")
        return next((one_line(line).strip() for line in reversed(lines) if line.strip()), "")


def _name(event: Started) -> int:
    """Columns of a name with what it stands on."""
    return visible_width(f"{event.name} [{event.on}]" if event.on else event.name)


@dataclass(slots=True)
class ProgressState:
    """The pieces under way, in order of their start, and how long fetches took that ended, by name and `on`."""

    pieces: dict[str, RunningWork] = field(default_factory=dict)
    fetched: dict[tuple[str, str], float] = field(default_factory=dict)
    tasks: int = 0  # started so far
    widest: tuple[int, int, int] = (0, 0, 0)  # columns of the names started so far: of what is made, envs, tasks

    def layout(self, columns: int) -> Layout:
        """Where lines of ours have their columns, on a screen of so many."""
        return Layout.of(*self.widest, columns)

    def apply(self, event: Event) -> RunningWork | None:
        """Follow an event; returns the piece it belongs to (also the one that just ended), None for strangers."""
        if isinstance(event, Started):
            self.tasks += event.subject == "task"
            names = (
                (0, visible_width(event.env), visible_width(event.name))
                if event.subject == "task"
                else (_name(event), 0, 0)
            )
            self.widest = cast("tuple[int, int, int]", tuple(map(max, self.widest, names)))
            self.pieces[event.id] = RunningWork(started=event, total=event.total)
            return self.pieces[event.id]
        if isinstance(event, Finished):
            if event.subject == "fetch":
                self.fetched[event.name, event.on] = event.seconds
            return self.pieces.pop(event.id, None)
        piece = self.pieces.get(event.id)
        if piece and isinstance(event, Progress):
            piece.apply_progress(event)
        elif piece and isinstance(event, Output):
            piece.tail = (piece.tail + event.text)[-TAIL_LENGTH:]
            if piece.started.subject == "task":
                piece.feed_test_output(event.text)
        return piece

    def fetch_seconds(self, event: Finished) -> float | None:
        """Seconds that the files of a piece took that has ended; None where they were there, or it has none."""
        return None if event.subject in ("task", "fetch") else self.fetched.get((event.name, event.on))
