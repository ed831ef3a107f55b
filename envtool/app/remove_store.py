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
from envtool.store.inventory import as_others, names, sealed, survey, unfinished
from envtool.store.store import IDS, OWN, ROOMS, STAMP, Store, others
from envtool.store.temp_dirs import GOING, ease, remove_tree

PAUSE = 0.1  # seconds between two looks at whether something is in use


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRemoval:
    """What `store remove` did: `size` bytes are gone. `foreign` are paths of things that are none of envtool's, `stuck`
    those of trees that only root can delete."""

    store: str
    size: int = 0
    foreign: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()


def remove(
    store: Store, *, progress: collect.Progress, waiting: locks.Waiting, cancelled: Callable[[], bool]
) -> StoreRemoval:
    """Remove all of it, once nobody uses any of it. Raises OSError, Interrupted."""
    size = 0
    ease(store, remove=userns.remove)
    with locks.exclusive(store, collect.LOCK, waiting=waiting, cancelled=cancelled):
        while True:
            _until_free(store, waiting, cancelled)
            found = survey(store, userns.inside)
            gone, busy = collect.collect(store, [*found.items, *found.halves], remove=userns.remove, progress=progress)
            size += sum(item.size for item in gone)
            if not busy:
                size += unfinished(store, userns.inside).size
                break
        stuck = {each.ids for each in found.stuck}
        for each in (store, *others(store)):
            if each.ids not in stuck:
                _empty(each, whole=not stuck)
    left = tuple(path for each in found.stuck for path in sealed(each))
    if not stuck:
        with suppress(OSError):  # what is none of ours stays
            os.rmdir(os.path.join(store.root, IDS))
        remove_tree(os.path.join(store.root, STAMP))
        with suppress(OSError):
            os.rmdir(store.root)
    known = {room.split("/")[0] for room in ROOMS} | {IDS, STAMP}
    foreign = tuple(os.path.join(store.root, name) for name in names(store, "") if name not in known)
    return StoreRemoval(store=store.root, size=size + found.rest, foreign=foreign, stuck=left)


def _empty(store: Store, *, whole: bool) -> None:
    """Take away the rooms of one id map; at the top also those that all share, and the locks with all else."""
    rooms = [*OWN] if store.ids else [room.split("/")[0] for room in ROOMS if whole or room != "locks"]
    for room in (*rooms, *(("locks", STAMP) if store.ids else ())):
        remove_tree(store.idmap_path(room), as_others(userns.remove, store))
    if store.ids:
        with suppress(OSError):
            os.rmdir(store.idmap_path())


def _until_free(store: Store, waiting: locks.Waiting, cancelled: Callable[[], bool]) -> None:
    told = ""
    while who := next(_users(store), ""):
        if who != told:
            waiting(told := who)
        if cancelled():
            raise Interrupted
        time.sleep(PAUSE)


def _users(store: Store) -> Iterator[str]:
    """Who uses something of the store now, as locks.Waiting is told: whoever holds a lock, or a directory in tmp/."""
    for each in (store, *others(store)):
        for room in (*locks.rooms(each), each.path("tmp")):
            for name in names(each, room):
                if name != collect.LOCK and (who := locks.holder(os.path.join(room, name))):
                    yield "it takes away what a stopped run left" if name.endswith(GOING) else who
