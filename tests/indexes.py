"""Index files as git would never write them (gitformat-index)."""

from __future__ import annotations

import hashlib
import struct


def index(
    *names: bytes, version: int = 2, mode: int = 0o100644, blob: bytes = b"\1" * 20, extensions: bytes = b""
) -> bytes:
    """One with these names, in the order given."""
    text = struct.pack(">4sII", b"DIRC", version, len(names))
    for name in names:
        entry = struct.pack(">10I", *[0] * 6, mode, 0, 0, 0)
        entry = struct.pack(">6I", *[0] * 6) + struct.pack(">I", mode) + struct.pack(">3I", 0, 0, 0)
        entry += blob + struct.pack(">H", min(len(name), 0xFFF)) + name
        text += entry + b"\0" * (8 - len(entry) % 8)
    text += extensions
    return text + hashlib.sha1(text, usedforsecurity=False).digest()


def v4(count: int, length: int) -> bytes:
    """Version 4, in which a few bytes an entry make names of `length` bytes each."""
    text = [struct.pack(">4sII", b"DIRC", 4, count)]
    for number in range(count):
        name = b"d/" * (length // 2) if not number else b""
        last = b"%08x" % number
        entry = struct.pack(">10I", *[0] * 6, 0o100644, 0, 0, 0) + b"\1" * 20 + struct.pack(">H", 0xFFF)
        text.append(entry + (b"\x08" if number else b"\0") + name + last + b"\0")
    data = b"".join(text)
    return data + hashlib.sha1(data, usedforsecurity=False).digest()
