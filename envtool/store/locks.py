"""Takes advisory locks by name: flock(2) on `locks/<name>`.

A lock belongs to the open file, so it holds between threads of one process as between processes, and the kernel
releases it when its holder dies. Only `prune` unlinks lock files, while it holds their exclusive locks; a process that
had the file open already sees by its link count that it is gone, and opens the new one.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

from envtool.errors import Interrupted
from envtool.store.store import Store

OnWait: TypeAlias = Callable[[str], None]  # called once with the holder of the lock: "pid 4711", or "another"
Cancelled: TypeAlias = Callable[[], bool]
SHARED = fcntl.LOCK_SH
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_PER_IDMAP = ("build-", "cache-", "layer-")  # locks of items that belong to one id map
_mutex = threading.Lock()
_held_here: set[tuple[int, int]] = set()  # device and inode of the exclusive locks that this process holds
SHORT, LONG = 0.005, 0.1  # seconds between two tries


@contextmanager
def exclusive(
    store: Store, name: str, *, waiting: OnWait | None = None, cancelled: Cancelled | None = None
) -> Iterator[None]:
    """Holds an exclusive lock. While another process holds the lock, `waiting` is called once and `cancelled` again and
    again. Raises Interrupted when `cancelled` returns True."""
    descriptor = open_locked(store, name, fcntl.LOCK_EX, waiting=waiting, cancelled=cancelled)
    try:
        os.ftruncate(descriptor, 0)
        with suppress(OSError):  # the pid is only for messages: on a full disk the lock works without it
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        _release(descriptor)


@contextmanager
def shared(
    store: Store, name: str, *, waiting: OnWait | None = None, cancelled: Cancelled | None = None
) -> Iterator[None]:
    """Holds a shared lock; the parameters are those of `exclusive`."""
    descriptor = open_locked(store, name, fcntl.LOCK_SH, waiting=waiting, cancelled=cancelled)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def try_exclusive(store: Store, name: str) -> Iterator[bool]:
    """Takes an exclusive lock if it is free; yields whether it was."""
    descriptor = _open(store, name)
    try:
        yield try_lock(descriptor) and os.fstat(descriptor).st_nlink > 0
    finally:
        os.close(descriptor)


def open_locked(
    store: Store,
    name: str,
    operation: int,
    *,
    waiting: OnWait | None = None,
    cancelled: Cancelled | None = None,
) -> int:
    """Returns a descriptor that holds the lock until it is closed. Raises Interrupted when `cancelled` returns True."""
    while True:
        descriptor = _open(store, name)
        try:
            wait_for_lock(descriptor, operation, waiting=waiting, cancelled=cancelled)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        _release(descriptor)  # the file was pruned between open and flock


def prune(store: Store, *, older: float, keep: Callable[[str], bool]) -> int:
    """Unlinks the files of locks that nobody holds, that were not used for `older` seconds, and for whose name `keep`
    is False. Returns the number of files."""
    count = 0
    oldest = time.time() - older
    for name in dict.fromkeys(name for directory in lock_directories(store) for name in os.listdir(directory)):
        path = lock_path(store, name)
        try:
            if os.stat(path).st_mtime > oldest or keep(name):
                continue
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # gone meanwhile, or no lock file
            continue
        try:
            if try_lock(descriptor):
                os.unlink(path)
                count += 1
        except FileNotFoundError:
            pass
        finally:
            os.close(descriptor)
    return count


def lock_path(store: Store, name: str) -> str:
    """Returns the absolute path of a lock's file, whether it exists or not."""
    return store.idmap_path("locks", name) if name.startswith(_PER_IDMAP) else store.path("locks", name)


def lock_directories(store: Store) -> list[str]:
    """Returns the directories of `lock_path`."""
    return [*dict.fromkeys((store.path("locks"), store.idmap_path("locks")))]


def try_lock(descriptor: int, operation: int = fcntl.LOCK_EX) -> bool:
    """Takes the lock of an open file if it is free; returns whether it was."""
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def find_holder(path: str, operation: int = fcntl.LOCK_EX) -> str:
    """Returns the holder of the lock of a file or directory, as OnWait gets it; empty where nobody holds it. With
    SHARED only a holder of an exclusive lock counts: of several processes that look at once none is taken for one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # gone, or not a file of the store
        return ""
    try:
        return "" if try_lock(descriptor, operation) else _describe_holder(descriptor)
    finally:
        os.close(descriptor)


def _describe_holder(descriptor: int) -> str:
    try:
        pid = os.pread(descriptor, 20, 0).strip().decode("ascii", "replace")
    except OSError:  # a directory
        pid = ""
    return f"pid {pid}" if pid else "another"


def wait_for_lock(
    descriptor: int, operation: int, *, waiting: OnWait | None = None, cancelled: Cancelled | None = None
) -> None:
    """Takes the lock of an open file, trying again until it is free: a blocking flock could not be cancelled."""
    acquired, held_here = _try_acquire(descriptor, operation)
    if acquired:
        return
    if waiting is not None and not held_here:  # the other thread of this process reports its own work
        waiting(_describe_holder(descriptor))
    pause = SHORT
    while not _try_acquire(descriptor, operation)[0]:
        if cancelled is not None and cancelled():
            raise Interrupted
        time.sleep(pause)
        pause = min(LONG, pause * 1.5)


def _try_acquire(descriptor: int, operation: int) -> tuple[bool, bool]:
    """Takes the lock if it is free; returns whether it was, and whether a thread of this process holds it
    exclusively."""
    with _mutex:
        acquired, held_here = try_lock(descriptor, operation), _identity(descriptor) in _held_here
        if acquired and operation == fcntl.LOCK_EX:
            _held_here.add(_identity(descriptor))
        return acquired, held_here


def _release(descriptor: int) -> None:
    with _mutex:
        _held_here.discard(_identity(descriptor))
        os.close(descriptor)


def _identity(descriptor: int) -> tuple[int, int]:
    info = os.fstat(descriptor)
    return info.st_dev, info.st_ino


def _open(store: Store, name: str) -> int:
    path = lock_path(store, name)
    try:
        return os.open(path, _FLAGS, 0o600)
    except PermissionError:
        if not _has_wrong_mode(path):
            raise
        os.chmod(path, 0o600)
        return os.open(path, _FLAGS, 0o600)


def _has_wrong_mode(path: str) -> bool:
    """Whether the lock's file is this user's and only its mode was changed. The file must stay, for the processes that
    have it open, and has no content to protect."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:  # the directory is the one that is not writable
        return False
    return stat.S_ISREG(info.st_mode) and info.st_uid == os.geteuid() and info.st_mode & 0o600 != 0o600
