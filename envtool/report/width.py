"""The columns that a text takes in a terminal: the one measure for all of envtool. Imports next to nothing."""

from __future__ import annotations

from unicodedata import category, east_asian_width


def count_cells(text: str) -> int:
    """Returns the columns of a text without control sequences: two for a wide character; none for accents, joiners and
    selectors."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def truncate_cells(text: str, columns: int) -> str:
    """Returns the beginning of a text that fits into `columns`."""
    if text.isascii():
        return text[: max(0, columns)]
    width = 0
    for index, character in enumerate(text):
        width += _cells_of(character)
        if width > columns:
            return text[:index]
    return text


def _cells_of(character: str) -> int:
    if character < "\x7f" or character == "\xad":  # terminals show a soft hyphen
        return 1
    if category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1
