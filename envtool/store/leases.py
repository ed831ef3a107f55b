"""What a verb needs of the store for as long as it works: no gc takes it meanwhile.

A layer is claimed by a shared lock. There may be thousands of files, so those are written down: `tmp/<name>/claims` in
a flocked directory, which dies with its owner. Whoever claims a file looks whether it is there *after* that; gc reads
all claims and moves files away while it holds the lock `claims` alone. So either gc sees the claim, or the claimant
sees that the file is gone, and fetches it.
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
    """Held until nobody refers to it any more, or `close`. Safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = ExitStack()
        self._layers: set[tuple[str, str]] = set()
        self._blobs: set[str] = set()
        self._sheets: dict[str, str] = {}
        self.close = weakref.finalize(self, self._held.close)

    @property
    def layers(self) -> frozenset[str]:
        """Keys that are held."""
        with self._lock:
            return frozenset(key for _, key in self._layers)

    def lease_layer(self, store: Store, key: str) -> None:
        """Hold the layer under a key, there or not: look for it after this."""
        with self._lock:
            if (store.idmap_path(), key) not in self._layers:
                self._held.callback(os.close, kept.hold_layer(store, key))
                self._layers.add((store.idmap_path(), key))

    def find_layer(self, store: Store, key: str) -> kept.Layer | None:
        """The layer under a key, held; None when there is none. Raises StoreError."""
        self.lease_layer(store, key)
        return kept.find(store, key)

    def lease_blobs(self, store: Store, sha256s: Iterable[str]) -> None:
        """Claim files, there or not; those that are there are used now. Raises OSError."""
        with self._lock:
            new = [sha256 for sha256 in dict.fromkeys(sha256s) if sha256 not in self._blobs]
            if not new:
                return
            with locks.shared(store, LOCK), open(self._lease_file(store), "a", encoding="ascii") as file:
                file.write("".join(f"{sha256}\n" for sha256 in new))
            self._blobs.update(new)
        now = time.time_ns()
        for sha256 in new:
            place = blobs.path(store, sha256)
            try:
                os.utime(place, ns=(now, os.stat(place).st_mtime_ns))  # its mtime says when it came
            except OSError:
                continue

    def _lease_file(self, store: Store) -> str:
        if store.root not in self._sheets:
            self._sheets[store.root] = os.path.join(self._held.enter_context(temp_directory(store)), LEASE_FILE)
        return self._sheets[store.root]


def leased_blobs(store: Store) -> Collection[str]:
    """sha256 of every file that some living process has claimed, whatever its ids. Meant to be asked with the lock LOCK
    held alone."""
    found: set[str] = set()
    for top in [top for each in (store, *other_idmap_stores(store)) for top in _temp_directories(each)]:
        try:
            text = store_files.read_regular_file(os.path.join(top, LEASE_FILE)).decode("ascii")
            descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, UnicodeDecodeError):
            continue
        try:
            if not locks.try_lock(descriptor):
                found.update(text.split())
        finally:
            os.close(descriptor)
    return found


def _temp_directories(store: Store) -> list[str]:
    try:
        return [store.path("tmp", name) for name in os.listdir(store.path("tmp"))]
    except FileNotFoundError:
        return []
