"""Output of several pieces of work on one screen: whole lines, each with the name of whose it is."""

from __future__ import annotations

from envtool.report.text import sanitize

MAX_LINE_LENGTH = 1 << 17  # characters: a line that has more and goes on is broken here


class LineBuffer:
    """Gathers pieces of output to whole lines, by id. Control sequences are made harmless."""

    def __init__(self, *, color: bool) -> None:
        self._color = color
        self._open: dict[str, str] = {}

    def feed(self, id: str, text: str, prefix: str) -> str:  # noqa: A002 - the events' own word
        """The lines that `text` completes, ready to be written (each ends with a newline), or nothing."""
        whole, newline, rest = (self._open.pop(id, "") + text).rpartition("\n")
        if len(rest) > MAX_LINE_LENGTH:
            whole, newline, rest = whole + newline + rest, "\n", ""
        if rest:
            self._open[id] = rest
        return self._lines(whole, prefix) if newline else ""

    def end(self, id: str, prefix: str) -> str:  # noqa: A002
        """What is left of a piece that ended without a newline."""
        rest = self._open.pop(id, "")
        return self._lines(rest, prefix) if rest else ""

    def _lines(self, text: str, prefix: str) -> str:
        return "".join(f"{prefix}{line}\n" for line in sanitize(text, color=self._color).split("\n"))
