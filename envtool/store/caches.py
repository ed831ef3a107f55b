"""Keeps directories that builds share from one run to the next: `caches/<digest of the id>/<number>`.

A cache is never part of a key or a layer. Its files belong to container ids. A build holds a lock of the cache that it
uses, shared or exclusive; gc takes the exclusive lock before it removes a cache.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from envtool.store import locks
from envtool.store.store import Store

DIRECTORY = "caches"


@contextmanager
def lock_cache(
    store: Store,
    name: str,
    sharing: str,
    *,
    waiting: locks.OnWait | None = None,
    cancelled: locks.Cancelled | None = None,
) -> Iterator[tuple[str, bool]]:
    """Locks a cache; yields its directory, and whether that is new. `sharing` is "shared", "locked" (waits until nobody
    else uses the cache) or "private" (takes another directory when the first is in use). Raises Interrupted."""
    key = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    top = store.path(DIRECTORY, key)
    os.makedirs(top, exist_ok=True)
    for path in (store.path(DIRECTORY), top):
        os.chmod(path, 0o755)
    _write_label(os.path.join(top, "id"), name)
    number = 0
    if sharing == "private":
        while not _is_free(store, key, number):
            number += 1
    lock = locks.shared if sharing == "shared" else locks.exclusive
    with lock(store, f"cache-{key}-{number}", waiting=waiting, cancelled=cancelled):
        path = os.path.join(top, str(number))
        try:
            os.mkdir(path)
            is_new = True
        except FileExistsError:
            is_new = False
        yield path, is_new


def _write_label(path: str, name: str) -> None:
    """Writes the id of a cache, which its directory's name hides, into a file for people."""
    if not os.path.exists(path):
        new_file = f"{path}.{os.urandom(4).hex()}"
        with open(new_file, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(name + "\n")
        os.replace(new_file, path)


def _is_free(store: Store, key: str, number: int) -> bool:
    with locks.try_exclusive(store, f"cache-{key}-{number}") as acquired:
        return acquired
