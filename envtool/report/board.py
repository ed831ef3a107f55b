"""What is running now, kept from events: the state behind the live and the plain display."""

from __future__ import annotations

from dataclasses import dataclass, field

from envtool.events import Event, Finished, Output, Progress, Started

TAIL = 4096  # characters of output kept for each piece: enough for a test tool's last line


@dataclass(slots=True, kw_only=True)
class Piece:
    """One piece of work under way."""

    started: Started
    done: int = 0
    total: int = 0
    note: str = ""
    tail: str = ""
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
        elif piece and isinstance(event, Output):
            piece.tail = (piece.tail + event.text)[-TAIL:]
        return piece
