"""Runs one garbage collection: takes the inventory, decides, removes. One at a time for a store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from envtool.store import locks
from envtool.store.collect import (
    LOCK,
    GcPolicy,
    GcResult,
    Progress,
    in_use,
    remove_items,
    select_removals,
)
from envtool.store.disk_usage import RunAsRoot
from envtool.store.garbage import find_garbage, remove_garbage
from envtool.store.inventory import Inventory, StoredItem, take_inventory, without_items
from envtool.store.store import Store
from envtool.store.temp_dirs import RemoveTree, free_minimum

ROUNDS = 3  # times that other items are selected in place of those that are in use


def gc(
    store: Store,
    policy: Callable[[Inventory], GcPolicy],
    *,
    inside: RunAsRoot,
    remove: RemoveTree,
    dry_run: bool = False,
    progress: Progress | None = None,
    waiting: locks.OnWait | None = None,
    cancelled: locks.Cancelled | None = None,
) -> tuple[Inventory, GcResult]:
    """Collects by the policy that `policy` returns for the inventory. Returns the inventory from before, and what was
    removed; with `dry_run` what would be, and nothing is removed. Safe beside all other processes that use the store.
    Raises Interrupted, StoreError, OSError."""
    free_minimum(store, remove=remove)
    with locks.exclusive(store, LOCK, waiting=waiting, cancelled=cancelled):
        inventory = take_inventory(store, inside)
        limits = policy(inventory)
        if dry_run:
            selected = select_removals(inventory, limits)
            busy = in_use(store, selected)
            removable = select_removals(
                inventory, replace(limits, spare=limits.spare | {item.policy_name for item in busy})
            )
            paths = find_garbage(store, inventory, limits.now)
            return inventory, GcResult(gone=removable, busy=tuple(busy), litter=len(paths) + len(inventory.halves))
        remove_items(store, inventory.halves, remove=remove)  # no process can use an incomplete layer
        count, size = remove_garbage(store, find_garbage(store, inventory, limits.now), inside=inside, remove=remove)
        gone, busy = _collect_in_rounds(store, inventory, limits, remove, progress)
    collected = GcResult(gone=tuple(gone), busy=tuple(busy), litter=count + len(inventory.halves), litter_size=size)
    return inventory, collected


def _collect_in_rounds(
    store: Store, inventory: Inventory, limits: GcPolicy, remove: RemoveTree, progress: Progress | None
) -> tuple[list[StoredItem], list[StoredItem]]:
    gone: list[StoredItem] = []
    busy: list[StoredItem] = []
    remaining = inventory
    for _ in range(ROUNDS):
        removed, in_use_now = remove_items(store, select_removals(remaining, limits), remove=remove, progress=progress)
        gone += removed
        busy += in_use_now
        if not in_use_now:
            break
        remaining = without_items(remaining, removed)
        room = max(0, limits.room - sum(item.size for item in removed))
        limits = replace(limits, room=room, spare=limits.spare | {item.policy_name for item in in_use_now})
    return gone, busy
