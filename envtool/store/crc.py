"""CRC-32 (zlib's) of content with holes in it."""

from __future__ import annotations

import zlib

_POLYNOMIAL = 0xEDB88320


def zeros(crc: int, count: int) -> int:
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
