"""How much room the store may take, and how much it has to leave: two variables, and what statvfs says."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from envtool.errors import StoreError
from envtool.fs import sizes
from envtool.store.store import Store

KEEP_FREE_VARIABLE = "ENVTOOL_KEEP_FREE"
SIZE_VARIABLE = "ENVTOOL_STORE_SIZE"
DEFAULT_FREE_SHARE, MAX_DEFAULT_FREE = (
    0.05,
    2_000_000_000,
)  # what is kept free when nothing was said: a twentieth of the disk, at most 2 GB
NEARLY_FULL = 32 << 20  # bytes: with less free, what failed may have failed for that
_AGE = re.compile(r"(?:([0-9]{1,9})w)?(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")
_UNITS = (7 * 86400, 86400, 3600, 60, 1)


def parse_age(text: str) -> float | None:
    """Seconds of `30d`, `2w`, `12h`, `1d12h`, `0s`; None for anything else."""
    found = _AGE.fullmatch(text.strip())
    if found is None or not text.strip():
        return None
    return float(sum(int(count or 0) * unit for count, unit in zip(found.groups(), _UNITS, strict=True)))


def keep_free(total: int, environ: Mapping[str, str]) -> int:
    """Bytes that stay free on a disk of `total`. Raises StoreError for a variable that says neither a size nor a
    share."""
    said = environ.get(KEEP_FREE_VARIABLE, "").strip()
    if not said:
        return min(int(total * DEFAULT_FREE_SHARE), MAX_DEFAULT_FREE)
    if said.endswith("%"):
        number = sizes.parse_size(said[:-1])
        if number is not None and number <= 100:
            return total * number // 100
    elif (number := sizes.parse_size(said)) is not None:
        return number
    raise StoreError(
        f"{KEEP_FREE_VARIABLE} is `{said}`: say a size (2GB), a share (5%), or 0 for never", code="store-variable"
    )


def size_limit(environ: Mapping[str, str]) -> int | None:
    """Bytes that the store may take, None: as many as there are. Raises StoreError."""
    said = environ.get(SIZE_VARIABLE, "").strip()
    if not said:
        return None
    number = sizes.parse_size(said)
    if number is None:
        raise StoreError(f"{SIZE_VARIABLE} is `{said}`: say a size, as in 20GB", code="store-variable")
    return number


def free_space(store: Store) -> tuple[int, int]:
    """(Bytes that may be written, bytes of the whole disk)."""
    found = os.statvfs(store.root)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def is_nearly_full(store: Store) -> bool:
    """Whether nothing but a little is left, in bytes or in names."""
    found = os.statvfs(store.root)
    names = found.f_files and found.f_favail * 100 < found.f_files
    return found.f_bavail * found.f_frsize < NEARLY_FULL or bool(names)


def missing_space(store: Store, environ: Mapping[str, str]) -> int:
    """Bytes that have to go so that enough stays free; 0 when it does. Raises StoreError."""
    here, total = free_space(store)
    return max(0, keep_free(total, environ) - here)
