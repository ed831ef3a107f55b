"""Removes a whole store, once no process uses it. Files that are not envtool's stay.

The stamp file goes last: after an interruption the directory is still a store, and can be removed again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from envtool.container import userns
from envtool.errors import Interrupted
from envtool.lazy_dataclass import dataclass
from envtool.store import collect, locks
from envtool.store.inventory import bind_idmap, list_names, measure_unfinished, take_inventory, undeletable_paths
from envtool.store.store import DIRECTORIES, IDS, PER_IDMAP, STAMP, Store, other_idmap_stores
from envtool.store.temp_dirs import REMOVAL_SUFFIX, free_minimum, remove_tree

POLL_SECONDS = 0.1  # how often it looks whether the store is still in use


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRemoval:
    """What `store remove` did: `size` bytes were removed. `foreign`: paths that are not envtool's; `stuck`: paths of
    trees that only root can delete."""

    store: str
    size: int = 0
    foreign: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()


def remove(
    store: Store, *, progress: collect.Progress, waiting: locks.OnWait, cancelled: Callable[[], bool]
) -> StoreRemoval:
    """Wait until no process uses the store, and remove it. Raises OSError, Interrupted."""
    size = 0
    free_minimum(store, remove=userns.remove_as_root)
    with locks.exclusive(store, collect.LOCK, waiting=waiting, cancelled=cancelled):
        while True:
            _wait_until_unused(store, waiting, cancelled)
            inventory = take_inventory(store, userns.run_as_root)
            removed, busy = collect.remove_items(
                store, [*inventory.items, *inventory.halves], remove=userns.remove_as_root, progress=progress
            )
            size += sum(item.size for item in removed)
            if not busy:
                size += measure_unfinished(store, userns.run_as_root).size
                break
        stuck = {part.ids for part in inventory.stuck}
        for part in (store, *other_idmap_stores(store)):
            if part.ids not in stuck:
                _remove_directories(part, whole=not stuck)
    undeletable = tuple(path for part in inventory.stuck for path in undeletable_paths(part))
    if not stuck:
        with suppress(OSError):  # not empty: it holds files that are not envtool's
            os.rmdir(os.path.join(store.root, IDS))
        remove_tree(os.path.join(store.root, STAMP))
        with suppress(OSError):
            os.rmdir(store.root)
    own_names = {directory.split("/")[0] for directory in DIRECTORIES} | {IDS, STAMP}
    foreign = tuple(os.path.join(store.root, name) for name in list_names(store, "") if name not in own_names)
    return StoreRemoval(store=store.root, size=size + inventory.rest, foreign=foreign, stuck=undeletable)


def _remove_directories(store: Store, *, whole: bool) -> None:
    """Remove the directories of one id map; at the top of the store also the shared ones, with `whole` also the
    locks."""
    directories = (
        [*PER_IDMAP]
        if store.ids
        else [directory.split("/")[0] for directory in DIRECTORIES if whole or directory != "locks"]
    )
    for directory in (*directories, *(("locks", STAMP) if store.ids else ())):
        remove_tree(store.idmap_path(directory), bind_idmap(userns.remove_as_root, store))
    if store.ids:
        with suppress(OSError):
            os.rmdir(store.idmap_path())


def _wait_until_unused(store: Store, waiting: locks.OnWait, cancelled: Callable[[], bool]) -> None:
    reported = ""
    while user := next(_current_users(store), ""):
        if user != reported:
            waiting(reported := user)
        if cancelled():
            raise Interrupted
        time.sleep(POLL_SECONDS)


def _current_users(store: Store) -> Iterator[str]:
    """Descriptions, for locks.OnWait, of the processes that hold a lock of the store or a directory in its tmp/."""
    for part in (store, *other_idmap_stores(store)):
        for directory in (*locks.lock_directories(part), part.path("tmp")):
            for name in list_names(part, directory):
                if name != collect.LOCK and (user := locks.find_holder(os.path.join(directory, name))):
                    yield "it takes away what a stopped run left" if name.endswith(REMOVAL_SUFFIX) else user
    for name in list_names(store, store.path("up")):
        if locks.find_holder(store.path("up", name, "lock"), locks.SHARED):
            yield "services run; `envtool down --all` stops them"
