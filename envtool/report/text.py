"""Text of others, made safe to show and fitted to a screen; numbers, made short. Pure, but for `columns`.

What a task prints is not trusted: its control sequences could rewrite what is above, set the window's title or
read the clipboard. SGR (colours), newlines and tabs pass; all else is dropped or made visible. The grammar is
ECMA-48 section 5.4 and 8.3.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from envtool.report.width import count_cells, truncate_cells

if TYPE_CHECKING:
    from typing import TextIO

_STRING = r"[\]PX^_][^\x07\x1b\n]{0,4096}"  # OSC, DCS, SOS, PM, APC: bounded, so that an unended one hides little
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
    if code in (0x07, 0x08):  # bells and backspaces carry nothing to read
        return ""
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"<U+{code:04X}>"


def _strip_controls(text: str, *, color: bool) -> str:
    """`text` without any sequence but SGR (without that too, unless `color`); other controls made visible."""
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
    """Whole output of others as it may be shown: progress lines rewritten by `CR` come down to their last state.

    With `color`, every line that sets a colour ends with a reset, so that nothing bleeds into ours.
    """
    lines: list[str] = []
    for line in text.split("\n"):
        states = [state for state in line.split("\r") if state]
        shown = _strip_controls(states[-1] if states else "", color=color)
        lines.append(shown + _RESET if "\x1b" in shown and not shown.endswith(_RESET) else shown)
    return "\n".join(lines)


class LiveSanitizer:
    """Output of others shown as it comes, in pieces that may end anywhere: inside a line or a control sequence."""

    def __init__(self, *, color: bool) -> None:
        self._color = color
        self._held = ""

    def feed(self, text: str) -> str:
        """What may be written to a terminal now. A bare `CR` rewrites its own line and nothing else."""
        text = self._held + text
        unfinished = _UNFINISHED.search(text, max(0, len(text) - 4200))
        self._held = unfinished[0] if unfinished else ""
        text = text[: unfinished.start()] if unfinished else text
        states = text.replace("\r\n", "\n").split("\r")
        return "\r\x1b[K".join(_strip_controls(state, color=self._color) for state in states)


def one_line(text: str) -> str:
    """Names, details and messages of others on one safe line without colours."""
    return _strip_controls(text.replace("\n", " ").replace("\r", " "), color=False)


def strip_colors(text: str) -> str:
    """Our own text without its colours."""
    return _SGR.sub("", text)


def visible_width(text: str) -> int:
    """Columns that `text` takes (wide characters two, colours and accents none)."""
    return count_cells(strip_colors(text))


def terminal_columns(file: TextIO) -> int:
    """How wide the terminal is that a stream leads to (COLUMNS, where that says so); 0 where it leads to none."""
    try:
        return _parse_columns(os.environ.get("COLUMNS", "")) or os.get_terminal_size(file.fileno()).columns
    except (OSError, ValueError):  # no terminal, or no descriptor
        return 0


def _parse_columns(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0


def pad(text: str, columns: int) -> str:
    """`text` filled up with spaces to `columns`; at least one space follows it."""
    return text + " " * max(1, columns - visible_width(text))


def clip(text: str, columns: int) -> str:
    """As much of the beginning of a text without colours as fits into `columns`, `…` where some is left out."""
    if visible_width(text) <= columns:
        return text
    return truncate_cells(text, columns - 1) + "…" if columns > 0 else ""


def some(text: str, columns: int) -> str:
    """As many whole words of the beginning as fit, `…` where some are left out: no number is cut, and none stands
    without its unit. Of the first word as much as there is room for, where it is no number."""
    if visible_width(text) <= columns:
        return text
    shown = ""
    for word in _WORD.findall(text):
        if visible_width(f"{shown} {word} …".lstrip()) > columns:
            break
        shown = f"{shown} {word}".lstrip()
    return f"{shown} …" if shown else "" if text[:1].isdigit() else clip(text, columns)


def elide_middle(text: str, columns: int) -> str:
    """The same with its middle left out: names are told apart by their ends as often as by their beginnings."""
    if visible_width(text) <= columns:
        return text
    if columns < 2:
        return "…"[:columns]
    end = truncate_cells(text[::-1], (columns - 1) // 2)[::-1]
    return f"{truncate_cells(text, columns - 1 - visible_width(end))}…{end}"


_LABEL = re.compile(r"( *)\S+(?: \S+)? {2,}(?=\S)")
_WORD = re.compile(r"`[^`\n]*`\S*|[+-]?\d[\d.]* [kMGT]?B\b\S*|\S+")  # a size and its unit are one


def wrap(text: str, columns: int, *, indent: str = "") -> str:
    """Prose in lines of no more than `columns` (0: as it is), broken at blanks alone and never inside `…`: what is to
    be typed stays in one piece. Further lines of each line begin with `indent`, and with the blanks that it does."""
    if not columns:
        return text
    return "\n".join(_wrap_line(line, columns, indent) for line in text.split("\n"))


def _wrap_line(line: str, columns: int, indent: str) -> str:
    if visible_width(line) <= columns:
        return line
    margin = line[: len(line) - len(line.lstrip(" "))]
    lines, current, end = [], margin, len(margin)
    for found in _WORD.finditer(line):
        word, blanks = found[0], line[end : found.start()] or " "
        end = found.end()
        if current.strip() and visible_width(current) + len(blanks) + visible_width(word) > columns:
            lines.append(current)
            current = f"{margin}{indent}{word}"
        else:
            current += f"{blanks}{word}" if current.strip() else word
    return "\n".join([*lines, current])


def fit_lines(text: str, columns: int, *, indent: int = 4) -> str:
    """Lines of ours in no more than `columns` (0: as they are): what is too wide is broken at blanks, further lines
    deeper by `indent`, or below what follows a label and two blanks, and a word that has no room, a path mostly, loses
    its middle. What is to be typed is whole."""
    if not columns:
        return text
    lines: list[str] = []
    for line in text.split("\n"):
        if visible_width(line) <= columns:
            lines.append(line)
            continue
        label = _LABEL.match(strip_colors(line))
        deep = indent
        if label and visible_width(label[0]) <= columns // 3:  # what belongs to it stands below it
            deep = visible_width(label[0]) - visible_width(label[1])
        room = columns - deep - (len(line) - len(line.lstrip(" ")))
        words = (
            word if "`" in word or visible_width(word) <= room else elide_middle(strip_colors(word), max(room, 1))
            for word in re.split(r"(`[^`\n]*`\S*|\s+)", line)
        )
        lines.append(wrap("".join(words), columns, indent=" " * deep))
    return "\n".join(lines)


def format_seconds(value: float) -> str:
    """A duration: "2.4s", "1m15s", "1h02m"."""
    if value < 59.95:
        return f"{max(value, 0.0):.1f}s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"
