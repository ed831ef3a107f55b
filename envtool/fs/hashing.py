"""Hashes of files that may be large, which can be stopped on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import BinaryIO

CHUNK_SIZE = 1 << 20


def sha256_of_file(file: BinaryIO, check: Callable[[], None] | None = None) -> str:
    """The sha256, in hex, of what is left of an open file. `check` is called every MiB and may raise."""
    state = hashlib.sha256()
    piece = memoryview(bytearray(CHUNK_SIZE))
    while count := file.readinto(piece):  # type: ignore[attr-defined]
        if check is not None:
            check()
        state.update(piece[:count])
    return state.hexdigest()
