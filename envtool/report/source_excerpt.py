"""A Problem as text: where, what is wrong, the source line with carets, and the hint."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from envtool.report.width import count_cells, truncate_cells

if TYPE_CHECKING:
    from envtool.errors import Problem

COLUMNS = 100  # columns of the source line that are shown around the problem, if the screen has so many


def explain(problem: Problem, columns: int = 0) -> str:
    """Returns plain text without a final newline and without control characters. The source line and its carets are at
    most `columns` wide (0: COLUMNS, plus the line number).

        envtool.yaml:14:17: error: unknown layer `pyton`
         14 │     layers: [pyton, deps]
            │              ^^^^^ did you mean `python`? (envtool.yaml:6)

    Without a source line, or if it does not fit beside the carets, the hint has a line of its own.
    """
    first_line = f"{problem.where}: error: {visible(problem.message)}"
    hint = visible(problem.hint)
    if not problem.text.strip():
        return f"{first_line}\n  {hint}" if hint else first_line
    number = str(problem.where.line)
    gutter = f" {' ' * len(number)} │ "
    available = max(8, min(COLUMNS, columns - len(gutter))) if columns else COLUMNS
    start = min(problem.where.column - 1, len(problem.text))
    width = max(0, min(problem.width, len(problem.text) - start))
    before, marked, after = _window(problem.text, start, width, available)
    source_line = f" {number} │ {before}{marked}{after}".rstrip()
    if not width and not hint:
        return f"{first_line}\n{source_line}"
    carets = "^" * max(1, count_cells(marked)) if width else ""
    pointer = f"{gutter}{' ' * count_cells(before)}{carets}" if width else gutter.rstrip()
    hint_fits = not columns or count_cells(pointer) + 1 + count_cells(hint) <= columns
    return f"{first_line}\n{source_line}\n{pointer}{' ' if hint_fits else chr(10) + '  '}{hint}".rstrip()


def visible(text: str) -> str:
    """Returns `text` on one line, with `·` for control characters and for those that change the writing direction."""
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\t", " ")
    return "".join("·" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)


def _window(text: str, start: int, width: int, available: int) -> tuple[str, str, str]:
    """Returns the texts before, in and after the marked part, in at most `available` columns together; `…` replaces
    text that was left out."""
    before, marked, after = (
        visible(part) for part in (text[:start], text[start : start + width], text[start + width :])
    )
    if count_cells(before + marked + after) <= available:
        return before, marked, after
    max_before = max(available // 3, available - count_cells(marked + after))
    if count_cells(before) > max_before:
        before = "…" + truncate_cells(before[::-1], max_before - 1)[::-1]
    available -= count_cells(before)
    if count_cells(marked + after) <= available:
        return before, marked, after
    if count_cells(marked) >= available:
        return before, truncate_cells(marked, available - 1) + "…", ""
    return before, marked, truncate_cells(after, available - count_cells(marked) - 1) + "…"
