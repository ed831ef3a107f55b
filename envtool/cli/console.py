"""What the standard streams can show, and the display that suits them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from envtool.report import text
from envtool.report.formatting import MAX_RULE_WIDTH, Style

if TYPE_CHECKING:
    from envtool.cli.common_options import Color, Settings
    from envtool.report.plain import Plain
    from envtool.report.terminal import Terminal


def detect_style(file: TextIO, color: Color) -> Style:
    """Colours by --color, then NO_COLOR (no-color.org) and FORCE_COLOR, then by what the stream is."""
    if color == "auto":
        if os.environ.get("NO_COLOR"):
            wanted = False
        elif os.environ.get("FORCE_COLOR"):
            wanted = True
        else:
            wanted = file.isatty() and os.environ.get("TERM") != "dumb"
    else:
        wanted = color == "always"
    try:
        "✓✗─━╌│├└⠋…".encode(file.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return Style(color=wanted, unicode=False)
    return Style(color=wanted)


def terminal_width(file: TextIO | None = None) -> int:
    """Columns of the terminal that a stream leads to (None: standard error); 0 where it leads to none: lines of a log
    have no end."""
    file = file or sys.stderr
    return text.terminal_columns(file) if file.isatty() else 0


def fit_to_terminal(said: str, file: TextIO | None = None) -> str:
    """What a verb prints, no wider than the terminal that a stream leads to (None: standard output)."""
    return text.fit_lines(said, terminal_width(file or sys.stdout))


def over() -> str:
    """What begins a line of ours after an interrupt: at a terminal it is written over the "^C" that it echoed."""
    return "\r" if sys.stderr.isatty() else ""


def rule_width() -> int:
    """How wide a rule across the screen is: 62, or less where there is less."""
    return min(MAX_RULE_WIDTH, terminal_width() or MAX_RULE_WIDTH)


def make_display(settings: Settings) -> Terminal | Plain:
    """A moving display on a terminal; plain lines for pipes, CI, dumb terminals, NO_COLOR and -q."""
    environ = os.environ
    still = environ.get("CI") or environ.get("NO_COLOR") or environ.get("TERM") == "dumb" or settings.color == "never"
    shown = detect_style(sys.stderr, settings.color)
    if sys.stderr.isatty() and not still and settings.verbosity >= 0:
        from envtool.report.terminal import Terminal

        return Terminal(sys.stderr, style=shown, verbosity=settings.verbosity)
    from envtool.report.plain import Plain

    return Plain(sys.stderr, style=shown, verbosity=settings.verbosity)
