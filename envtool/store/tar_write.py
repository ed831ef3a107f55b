"""Writes tar headers: POSIX ustar, with a PAX header for values that ustar cannot hold (pax(1), POSIX.1-2017; OCI image
spec, layer.md). Python's tarfile is not used: it takes ten times as long as sha256 over the same bytes."""

from __future__ import annotations

from collections.abc import Mapping

BLOCK = 512
END = bytes(2 * BLOCK)
REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCKDEV, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
MAX_ID = 0o7777777
MAX_SIZE = 0o77777777777
_MAGIC = b"ustar\x0000" + bytes(64)  # no user and group names: ids alone mean something inside
_SPACES = sum(b" " * 8) + sum(_MAGIC)


def header(
    name: bytes,
    kind: bytes,
    *,
    mode: int,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    xattrs: Mapping[bytes, bytes] | None = None,
) -> bytes:
    """Returns the header block of one member, after its PAX header where one is needed.

    Names are bytes as the kernel has them, directories end in `/`; `size` bytes, `mtime` whole seconds >= 0.
    """
    records: dict[bytes, bytes] = {}
    if len(name) > 100 or not name.isascii():
        records[b"path"] = name
    if len(link) > 100 or not link.isascii():
        records[b"linkpath"] = link
    if uid > MAX_ID:
        records[b"uid"] = b"%d" % uid
        uid = 0
    if gid > MAX_ID:
        records[b"gid"] = b"%d" % gid
        gid = 0
    size_field = size
    if size > MAX_SIZE:
        records[b"size"] = b"%d" % size
        size_field = 0
    if mtime > MAX_SIZE:
        records[b"mtime"] = b"%d" % mtime
        mtime = 0
    for key, value in (xattrs or {}).items():
        records[b"SCHILY.xattr." + key] = value
    block = _block(name[:100], kind, mode, uid, gid, size_field, mtime, link[:100], device)
    if not records:
        return block
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    extended = _block(b"PaxHeaders/" + name[:80], b"x", 0o644, 0, 0, len(body), 0, b"", (0, 0))
    return extended + body + padding(len(body)) + block


def padding(size: int) -> bytes:
    """Returns the zeros that follow `size` bytes of content."""
    return bytes(-size % BLOCK)


def _block(
    name: bytes, kind: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, link: bytes, device: tuple[int, int]
) -> bytes:
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, mtime)
    devices = b"%07o\0%07o\0" % device
    # zeros add nothing to the sum, so only the other fields are summed
    checksum = sum(name) + sum(numbers) + kind[0] + sum(link) + sum(devices) + _SPACES
    return b"".join((
        name.ljust(100, b"\0"),
        numbers,
        b"%06o\0 " % checksum,
        kind,
        link.ljust(100, b"\0"),
        _MAGIC,
        devices,
        bytes(167),
    ))  # fmt: skip


def _record(key: bytes, value: bytes) -> bytes:
    # "LENGTH KEY=VALUE\n", where LENGTH counts itself
    length_without_digits = len(key) + len(value) + 3
    length = length_without_digits + len(str(length_without_digits))
    length = length_without_digits + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)
