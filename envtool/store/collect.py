"""Takes away what nothing needs: decided by a pure function, done so that it may be killed at any moment.

A layer goes only while its lock can be held alone, a file only when nobody claims it (claims.py). Trees are renamed
into a scratch directory first, so that each is there whole or not at all; whoever is next sweeps what was left there.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

from envtool.store import json_documents, layers, leases, locks, results
from envtool.store.inventory import (
    Inventory,
    StoredItem,
    bind_idmap,
    is_deletable,
    item_lock,
    item_path,
    list_names,
    read_uses,
    store_of_ids,
)
from envtool.store.store import Store, other_idmap_stores
from envtool.store.temp_dirs import REMOVAL_SUFFIX, RemoveTree, remove_tree, sweep, temp_directory

MAX_UNUSED_AGE = 30 * 86400.0  # seconds that an unused thing stays when nothing else was said
MAX_LOCK_AGE = 86400.0  # seconds after which a lock that nobody holds is only a name
MAX_ANSWER_AGE = 180 * 86400.0  # seconds that an answer stays unasked
MAX_OUTPUT_NOTE_AGE = 60 * 86400.0  # the same of what a layer that is gone came out as
HOUR = 3600.0
LOCK = "gc"
WORKERS = 4
Progress: TypeAlias = Callable[[int], None]  # is told how many bytes were freed


@dataclass(frozen=True, slots=True, kw_only=True)
class GcPolicy:
    """What may go. `older_than` (seconds): what was not used for so long goes, whoever's it is; None: for AGE, and only
    what no lock names. `keep_size` (bytes): more goes, least recently used first, until the rest is no larger; what
    locks name goes last. `room`: at least so many bytes are to be freed. `spare` never goes (keys and sha256)."""

    now: float
    older_than: float | None = None
    keep_size: int | None = None
    room: int = 0
    by_age: bool = True
    named: frozenset[str] = frozenset()
    spare: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class GcResult:
    """What went (or would), what could not since it is in use, and litter: things that nobody ever looks at again."""

    gone: tuple[StoredItem, ...]
    busy: tuple[StoredItem, ...]
    litter: int = 0  # how many
    litter_size: int = 0

    @property
    def freed(self) -> int:
        """Bytes."""
        return self.litter_size + sum(item.size for item in self.gone)


def removal_order(item: StoredItem, policy: GcPolicy) -> tuple[bool, float, int, str]:
    """What goes first: not named by a lock, unused for longest, what stands on others before what they stand on."""
    return item.policy_name in policy.named, item.used, -item.height, item.name


def select_removals(found: Inventory, policy: GcPolicy) -> tuple[StoredItem, ...]:
    """What is to go, in that order. Pure."""
    limit = policy.now - (MAX_UNUSED_AGE if policy.older_than is None else policy.older_than)
    doomed: list[StoredItem] = []
    size, freed = found.size, 0
    for item in sorted(found.items, key=lambda item: removal_order(item, policy)):
        if item.policy_name in policy.spare:
            continue
        spared = policy.older_than is None and item.policy_name in policy.named
        aged = policy.by_age and not spared and item.used < limit
        large = policy.keep_size is not None and size > policy.keep_size
        if aged or large or freed < policy.room:
            doomed.append(item)
            size -= item.size
            freed += item.size
    return tuple(doomed)


def remove_items(
    store: Store, doomed: Sequence[StoredItem], *, remove: RemoveTree, progress: Progress | None = None
) -> tuple[list[StoredItem], list[StoredItem]]:
    """Remove these: (what went, what is in use). Raises OSError."""
    gone: list[StoredItem] = []
    busy: list[StoredItem] = []
    turn = threading.Lock()

    def went(item: StoredItem) -> None:
        with turn:
            gone.append(item)
            if progress is not None:
                progress(item.size)

    for ids in dict.fromkeys(item.ids for item in doomed if item.sort != "file"):
        trees = [item for item in doomed if item.sort != "file" and item.ids == ids]
        busy += _remove_trees(store_of_ids(store, ids), trees, remove, went)
    files = [item for item in doomed if item.sort == "file"]
    if files:
        with locks.exclusive(store, leases.LOCK):
            claimed = leases.leased_blobs(store)
            for item in files:
                if item.name in claimed:
                    busy.append(item)
                else:
                    _unlink(item_path(store, item))
                    went(item)
    # in the order in which they were asked for, whoever was faster
    rank = {(item.sort, item.name, item.ids): number for number, item in enumerate(doomed)}
    return sorted(gone, key=lambda item: rank[item.sort, item.name, item.ids]), busy


def _remove_trees(
    store: Store, doomed: Sequence[StoredItem], remove: RemoveTree, went: Callable[[StoredItem], None]
) -> list[StoredItem]:
    """Remove what one id map has of these; those that are in use. `went` is told what is gone."""
    busy: list[StoredItem] = []
    remove, stop = bind_idmap(remove, store), threading.Event()
    plans = [*read_uses(store)] if any(item.sort == "layer" for item in doomed) else []

    def one(item: StoredItem) -> None:
        if stop.is_set():
            return
        try:
            target = os.path.join(top, item.name.replace("/", "-"))
            if not _move_away(store, item, target):
                busy.append(item)
                return
            for plan in plans:
                if item.name in plan.layers:
                    _unlink(plan.path)  # who reads it first finds it stale
            remove_tree(target, remove)
            went(item)
        except BaseException:
            stop.set()
            raise

    with (
        temp_directory(store, remove=remove, ending=REMOVAL_SUFFIX) as top,
        ThreadPoolExecutor(WORKERS, thread_name_prefix="gc") as pool,  # a disk takes several at once
    ):
        [*pool.map(one, doomed)]
    return busy


def in_use(store: Store, doomed: Sequence[StoredItem]) -> list[StoredItem]:
    """Those that could not go now."""
    found = []
    with locks.exclusive(store, leases.LOCK):
        claimed = leases.leased_blobs(store)
    stores = {each.ids: each for each in (store, *other_idmap_stores(store))}
    for item in doomed:
        if item.sort == "file" and item.name in claimed:
            found.append(item)
        elif lock := item_lock(item):
            with locks.try_exclusive(stores[item.ids], lock) as mine:
                if not mine:
                    found.append(item)
    return found


def _move_away(store: Store, item: StoredItem, target: str) -> bool:
    """Move a tree out of everybody's sight; False when it is in use. One that is gone already is ours."""
    try:
        if item.sort == "result":  # who reads one sees that it is whole, or takes the long way
            os.rename(item_path(store, item), target)
            return True
        with locks.try_exclusive(store, item_lock(item)) as mine:
            if mine:
                os.rename(item_path(store, item), target)
            return mine
    except FileNotFoundError:
        return True


