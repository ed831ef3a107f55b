"""The submodules of a project that are not checked out: git leaves an empty directory for each (gitmodules(5))."""

from __future__ import annotations

import os
import re
import stat

from envtool.fs.beneath import open_beneath

_MAX_SIZE = 1 << 16  # bytes of .gitmodules that are read
_MOST = 50  # submodules that are looked at
_PATH = re.compile(rb"^\s*path\s*=\s*\"?([^\"\r\n]{1,400}?)\"?\s*$", re.MULTILINE)


def find_absent(root: str) -> tuple[str, ...]:
    """Returns the paths of submodules of the project whose directories are empty. What cannot be read is left out."""
    names = dict.fromkeys(os.fsdecode(name) for name in _PATH.findall(_read(root, ".gitmodules")))
    return tuple(name for name in [*names][:_MOST] if _is_empty(root, name))


def _read(root: str, path: str) -> bytes:
    try:
        descriptor = open_beneath(root, path, follow=False)
    except OSError:
        return b""
    try:
        return os.read(descriptor, _MAX_SIZE) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _is_empty(root: str, path: str) -> bool:
    try:
        descriptor = open_beneath(root, path, os.O_RDONLY | os.O_DIRECTORY, follow=False)
    except (OSError, ValueError):
        return False
    try:
        with os.scandir(descriptor) as entries:
            return next(entries, None) is None
    except OSError:
        return False
    finally:
        os.close(descriptor)
