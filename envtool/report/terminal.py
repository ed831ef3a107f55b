"""The live display: running work at the bottom, finished lines above it, the output of a single task as it comes.

rich draws it. It is imported only for work that lasts, so an unchanged run does not pay for it. The display has no
thread: the stream's ticks move the spinner.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

from envtool.events import Attempted, Event, Finished, Learned, Noted, Output, Started
from envtool.report import formatting
from envtool.report.formatting import MAX_RULE_WIDTH
from envtool.report.line_buffer import LineBuffer
from envtool.report.progress import ProgressState, RunningWork
from envtool.report.text import LiveSanitizer, one_line, terminal_columns, wrap

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from envtool.report.progress import Readers

RESERVED_COLUMNS = 2  # columns left free after moving lines: the terminal echoes "^C" there
MIN_LIVE_SECONDS = 0.15  # seconds before a running piece gets a moving line: a shorter one would flicker


class Terminal:
    """Writes to a terminal. Verbosity 1 shows all output as it comes."""

    def __init__(self, file: TextIO, *, style: formatting.Style, verbosity: int = 0, readers: Readers = ()) -> None:
        self._file = file
        self._style = style
        self._verbosity = verbosity
        self._state = ProgressState(readers=readers, complain=self.say)
        self._line_buffer = LineBuffer(color=style.color)
        self._live: Live | None = None
        self._console: Console | None = None
        self._lone_task = ""  # id of a task that runs alone: its output goes to the screen as it comes
        self._lone_text = LiveSanitizer(color=style.color)
        self._begun = False  # whether the lone task has printed something
        self._at_line_start = True  # whether the cursor is at the start of a line
        self.shown: set[tuple[str, str]] = set()  # (env, task) whose whole output is on the screen

    @property
    def columns(self) -> int:
        """The present width of the screen."""
        return terminal_columns(self._file) or 80

    def event(self, event: Event) -> None:
        """Updates the state and writes the lines of the event."""
        piece = self._state.apply(event)
        if isinstance(event, Started):
            self._start(event)
        elif isinstance(event, Output) and piece:
            self._output(event, piece)
        elif isinstance(event, Noted):
            self.say(formatting.format_note(event))
        elif isinstance(event, Attempted):
            if self._verbosity > 0 and piece and event.id != self._lone_task:
                self._lines(self._line_buffer.end(event.id, formatting.format_prefix(piece, style=self._style)))
            self.say(formatting.format_attempted(event))
        elif isinstance(event, Learned):
            head, policy = formatting.format_learned(event)
            self.say(head)
            if policy:
                self._print(policy)
        elif isinstance(event, Finished):
            self._finish(event, piece)

    def tick(self, now: float) -> bool:
        """Moves the spinners; True while something moves."""
        pieces = [] if self._lone_task and self._begun else list(self._state.pieces.values())
        if not pieces:
            self._stop_live()
        elif self._live or any(now - piece.started.time >= MIN_LIVE_SECONDS for piece in pieces):
            self._show_live(pieces, now)
        return bool(pieces)

    def say(self, text: str, *, over: bool = False) -> None:
        """Writes a message between other lines. Called by the stream's thread. `over`: overwrites what the terminal
        echoed ("^C") at the start of the line."""
        if over and self._at_line_start and not self._live:
            self._file.write("\r")
        self._print(wrap(text, self.columns, indent="  "))

    def close(self) -> None:
        """Restores the terminal: removes moving lines, shows the cursor at the start of a line."""
        self._stop_live()
        self._newline()

    def _start(self, event: Started) -> None:
        if event.subject == "task" and len(self._state.pieces) == 1:
            self._stop_live()
            self._lone_task, self._begun = event.id, False
            self._lone_text = LiveSanitizer(color=self._style.color)
        elif self._lone_task:  # not alone any more: its whole output is shown at the end if it fails
            self._lone_task = ""
            self._newline()

    def _output(self, event: Output, piece: RunningWork) -> None:
        if event.id == self._lone_task:
            if not self._begun:
                self._stop_live()
                start = piece.started
                title = f"{one_line(start.env)} {one_line(start.name)}"
                self._print(formatting.draw_rule(title, min(MAX_RULE_WIDTH, self.columns), style=self._style))
                self._begun = True
            text = self._lone_text.feed(event.text)
            if text:
                self._file.write(text)
                self._file.flush()
                self._at_line_start = text.endswith("\n")
        elif self._verbosity > 0:
            self._lines(
                self._line_buffer.feed(event.id, event.text, formatting.format_prefix(piece, style=self._style))
            )

    def _finish(self, event: Finished, piece: RunningWork | None) -> None:
        if event.id == self._lone_task:
            self._lone_task = ""
            self._newline()
            self.shown.add((event.env, event.name))
        elif self._verbosity > 0 and piece:
            self._lines(self._line_buffer.end(event.id, formatting.format_prefix(piece, style=self._style)))
        if formatting.is_worth_showing(event, self._verbosity):
            fetched = self._state.fetch_seconds(event)
            line = formatting.format_finished(event, piece, fetched=fetched, style=self._style, columns=self.columns,
                                  layout=self._state.layout(self.columns))  # fmt: skip
            self._print(line)
            if self._verbosity > 0 and (usage := formatting.format_usage(event)):
                self._print(f"   {usage}")

    def _lines(self, text: str) -> None:
        if text:
            self._print(text.removesuffix("\n"))

    def _print(self, text: str) -> None:
        """Writes finished lines above the moving ones."""
        self._newline()
        if self._live:
            from rich.text import Text

            # update first: rich draws its last lines again below the printed text
            self._live.update(self._render_running(list(self._state.pieces.values()), time.time()), refresh=True)
            self._live.console.print(Text.from_ansi(text), soft_wrap=True, highlight=False)
        else:
            self._file.write(text + "\n")
            self._file.flush()

    def _newline(self) -> None:
        if not self._at_line_start:
            self._file.write(("\x1b[0m" if self._style.color else "") + "\n")
            self._file.flush()
            self._at_line_start = True

    def _render_running(self, pieces: list[RunningWork], now: float) -> Text:
        from rich.text import Text

        assert self._console
        max_lines = max(1, self._console.size.height - 2)
        columns = self.columns - RESERVED_COLUMNS
        layout = self._state.layout(self.columns)
        lines = [
            formatting.format_running(piece, now, style=self._style, columns=columns, layout=layout)
            for piece in pieces[:max_lines]
        ]
        if len(pieces) > max_lines:
            lines[-1] = self._style.glyphs(f"   … and {len(pieces) - max_lines + 1} more")
        text = Text("\n", no_wrap=True, overflow="ellipsis").join(Text.from_ansi(line) for line in lines)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text

    def _show_live(self, pieces: list[RunningWork], now: float) -> None:
        from rich.console import Console
        from rich.live import Live

        if not self._console:
            self._console = Console(file=self._file, force_terminal=True, no_color=not self._style.color)
        if not self._live:
            self._newline()
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(self._render_running(pieces, now), refresh=True)

    def _stop_live(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None
