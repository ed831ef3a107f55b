"""The whole store taken away: what is in use is waited for, and nothing goes that is not of a store.

Its stamp goes last: what was interrupted is still known as a store, and is gone on with.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from envtool.container import userns
from envtool.errors import Interrupted
from envtool.store import collect, locks
from envtool.store.inventory import bind_idmap, list_names, measure_unfinished, take_inventory, undeletable_paths
from envtool.store.store import DIRECTORIES, IDS, PER_IDMAP, STAMP, Store, other_idmap_stores
from envtool.store.temp_dirs import REMOVAL_SUFFIX, free_minimum, remove_tree

POLL_SECONDS = 0.1  # seconds between two looks at whether something is in use


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRemoval:
    """What `store remove` did: `size` bytes are gone. `foreign` are paths of things that are none of envtool's, `stuck`
    those of trees that only root can delete."""

    store: str
    size: int = 0
    foreign: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()


def remove(
    store: Store, *, progress: collect.Progress, waiting: locks.OnWait, cancelled: Callable[[], bool]
) -> StoreRemoval:
    """Remove all of it, once nobody uses any of it. Raises OSError, Interrupted."""
    size = 0
    free_minimum(store, remove=userns.remove_as_root)
    with locks.exclusive(store, collect.LOCK, waiting=waiting, cancelled=cancelled):
        while True:
            _wait_until_unused(store, waiting, cancelled)
            found = take_inventory(store, userns.run_as_root)
            gone, busy = collect.remove_items(
                store, [*found.items, *found.halves], remove=userns.remove_as_root, progress=progress
            )
            size += sum(item.size for item in gone)
            if not busy:
                size += measure_unfinished(store, userns.run_as_root).size
                break
        stuck = {each.ids for each in found.stuck}
        for each in (store, *other_idmap_stores(store)):
            if each.ids not in stuck:
                _remove_directories(each, whole=not stuck)
    left = tuple(path for each in found.stuck for path in undeletable_paths(each))
    if not stuck:
        with suppress(OSError):  # what is none of ours stays
            os.rmdir(os.path.join(store.root, IDS))
        remove_tree(os.path.join(store.root, STAMP))
        with suppress(OSError):
            os.rmdir(store.root)
    known = {room.split("/")[0] for room in DIRECTORIES} | {IDS, STAMP}
    foreign = tuple(os.path.join(store.root, name) for name in list_names(store, "") if name not in known)
    return StoreRemoval(store=store.root, size=size + found.rest, foreign=foreign, stuck=left)


def _remove_directories(store: Store, *, whole: bool) -> None:
    """Take away the rooms of one id map; at the top also those that all share, and the locks with all else."""
    rooms = [*PER_IDMAP] if store.ids else [room.split("/")[0] for room in DIRECTORIES if whole or room != "locks"]
    for room in (*rooms, *(("locks", STAMP) if store.ids else ())):
        remove_tree(store.idmap_path(room), bind_idmap(userns.remove_as_root, store))
    if store.ids:
        with suppress(OSError):
            os.rmdir(store.idmap_path())


def _wait_until_unused(store: Store, waiting: locks.OnWait, cancelled: Callable[[], bool]) -> None:
    told = ""
    while who := next(_current_users(store), ""):
        if who != told:
            waiting(told := who)
        if cancelled():
            raise Interrupted
        time.sleep(POLL_SECONDS)


def _current_users(store: Store) -> Iterator[str]:
    """Who uses something of the store now, as locks.Waiting is told: whoever holds a lock, or a directory in tmp/."""
    for each in (store, *other_idmap_stores(store)):
        for room in (*locks.lock_directories(each), each.path("tmp")):
            for name in list_names(each, room):
                if name != collect.LOCK and (who := locks.find_holder(os.path.join(room, name))):
                    yield "it takes away what a stopped run left" if name.endswith(REMOVAL_SUFFIX) else who
