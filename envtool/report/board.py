"""What is running now, kept from events: the state behind the live and the plain display."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envtool.events import Event, Finished, Output, Progress, Started

if TYPE_CHECKING:
    from envtool.report.counts import Counter


@dataclass(slots=True, kw_only=True)
class Piece:
    """One piece of work under way."""

    started: Started
    done: int = 0
    total: int = 0
    note: str = ""
    counter: Counter | None = None  # of a task's tests, as soon as it has printed something
    announced: bool = False


@dataclass(slots=True)
class Board:
    """The pieces under way, in order of their start, and how long finished fetches took by name."""

    pieces: dict[str, Piece] = field(default_factory=dict)
    fetched: dict[str, float] = field(default_factory=dict)
    tasks: int = 0  # started so far

    def apply(self, event: Event) -> Piece | None:
        """Follow an event; returns the piece it belongs to (also the one that just ended), None for strangers."""
        if isinstance(event, Started):
            self.tasks += event.subject == "task"
            self.pieces[event.id] = Piece(started=event, total=event.total)
            return self.pieces[event.id]
        if isinstance(event, Finished):
            if event.subject == "fetch":
                self.fetched[event.name] = event.seconds
            return self.pieces.pop(event.id, None)
        piece = self.pieces.get(event.id)
        if piece and isinstance(event, Progress):
            piece.done, piece.total, piece.note = event.done, event.total or piece.total, event.note
        elif piece and isinstance(event, Output) and piece.started.subject == "task":
            _count(piece, event.text)
        return piece


def _count(piece: Piece, text: str) -> None:
    if piece.counter is None:
        from envtool.report.counts import Counter  # a run in which nothing is run does without

        piece.counter = Counter()
    piece.counter.feed(text)
