"""Files of a tree, copied in a container: pid 1 is root there, and what it meets was written by others."""

from __future__ import annotations

import os
import stat


def copy_file(source: str, target: str, mode: int, most: int = 1 << 62) -> None:
    """Copy a regular file, holes and all: only what is data takes memory. Raises OSError for all that is none, and for
    more than `most` bytes."""
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        found = os.fstat(reading)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(22, "Not a regular file", source)
        with open(target, "xb", buffering=0) as copy:
            at = written = 0
            while 0 <= (at := _next_data(reading, at)) < found.st_size:
                piece = memoryview(os.pread(reading, min(1 << 20, found.st_size - at), at))
                if not piece:
                    break
                while piece:
                    count = os.pwrite(copy.fileno(), piece, at)
                    piece, at, written = piece[count:], at + count, written + count
                if written > most:
                    raise OSError(27, f"More than {most >> 20} MiB", source)
            os.ftruncate(copy.fileno(), found.st_size)
            os.fchmod(copy.fileno(), mode)
    finally:
        os.close(reading)


def _next_data(descriptor: int, at: int) -> int:
    """Where the next data is; -1 where only a hole follows."""
    try:
        return os.lseek(descriptor, at, os.SEEK_DATA)
    except OSError:  # ENXIO
        return -1
