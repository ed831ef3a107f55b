"""Compares the names of packages. Pure."""

from __future__ import annotations

import re


def normalize_name(name: str) -> str:
    """Normalizes a name as registries do: case, `-`, `_` and `.` make no difference."""
    return re.sub(r"[-_.]+", "-", name).lower()
