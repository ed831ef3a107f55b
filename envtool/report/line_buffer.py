"""Output of several tasks or builds on one screen: whole lines, each with a prefix that names its origin."""

from __future__ import annotations

from envtool.report.text import sanitize

MAX_LINE_LENGTH = 1 << 17  # characters: a longer line is broken here


class LineBuffer:
    """Joins pieces of output into whole lines, by id, and makes control sequences harmless."""

    def __init__(self, *, color: bool) -> None:
        self._color = color
        self._partial: dict[str, str] = {}

    def feed(self, id: str, text: str, prefix: str) -> str:  # noqa: A002 - the events' own word
        """Returns the lines that `text` completes, each with its prefix and a newline at its end; "" for none."""
        lines, newline, partial = (self._partial.pop(id, "") + text).rpartition("\n")
        if len(partial) > MAX_LINE_LENGTH:
            lines, newline, partial = lines + newline + partial, "\n", ""
        if partial:
            self._partial[id] = partial
        return self._lines(lines, prefix) if newline else ""

    def end(self, id: str, prefix: str) -> str:  # noqa: A002
        """Returns the last line of output that ended without a newline; "" for none."""
        partial = self._partial.pop(id, "")
        return self._lines(partial, prefix) if partial else ""

    def _lines(self, text: str, prefix: str) -> str:
        return "".join(f"{prefix}{line}\n" for line in sanitize(text, color=self._color).split("\n"))
