"""How many columns of a terminal a text takes: the one measure of it. Imports next to nothing."""

from __future__ import annotations

from unicodedata import category, east_asian_width


def count_cells(text: str) -> int:
    """Columns of a text without control sequences: wide characters take two; accents, joiners and selectors none."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def truncate_cells(text: str, columns: int) -> str:
    """As much of the beginning as there is room for."""
    if text.isascii():
        return text[: max(0, columns)]
    taken = 0
    for index, character in enumerate(text):
        taken += _cells_of(character)
        if taken > columns:
            return text[:index]
    return text


def _cells_of(character: str) -> int:
    if character < "\x7f" or character == "\xad":  # a soft hyphen is shown
        return 1
    if category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1
