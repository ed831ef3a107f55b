"""Messages between a container and its supervisor, as bytes: a row of whole numbers and texts, and nothing else.

A message is one byte (how many values), then for each "i" and 8 bytes (signed, little-endian), or "s", 4 bytes (how
many follow) and UTF-8. Reading one, even a hostile one, makes nothing but such values, in time of its length.
"""

from __future__ import annotations

_MAX_VALUES = 8  # values


def pack(*values: int | str) -> bytes:
    """Raises OverflowError for a number beyond 64 bits, ValueError for more values than a message holds."""
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
    """What `pack` was given. Raises ValueError for anything that it never wrote."""
    values: list[int | str] = []
    if not data or data[0] > _MAX_VALUES:
        raise ValueError("not a message")
    at = 1
    for _ in range(data[0]):
        kind, at = data[at : at + 1], at + 1
        size = 8 if kind == b"i" else int.from_bytes(data[at : at + 4], "little")
        at += 0 if kind == b"i" else 4
        piece, at = bytes(data[at : at + size]), at + size
        if at > len(data) or kind not in (b"i", b"s"):
            raise ValueError("not a message")
        values.append(
            int.from_bytes(piece, "little", signed=True) if kind == b"i" else str(piece, "utf-8", "surrogatepass")
        )
    if at != len(data):
        raise ValueError("not a message")
    return tuple(values)
