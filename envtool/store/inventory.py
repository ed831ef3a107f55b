"""Lists what is in the store, with the size of each item and the time of its last use: read from the disk, no index.

The inventory has the layers, results and caches of every id map whose trees this account can still delete
(store.other_idmap_stores). A layer counts as used when it is held (the time of its lock), when an env that has it
starts on the fast path (the time of the env's plan, which names its layers), and whenever a layer above it is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeAlias

from envtool.errors import EnvtoolError
from envtool.fs import store_files
from envtool.lazy_dataclass import dataclass
from envtool.store import blobs, caches, disk_usage, layers, locks, temp_dirs
from envtool.store.json_documents import is_time
from envtool.store.store import PER_IDMAP, Store, other_idmap_stores

Sort: TypeAlias = Literal["layer", "file", "result", "cache"]
PLAN_NAME = re.compile(r"[0-9a-f]{8}(\.(view|view\.hashes|told|valid|early|tests))?")  # of a complete file in plans/
_HEX = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_MAX_LOCK_SIZE = 64 << 20  # bytes of a lock that is read


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredItem:
    """An item that gc may remove: a layer by key, a fetched file by sha256, a result by key, a cache by its path in
    caches/. `size` is in bytes on the disk, `used` the time of its last use in seconds since the epoch."""

    sort: Sort
    name: str
    size: int
    used: float
    height: int = 0  # number of layers that a layer stands on
    ids: str = ""  # the id map: Store.ids
    other: bool = False  # whether `ids` is another id map than that of the containers here

    @property
    def policy_name(self) -> str:
        """The item's name in locks and policies; an item of another id map has a name that is in no lock."""
        return f"{self.ids}:{self.name}" if self.other else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSheet:
    """The contents of a layer's layer.json."""

    key: str
    kind: str
    name: str  # in the spec that the layer was first built for, or empty
    project: str  # absolute path of that spec's project, or empty
    diff_id: str
    below: tuple[str, ...]  # diff IDs
    files: tuple[str, ...]  # sha256
    time: float  # when it was built


