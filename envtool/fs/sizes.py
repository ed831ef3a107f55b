"""Sizes as people and protocols write them. Imports next to nothing: it is there when outputs are collected.

All that is measured is told in powers of 1000 (kB, MB, GB), as indexes, registries and `df -H` tell it: two numbers
that are shown can be compared. Limits are told as one would write them (2GiB). Both can be written.
"""

from __future__ import annotations

import re

MAX_SIZE = 1 << 60  # bytes: more is a slip, and no file system has it
# Digits are counted before they are read: Python refuses an int of 5000 digits, and a float of 400 is infinite.
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int | None:
    """Bytes of `20GB`, `512MiB`, `1.5 g`, `0`; None for anything else, and for more than an EiB."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    number, unit, binary = found.groups()
    size = int(float(number) * (1024 if binary else 1000) ** _POWER[(unit or "").lower()])
    return size if size <= MAX_SIZE else None


def natural(text: str | bytes, most: int = MAX_SIZE) -> int | None:
    """A whole number in ASCII digits, as protocols write them; None for anything else, and for more than `most`."""
    if not 0 < len(text) < 25 or not text.isascii() or not text.isdigit():
        return None
    number = int(text)
    return number if number <= most else None


def format_size(size: int) -> str:
    """Bytes as all that is measured is told, in powers of 1000: `812 B`, `4.1 MB`, `41 MB`."""
    if size < 1000:
        return f"{size} B"
    amount, units = size / 1000, iter("kMGTPE")
    unit = next(units)
    while amount >= 999.5 and unit != "E":
        amount, unit = amount / 1000, next(units)
    return f"{amount:.1f} {unit}B" if amount < 9.95 else f"{amount:.0f} {unit}B"


def format_limit(size: int) -> str:
    """A limit as one would write it, in whichever unit it is whole: `2 GiB`, `1500 kB`."""
    units = [(1024**power, f"{letter}iB") for power, letter in enumerate("KMGTPE", 1)]
    units += [(1000**power, f"{letter}B") for power, letter in enumerate("kMGTPE", 1)]
    whole = [(size // factor, unit) for factor, unit in units if size and size % factor == 0]
    number, unit = min(whole, default=(size, "B"))
    return f"{number} {unit}"
