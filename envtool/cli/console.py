"""Finds out what the standard streams can show, and chooses the display."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from envtool.report import text
from envtool.report.formatting import MAX_RULE_WIDTH, Style

if TYPE_CHECKING:
    from envtool.cli.common_options import Color, Settings
    from envtool.report.plain import Plain
    from envtool.report.progress import Readers
    from envtool.report.terminal import Terminal


def detect_style(file: TextIO, color: Color) -> Style:
    """The style of a stream: colours by --color, else by NO_COLOR (no-color.org) and FORCE_COLOR, else only at a
    terminal; Unicode if the stream's encoding has the characters."""
    if color == "auto":
        if os.environ.get("NO_COLOR"):
            color_on = False
        elif os.environ.get("FORCE_COLOR"):
            color_on = True
        else:
            color_on = file.isatty() and os.environ.get("TERM") != "dumb"
    else:
        color_on = color == "always"
    try:
        "✓✗─━╌│├└⠋…".encode(file.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return Style(color=color_on, unicode=False)
    return Style(color=color_on)


def terminal_width(file: TextIO | None = None) -> int:
    """The columns of the terminal that a stream (None: standard error) is connected to; 0 for another stream, whose
    lines may be of any length."""
    file = file or sys.stderr
    return text.terminal_columns(file) if file.isatty() else 0


def fit_to_terminal(lines: str, file: TextIO | None = None) -> str:
    """A text in lines no wider than the terminal of a stream (None: standard output); unchanged for other streams."""
    return text.fit_lines(lines, terminal_width(file or sys.stdout))


def over() -> str:
    """The beginning of a line after an interrupt: at a terminal it overwrites the "^C" that the terminal echoed."""
    return "\r" if sys.stderr.isatty() else ""


def rule_width() -> int:
    """The width of a rule across the screen: MAX_RULE_WIDTH columns, or those of a narrower terminal."""
    return min(MAX_RULE_WIDTH, terminal_width() or MAX_RULE_WIDTH)


def make_display(settings: Settings, readers: Readers = ()) -> Terminal | Plain:
    """A display that redraws itself, for a terminal; plain lines for pipes, CI, dumb terminals, NO_COLOR and -q.
    `readers` count the tests of tasks."""
    environ = os.environ
    still = environ.get("CI") or environ.get("NO_COLOR") or environ.get("TERM") == "dumb" or settings.color == "never"
    style = detect_style(sys.stderr, settings.color)
    if sys.stderr.isatty() and not still and settings.verbosity >= 0:
        from envtool.report.terminal import Terminal

        return Terminal(sys.stderr, style=style, verbosity=settings.verbosity, readers=readers)
    from envtool.report.plain import Plain

    return Plain(sys.stderr, style=style, verbosity=settings.verbosity, readers=readers)
