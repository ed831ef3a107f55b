"""Untrusted text made safe for a terminal, text fitted to a screen, and short numbers. Pure, except `terminal_columns`.

The output of a task is not trusted: its control sequences could rewrite earlier lines, set the window's title or read
the clipboard. SGR (colours), newlines and tabs pass; all else is dropped or made visible. The grammar is in ECMA-48,
sections 5.4 and 8.3.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from envtool.report.width import count_cells, truncate_cells

if TYPE_CHECKING:
    from typing import TextIO

_STRING = r"[\]PX^_][^\x07\x1b\n]{0,4096}"  # OSC, DCS, SOS, PM, APC: bounded, so that one without an end hides little
_SEQUENCE = re.compile(
    r"(?P<sgr>\x1b\[[0-9;:]*m)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI
    rf"|\x1b{_STRING}(?:\x07|\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\u200e\u200f]")
_SGR = re.compile(r"\x1b\[[0-9;:]*m")
_UNFINISHED = re.compile(rf"(?:\x1b(?:\[[0-?]*[ -/]*|{_STRING}\x1b?)?|\r)\Z")
_RESET = "\x1b[0m"


def _make_visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code in (0x07, 0x08):  # bells and backspaces have nothing to read
        return ""
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"<U+{code:04X}>"


def _strip_controls(text: str, *, color: bool) -> str:
    """Returns `text` without control sequences, except SGR with `color`, and with other control characters visible."""
    if text.isascii() and text.isprintable():
        return text
    parts: list[str] = []
    end = 0
    for match in _SEQUENCE.finditer(text):
        parts.append(_CONTROL.sub(_make_visible, text[end : match.start()]))
        if color and match["sgr"]:
            parts.append(match["sgr"])
        end = match.end()
    parts.append(_CONTROL.sub(_make_visible, text[end:]))
    return "".join(parts)


def sanitize(text: str, *, color: bool = False) -> str:
    """Returns a complete untrusted output, safe to show. Of a line that `CR` rewrites, the last state remains.

    With `color`, every line that sets a colour ends with a reset, so that no colour reaches the following lines.
    """
    lines: list[str] = []
    for line in text.split("\n"):
        states = [state for state in line.split("\r") if state]
        visible = _strip_controls(states[-1] if states else "", color=color)
        lines.append(visible + _RESET if "\x1b" in visible and not visible.endswith(_RESET) else visible)
    return "\n".join(lines)


class LiveSanitizer:
    """Makes untrusted output safe as it comes, in pieces that may end inside a line or a control sequence."""

    def __init__(self, *, color: bool) -> None:
        self._color = color
        self._held = ""

    def feed(self, text: str) -> str:
        """Returns the text to write to the terminal now. A bare `CR` rewrites its own line and nothing else."""
        text = self._held + text
        unfinished = _UNFINISHED.search(text, max(0, len(text) - 4200))
        self._held = unfinished[0] if unfinished else ""
        text = text[: unfinished.start()] if unfinished else text
        states = text.replace("\r\n", "\n").split("\r")
        return "\r\x1b[K".join(_strip_controls(state, color=self._color) for state in states)


def one_line(text: str) -> str:
    """Returns an untrusted name, detail or message as one safe line without colours."""
    if text.isascii() and text.isprintable():  # nearly all names: a plan of 5,000 layers has 20,000
        return text
    return _strip_controls(text.replace("\n", " ").replace("\r", " "), color=False)


def strip_colors(text: str) -> str:
    """Returns envtool's own text without its colours."""
    return _SGR.sub("", text) if "\x1b" in text else text


def visible_width(text: str) -> int:
    """Returns the columns that `text` takes: two for a wide character, none for colours and accents."""
    if text.isascii() and "\x1b" not in text:
        return len(text)
    return count_cells(strip_colors(text))


def terminal_columns(file: TextIO) -> int:
    """Returns the variable COLUMNS if it is a number, else the columns of the file's terminal; 0 without a terminal."""
    try:
        return _parse_columns(os.environ.get("COLUMNS", "")) or os.get_terminal_size(file.fileno()).columns
    except (OSError, ValueError):  # no terminal, or no descriptor
        return 0


