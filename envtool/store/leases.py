"""Keeps what a command needs safe from gc for as long as the command works.

A lease on a layer is a shared lock. There may be thousands of files, so their leases are lines of a file:
`tmp/<name>/claims` in a flocked directory, which ends with its owner. A process looks for a file *after* it has written
the lease; gc reads all leases and moves files away while it holds the exclusive lock `claims`. So either gc sees the
lease, or the process sees that the file is gone, and fetches it.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Collection, Iterable
from contextlib import ExitStack

from envtool.fs import store_files
from envtool.store import blobs, locks
from envtool.store import layers as kept
from envtool.store.store import Store, other_idmap_stores
from envtool.store.temp_dirs import temp_directory

LOCK = "claims"
LEASE_FILE = "claims"


class Leases:
    """The leases of one command, held until the object is collected, or `close`. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = ExitStack()
        self._layers: set[tuple[str, str]] = set()
        self._blobs: set[str] = set()
        self._sheets: dict[str, str] = {}
        self.close = weakref.finalize(self, self._held.close)

    @property
    def layers(self) -> frozenset[str]:
        """Keys of the layers that are held."""
        with self._lock:
            return frozenset(key for _, key in self._layers)

    def lease_layer(self, store: Store, key: str) -> None:
        """Holds the layer of a key, whether it exists or not: the caller looks for it after this."""
        with self._lock:
            if (store.idmap_path(), key) not in self._layers:
                self._held.callback(os.close, kept.hold_layer(store, key))
                self._layers.add((store.idmap_path(), key))

    def find_layer(self, store: Store, key: str) -> kept.Layer | None:
        """Holds the layer of a key and returns it; None when there is none. Raises StoreError."""
        self.lease_layer(store, key)
        return kept.find(store, key)

    def lease_blobs(self, store: Store, sha256s: Iterable[str]) -> None:
        """Takes leases on files, whether they exist or not, and notes those that exist as used now. Raises OSError."""
        with self._lock:
            new = [sha256 for sha256 in dict.fromkeys(sha256s) if sha256 not in self._blobs]
            if not new:
                return
            with locks.shared(store, LOCK), open(self._lease_file(store), "a", encoding="ascii") as file:
                file.write("".join(f"{sha256}\n" for sha256 in new))
            self._blobs.update(new)
        now = time.time_ns()
        for sha256 in new:
            path = blobs.path(store, sha256)
            try:
                os.utime(path, ns=(now, os.stat(path).st_mtime_ns))  # the mtime stays: the time of the download
            except OSError:
                continue

    def _lease_file(self, store: Store) -> str:
        if store.root not in self._sheets:
            self._sheets[store.root] = os.path.join(self._held.enter_context(temp_directory(store)), LEASE_FILE)
        return self._sheets[store.root]


def leased_blobs(store: Store) -> Collection[str]:
    """Returns the sha256 of every file that a living process of any id map has a lease on. The caller holds the
    exclusive lock LOCK."""
    leased: set[str] = set()
    for directory in [
        directory for part in (store, *other_idmap_stores(store)) for directory in _temp_directories(part)
    ]:
        try:
            text = store_files.read_regular_file(os.path.join(directory, LEASE_FILE)).decode("ascii")
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, UnicodeDecodeError):
            continue
        try:
            if not locks.try_lock(descriptor):
                leased.update(text.split())
        finally:
            os.close(descriptor)
    return leased


def _temp_directories(store: Store) -> list[str]:
    try:
        return [store.path("tmp", name) for name in os.listdir(store.path("tmp"))]
    except FileNotFoundError:
        return []
