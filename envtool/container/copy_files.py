"""Copies files and trees inside a container. pid 1 copies as root, and others wrote the files that it reads."""

from __future__ import annotations

import os
import stat


def copy_file(source: str, target: str, mode: int, most: int = 1 << 62) -> None:
    """Copy a regular file with its holes: only data takes memory. Raises OSError for anything but a regular file, and
    for one with more than `most` bytes of data.
    """
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        info = os.fstat(reading)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(22, "Not a regular file", source)
        with open(target, "xb", buffering=0) as copy:
            position = written = 0
            while 0 <= (position := _next_data(reading, position)) < info.st_size:
                chunk = memoryview(os.pread(reading, min(1 << 20, info.st_size - position), position))
                if not chunk:
                    break
                while chunk:
                    count = os.pwrite(copy.fileno(), chunk, position)
                    chunk, position, written = chunk[count:], position + count, written + count
                if written > most:
                    raise OSError(27, f"More than {most >> 20} MiB", source)
            os.ftruncate(copy.fileno(), info.st_size)
            os.fchmod(copy.fileno(), mode)
    finally:
        os.close(reading)


def _next_data(descriptor: int, position: int) -> int:
    """Returns the position of the next data, or -1 where only a hole follows."""
    try:
        return os.lseek(descriptor, position, os.SEEK_DATA)
    except OSError:  # ENXIO
        return -1


def copy_into_view(source: str, target: str) -> None:
    """Copy a file of the root, or a directory with all in it, into the view. What the project already has there stays;
    a new file or directory gets the owner of the directory that it is in."""
    pending = [(source, target)] if os.path.isdir(os.path.dirname(target)) else []
    while pending:
        source, target = pending.pop()
        if not os.path.lexists(source):  # the build made none
            continue
        mode = os.lstat(source).st_mode
        exists = os.path.lexists(target)
        if stat.S_ISDIR(mode):
            if not exists:
                os.mkdir(target)
            if not exists or stat.S_ISDIR(os.lstat(target).st_mode):
                pending += ((f"{source}/{name}", f"{target}/{name}") for name in os.listdir(source))
        elif not exists and stat.S_ISLNK(mode):
            os.symlink(os.readlink(source), target)
        elif not exists and stat.S_ISREG(mode):
            copy_file(source, target, stat.S_IMODE(mode) & 0o777)
        if not exists and os.path.lexists(target):
            _inherit_owner(target)


def _inherit_owner(path: str) -> None:
    owner = os.stat(os.path.dirname(path))
    try:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    except OSError:  # with a single id everything is that id's
        pass
