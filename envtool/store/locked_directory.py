"""Makes a directory of tmp/ with its lock (temp_dirs.py). Imports next to nothing: what starts early needs one."""

from __future__ import annotations

import fcntl
import os


def create_locked(parent: str, ending: str = "") -> tuple[str, int]:
    """Returns the path of a new directory (mode 0755), and a descriptor that holds its lock: as long as that is open,
    no sweep removes the directory. Raises OSError."""
    while True:
        path = f"{parent}/{os.urandom(8).hex()}{ending}"
        os.mkdir(path)
        try:
            os.chmod(path, 0o755)
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # another process swept it between mkdir and open
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            if _is_same_directory(path, descriptor):
                return path, descriptor
        os.close(descriptor)  # another process swept it between open and flock


def _is_same_directory(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
