"""Decides what gc removes, by a pure function, and removes it in such a way that it may be killed at any moment.

A layer is removed only while its exclusive lock is held, a file only when no process has a lease on it (leases.py).
Trees are renamed into a temporary directory first, so that each is complete or gone; the next run sweeps what a killed
run left there.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from envtool.lazy_dataclass import dataclass
from envtool.store import leases, locks
from envtool.store.inventory import (
    Inventory,
    StoredItem,
    bind_idmap,
    item_lock,
    item_path,
    read_uses,
    store_of_ids,
)
from envtool.store.store import Store, other_idmap_stores
from envtool.store.temp_dirs import REMOVAL_SUFFIX, RemoveTree, remove_tree, temp_directory

MAX_UNUSED_AGE = 30 * 86400.0  # seconds that an unused item stays where the caller sets no other limit
MAX_CACHES_SIZE = 20_000_000_000  # bytes of all caches together; of more, those unused for longest are removed
LOCK = "gc"
WORKERS = 4
Progress: TypeAlias = Callable[[int], None]  # called with the number of bytes that were freed


@dataclass(frozen=True, slots=True, kw_only=True)
class GcPolicy:
    """What gc may remove.

    `older_than` (seconds): items that were not used for so long are removed, also those that a lock names; None: items
    unused for MAX_UNUSED_AGE that no lock names. `caches_size`: bytes of all caches together. `keep_size` (bytes):
    further items are removed, least recently used first and those that locks name last, until the others are no larger.
    `room`: at least so many bytes are to be freed. `spare`: keys and sha256 of items that are never removed. `named`:
    those that lock files name."""

    now: float
    older_than: float | None = None
    keep_size: int | None = None
    caches_size: int = MAX_CACHES_SIZE
    room: int = 0
    by_age: bool = True
    named: frozenset[str] = frozenset()
    spare: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class GcResult:
    """The items that were removed (or would be), those that are in use and stay, and the garbage: files that no process
    will read again."""

    gone: tuple[StoredItem, ...]
    busy: tuple[StoredItem, ...]
    litter: int = 0  # number of files
    litter_size: int = 0

    @property
    def freed(self) -> int:
        """Bytes that were freed."""
        return self.litter_size + sum(item.size for item in self.gone)


def removal_order(item: StoredItem, policy: GcPolicy) -> tuple[bool, float, int, str]:
    """The sort key of removal: first items that no lock names, then those unused for longest, and each layer before the
    layers that it stands on."""
    return item.policy_name in policy.named, item.used, -item.height, item.name


def select_removals(inventory: Inventory, policy: GcPolicy) -> tuple[StoredItem, ...]:
    """Returns the items to remove, in order of removal. Pure."""
    limit = policy.now - (MAX_UNUSED_AGE if policy.older_than is None else policy.older_than)
    selected: list[StoredItem] = []
    size, freed = inventory.size, 0
    caches_size = sum(item.size for item in inventory.items if item.sort == "cache")
    for item in sorted(inventory.items, key=lambda item: removal_order(item, policy)):
        if item.policy_name in policy.spare:
            continue
        named = policy.older_than is None and item.policy_name in policy.named
        is_old = policy.by_age and not named and item.used < limit
        is_too_large = policy.keep_size is not None and size > policy.keep_size
        is_cache = item.sort == "cache"
        if is_old or is_too_large or freed < policy.room or (is_cache and caches_size > policy.caches_size):
            selected.append(item)
            size -= item.size
            caches_size -= item.size if is_cache else 0
            freed += item.size
    return tuple(selected)


def remove_items(
    store: Store, doomed: Sequence[StoredItem], *, remove: RemoveTree, progress: Progress | None = None
) -> tuple[list[StoredItem], list[StoredItem]]:
    """Removes items. Returns those that are gone and those that are in use. Raises OSError."""
    gone: list[StoredItem] = []
    busy: list[StoredItem] = []
    lock = threading.Lock()

    def note_removed(item: StoredItem) -> None:
        with lock:
            gone.append(item)
            if progress is not None:
                progress(item.size)

    for ids in dict.fromkeys(item.ids for item in doomed if item.sort != "file"):
        trees = [item for item in doomed if item.sort != "file" and item.ids == ids]
        busy += _remove_trees(store_of_ids(store, ids), trees, remove, note_removed)
    files = [item for item in doomed if item.sort == "file"]
    if files:
        with locks.exclusive(store, leases.LOCK):
            leased = leases.leased_blobs(store)
            for item in files:
                if item.name in leased:
                    busy.append(item)
                else:
                    _unlink(item_path(store, item))
                    note_removed(item)
    # in the order of `doomed`, whichever thread was faster
    rank = {(item.sort, item.name, item.ids): number for number, item in enumerate(doomed)}
    return sorted(gone, key=lambda item: rank[item.sort, item.name, item.ids]), busy


def _remove_trees(
    store: Store, doomed: Sequence[StoredItem], remove: RemoveTree, note_removed: Callable[[StoredItem], None]
) -> list[StoredItem]:
    """Removes items of one id map, and calls `note_removed` with each. Returns those that are in use."""
    busy: list[StoredItem] = []
    remove, stop = bind_idmap(remove, store), threading.Event()
    plans = [*read_uses(store)] if any(item.sort == "layer" for item in doomed) else []

    def remove_item(item: StoredItem) -> None:
        if stop.is_set():
            return
        try:
            target = os.path.join(top, item.name.replace("/", "-"))
            if not _move_away(store, item, target):
                busy.append(item)
                return
            for plan in plans:
                if item.name in plan.layers:
                    _unlink(plan.path)  # a process that has read it already finds it stale
            remove_tree(target, remove)
            note_removed(item)
        except BaseException:
            stop.set()
            raise

    with (
        temp_directory(store, remove=remove, ending=REMOVAL_SUFFIX) as top,
        ThreadPoolExecutor(WORKERS, thread_name_prefix="gc") as pool,  # a disk takes several at once
    ):
        [*pool.map(remove_item, doomed)]
    return busy


def in_use(store: Store, doomed: Sequence[StoredItem]) -> list[StoredItem]:
    """Returns the items that cannot be removed now."""
    busy = []
    with locks.exclusive(store, leases.LOCK):
        leased = leases.leased_blobs(store)
    stores = {other.ids: other for other in (store, *other_idmap_stores(store))}
    for item in doomed:
        if item.sort == "file" and item.name in leased:
            busy.append(item)
        elif lock := item_lock(item):
            with locks.try_exclusive(stores[item.ids], lock) as acquired:
                if not acquired:
                    busy.append(item)
    return busy


def _move_away(store: Store, item: StoredItem, target: str) -> bool:
    """Moves a tree to `target`, out of every process's sight; False when it is in use. True for a tree that is gone
    already."""
    try:
        if item.sort == "result":  # it has no lock: its reader checks that it is complete, or runs the task
            os.rename(item_path(store, item), target)
            return True
        with locks.try_exclusive(store, item_lock(item)) as acquired:
            if acquired:
                os.rename(item_path(store, item), target)
            return acquired
    except FileNotFoundError:
        return True


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
