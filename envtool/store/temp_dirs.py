"""Makes directories below tmp/ that are removed after the end of their owner: the owner holds a flock on each, so a
free lock tells that the owner is dead."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

from envtool.fs import removal
from envtool.store import locks
from envtool.store.store import Store

REMOVAL_SUFFIX = ".going"  # end of the name of a directory that is being removed
AT_ONCE = 64  # directories that a sweep holds at once, with a descriptor each
MIN_BYTES, MIN_INODES = 64 << 10, 8  # bytes and inodes that gc needs for its own files
_OTHER_KIND_ERRNOS = (errno.EISDIR, errno.ENOTDIR)
RemoveTree: TypeAlias = Callable[[str], None]  # removes a tree, also one that container ids own


@contextmanager
def temp_directory(store: Store, *, remove: RemoveTree | None = None, ending: str = "") -> Iterator[str]:
    """Yields a new directory (absolute path, mode 0755) on the store's file system. It is removed at the end, or by the
    next run's `sweep` when this process dies. Its name ends in `ending`. Raises OSError when the disk is full."""
    from envtool.store.locked_directory import create_locked  # verbs that look make none

    with removed_at_end(*create_locked(store.path("tmp"), ending), remove=remove) as path:
        yield path


@contextmanager
def removed_at_end(path: str, descriptor: int, *, remove: RemoveTree | None = None) -> Iterator[str]:
    """Yields a directory of `create_locked`, and removes it at the end."""
    try:
        yield path
    finally:
        try:
            remove_tree(path, remove)
        finally:
            os.close(descriptor)


def sweep(store: Store, *, remove: RemoveTree | None = None) -> int:
    """Removes the directories that crashed runs left in tmp/; returns their number. Costs a listdir when there is none.
    Each batch is renamed with REMOVAL_SUFFIX before the first of it is removed, so that other processes see it."""
    count = 0
    names = os.listdir(store.path("tmp"))
    for start in range(0, len(names), AT_ONCE):
        locked = _claimed(store, names[start : start + AT_ONCE])
        try:
            for path in locked.values():
                with suppress(OSError):  # a later sweep may succeed, and the directory does no harm
                    remove_tree(path, remove)
                    count += 1
        finally:
            for descriptor in locked:
                os.close(descriptor)
    return count


def _claimed(store: Store, names: list[str]) -> dict[int, str]:
    """Locks those of these names in tmp/ that nobody holds, and renames them with REMOVAL_SUFFIX. Returns the path by
    descriptor."""
    locked: dict[int, str] = {}
    for name in names:
        path = store.path("tmp", name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # gone meanwhile, or not made by envtool
            continue
        with suppress(OSError):
            # plain files (a store.json before its link) live for moments: after an hour their process is dead
            is_new = os.path.isfile(path) and os.fstat(descriptor).st_mtime > _an_hour_ago()
            if not is_new and locks.try_lock(descriptor):
                locked[descriptor] = _mark_for_removal(path)
        if descriptor not in locked:
            os.close(descriptor)
    return locked


def _mark_for_removal(path: str) -> str:
    """Renames a directory with REMOVAL_SUFFIX, so that other processes see that it is being removed. Returns its path.
    Raises OSError."""
    if path.endswith(REMOVAL_SUFFIX) or not os.path.isdir(path):
        return path
    os.rename(path, path + REMOVAL_SUFFIX)
    return path + REMOVAL_SUFFIX


def _an_hour_ago() -> float:
    import time

    return time.time() - 3600


def free_minimum(store: Store, *, remove: RemoveTree | None = None) -> None:
    """Frees the space for a lock and a directory, without which gc could not work on a full disk: removes what stopped
    runs left, then plans of the fast path, then partial downloads. All of them are made again."""
    if _has_minimum(store):
        return
    sweep(store, remove=remove)
    for parts in (("plans",), ("blobs", "partial")):
        if _has_minimum(store):
            return
        with suppress(OSError):
            for name in os.listdir(store.path(*parts)):
                with suppress(OSError):
                    os.unlink(store.path(*parts, name))


def _has_minimum(store: Store) -> bool:
    """Whether a few files can be written."""
    disk = os.statvfs(store.root)
    return disk.f_bavail * disk.f_frsize >= MIN_BYTES and (not disk.f_files or disk.f_favail >= MIN_INODES)


def move_into_place(path: str, target: str) -> None:
    """Renames a file or directory to `target`. An entry of the other kind at `target`, which a rename does not replace
    and only a damaged disk leaves there, is removed first. Raises OSError."""
    try:
        os.rename(path, target)
    except OSError as error:
        if error.errno not in _OTHER_KIND_ERRNOS or not os.path.lexists(target):
            raise
        remove_tree(target)
        os.rename(path, target)


def make_directory(path: str) -> None:
    """Makes a directory of the store, and those above it. A file at its path, which only a damaged disk leaves there,
    is removed; a directory never: another process may have made it at this moment. Raises OSError."""
    for _ in range(3):
        try:
            os.mkdir(path)
            os.chmod(path, 0o755)  # whatever the umask
        except FileNotFoundError:
            make_directory(os.path.dirname(path))
        except FileExistsError:
            with suppress(FileNotFoundError):  # removed by another process meanwhile
                if stat.S_ISDIR(os.lstat(path).st_mode):
                    return
                os.unlink(path)
        else:
            return
    raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


def remove_tree(path: str, remove: RemoveTree | None = None) -> None:
    """Removes a tree or file, with this process's rights where they are enough, else by `remove`. A missing path is no
    error. Raises OSError when neither can remove it."""
    try:
        removal.remove_tree(path)
    except OSError:
        if remove is None:
            raise
        remove(path)
        removal.remove_tree(path)  # the top belongs to this user: container root may only have emptied it