def _parse_columns(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0


def pad(text: str, columns: int) -> str:
    """Returns `text` with spaces up to `columns`, and at least one space."""
    return text + " " * max(1, columns - visible_width(text))


def clip(text: str, columns: int) -> str:
    """Returns the beginning of a text without colours that fits into `columns`, with `…` if the rest was cut."""
    if visible_width(text) <= columns:
        return text
    return truncate_cells(text, columns - 1) + "…" if columns > 0 else ""


def clip_words(text: str, columns: int) -> str:
    """Returns the whole words of the beginning that fit into `columns`, with `…` if others were cut. A number is never
    cut, or separated from its unit. A first word that does not fit is cut, unless it is a number."""
    if visible_width(text) <= columns:
        return text
    kept_words = ""
    for word in _WORD.findall(text):
        if visible_width(f"{kept_words} {word} …".lstrip()) > columns:
            break
        kept_words = f"{kept_words} {word}".lstrip()
    return f"{kept_words} …" if kept_words else "" if text[:1].isdigit() else clip(text, columns)


def elide_middle(text: str, columns: int) -> str:
    """Returns a text without its middle, in at most `columns`: names often differ in their ends."""
    if visible_width(text) <= columns:
        return text
    if columns < 2:
        return "…"[:columns]
    end = truncate_cells(text[::-1], (columns - 1) // 2)[::-1]
    return f"{truncate_cells(text, columns - 1 - visible_width(end))}…{end}"


_LABEL = re.compile(r"( *)\S+(?: \S+)? {2,}(?=\S)")
_WORD = re.compile(r"`[^`\n]*`\S*|[+-]?\d[\d.]* [kMGT]?B\b\S*|\S+")  # a size and its unit are one word


def wrap(text: str, columns: int, *, indent: str = "") -> str:
    """Returns prose in lines of at most `columns` (0: unchanged), broken at blanks only, and never inside backticks: a
    command stays in one piece. Continued lines begin with the blanks of their line, then `indent`."""
    if not columns:
        return text
    return "\n".join(_wrap_line(line, columns, indent) for line in text.split("\n"))


def _wrap_line(line: str, columns: int, indent: str) -> str:
    if visible_width(line) <= columns:
        return line
    margin = line[: len(line) - len(line.lstrip(" "))]
    lines, current, end = [], margin, len(margin)
    for match in _WORD.finditer(line):
        word, blanks = match[0], line[end : match.start()] or " "
        end = match.end()
        if current.strip() and visible_width(current) + len(blanks) + visible_width(word) > columns:
            lines.append(current)
            current = f"{margin}{indent}{word}"
        else:
            current += f"{blanks}{word}" if current.strip() else word
    return "\n".join([*lines, current])


def fit_lines(text: str, columns: int, *, indent: int = 4) -> str:
    """Returns envtool's own lines in at most `columns` (0: unchanged).

    A line that is too wide is broken at blanks. Continued lines are indented by `indent`, or align with the text behind
    a label and two blanks. A word that is too wide, usually a path, loses its middle; text in backticks stays whole.
    """
    if not columns:
        return text
    lines: list[str] = []
    for line in text.split("\n"):
        if visible_width(line) <= columns:
            lines.append(line)
            continue
        label = _LABEL.match(strip_colors(line))
        depth = indent
        if label and visible_width(label[0]) <= columns // 3:  # align with the text behind the label
            depth = visible_width(label[0]) - visible_width(label[1])
        available = columns - depth - (len(line) - len(line.lstrip(" ")))
        words = (
            word
            if "`" in word or visible_width(word) <= available
            else elide_middle(strip_colors(word), max(available, 1))
            for word in re.split(r"(`[^`\n]*`\S*|\s+)", line)
        )
        lines.append(wrap("".join(words), columns, indent=" " * depth))
    return "\n".join(lines)


def format_seconds(value: float) -> str:
    """Returns a duration: "2.4s", "1m15s", "1h02m"."""
    if value < 59.95:
        return f"{max(value, 0.0):.1f}s"
    seconds = round(value)
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02}s"
    return f"{seconds // 3600}h{seconds % 3600 // 60:02}m"
