"""Directories below tmp/ that end with their owner: each is flocked, so a lock that can be had tells a dead one."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

from envtool.store import locks
from envtool.store.store import Store

REMOVAL_SUFFIX = ".going"  # end of the name of what is only there to be taken away
AT_ONCE = 64  # that are held by a descriptor each
MIN_BYTES, MIN_INODES = 64 << 10, 8  # bytes and inodes, with which something can be taken away
_OTHER_KIND_ERRNOS = (errno.EISDIR, errno.ENOTDIR)
RemoveTree: TypeAlias = Callable[[str], None]  # removes a tree, also one that container ids own


@contextmanager
def temp_directory(store: Store, *, remove: RemoveTree | None = None, ending: str = "") -> Iterator[str]:
    """A fresh directory (absolute path, mode 0755) on the store's file system, removed at the end, and by the next
    run's `sweep` when this process dies. Its name has the `ending`. Raises OSError when the disk is full."""
    path, descriptor = _create_locked(store, ending)
    try:
        yield path
    finally:
        try:
            remove_tree(path, remove)
        finally:
            os.close(descriptor)


def _create_locked(store: Store, ending: str) -> tuple[str, int]:
    while True:
        path = store.path("tmp", os.urandom(8).hex() + ending)
        os.mkdir(path)
        try:
            os.chmod(path, 0o755)
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # a sweeper came between mkdir and open
            continue
        if locks.try_lock(descriptor) and _is_same_directory(path, descriptor):
            return path, descriptor
        os.close(descriptor)  # the sweeper came between open and flock


def _is_same_directory(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def sweep(store: Store, *, remove: RemoveTree | None = None) -> int:
    """Remove what crashed runs left in tmp/; how many there were. Costs a listdir when there is nothing. All of it is
    named as going before the first of it goes: whoever looks meanwhile is told so of all."""
    gone = 0
    names = os.listdir(store.path("tmp"))
    for some in range(0, len(names), AT_ONCE):
        ours = _claimed(store, names[some : some + AT_ONCE])
        try:
            for path in ours.values():
                with suppress(OSError):  # what cannot be removed today may be tomorrow; it harms nobody
                    remove_tree(path, remove)
                    gone += 1
        finally:
            for descriptor in ours:
                os.close(descriptor)
    return gone


def _claimed(store: Store, names: list[str]) -> dict[int, str]:
    """What nobody holds of these names in tmp/, locked and named as going: path by descriptor."""
    ours: dict[int, str] = {}
    for name in names:
        path = store.path("tmp", name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # gone meanwhile, or nothing of ours
            continue
        with suppress(OSError):
            # plain files live for moments only (store.json's makings): an hour tells that nobody finishes them
            young = os.path.isfile(path) and os.fstat(descriptor).st_mtime > _an_hour_ago()
            if not young and locks.try_lock(descriptor):
                ours[descriptor] = _mark_for_removal(path)
        if descriptor not in ours:
            os.close(descriptor)
    return ours


def _mark_for_removal(path: str) -> str:
    """The path under which something is taken away from now on, so that whoever looks meanwhile can tell that. Raises
    OSError."""
    if path.endswith(REMOVAL_SUFFIX) or not os.path.isdir(path):
        return path
    os.rename(path, path + REMOVAL_SUFFIX)
    return path + REMOVAL_SUFFIX


def _an_hour_ago() -> float:
    import time

    return time.time() - 3600


def free_minimum(store: Store, *, remove: RemoveTree | None = None) -> None:
    """Have room for a lock and a directory, without which nothing could be taken away from a disk that is full: what
    stopped runs left goes, then short cuts and parts of files that were being fetched. They are made again."""
    if _has_minimum(store):
        return
    sweep(store, remove=remove)
    for room in (("plans",), ("blobs", "partial")):
        if _has_minimum(store):
            return
        with suppress(OSError):
            for name in os.listdir(store.path(*room)):
                with suppress(OSError):
                    os.unlink(store.path(*room, name))


def _has_minimum(store: Store) -> bool:
    """Whether a few files can be written."""
    found = os.statvfs(store.root)
    return found.f_bavail * found.f_frsize >= MIN_BYTES and (not found.f_files or found.f_favail >= MIN_INODES)


def move_into_place(made: str, target: str) -> None:
    """Rename a file or directory to its place. What a damaged disk has put there and no rename replaces (a directory
    where a file should be, or the other way round) is removed first. Raises OSError."""
    try:
        os.rename(made, target)
    except OSError as error:
        if error.errno not in _OTHER_KIND_ERRNOS or not os.path.lexists(target):
            raise
        remove_tree(target)
        os.rename(made, target)


def make_directory(path: str) -> None:
    """Have a directory of the store, and those above it. What a damaged disk has put there instead is removed, but
    never a directory: another may have made it, and put something into it, this very moment. Raises OSError."""
    for _ in range(3):
        try:
            os.mkdir(path)
            os.chmod(path, 0o755)  # whatever the umask
        except FileNotFoundError:
            make_directory(os.path.dirname(path))
        except FileExistsError:
            with suppress(FileNotFoundError):  # removed by another meanwhile
                if stat.S_ISDIR(os.lstat(path).st_mode):
                    return
                os.unlink(path)
        else:
            return
    raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


def remove_tree(path: str, remove: RemoveTree | None = None) -> None:
    """Remove a tree or file: by our own rights where they are enough, else by `remove`. Missing is fine.

    Raises OSError when neither can.
    """
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        if os.path.lexists(path):
            raise
    except OSError:
        if remove is None:
            raise
        remove(path)
        if os.path.lexists(path):  # the top belongs to us: container ids may have emptied it only
            shutil.rmtree(path)
