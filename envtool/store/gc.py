"""One garbage collection: look, decide, take away. One at a time for a store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from envtool.store import locks
from envtool.store.collect import LOCK, GcPolicy, GcResult, Progress, collect, decide, in_use, litter, tidy
from envtool.store.disk_usage import Inside
from envtool.store.inventory import Inventory, StoredItem, survey, without
from envtool.store.store import Store
from envtool.store.temp_dirs import Remove, ease

ROUNDS = 3  # what is in use is passed over, and something else looked for, so many times


def gc(
    store: Store,
    policy: Callable[[Inventory], GcPolicy],
    *,
    inside: Inside,
    remove: Remove,
    dry_run: bool = False,
    progress: Progress | None = None,
    waiting: locks.Waiting | None = None,
    cancelled: locks.Cancelled | None = None,
) -> tuple[Inventory, GcResult]:
    """Collect by the policy for what is there: (what was there, what went). With `dry_run` nothing goes. Safe beside
    everything else that uses the store. Raises Interrupted, StoreError, OSError."""
    ease(store, remove=remove)
    with locks.exclusive(store, LOCK, waiting=waiting, cancelled=cancelled):
        found = survey(store, inside)
        rules = policy(found)
        if dry_run:
            doomed = decide(found, rules)
            busy = in_use(store, doomed)
            free = decide(found, replace(rules, spare=rules.spare | {item.policy_name for item in busy}))
            paths = litter(store, found, rules.now)
            return found, GcResult(gone=free, busy=tuple(busy), litter=len(paths) + len(found.halves))
        collect(store, found.halves, remove=remove)  # nobody can use one
        count, size = tidy(store, litter(store, found, rules.now), inside=inside, remove=remove)
        gone, busy = _rounds(store, found, rules, remove, progress)
    collected = GcResult(gone=tuple(gone), busy=tuple(busy), litter=count + len(found.halves), litter_size=size)
    return found, collected


def _rounds(
    store: Store, found: Inventory, rules: GcPolicy, remove: Remove, progress: Progress | None
) -> tuple[list[StoredItem], list[StoredItem]]:
    gone: list[StoredItem] = []
    busy: list[StoredItem] = []
    left = found
    for _ in range(ROUNDS):
        went, stayed = collect(store, decide(left, rules), remove=remove, progress=progress)
        gone += went
        busy += stayed
        if not stayed:
            break
        left = without(left, went)
        room = max(0, rules.room - sum(item.size for item in went))
        rules = replace(rules, room=room, spare=rules.spare | {item.policy_name for item in stayed})
    return gone, busy
