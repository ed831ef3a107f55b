"""Advisory locks by name: flock(2) on `locks/<name>`.

A lock belongs to the open file, so it holds between threads of one process as between processes, and the kernel gives
it back when its holder dies. Only `prune` unlinks lock files, and holds them alone then; whoever had one open already
sees by its link count that it is none any more, and opens the new one.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from envtool.errors import Interrupted
from envtool.store.store import Store

Waiting: TypeAlias = Callable[[str], None]  # told once who holds the lock: "pid 4711", or "another"
Cancelled: TypeAlias = Callable[[], bool]
SHARED = fcntl.LOCK_SH
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
SHORT, LONG = 0.005, 0.1  # seconds between two tries


@contextmanager
def exclusive(
    store: Store, name: str, *, waiting: Waiting | None = None, cancelled: Cancelled | None = None
) -> Iterator[None]:
    """Hold the lock alone. `waiting` is called once if it is taken; `cancelled` is asked meanwhile.

    Raises Interrupted when `cancelled` says so.
    """
    descriptor = held(store, name, fcntl.LOCK_EX, waiting=waiting, cancelled=cancelled)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


@contextmanager
def shared(
    store: Store, name: str, *, waiting: Waiting | None = None, cancelled: Cancelled | None = None
) -> Iterator[None]:
    """Hold the lock together with other sharers, so that nobody holds it alone."""
    descriptor = held(store, name, fcntl.LOCK_SH, waiting=waiting, cancelled=cancelled)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def free(store: Store, name: str) -> Iterator[bool]:
    """Hold the lock alone if it can be had at once; whether that is so."""
    descriptor = _open(store, name)
    try:
        yield attempt(descriptor) and os.fstat(descriptor).st_nlink > 0
    finally:
        os.close(descriptor)


def held(
    store: Store,
    name: str,
    operation: int,
    *,
    waiting: Waiting | None = None,
    cancelled: Cancelled | None = None,
) -> int:
    """A descriptor that holds the lock until it is closed. Raises Interrupted when `cancelled` says so."""
    while True:
        descriptor = _open(store, name)
        try:
            acquire(descriptor, operation, waiting=waiting, cancelled=cancelled)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # it was pruned between open and flock


def prune(store: Store, *, older: float, keep: Callable[[str], bool]) -> int:
    """Unlink the locks that nobody holds, that were not used for `older` seconds, and whose name `keep` does not want;
    how many there were."""
    gone = 0
    oldest = time.time() - older
    for name in os.listdir(store.path("locks")):
        path = store.path("locks", name)
        try:
            if os.stat(path).st_mtime > oldest or keep(name):
                continue
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # gone meanwhile, or no lock
            continue
        try:
            if attempt(descriptor):
                os.unlink(path)
                gone += 1
        except FileNotFoundError:
            pass
        finally:
            os.close(descriptor)
    return gone


def attempt(descriptor: int, operation: int = fcntl.LOCK_EX) -> bool:
    """Take the lock of an open file now, or say no."""
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def acquire(
    descriptor: int, operation: int, *, waiting: Waiting | None = None, cancelled: Cancelled | None = None
) -> None:
    """Take the lock of an open file, trying again until it is free: a blocked flock could not be cancelled."""
    if attempt(descriptor, operation):
        return
    if waiting is not None:
        holder = os.pread(descriptor, 20, 0).strip().decode("ascii", "replace")
        waiting(f"pid {holder}" if holder else "another")
    pause = SHORT
    while not attempt(descriptor, operation):
        if cancelled is not None and cancelled():
            raise Interrupted
        time.sleep(pause)
        pause = min(LONG, pause * 1.5)


def _open(store: Store, name: str) -> int:
    path = store.path("locks", name)
    try:
        return os.open(path, _FLAGS, 0o600)
    except PermissionError:
        # A mode that somebody changed: a lock holds nothing, and its file has to stay for those who have it open.
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o600 == 0o600:
            raise
        os.chmod(path, 0o600)
        return os.open(path, _FLAGS, 0o600)
