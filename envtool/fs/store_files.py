"""Reads the store's own files and writes its caches (plans, snapshots), whatever a disk or a person made of them.

A reader gets all of a regular file of a bounded size, or an OSError: never a link's target, a fifo without a writer, or
a terabyte of holes. Caches are marshal, since importing json takes longer than a warm start may. marshal believes every
length that it reads, so each cache has a CRC-32 before it, and nothing is unmarshalled whose sum differs. The sum is
against damage; only the store's owner can write the store, and so forge one. Imports next to nothing: it is on the warm
path.
"""

from __future__ import annotations

import binascii
import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_FILE_SIZE = 256 << 20  # bytes of a file that is read as a whole, unless its reader has another limit
_MAGIC = b"envtool\n"
_HEAD = len(_MAGIC) + 4 + 8  # then the CRC-32 of the value and its length, then the value, then the bulk
NO_FILE = (21, 22, 40, 6, 27)  # EISDIR, EINVAL, ELOOP, ENXIO, EFBIG: not a regular file, or too large
_TYPE, _REGULAR, _DIRECTORY = 0o170000, 0o100000, 0o040000
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def read_regular_file(path: str, *, most: int = MAX_FILE_SIZE, unseen: bool = False, follow: bool = False) -> bytes:
    """Returns all of a regular file of at most `most` bytes. `unseen`: its atime, which gc may go by, does not change.
    `follow`: follow links too, for a file of an image where `/` is the image. Raises OSError: ELOOP for a link, EISDIR
    for a directory, EINVAL for anything else but a regular file, EFBIG.
    """
    flags = _READ & ~os.O_NOFOLLOW if follow else _READ
    descriptor = os.open(path, flags | (os.O_NOATIME if unseen else 0))
    try:
        info = os.fstat(descriptor)
        if info.st_mode & _TYPE != _REGULAR:
            number = 21 if info.st_mode & _TYPE == _DIRECTORY else 22  # EISDIR, EINVAL
            raise OSError(number, os.strerror(21) if number == 21 else "Not a regular file", path)
        if info.st_size > most:
            raise OSError(27, f"Larger than {most >> 20} MiB", path)  # EFBIG
        data = os.read(descriptor, info.st_size)
        while len(data) < info.st_size and (more := os.read(descriptor, info.st_size - len(data))):
            data += more
        return data
    finally:
        os.close(descriptor)


def read_identity(path: str) -> tuple[int, int] | None:
    """Returns what tells a directory from one that stands in its place later; None where there is none. A file system
    may give the inode of a removed directory to the next one; the time of its last change, a rename among them,
    differs. Raises OSError.
    """
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return None
    return info.st_ino, info.st_ctime_ns


def encode_with_checksum(value: Any, bulk: bytes = b"") -> bytes:
    """Returns the bytes of a cache: a value with its sum, then `bulk`, without a sum since its reader compares it
    anyway.
    """
    data = marshal.dumps(value)
    return b"".join((_MAGIC, binascii.crc32(data).to_bytes(4, "big"), len(data).to_bytes(8, "big"), data, bulk))


def decode_with_checksum(data: bytes) -> tuple[Any, memoryview]:
    """Returns the value and the bulk. Raises ValueError for bytes that `encode_with_checksum` did not make."""
    view = memoryview(data)
    end = _HEAD + int.from_bytes(view[12:_HEAD], "big")
    value = view[_HEAD:end]
    if view[:8] != _MAGIC or end > len(view) or binascii.crc32(value) != int.from_bytes(view[8:12], "big"):
        raise ValueError("not a short cut, or a damaged one")
    return marshal.loads(value), view[end:]  # noqa: S302 - exactly what was written, and only the owner could


def replace_if_possible(path: str, data: bytes) -> None:
    """Replace a cache by one rename. Never raises OSError: on a full disk, or where the path cannot be replaced, only
    the next start is slower.
    """
    temporary = f"{path}.{os.urandom(4).hex()}"
    try:
        descriptor = os.open(temporary, _NEW, 0o600)
    except OSError:
        return
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            return
