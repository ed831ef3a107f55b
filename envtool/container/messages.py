"""The wire format between a container and its supervisor: a message is a row of whole numbers and texts.

A message is one byte (the number of values), then for each value "i" and 8 bytes (signed, little-endian), or "s",
4 bytes (the length) and UTF-8. Reading a message, even a hostile one, makes nothing but such values, in time of its
length.
"""

from __future__ import annotations

import _socket
import sys

_MAX_VALUES = 8  # values


def pack(*values: int | str) -> bytes:
    """Returns the bytes of a message. Raises OverflowError for a number beyond 64 bits, ValueError for many values."""
    if len(values) > _MAX_VALUES:
        raise ValueError(f"a message holds {_MAX_VALUES} values, not {len(values)}")
    parts = [bytes((len(values),))]
    for value in values:
        if isinstance(value, int):
            parts += b"i", value.to_bytes(8, "little", signed=True)
        else:
            text = value.encode("utf-8", "surrogatepass")
            parts += b"s", len(text).to_bytes(4, "little"), text
    return b"".join(parts)


def unpack(data: bytes | bytearray) -> tuple[int | str, ...]:
    """Returns the values of a message. Raises ValueError for bytes that `pack` never wrote."""
    values: list[int | str] = []
    if not data or data[0] > _MAX_VALUES:
        raise ValueError("not a message")
    position = 1
    for _ in range(data[0]):
        kind, position = data[position : position + 1], position + 1
        size = 8 if kind == b"i" else int.from_bytes(data[position : position + 4], "little")
        position += 0 if kind == b"i" else 4
        content, position = bytes(data[position : position + size]), position + size
        if position > len(data) or kind not in (b"i", b"s"):
            raise ValueError("not a message")
        values.append(
            int.from_bytes(content, "little", signed=True) if kind == b"i" else str(content, "utf-8", "surrogatepass")
        )
    if position != len(data):
        raise ValueError("not a message")
    return tuple(values)


def parse_ancillary(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, list[int]]:
    """Returns the pid of the process that sent a message (0: unknown), and the descriptors that came with it."""
    sender, descriptors = 0, []
    for _, kind, data in ancillary:
        numbers = [
            int.from_bytes(data[position : position + 4], sys.byteorder) for position in range(0, len(data) - 3, 4)
        ]
        if kind == _socket.SCM_CREDENTIALS:
            sender = numbers[0]
        elif kind == _socket.SCM_RIGHTS:
            descriptors += numbers
    return sender, descriptors
