"""Advisory locks by name: flock(2) on `locks/<name>`.

A lock belongs to the open file, so it holds between threads of one process as between processes, and the kernel gives
it back when its holder dies. Only `prune` unlinks lock files, and holds them alone then; whoever had one open already
sees by its link count that it is none any more, and opens the new one.
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

OnWait: TypeAlias = Callable[[str], None]  # told once who holds the lock: "pid 4711", or "another"
Cancelled: TypeAlias = Callable[[], bool]
SHARED = fcntl.LOCK_SH
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_PER_IDMAP = ("build-", "cache-", "layer-")  # locks of what each id map has for itself
_mutex = threading.Lock()
_held_here: set[tuple[int, int]] = set()  # device and inode of the locks that this process holds alone
SHORT, LONG = 0.005, 0.1  # seconds between two tries


@contextmanager
def exclusive(
    store: Store, name: str, *, waiting: OnWait | None = None, cancelled: Cancelled | None = None
) -> Iterator[None]:
    """Hold the lock alone. `waiting` is called once if it is taken; `cancelled` is asked meanwhile.

    Raises Interrupted when `cancelled` says so.
    """
    descriptor = open_locked(store, name, fcntl.LOCK_EX, waiting=waiting, cancelled=cancelled)
    try:
        os.ftruncate(descriptor, 0)
        with suppress(OSError):  # it only says who: on a full disk a lock is one all the same
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
    """Hold the lock together with other sharers, so that nobody holds it alone."""
    descriptor = open_locked(store, name, fcntl.LOCK_SH, waiting=waiting, cancelled=cancelled)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def try_exclusive(store: Store, name: str) -> Iterator[bool]:
    """Hold the lock alone if it can be had at once; whether that is so."""
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
    """A descriptor that holds the lock until it is closed. Raises Interrupted when `cancelled` says so."""
    while True:
        descriptor = _open(store, name)
        try:
            wait_for_lock(descriptor, operation, waiting=waiting, cancelled=cancelled)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        _release(descriptor)  # it was pruned between open and flock


def prune(store: Store, *, older: float, keep: Callable[[str], bool]) -> int:
    """Unlink the locks that nobody holds, that were not used for `older` seconds, and whose name `keep` does not want;
    how many there were."""
    gone = 0
    oldest = time.time() - older
    for name in dict.fromkeys(name for room in lock_directories(store) for name in os.listdir(room)):
        path = lock_path(store, name)
        try:
            if os.stat(path).st_mtime > oldest or keep(name):
                continue
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # gone meanwhile, or no lock
            continue
        try:
            if try_lock(descriptor):
                os.unlink(path)
                gone += 1
        except FileNotFoundError:
            pass
        finally:
            os.close(descriptor)
    return gone


def lock_path(store: Store, name: str) -> str:
    """Absolute path of a lock, there or not."""
    return store.idmap_path("locks", name) if name.startswith(_PER_IDMAP) else store.path("locks", name)


def lock_directories(store: Store) -> list[str]:
    """The directories that `place` is in."""
    return [*dict.fromkeys((store.path("locks"), store.idmap_path("locks")))]


def try_lock(descriptor: int, operation: int = fcntl.LOCK_EX) -> bool:
    """Take the lock of an open file now, or say no."""
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def find_holder(path: str) -> str:
    """Who holds the lock of a file or directory, as Waiting is told; empty where nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # gone, or none of ours
        return ""
    try:
        return "" if try_lock(descriptor) else _describe_holder(descriptor)
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
    """Take the lock of an open file, trying again until it is free: a blocked flock could not be cancelled."""
    had, ours = _try_acquire(descriptor, operation)
    if had:
        return
    if waiting is not None and not ours:  # another thread of ours says itself what it does
        waiting(_describe_holder(descriptor))
    pause = SHORT
    while not _try_acquire(descriptor, operation)[0]:
        if cancelled is not None and cancelled():
            raise Interrupted
        time.sleep(pause)
        pause = min(LONG, pause * 1.5)


def _try_acquire(descriptor: int, operation: int) -> tuple[bool, bool]:
    """Whether the lock is had now, and whether this process holds it alone already."""
    with _mutex:
        had, ours = try_lock(descriptor, operation), _identity(descriptor) in _held_here
        if had and operation == fcntl.LOCK_EX:
            _held_here.add(_identity(descriptor))
        return had, ours


def _release(descriptor: int) -> None:
    with _mutex:
        _held_here.discard(_identity(descriptor))
        os.close(descriptor)


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


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
    """Whether it is only a mode that somebody changed: a lock holds nothing, and its file has to stay for those who
    have it open."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:  # it is the directory that may not be written to
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & 0o600 != 0o600
