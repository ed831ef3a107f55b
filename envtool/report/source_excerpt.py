"""A Problem as text: what, where, the line with carets, what now."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from envtool.report.width import count_cells, truncate_cells

if TYPE_CHECKING:
    from envtool.errors import Problem

COLUMNS = 100  # of the source line that are shown, around the place, where the screen has so many


def explain(problem: Problem, columns: int = 0) -> str:
    """Plain text without a final newline; nothing in it can steer a terminal. The source line and the carets under it
    take no more than `columns` (0: COLUMNS, beside its number).

        envtool.yaml:14:17: error: unknown layer `pyton`
         14 │     layers: [pyton, deps]
            │              ^^^^^ did you mean `python`? (envtool.yaml:6)

    Without a source line, and where it has no room beside the carets, the hint follows on a line of its own.
    """
    head = f"{problem.where}: error: {visible(problem.message)}"
    hint = visible(problem.hint)
    if not problem.text.strip():
        return f"{head}\n  {hint}" if hint else head
    number = str(problem.where.line)
    gutter = f" {' ' * len(number)} │ "
    room = max(8, min(COLUMNS, columns - len(gutter))) if columns else COLUMNS
    start = min(problem.where.column - 1, len(problem.text))
    width = max(0, min(problem.width, len(problem.text) - start))
    before, marked, after = _window(problem.text, start, width, room)
    shown = f" {number} │ {before}{marked}{after}".rstrip()
    if not width and not hint:
        return f"{head}\n{shown}"
    carets = "^" * max(1, count_cells(marked)) if width else ""
    pointer = f"{gutter}{' ' * count_cells(before)}{carets}" if width else gutter.rstrip()
    beside = not columns or count_cells(pointer) + 1 + count_cells(hint) <= columns
    return f"{head}\n{shown}\n{pointer}{' ' if beside else chr(10) + '  '}{hint}".rstrip()


def visible(text: str) -> str:
    """`text` on one line: control characters, and those that turn the direction of writing, are shown as `·`."""
    if text.isascii() and text.isprintable():
        return text
    text = text.replace("\t", " ")
    return "".join("·" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)


def _window(text: str, start: int, width: int, room: int) -> tuple[str, str, str]:
    """What is before the marked place, the place, and what comes after it, in no more than `room` columns: of what
    has none the places are marked by `…`."""
    before, marked, after = (
        visible(part) for part in (text[:start], text[start : start + width], text[start + width :])
    )
    if count_cells(before + marked + after) <= room:
        return before, marked, after
    most = max(room // 3, room - count_cells(marked + after))
    if count_cells(before) > most:
        before = "…" + truncate_cells(before[::-1], most - 1)[::-1]
    room -= count_cells(before)
    if count_cells(marked + after) <= room:
        return before, marked, after
    if count_cells(marked) >= room:
        return before, truncate_cells(marked, room - 1) + "…", ""
    return before, marked, truncate_cells(after, room - count_cells(marked) - 1) + "…"
