"""Reads how much space the store may take and how much it must leave free, from two variables and statvfs(3)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from envtool.errors import StoreError
from envtool.fs import sizes
from envtool.store.store import Store

KEEP_FREE_VARIABLE = "ENVTOOL_KEEP_FREE"
SIZE_VARIABLE = "ENVTOOL_STORE_SIZE"
# kept free where the variable is not set: a twentieth of the disk, at most 2 GB
DEFAULT_FREE_SHARE, MAX_DEFAULT_FREE = 0.05, 2_000_000_000
NEARLY_FULL = 32 << 20  # bytes: with less free, a full disk may be why a command failed
_AGE = re.compile(r"(?:([0-9]{1,9})w)?(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")
_UNITS = (7 * 86400, 86400, 3600, 60, 1)


def parse_age(text: str) -> float | None:
    """Returns the seconds of `30d`, `2w`, `12h`, `1d12h`, `0s`; None for anything else."""
    match = _AGE.fullmatch(text.strip())
    if match is None or not text.strip():
        return None
    return float(sum(int(count or 0) * unit for count, unit in zip(match.groups(), _UNITS, strict=True)))


def keep_free(total: int, environ: Mapping[str, str]) -> int:
    """Returns the bytes that stay free on a disk of `total` bytes. Raises StoreError where the variable is neither a
    size nor a share."""
    value = environ.get(KEEP_FREE_VARIABLE, "").strip()
    if not value:
        return min(int(total * DEFAULT_FREE_SHARE), MAX_DEFAULT_FREE)
    if value.endswith("%"):
        number = sizes.parse_size(value[:-1])
        if number is not None and number <= 100:
            return total * number // 100
    elif (number := sizes.parse_size(value)) is not None:
        return number
    raise StoreError(
        f"{KEEP_FREE_VARIABLE} is `{value}`: say a size (2GB), a share (5%), or 0 for never", code="store-variable"
    )


def size_limit(environ: Mapping[str, str]) -> int | None:
    """Returns the bytes that the store may take; None where there is no limit. Raises StoreError."""
    value = environ.get(SIZE_VARIABLE, "").strip()
    if not value:
        return None
    number = sizes.parse_size(value)
    if number is None:
        raise StoreError(f"{SIZE_VARIABLE} is `{value}`: say a size, as in 20GB", code="store-variable")
    return number


def free_space(store: Store) -> tuple[int, int]:
    """Returns the bytes that this user may still write, and the size of the disk in bytes."""
    disk = os.statvfs(store.root)
    return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize


def is_nearly_full(store: Store) -> bool:
    """Whether less than NEARLY_FULL bytes, or less than 1 % of the inodes, are free."""
    disk = os.statvfs(store.root)
    few_inodes = disk.f_files and disk.f_favail * 100 < disk.f_files
    return disk.f_bavail * disk.f_frsize < NEARLY_FULL or bool(few_inodes)


def missing_space(store: Store, environ: Mapping[str, str]) -> int:
    """Returns the bytes that gc has to free so that enough stays free; 0 where enough is free. Raises StoreError."""
    free, total = free_space(store)
    return max(0, keep_free(total, environ) - free)
