"""Files with holes: written so that the holes stay, and summed as if there were none."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

from envtool.store.tar_read import TarMember

_POLYNOMIAL = 0xEDB88320


def write_content(descriptor: int, member: TarMember, content: Iterator[memoryview]) -> int:
    """Write a file's content, leaving its holes; the CRC-32 of all of it."""
    crc = 0
    if member.extents is None:
        for piece in content:
            crc = zlib.crc32(piece, crc)
            rest = piece
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        return crc
    at = 0
    extents = iter([*member.extents, (member.size, 0)])
    offset, length = next(extents)
    for stored in content:
        piece = stored
        while piece:
            while not length:
                offset, length = next(extents)
            crc, at = crc_with_zeros(crc, offset - at), offset
            part = piece[:length]
            part = part[: os.pwrite(descriptor, part, offset)]
            crc = zlib.crc32(part, crc)
            offset, length, at = offset + len(part), length - len(part), at + len(part)
            piece = piece[len(part) :]
    os.ftruncate(descriptor, member.size)
    return crc_with_zeros(crc, member.size - at)


def crc_with_zeros(crc: int, count: int) -> int:
    """The CRC-32 of what has `crc` with `count` zero bytes after it, in no time: a hole may be terabytes long."""
    if count <= 4096:
        return zlib.crc32(bytes(count), crc)
    power, factor = 1 << 31, 1 << 30  # x^0 and x^1
    bits = count * 8
    while bits:
        if bits & 1:
            power = _multiply(factor, power)
        factor = _multiply(factor, factor)
        bits >>= 1
    return _multiply(power, crc ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def _multiply(a: int, b: int) -> int:
    """Two polynomials modulo CRC-32's, their bits reversed: the highest is x^0."""
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product
