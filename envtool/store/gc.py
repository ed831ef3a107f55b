"""One garbage collection: look, decide, take away. One at a time for a store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from envtool.store import locks
from envtool.store.collect import (
    LOCK,
    GcPolicy,
    GcResult,
    Progress,
    find_garbage,
    in_use,
    remove_garbage,
    remove_items,
    select_removals,
)
from envtool.store.disk_usage import RunAsRoot
from envtool.store.inventory import Inventory, StoredItem, take_inventory, without_items
from envtool.store.store import Store
from envtool.store.temp_dirs import RemoveTree, free_minimum

ROUNDS = 3  # what is in use is passed over, and something else looked for, so many times


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
    """Collect by the policy for what is there: (what was there, what went). With `dry_run` nothing goes. Safe beside
    everything else that uses the store. Raises Interrupted, StoreError, OSError."""
    free_minimum(store, remove=remove)
    with locks.exclusive(store, LOCK, waiting=waiting, cancelled=cancelled):
        found = take_inventory(store, inside)
        rules = policy(found)
        if dry_run:
            doomed = select_removals(found, rules)
            busy = in_use(store, doomed)
            free = select_removals(found, replace(rules, spare=rules.spare | {item.policy_name for item in busy}))
            paths = find_garbage(store, found, rules.now)
            return found, GcResult(gone=free, busy=tuple(busy), litter=len(paths) + len(found.halves))
        remove_items(store, found.halves, remove=remove)  # nobody can use one
        count, size = remove_garbage(store, find_garbage(store, found, rules.now), inside=inside, remove=remove)
        gone, busy = _collect_in_rounds(store, found, rules, remove, progress)
    collected = GcResult(gone=tuple(gone), busy=tuple(busy), litter=count + len(found.halves), litter_size=size)
    return found, collected


def _collect_in_rounds(
    store: Store, found: Inventory, rules: GcPolicy, remove: RemoveTree, progress: Progress | None
) -> tuple[list[StoredItem], list[StoredItem]]:
    gone: list[StoredItem] = []
    busy: list[StoredItem] = []
    left = found
    for _ in range(ROUNDS):
        went, stayed = remove_items(store, select_removals(left, rules), remove=remove, progress=progress)
        gone += went
        busy += stayed
        if not stayed:
            break
        left = without_items(left, went)
        room = max(0, rules.room - sum(item.size for item in went))
        rules = replace(rules, room=room, spare=rules.spare | {item.policy_name for item in stayed})
    return gone, busy
