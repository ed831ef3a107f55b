"""Files outside the store, written for their owner: there whole and synced, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


@contextmanager
def written(target: str) -> Iterator[IO[bytes]]:
    """A file that takes its place by one rename, 0644 whatever the umask, in a directory that is made where it is not.
    Raises OSError."""
    parent, name = os.path.split(target)
    if not os.path.isdir(parent):
        directory(parent)
    mine = os.path.join(parent, f".{name}.{os.getpid()}.new")
    try:
        with open(mine, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.chmod(mine, 0o644)
        own(mine)
        os.rename(mine, target)
    except BaseException:
        if os.path.exists(mine):
            os.unlink(mine)
        raise


def directory(path: str) -> None:
    """Make a directory, and those above it, 0755 whatever the umask; one that is there stays as it is. Raises
    OSError."""
    if not path or os.path.isdir(path):
        return
    directory(os.path.dirname(path))
    try:
        os.mkdir(path)
    except FileExistsError:  # made by another meanwhile
        return
    os.chmod(path, 0o755)
    own(path)


def own(path: str) -> None:
    """Give what root has just made in somebody's checkout to whom the directory belongs."""
    if os.geteuid() == 0:
        owner = os.stat(os.path.dirname(path) or ".")
        os.chown(path, owner.st_uid, owner.st_gid)
