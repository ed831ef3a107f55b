"""Sizes as people and protocols write them. Imports next to nothing: it is there when outputs are collected."""

from __future__ import annotations

import re

LARGEST = 1 << 60  # bytes: more is a slip, and no file system has it
# Digits are counted before they are read: Python refuses an int of 5000 digits, and a float of 400 is infinite.
_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse(text: str) -> int | None:
    """Bytes of `20GB`, `512MiB`, `1.5 g`, `0`; None for anything else, and for more than an EiB."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    number, unit, binary = found.groups()
    size = int(float(number) * (1024 if binary else 1000) ** _POWER[(unit or "").lower()])
    return size if size <= LARGEST else None


def natural(text: str | bytes, most: int = LARGEST) -> int | None:
    """A whole number in ASCII digits, as protocols write them; None for anything else, and for more than `most`."""
    if not 0 < len(text) < 25 or not text.isascii() or not text.isdigit():
        return None
    number = int(text)
    return number if number <= most else None


def said(size: int) -> str:
    """A size in binary units: `2 GiB`, `1.5 TiB`."""
    amount, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.1f}".removesuffix(".0") + f" {unit}"
