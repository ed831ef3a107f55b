"""How the store's own files are read and its short cuts written: here alone, whatever a disk or a hand made of them.

A reader gets a regular file of a bounded size, all of it, or an OSError: never a link's target, a fifo that nobody
writes to, or a terabyte of holes. Short cuts (plans, records of views) are marshal, since importing json takes longer
than a warm start may: marshal believes every length that it finds, so each has a CRC-32 before it, and nothing is
unmarshalled that has not the sum it was written with. That is against damage; who could forge one can write the store,
which is its owner alone. Imports next to nothing: it is on the warm path.
"""

from __future__ import annotations

import binascii
import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_FILE_SIZE = 256 << 20  # bytes of any one file that is read as a whole, unless its reader says otherwise
_MAGIC = b"envtool\n"
_HEAD = len(_MAGIC) + 4 + 8  # then the CRC-32 of the value and its length, then the value, then whatever follows it
NO_FILE = (21, 22, 40, 6, 27)  # EISDIR, EINVAL, ELOOP, ENXIO, EFBIG: what `read` says of what is no file, or too large
_TYPE, _REGULAR, _DIRECTORY = 0o170000, 0o100000, 0o040000
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def read_regular_file(path: str, *, most: int = MAX_FILE_SIZE, unseen: bool = False, follow: bool = False) -> bytes:
    """All of a regular file of at most `most` bytes. `unseen`: its atime, which gc may go by, stays. `follow`: links
    too, for a file of an image where `/` is the image. Raises OSError: ELOOP for a link, EISDIR for a directory, EINVAL
    for what else is no file, EFBIG."""
    flags = _READ & ~os.O_NOFOLLOW if follow else _READ
    descriptor = os.open(path, flags | (os.O_NOATIME if unseen else 0))
    try:
        found = os.fstat(descriptor)
        if found.st_mode & _TYPE != _REGULAR:
            number = 21 if found.st_mode & _TYPE == _DIRECTORY else 22  # EISDIR, EINVAL
            raise OSError(number, os.strerror(21) if number == 21 else "Not a regular file", path)
        if found.st_size > most:
            raise OSError(27, f"Larger than {most >> 20} MiB", path)  # EFBIG
        data = os.read(descriptor, found.st_size)
        while len(data) < found.st_size and (more := os.read(descriptor, found.st_size - len(data))):
            data += more
        return data
    finally:
        os.close(descriptor)


def encode_with_checksum(value: Any, bulk: bytes = b"") -> bytes:
    """The bytes of a short cut: a value, under its sum, and `bulk`, under none: for what is compared anyway."""
    data = marshal.dumps(value)
    return b"".join((_MAGIC, binascii.crc32(data).to_bytes(4, "big"), len(data).to_bytes(8, "big"), data, bulk))


def decode_with_checksum(data: bytes) -> tuple[Any, memoryview]:
    """What `seal` was given. Raises ValueError for whatever it did not make."""
    view = memoryview(data)
    end = _HEAD + int.from_bytes(view[12:_HEAD], "big")
    value = view[_HEAD:end]
    if view[:8] != _MAGIC or end > len(view) or binascii.crc32(value) != int.from_bytes(view[8:12], "big"):
        raise ValueError("not a short cut, or a damaged one")
    return marshal.loads(value), view[end:]  # noqa: S302 - exactly what was written, and only the owner could


def replace_if_possible(path: str, data: bytes) -> None:
    """Write a short cut in place of the one before, whole or not at all. Never raises OSError: on a full disk, or where
    something else stands in its place, the next start is slower, nothing else."""
    mine = f"{path}.{os.urandom(4).hex()}"
    try:
        descriptor = os.open(mine, _NEW, 0o600)
    except OSError:
        return
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)
        os.replace(mine, path)
    except OSError:
        try:
            os.unlink(mine)
        except OSError:
            return
