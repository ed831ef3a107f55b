"""Parses and formats sizes. Imports next to nothing: it is loaded when outputs are collected.

Measured sizes are formatted in powers of 1000 (kB, MB, GB), as by package indexes, registries and `df -H`, so that two
sizes on the screen can be compared. Limits are formatted as one would write them (2 GiB). Both forms can be parsed.
"""

from __future__ import annotations

import re

MAX_SIZE = 1 << 60  # bytes: a larger size is a mistake, and no file system has one
# The number of digits is limited: Python refuses an int of 5000 digits, and a float of 400 digits is infinite.
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int | None:
    """Returns the bytes of `20GB`, `512MiB`, `1.5 g`, `0`; None for any other text, and for more than an EiB."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    number, unit, binary = match.groups()
    size = int(float(number) * (1024 if binary else 1000) ** _POWER[(unit or "").lower()])
    return size if size <= MAX_SIZE else None


def natural(text: str | bytes, most: int = MAX_SIZE) -> int | None:
    """Returns a whole number in ASCII digits, as protocols have them; None for any other text, and for more than
    `most`.
    """
    if not 0 < len(text) < 25 or not text.isascii() or not text.isdigit():
        return None
    number = int(text)
    return number if number <= most else None


def format_size(size: int) -> str:
    """Returns a measured size as text, in powers of 1000: `812 B`, `4.1 MB`, `41 MB`."""
    if size < 1000:
        return f"{size} B"
    amount, units = size / 1000, iter("kMGTPE")
    unit = next(units)
    while amount >= 999.5 and unit != "E":
        amount, unit = amount / 1000, next(units)
    return f"{amount:.1f} {unit}B" if amount < 9.95 else f"{amount:.0f} {unit}B"


def format_limit(size: int) -> str:
    """Returns a limit as one would write it, in the largest unit in which it is whole: `2 GiB`, `1500 kB`."""
    units = [(1024**power, f"{letter}iB") for power, letter in enumerate("KMGTPE", 1)]
    units += [(1000**power, f"{letter}B") for power, letter in enumerate("kMGTPE", 1)]
    whole = [(size // factor, unit) for factor, unit in units if size and size % factor == 0]
    number, unit = min(whole, default=(size, "B"))
    return f"{number} {unit}"
