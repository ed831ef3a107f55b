"""Finds and removes garbage: files of the store that no process will read again. For gc, and for the sweep of
results."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from envtool.store import json_documents, layers, locks, results
from envtool.store.inventory import PLAN_NAME, Inventory, bind_idmap, is_deletable, list_names
from envtool.store.store import Store, other_idmap_stores
from envtool.store.temp_dirs import RemoveTree, remove_tree, sweep

HOUR, DAY = 3600.0, 86400.0  # seconds
MAX_UNUSED_AGE = 30 * DAY  # seconds that a result or a plan stays unused
MAX_LOCK_AGE = DAY  # seconds after which the file of a lock that no process holds is removed
MAX_ANSWER_AGE = 180 * DAY  # seconds after which an answer goes that no run has asked for
MAX_OUTPUT_NOTE_AGE = 60 * DAY  # seconds after which the diff ID of a removed layer goes, if no build needed it


def find_garbage(store: Store, inventory: Inventory, now: float) -> list[str]:
    """Returns the paths of files that no process will read again: plans and answers about items that are gone, damaged
    files, partial files whose download nobody resumes, and the garbage of results."""
    paths: list[str] = []
    for prefix in list_names(store, "blobs", "sha256"):
        names = list_names(store, "blobs", "sha256", prefix)
        paths += [store.path("blobs", "sha256", prefix, name) for name in names if name.endswith(".corrupt")]
    paths += _paths_older_than(store, now - DAY, "blobs", "partial")
    paths += [use.path for use in inventory.uses if not use.layers <= inventory.sheets.keys()]
    keys = [item.name for item in inventory.items if item.sort == "result" and item.ids == store.ids]
    paths += _result_garbage(store, keys, now)
    return [*dict.fromkeys([*paths, *_stale_answers(store, inventory, now)])]


def sweep_results(store: Store) -> None:
    """Removes the results that were unused for MAX_UNUSED_AGE, and the garbage of results, without an inventory."""
    now = time.time()
    for path in _paths_older_than(store, now - MAX_UNUSED_AGE, "results"):
        if os.path.basename(path) != "of":
            results.remove_result(store, os.path.basename(path))
    keys = [key for key in list_names(store, "results") if key != "of"]
    for path in _result_garbage(store, keys, now):
        with contextlib.suppress(OSError):
            remove_tree(path)
    _remove_empty_owners(store)


def _result_garbage(store: Store, keys: Collection[str], now: float) -> Iterator[str]:
    """Yields the snapshots that no result of these keys names, the entries of owners whose result is gone, and the
    plans of the fast path that are half written, or unused for MAX_UNUSED_AGE, and one-offs that are as old."""
    snapshots = {*_paths_older_than(store, now - HOUR, "views")}
    for result in (results.find(store, key) for key in keys) if snapshots else ():
        if result is not None:
            snapshots.discard(store.path("views", str(result.document.get("view"))))
    yield from sorted(snapshots)
    for owner in list_names(store, "results", "of"):
        for key in list_names(store, "results", "of", owner):
            if not os.path.isdir(store.path("results", key)):
                yield store.path("results", "of", owner, key)
    yield from _paths_older_than(store, now - MAX_UNUSED_AGE, "plans")
    yield from _paths_older_than(store, now - MAX_UNUSED_AGE, "one-off")
    for path in _paths_older_than(store, now - HOUR, "plans"):
        if not PLAN_NAME.fullmatch(os.path.basename(path)):
            yield path


def _remove_empty_owners(store: Store) -> None:
    for owner in list_names(store, "results", "of"):
        with contextlib.suppress(OSError):  # not empty
            os.rmdir(store.path("results", "of", owner))


def _paths_older_than(store: Store, before: float, *directory: str) -> Iterator[str]:
    """Yields the paths in a directory of the store that were not changed since `before`."""
    for name in list_names(store, *directory):
        path = store.path(*directory, name)
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_mtime < before:
                yield path


def _stale_answers(store: Store, inventory: Inventory, now: float) -> Iterator[str]:
    """Yields the answers about layers and files that are gone, and those that nobody asked for MAX_ANSWER_AGE."""
    for name in list_names(store, "memo"):
        path = store.path("memo", name)
        try:
            info = os.stat(path)
            unasked_for = now - max(info.st_atime, info.st_mtime)
            if unasked_for > MAX_ANSWER_AGE:
                yield path
            if info.st_size > 4096 or unasked_for < HOUR:
                continue
            # `unseen`: this read does not count as a use
            question: Any = json_documents.load(path, unseen=True)["question"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if not isinstance(question, dict) or unasked_for > MAX_ANSWER_AGE:
            continue
        if question.get("ids", "") != store.ids:  # about layers of another id map
            continue
        keys = {question.get("conflicts"), question.get("with")} - {None}
        if keys - inventory.sheets.keys() or (
            unasked_for > MAX_OUTPUT_NOTE_AGE and question.get("diff id of", name) not in inventory.sheets
        ):
            yield path


def remove_garbage(
    store: Store, paths: Iterable[str], *, inside: Callable[..., Any], remove: RemoveTree
) -> tuple[int, int]:
    """Removes garbage, the directories that crashed runs left in tmp/, and the files of locks that nobody uses. Returns
    the number of things removed, and their bytes."""
    count = size = 0
    for path in paths:
        with contextlib.suppress(OSError):
            size += os.lstat(path).st_blocks * 512
            remove_tree(path, remove)
            count += 1
    for part in (store, *(other for other in other_idmap_stores(store) if is_deletable(other, inside))):
        count += sweep(part, remove=bind_idmap(remove, part))
        lock_names = {layers.layer_lock_name(key) for key in list_names(part, "layers")}
        lock_names |= {
            f"cache-{key}-{number}" for key in list_names(part, "caches") for number in list_names(part, "caches", key)
        }
        count += locks.prune(part, older=MAX_LOCK_AGE, keep=lock_names.__contains__)
    _remove_empty_owners(store)
    return count, size
