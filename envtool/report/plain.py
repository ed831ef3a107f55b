"""The display for pipes, CI, dumb terminals and -q, without moving lines: one line when a piece of work ends, and one
when it has been running for ANNOUNCE_SECONDS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from envtool.events import Attempted, Event, Finished, Learned, Noted, Output
from envtool.report import formatting
from envtool.report.line_buffer import LineBuffer
from envtool.report.progress import ProgressState
from envtool.report.text import terminal_columns, wrap

if TYPE_CHECKING:
    from envtool.report.progress import Readers

ANNOUNCE_SECONDS = 2.0  # seconds after which a running piece is announced


class Plain:
    """Verbosity -1: failures only; 0: also what was built and run; 1: also all output as it comes."""

    def __init__(self, file: TextIO, *, style: formatting.Style, verbosity: int = 0, readers: Readers = ()) -> None:
        self._file = file
        self._style = style
        self._verbosity = verbosity
        self._state = ProgressState(readers=readers, complain=self.say)
        self._line_buffer = LineBuffer(color=style.color)
        self.shown: set[tuple[str, str]] = set()  # (env, task) whose whole output is on the screen

    def event(self, event: Event) -> None:
        """Updates the state and writes the lines of the event."""
        piece = self._state.apply(event)
        if isinstance(event, Output) and piece and self._verbosity > 0:
            self._write(self._line_buffer.feed(event.id, event.text, self._prefix(event.id)))
        elif isinstance(event, Noted) and self._verbosity >= 0:
            self.say(formatting.format_note(event))
        elif isinstance(event, Attempted):
            if self._verbosity > 0 and piece:
                self._write(self._line_buffer.end(event.id, self._prefix(event.id)))
            if self._verbosity >= 0:
                self.say(formatting.format_attempted(event))
        elif isinstance(event, Learned):
            head, policy = formatting.format_learned(event)
            self.say(head)
            self._write(f"{policy}\n" if policy else "")
        elif isinstance(event, Finished):
            if self._verbosity > 0:
                if piece:
                    self._state.pieces[event.id] = piece
                    self._write(self._line_buffer.end(event.id, self._prefix(event.id)))
                    del self._state.pieces[event.id]
                self.shown.add((event.env, event.name))
            if formatting.is_worth_showing(event, self._verbosity):
                fetched = self._state.fetch_seconds(event)
                columns = self._columns()
                layout = self._state.layout(columns)
                line = formatting.format_finished(
                    event, piece, fetched=fetched, style=self._style, columns=columns, layout=layout
                )
                self._write(line + "\n")
                if self._verbosity > 0 and (usage := formatting.format_usage(event)):
                    self._write(f"   {usage}\n")

    def tick(self, now: float) -> bool:
        """Announces work that takes long; True while there is work that was not announced."""
        if self._verbosity < 0:
            return False
        waiting = [piece for piece in self._state.pieces.values() if not piece.announced]
        for piece in waiting:
            if now - piece.started.time >= ANNOUNCE_SECONDS:
                piece.announced = True
                self._write(
                    self._style.glyphs(
                        formatting.format_started(piece, self._columns(), self._state.layout(self._columns()))
                    )
                    + "\n"
                )
        return any(not piece.announced for piece in waiting)

    def say(self, text: str, *, over: bool = False) -> None:
        """Writes a message between other lines. Called by the stream's thread. `over`: see Terminal.say."""
        begin = "\r" if over and self._file.isatty() else ""
        self._write(f"{begin}{wrap(text, self._columns(), indent='  ')}\n")

    def close(self) -> None:
        """Does nothing: there is no state of a terminal to restore."""

    def _columns(self) -> int:
        """Returns the columns of the terminal; 0 if the file is none: lines of a log are not wrapped."""
        return terminal_columns(self._file) if self._file.isatty() else 0

    def _prefix(self, id: str) -> str:  # noqa: A002 - the events' own word
        several = self._state.tasks > 1 or len(self._state.pieces) > 1
        return formatting.format_prefix(self._state.pieces[id], style=self._style) if several else ""

    def _write(self, text: str) -> None:
        if text:
            self._file.write(text)
            self._file.flush()
