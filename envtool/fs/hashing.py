"""Hashes files that may be large, and can be stopped on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import BinaryIO

CHUNK_SIZE = 1 << 20


def sha256_of_file(file: BinaryIO, check: Callable[[], None] | None = None) -> str:
    """Returns the sha256, in hex, of the rest of an open file. `check` is called every MiB and may raise."""
    state = hashlib.sha256()
    buffer = memoryview(bytearray(CHUNK_SIZE))
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        if check is not None:
            check()
        state.update(buffer[:count])
    return state.hexdigest()