# ---- litter ----------------------------------------------------------------------------------------------------------


def find_garbage(store: Store, found: Inventory, now: float) -> list[str]:
    """Paths of what nobody looks at any more: plans and answers about what is gone, manifests that no
    result names, partial files that nobody goes on with."""
    paths: list[str] = []
    for prefix in list_names(store, "blobs", "sha256"):
        found_here = list_names(store, "blobs", "sha256", prefix)
        paths += [store.path("blobs", "sha256", prefix, name) for name in found_here if name.endswith(".corrupt")]
    paths += _paths_older_than(store, now - 86400.0, "blobs", "partial")
    paths += [use.path for use in found.uses if not use.layers <= found.sheets.keys()]
    views = {*_paths_older_than(store, now - HOUR, "views")}
    kept = {item.name for item in found.items if item.sort == "result" and item.ids == store.ids}
    for result in (results.find(store, key) for key in kept) if views else ():
        if result is not None:
            views.discard(store.path("views", str(result.document.get("view"))))
    paths += sorted(views)
    for owner in list_names(store, "results", "of"):
        paths += [
            store.path("results", "of", owner, key)
            for key in list_names(store, "results", "of", owner)
            if key not in kept
        ]
    return [*paths, *_stale_answers(store, found, now)]


def _paths_older_than(store: Store, before: float, *room: str) -> Iterator[str]:
    for name in list_names(store, *room):
        path = store.path(*room, name)
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_mtime < before:
                yield path


def _stale_answers(store: Store, found: Inventory, now: float) -> Iterator[str]:
    """Answers about layers and files that are gone, and those that nobody asked for very long."""
    for name in list_names(store, "memo"):
        path = store.path("memo", name)
        try:
            state = os.stat(path)
            asked = now - max(state.st_atime, state.st_mtime)
            if asked > MAX_ANSWER_AGE:
                yield path
            if state.st_size > 4096 or asked < HOUR:
                continue
            # not as if somebody had asked
            question: Any = json_documents.load(path, unseen=True)["question"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if not isinstance(question, dict) or asked > MAX_ANSWER_AGE:
            continue
        if question.get("ids", "") != store.ids:  # of another id map's layers
            continue
        layer = {question.get("conflicts"), question.get("with")} - {None}
        if layer - found.sheets.keys() or (
            asked > MAX_OUTPUT_NOTE_AGE and question.get("diff id of", name) not in found.sheets
        ):
            yield path


def remove_garbage(
    store: Store, paths: Iterable[str], *, inside: Callable[..., Any], remove: RemoveTree
) -> tuple[int, int]:
    """Remove litter, what crashed runs left in tmp/, and locks that are only names. (How many things, bytes.)"""
    count = size = 0
    for path in paths:
        with contextlib.suppress(OSError):
            size += os.lstat(path).st_blocks * 512
            remove_tree(path, remove)
            count += 1
    for each in (store, *(other for other in other_idmap_stores(store) if is_deletable(other, inside))):
        count += sweep(each, remove=bind_idmap(remove, each))
        standing = {layers.layer_lock_name(key) for key in list_names(each, "layers")}
        standing |= {
            f"cache-{key}-{number}" for key in list_names(each, "caches") for number in list_names(each, "caches", key)
        }
        count += locks.prune(each, older=MAX_LOCK_AGE, keep=standing.__contains__)
    return count, size


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