@dataclass(frozen=True, slots=True, kw_only=True)
class LastUse:
    """A plan: the layers that an env had when it started last (`env` empty: several envs of one run)."""

    path: str
    spec: str  # absolute path
    env: str
    layers: frozenset[str]  # keys
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What is in the store. `sheets` and `uses` are those of the layers that containers here can use. `halves` are
    layers without a readable layer.json; `rest` is the size of answers, plans and snapshots in bytes. `stuck` are the
    stores of id maps whose trees only root can delete."""

    items: tuple[StoredItem, ...]
    sheets: Mapping[str, LayerSheet]
    uses: tuple[LastUse, ...]
    halves: tuple[StoredItem, ...]
    rest: int
    stuck: tuple[Store, ...] = ()
    elsewhere: frozenset[str] = frozenset()  # projects that layers of other id maps were built for

    @property
    def size(self) -> int:
        """Bytes of everything."""
        return self.rest + sum(item.size for item in self.items)

    @property
    def projects(self) -> frozenset[str]:
        """Absolute paths of all projects that items of the store were built for."""
        return frozenset(
            [*self.elsewhere]
            + [os.path.dirname(use.spec) for use in self.uses]
            + [sheet.project for sheet in self.sheets.values() if sheet.project]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedWork:
    """Bytes in tmp/: `made` of directories that a process is filling, `going` of those that a process is removing,
    `left` of those that stopped runs left behind (`stopped` of them); the next command that uses the store removes
    these."""

    made: int = 0
    going: int = 0
    left: int = 0
    stopped: int = 0

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return self.made + self.going + self.left


def measure_unfinished(store: Store, inside: disk_usage.RunAsRoot) -> UnfinishedWork:
    """Measures tmp/ of every id map whose trees this account can delete."""
    made = going = left = stopped = 0
    for part in (store, *(other for other in other_idmap_stores(store) if is_deletable(other, inside))):
        call = bind_idmap(inside, part)
        for name in list_names(part, "tmp"):
            path = part.path("tmp", name)
            is_held = bool(locks.find_holder(path))
            try:
                size = (
                    call(disk_usage.measure_changing, ".", at=path)
                    if os.path.isdir(path)
                    else disk_usage.disk_size(path)
                )
            except (OSError, EnvtoolError, RuntimeError):  # gone meanwhile
                continue
            if is_held and name.endswith(temp_dirs.REMOVAL_SUFFIX):
                going += size
            elif is_held:
                made += size
            else:
                left += size
                stopped += 1
    return UnfinishedWork(made=made, going=going, left=left, stopped=stopped)


def take_inventory(store: Store, inside: disk_usage.RunAsRoot) -> Inventory:
    """Returns the inventory of a store. Items that are removed meanwhile are left out."""
    items, sheets, plans, halves = _idmap_inventory(store, inside)
    items += _blob_items(store)
    projects = set()
    stuck = []
    for other in other_idmap_stores(store):
        if not is_deletable(other, inside):
            stuck += [other] if undeletable_paths(other) else []
            continue
        other_items, other_sheets, _, other_halves = _idmap_inventory(other, inside)
        items += [replace(item, other=True) for item in other_items]
        halves += other_halves
        projects |= {sheet.project for sheet in other_sheets.values() if sheet.project}
    other_files_size = sum(
        disk_usage.disk_size(store.path(directory, name))
        for directory in ("memo", "plans", "views")
        for name in list_names(store, directory)
    )
    return Inventory(
        items=tuple(items), sheets=sheets, uses=plans, halves=tuple(halves), rest=other_files_size, stuck=tuple(stuck),
        elsewhere=frozenset(projects),
    )  # fmt: skip


def _idmap_inventory(
    store: Store, inside: disk_usage.RunAsRoot
) -> tuple[list[StoredItem], dict[str, LayerSheet], tuple[LastUse, ...], list[StoredItem]]:
    """Returns what belongs to one id map: its layers, results and caches, the layer.json of its layers, the plans, and
    the incomplete layers."""
    by_key = {key: _read_sheet(store, key) for key in list_names(store, "layers")}
    sheets = {key: sheet for key, sheet in by_key.items() if sheet is not None}
    halves = [
        StoredItem(sort="layer", name=key, size=0, used=0.0, ids=store.ids)
        for key in by_key.keys() - sheets.keys()
        if os.path.lexists(store.path("layers", key))  # another process may have removed it meanwhile
    ]
    plans = tuple(read_uses(store))
    inside = bind_idmap(inside, store)
    sizes = disk_usage.layer_sizes(store, sheets, inside)
    used = last_used(sheets, {key: _last_lock_time(store, key) for key in sheets}, plans)
    items = [
        StoredItem(
            sort="layer", name=key, size=sizes[key], used=used[key], height=len(sheets[key].below), ids=store.ids
        )
        for key in sheets
    ]
    return [*items, *_result_items(store), *_cache_items(store, inside)], sheets, plans, halves


def bind_idmap(call: Callable[..., Any], store: Store) -> Callable[..., Any]:
    """Returns container.userns.run_as_root (or remove_as_root) bound to the id map of this store."""
    return partial(call, idmap=store.idmap) if store.idmap else call


def is_deletable(store: Store, inside: disk_usage.RunAsRoot) -> bool:
    """Whether this account may delete the trees of an id map."""
    if os.geteuid() == 0 or not store.idmap:
        return True
    try:
        bind_idmap(inside, store)(os.getpid)
    except (OSError, EnvtoolError, RuntimeError):
        return False
    return True


def undeletable_paths(store: Store) -> tuple[str, ...]:
    """Returns the paths to delete for an id map that is not `is_deletable`: its whole directory, or, at the top of the
    store, which holds shared directories too, its directories that are not empty. Empty where there is nothing."""
    directories = [directory for directory in sorted(PER_IDMAP) if list_names(store, directory)]
    return (
        (store.idmap_path(),)
        if store.ids and directories
        else tuple(store.idmap_path(directory) for directory in directories)
    )


def store_of_ids(store: Store, ids: str) -> Store:
    """Returns the store of the id map that StoredItem.ids names."""
    return next((part for part in (store, *other_idmap_stores(store)) if part.ids == ids), store)


def last_used(
    sheets: Mapping[str, LayerSheet], marked: Mapping[str, float], uses: Sequence[LastUse]
) -> dict[str, float]:
    """Returns the time when each layer was used last: the latest of its own (`marked`), that of the plans that name it,
    and that of the layers above it. Pure."""
    used = dict(marked)
    for use in uses:
        for key in use.layers & used.keys():
            used[key] = max(used[key], use.time)
    by_diff_id: dict[str, list[str]] = {}
    for key, sheet in sheets.items():
        by_diff_id.setdefault(sheet.diff_id, []).append(key)
    for key, sheet in sorted(
        sheets.items(), key=lambda pair: -len(pair[1].below)
    ):  # a layer after all that has it below
        for lower in (key_below for diff_id in sheet.below for key_below in by_diff_id.get(diff_id, ())):
            used[lower] = max(used[lower], used[key])
    return used


def digests_in_locks(projects: Iterable[str]) -> frozenset[str]:
    """Returns every sha256 in hex in the lock files of these projects: keys of layers, and files. A project or lock
    file that does not exist contributes none."""
    digests: set[str] = set()
    for root in projects:
        try:
            names = os.listdir(root)
        except OSError:
            continue
        specs = {os.path.splitext(name)[0] for name in names if name.endswith((".yaml", ".yml"))}
        for name in names:
            path = os.path.join(root, name)
            if name.endswith(".lock") and name.removesuffix(".lock") in specs:
                try:
                    digests.update(
                        digest.decode()
                        for digest in _HEX.findall(store_files.read_regular_file(path, most=_MAX_LOCK_SIZE))
                    )
                except OSError:
                    continue
    return frozenset(digests)


def list_names(store: Store, *parts: str) -> list[str]:
    """Returns the names in a directory of the store, sorted; empty where the directory does not exist."""
    try:
        return sorted(os.listdir(store.path(*parts)))
    except OSError:
        return []


def _read_sheet(store: Store, key: str) -> LayerSheet | None:
    try:
        layer = layers.read_layer_json(store, key)
        document: Any = layer.document
        built: Any = layer.built
        time = built.get("time") or os.stat(store.path("layers", key, "layer.json")).st_mtime
        if not is_time(time):
            return None
        return LayerSheet(
            key=key,
            kind=str(document["kind"]),
            name=str(built.get("name", "")),
            project=str(built.get("project", "")),
            diff_id=layer.diff_id,
            below=tuple(map(str, document.get("below", ()))),
            # an image's layer is one however it was packed, so what it was packed in is no part of its document
            files=tuple(str(pair[1]) for pair in document.get("files", ())) or tuple(map(str, built.get("files", ()))),
            time=float(time),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def _last_lock_time(store: Store, key: str) -> float:
    return max(
        _mtime(store.path("layers", key, "layer.json")), _mtime(locks.lock_path(store, layers.layer_lock_name(key)))
    )


def _mtime(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def read_uses(store: Store) -> Iterator[LastUse]:
    """Yields the plans that can be read."""
    prefix = store.path("layers", "")
    for name in list_names(store, "plans"):
        if name.endswith((".view", ".hashes", ".valid", ".tests")):
            continue
        path = store.path("plans", name)
        try:
            plan = store_files.decode_with_checksum(store_files.read_regular_file(path))[0]
            time = os.stat(path).st_mtime
            env = "" if name.endswith((".told", ".early")) else str(plan["env"])
            keys = [
                path_in_layer[len(prefix) :].split("/")[0]
                for path_in_layer, _ in plan["watch"]
                if path_in_layer.startswith(prefix)
            ]
            yield LastUse(path=path, spec=str(plan["spec"]), env=env, layers=frozenset(keys), time=time)
        except (OSError, ValueError, EOFError, TypeError, KeyError, AttributeError):
            continue


def _blob_items(store: Store) -> Iterator[StoredItem]:
    for prefix in list_names(store, "blobs", "sha256"):
        try:
            with os.scandir(store.path("blobs", "sha256", prefix)) as entries:
                for item in entries:
                    info = item.stat(follow_symlinks=False)
                    if len(item.name) == 64:
                        used = max(info.st_atime, info.st_mtime)  # see leases.py
                        yield StoredItem(sort="file", name=item.name, size=info.st_blocks * disk_usage.BLOCK, used=used)
        except OSError:
            continue


def _result_items(store: Store) -> Iterator[StoredItem]:
    for key in list_names(store, "results"):
        path = store.path("results", key)
        try:
            if key != "of":
                size, used = disk_usage.measure_tree(path), os.stat(path).st_mtime
                yield StoredItem(sort="result", name=key, size=size, used=used, ids=store.ids)
        except OSError:
            continue


def _cache_items(store: Store, inside: disk_usage.RunAsRoot) -> Iterator[StoredItem]:
    """Yields the caches of RUN instructions (caches.py) and of tasks (cache_generations.py). They change, so they are
    measured each time."""
    for key in list_names(store, caches.DIRECTORY):
        for number in list_names(store, caches.DIRECTORY, key):
            path = store.path(caches.DIRECTORY, key, number)
            if not number.isdigit():
                continue
            try:
                size = inside(disk_usage.measure_tree, ".", at=path)
                used = max(os.stat(path).st_mtime, _mtime(locks.lock_path(store, f"cache-{key}-{number}")))
            except (OSError, EnvtoolError, RuntimeError):
                continue
            yield StoredItem(sort="cache", name=f"{key}/{number}", size=size, used=used, ids=store.ids)


def item_path(store: Store, item: StoredItem) -> str:
    """Returns the path of an item in the store of its id map (store_of_ids)."""
    if item.sort == "file":
        return blobs.path(store, item.name)
    directory = {"layer": "layers", "result": "results", "cache": caches.DIRECTORY}[item.sort]
    return store.path(directory, item.name)


def item_lock(item: StoredItem) -> str:
    """Returns the name of the lock that each user of an item holds; empty where there is none."""
    if item.sort == "layer":
        return layers.layer_lock_name(item.name)
    return f"cache-{item.name.replace('/', '-')}" if item.sort == "cache" else ""


def without_items(inventory: Inventory, gone: Iterable[StoredItem]) -> Inventory:
    """Returns the inventory without these items."""
    removed = {(item.sort, item.name, item.ids) for item in gone}
    return replace(
        inventory, items=tuple(item for item in inventory.items if (item.sort, item.name, item.ids) not in removed)
    )
