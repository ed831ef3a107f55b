"""A Problem as text: what, where, the line with carets, what now."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envtool.errors import Problem

COLUMNS = 100  # of the source line that are shown, around the place


def explain(problem: Problem) -> str:
    """Plain text without a final newline; nothing in it can steer a terminal.

        envtool.yaml:14:17: error: unknown layer `pyton`
         14 │     layers: [pyton, deps]
            │              ^^^^^ did you mean `python`? (envtool.yaml:6)

    Without a source line the hint follows on a line of its own.
    """
    head = f"{problem.where}: error: {visible(problem.message)}"
    hint = visible(problem.hint)
    if not problem.text.strip():
        return f"{head}\n  {hint}" if hint else head
    start = min(problem.where.column - 1, len(problem.text))
    width = max(0, min(problem.width, len(problem.text) - start))
    line, start = _window(problem.text, start)
    before, marked = visible(line[:start]), visible(line[start : start + width])
    number = str(problem.where.line)
    shown = f" {number} │ {before}{visible(line[start:])}".rstrip()
    if not width and not hint:
        return f"{head}\n{shown}"
    carets = "^" * max(1, _cells(marked)) if width else ""
    gutter = f" {' ' * len(number)} │ "
    pointer = f"{gutter}{' ' * _cells(before)}{carets}" if width else gutter.rstrip()
    return f"{head}\n{shown}\n{pointer} {hint}".rstrip()


def visible(text: str) -> str:
    """`text` on one line: control characters, and those that turn the direction of writing, are shown as `·`."""
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\t", " ")
    return "".join("·" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)


def _window(text: str, start: int) -> tuple[str, int]:
    """The part of a long line around `start`, and where `start` is in it."""
    if len(text) <= COLUMNS:
        return text, start
    left = max(0, min(start - COLUMNS // 3, len(text) - COLUMNS))
    part = text[left : left + COLUMNS]
    if left + COLUMNS < len(text):
        part += "…"
    return ("…" + part, start - left + 1) if left else (part, start)


def _cells(text: str) -> int:
    """Columns that a terminal takes for it."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1 for c in text
    )
