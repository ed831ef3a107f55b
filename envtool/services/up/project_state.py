"""The directory with the state of one project's services: a lock, a socket, a record, and the log.

It is `up/KEY` in the store, which only this user can reach; never the checkout, which another user may own. KEY is a
hash of the project's directory (device, inode, path) and the name of the spec. The process that holds the lock (flock
on an inode) runs the services. The kernel releases the lock however its holder ends, so a free lock means that no
services run, even after kill -9 or a reboot.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from envtool.errors import StoreError
from envtool.fs import removal, store_files
from envtool.store import locks

DIRECTORY = "up"  # in the store
LOCK, SOCKET, RECORD, LOG = "lock", "control", "state.json", "log"
FORMAT = 1
_MAX_RECORD = 4 << 20  # bytes
_KEY_LENGTH = 32
_TRIES, _PAUSE = 20, 0.05  # attempts to take the lock, which a reader may hold for a moment; seconds between them
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class StateRecord(NamedTuple):
    """The record of a project's services. `started`, `ended` and `seen` are seconds since the epoch. `ended` 0: their
    manager runs, or was killed. `seen` is when the manager was last alive."""

    root: str
    spec: str
    version: str = ""  # of envtool
    pid: int = 0
    started: float = 0.0
    ended: float = 0.0
    reason: str = ""  # why they ended: "down", "interrupted", "failed: …"
    seen: float = 0.0


class ProjectState:
    """One project's directory in `up/` of the store."""

    def __init__(self, store: str, key: str) -> None:
        self.key = key
        self.path = os.path.join(store, DIRECTORY, key)

    @classmethod
    def of(cls, store: str, root: str, spec: str) -> ProjectState:
        """Returns the state of the project in `root`, whose spec has the name `spec`. Raises OSError if the project's
        directory is gone."""
        return cls(store, project_key(root, spec))

    def join(self, name: str) -> str:
        """Returns the path of one of its files."""
        return os.path.join(self.path, name)

    def is_running(self) -> bool:
        """Returns whether a manager runs the services: whether the lock is held."""
        return bool(locks.find_holder(self.join(LOCK), locks.SHARED))

    def read_record(self) -> StateRecord | None:
        """Returns the record; None if there is none, or none that can be read."""
        try:
            text = store_files.read_regular_file(self.join(RECORD), most=_MAX_RECORD)
            fields = json.loads(text)
            if fields.pop("format") != FORMAT:
                return None
            record = StateRecord(**fields)
            with suppress(OSError):  # its holder updates the time of the lock: StateClaim.touch
                record = record._replace(seen=max(record.seen, os.stat(self.join(LOCK)).st_mtime))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        return record

    def has_another_holder(self, former: StateRecord | None) -> bool:
        """Returns whether the record is that of another manager than `former`: `up` was called again."""
        record = self.read_record()
        if record is None or former is None:
            return False
        return (record.pid, record.started) != (former.pid, former.started)

    def claim(self) -> StateClaim | None:
        """Takes the lock, and removes the files of an earlier holder. Returns None if another process holds the lock.
        Raises OSError."""
        for _ in range(_TRIES):
            with suppress(FileExistsError):
                os.mkdir(self.path, 0o700)
            try:
                descriptor = os.open(self.join(LOCK), _NEW_FILE, 0o600)
            except FileNotFoundError:  # its last holder removed the directory meanwhile
                continue
            if not locks.try_lock(descriptor):
                os.close(descriptor)
                time.sleep(_PAUSE)
                continue
            if _is_file_at(self.join(LOCK), descriptor):
                claim = StateClaim(self, descriptor)
                claim.sweep()
                return claim
            os.close(descriptor)
        return None

    def forget(self) -> bool:
        """Removes the directory. Returns False if the services run."""
        if not os.path.isdir(self.path):
            return True
        claim = self.claim()
        if claim is None:
            return False
        claim.remove()
        return True


class StateClaim:
    """The lock of a project's directory, which this process holds."""

    def __init__(self, state: ProjectState, descriptor: int) -> None:
        self.state = state
        self.descriptor = descriptor

    def touch(self) -> None:
        """Notes that the holder is alive."""
        with suppress(OSError):
            os.utime(self.descriptor)

    def write_record(self, record: StateRecord) -> None:
        """Replaces the record, by one rename. Raises OSError."""
        temporary = self.state.join(f"{RECORD}.new")
        with open(os.open(temporary, _NEW_FILE | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            json.dump({"format": FORMAT, **record._asdict()}, file)
        os.replace(temporary, self.state.join(RECORD))

    def sweep(self) -> None:
        """Removes everything in the directory, except the lock."""
        for name in os.listdir(self.state.path):
            if name != LOCK:
                removal.remove_tree(self.state.join(name))

    def release(self) -> None:
        """Releases the lock. The record and the log stay, for `ps` and `logs`. A second call does nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:  # else another process may hold the lock
            with suppress(OSError):
                os.unlink(self.state.join(SOCKET))
            os.close(descriptor)

    def remove(self) -> None:
        """Removes the directory, and releases the lock."""
        with suppress(OSError):
            self.sweep()
            os.unlink(self.state.join(LOCK))
            os.rmdir(self.state.path)
        self.release()


def project_key(root: str, spec: str) -> str:
    """Returns the name of a project's directory in `up/`. Raises OSError if the project is gone."""
    info = os.stat(root)
    text = f"{info.st_dev}\0{info.st_ino}\0{os.path.realpath(root)}\0{spec}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_KEY_LENGTH]


def list_states(store: str) -> list[ProjectState]:
    """Returns the states of all projects of this user."""
    try:
        names = sorted(os.listdir(os.path.join(store, DIRECTORY)))
    except FileNotFoundError:
        return []
    return [ProjectState(store, name) for name in names if len(name) == _KEY_LENGTH and name.isalnum()]


@contextmanager
def claimed(state: ProjectState) -> Iterator[StateClaim]:
    """A context that holds the lock of a project's directory. Raises StoreError if another process holds it."""
    claim = state.claim()
    if claim is None:
        raise StoreError("the services of this project are being started or stopped", code="up-busy", hint="try again")
    try:
        yield claim
    finally:
        claim.release()


def _is_file_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def hold_shared(path: str) -> int:
    """Returns a descriptor that holds a shared lock on a file. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor
