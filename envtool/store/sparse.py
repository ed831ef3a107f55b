"""Writes files with holes so that the holes stay, and computes the CRC-32 of their content with the holes as zeros."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

from envtool.store.tar_read import TarMember

_POLYNOMIAL = 0xEDB88320


def write_content(descriptor: int, member: TarMember, content: Iterator[memoryview]) -> int:
    """Writes a file's content without its holes; returns the CRC-32 of the whole content."""
    crc = 0
    if member.extents is None:
        for piece in content:
            crc = zlib.crc32(piece, crc)
            remaining = piece
            while remaining:
                remaining = remaining[os.write(descriptor, remaining) :]
        return crc
    at = 0
    extents = iter([*member.extents, (member.size, 0)])
    offset, length = next(extents)
    for chunk in content:
        piece = chunk
        while piece:
            while not length:
                offset, length = next(extents)
            crc, at = crc_with_zeros(crc, offset - at), offset
            written = piece[:length]
            written = written[: os.pwrite(descriptor, written, offset)]
            crc = zlib.crc32(written, crc)
            offset, length, at = offset + len(written), length - len(written), at + len(written)
            piece = piece[len(written) :]
    os.ftruncate(descriptor, member.size)
    return crc_with_zeros(crc, member.size - at)


def crc_with_zeros(crc: int, count: int) -> int:
    """Returns the CRC-32 of data with the CRC-32 `crc` and `count` zero bytes after it, in time that hardly depends on
    `count`: a hole may be terabytes long."""
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
    """Multiplies two polynomials modulo that of CRC-32, with reversed bits: the highest bit is x^0."""
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product
