"""What is in the store, what each thing takes, and when it was used last: read from the disk, no index.

Layers, results and caches of every id map whose trees this account can still delete are in it (store.others). A layer
is used when it is held (the time of its lock), and when an env that has it starts the short way (the time of the env's
plan, which names its layers). What a layer stands on is used whenever the layer is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias

from envtool.errors import EnvtoolError
from envtool.fs import store_files
from envtool.store import blobs, caches, disk_usage, layers, locks, temp_dirs
from envtool.store.json_documents import is_time
from envtool.store.store import PER_IDMAP, Store, other_idmap_stores

Sort: TypeAlias = Literal["layer", "file", "result", "cache"]
_HEX = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_MAX_LOCK_SIZE = 64 << 20  # bytes of a lock that is read


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredItem:
    """A thing that gc may remove: a layer by key, a fetched file by sha256, a result by key, a cache by its place in
    caches/. `size` is what it takes on the disk, `used` when it was used last, seconds since the epoch."""

    sort: Sort
    name: str
    size: int
    used: float
    height: int = 0  # of a layer: how many it stands on
    ids: str = ""  # of which id map: Store.ids
    other: bool = False  # whether that is another than the one that containers have here

    @property
    def policy_name(self) -> str:
        """What locks and policies call it: what is of another id map has a name that no lock says."""
        return f"{self.ids}:{self.name}" if self.other else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSheet:
    """What a layer's own layer.json says of it."""

    key: str
    kind: str
    name: str  # in the spec it was first built for, or empty
    project: str  # absolute path of that project, or empty
    diff_id: str
    below: tuple[str, ...]  # diff IDs
    files: tuple[str, ...]  # sha256
    time: float  # when it was built


@dataclass(frozen=True, slots=True, kw_only=True)
class LastUse:
    """A plan: which layers an env had when it started last (`env` empty: several envs of one run)."""

    path: str
    spec: str  # absolute path
    env: str
    layers: frozenset[str]  # keys
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All of it. `sheets` are of the layers that containers here can use, and so is what `uses` names. `halves` are
    layers without a readable sheet; `rest` bytes are of memories, plans and views. `stuck` are the stores of id maps
    whose trees only root can delete."""

    items: tuple[StoredItem, ...]
    sheets: Mapping[str, LayerSheet]
    uses: tuple[LastUse, ...]
    halves: tuple[StoredItem, ...]
    rest: int
    stuck: tuple[Store, ...] = ()
    elsewhere: frozenset[str] = frozenset()  # projects that layers of other id maps were made for

    @property
    def size(self) -> int:
        """Bytes of everything."""
        return self.rest + sum(item.size for item in self.items)

    @property
    def projects(self) -> frozenset[str]:
        """Absolute paths of all projects that anything in the store was made for."""
        return frozenset(
            [*self.elsewhere]
            + [os.path.dirname(use.spec) for use in self.uses]
            + [sheet.project for sheet in self.sheets.values() if sheet.project]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedWork:
    """Bytes in tmp/: `made` are of what is being made now, `going` of what is being taken away, `left` of what nobody
    is at: runs that were stopped left so many things (`stopped`), and whoever uses the store next takes them away."""

    made: int = 0
    going: int = 0
    left: int = 0
    stopped: int = 0

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return self.made + self.going + self.left


def measure_unfinished(store: Store, inside: disk_usage.RunAsRoot) -> UnfinishedWork:
    """Look at tmp/ of every id map whose trees this account can delete."""
    made = going = left = stopped = 0
    for each in (store, *(other for other in other_idmap_stores(store) if is_deletable(other, inside))):
        look = bind_idmap(inside, each)
        for name in list_names(each, "tmp"):
            place = each.path("tmp", name)
            held = bool(locks.find_holder(place))
            try:
                size = look(disk_usage.measure_changing, ".", at=place) if os.path.isdir(place) else _disk_size(place)
            except (OSError, EnvtoolError, RuntimeError):  # gone meanwhile
                continue
            if held and name.endswith(temp_dirs.REMOVAL_SUFFIX):
                going += size
            elif held:
                made += size
            else:
                left += size
                stopped += 1
    return UnfinishedWork(made=made, going=going, left=left, stopped=stopped)


def take_inventory(store: Store, inside: disk_usage.RunAsRoot) -> Inventory:
    """Look at everything. What goes away meanwhile is passed over."""
    items, sheets, plans, halves = _idmap_inventory(store, inside)
    items += _blob_items(store)
    projects = set()
    stuck = []
    for other in other_idmap_stores(store):
        if not is_deletable(other, inside):
            stuck += [other] if undeletable_paths(other) else []
            continue
        more, theirs, _, broken = _idmap_inventory(other, inside)
        items += [replace(item, other=True) for item in more]
        halves += broken
        projects |= {sheet.project for sheet in theirs.values() if sheet.project}
    rest = sum(
        _disk_size(store.path(room, name)) for room in ("memo", "plans", "views") for name in list_names(store, room)
    )
    return Inventory(
        items=tuple(items), sheets=sheets, uses=plans, halves=tuple(halves), rest=rest, stuck=tuple(stuck),
        elsewhere=frozenset(projects),
    )  # fmt: skip


def _idmap_inventory(
    store: Store, inside: disk_usage.RunAsRoot
) -> tuple[list[StoredItem], dict[str, LayerSheet], tuple[LastUse, ...], list[StoredItem]]:
    """What one id map has for itself: its layers, results and caches, its sheets, what uses them, and its halves."""
    found = {key: _read_sheet(store, key) for key in list_names(store, "layers")}
    sheets = {key: sheet for key, sheet in found.items() if sheet is not None}
    halves = [
        StoredItem(sort="layer", name=key, size=0, used=0.0, ids=store.ids) for key in found.keys() - sheets.keys()
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
    """container.ids.inside and .remove as they work on what this id map has."""
    return partial(call, idmap=store.idmap) if store.idmap else call


def is_deletable(store: Store, inside: disk_usage.RunAsRoot) -> bool:
    """Whether this account may delete what an id map has in the store."""
    if os.geteuid() == 0 or not store.idmap:
        return True
    try:
        bind_idmap(inside, store)(os.getpid)
    except (OSError, EnvtoolError, RuntimeError):
        return False
    return True


def undeletable_paths(store: Store) -> tuple[str, ...]:
    """The paths to delete of what an id map has that is not `deletable`: all of it, or at the top, which has what all
    share too, the rooms that anything is in. Empty where there is nothing."""
    rooms = [room for room in sorted(PER_IDMAP) if list_names(store, room)]
    return (store.idmap_path(),) if store.ids and rooms else tuple(store.idmap_path(room) for room in rooms)


def store_of_ids(store: Store, ids: str) -> Store:
    """The store as the id map has it that an Item's `ids` names."""
    return next((each for each in (store, *other_idmap_stores(store)) if each.ids == ids), store)


def last_used(
    sheets: Mapping[str, LayerSheet], marked: Mapping[str, float], uses: Sequence[LastUse]
) -> dict[str, float]:
    """When each layer was used: by its own mark, the plans that name it, and whatever stands on it. Pure."""
    used = dict(marked)
    for use in uses:
        for key in use.layers & used.keys():
            used[key] = max(used[key], use.time)
    by_content: dict[str, list[str]] = {}
    for key, sheet in sheets.items():
        by_content.setdefault(sheet.diff_id, []).append(key)
    for key, sheet in sorted(
        sheets.items(), key=lambda pair: -len(pair[1].below)
    ):  # a layer after all that has it below
        for lower in (each for diff_id in sheet.below for each in by_content.get(diff_id, ())):
            used[lower] = max(used[lower], used[key])
    return used


def digests_in_locks(projects: Iterable[str]) -> frozenset[str]:
    """Every sha256 in hex that the locks of these projects have in them: keys of layers, and files. Projects and locks
    that are gone name nothing."""
    found: set[str] = set()
    for root in projects:
        try:
            listed = os.listdir(root)
        except OSError:
            continue
        specs = {os.path.splitext(name)[0] for name in listed if name.endswith((".yaml", ".yml"))}
        for name in listed:
            path = os.path.join(root, name)
            if name.endswith(".lock") and name.removesuffix(".lock") in specs:
                try:
                    found.update(
                        each.decode() for each in _HEX.findall(store_files.read_regular_file(path, most=_MAX_LOCK_SIZE))
                    )
                except OSError:
                    continue
    return frozenset(found)


def list_names(store: Store, *room: str) -> list[str]:
    """What is in a room, sorted; nothing where it is not there."""
    try:
        return sorted(os.listdir(store.path(*room)))
    except OSError:
        return []


def _read_sheet(store: Store, key: str) -> LayerSheet | None:
    try:
        said = layers.read_layer_json(store, key)
        document: Any = said.document
        built: Any = said.built
        when = built.get("time") or os.stat(store.path("layers", key, "layer.json")).st_mtime
        if not is_time(when):
            return None
        return LayerSheet(
            key=key,
            kind=str(document["kind"]),
            name=str(built.get("name", "")),
            project=str(built.get("project", "")),
            diff_id=said.diff_id,
            below=tuple(map(str, document.get("below", ()))),
            # an image's layer is one however it was packed, so what it was packed in is no part of its document
            files=tuple(str(pair[1]) for pair in document.get("files", ())) or tuple(map(str, built.get("files", ()))),
            time=float(when),
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


def _disk_size(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * disk_usage.BLOCK
    except OSError:
        return 0


def read_uses(store: Store) -> Iterator[LastUse]:
    """The plans that can be read."""
    prefix = store.path("layers", "")
    for name in list_names(store, "plans"):
        if name.endswith((".view", ".hashes")):
            continue
        path = store.path("plans", name)
        try:
            plan = store_files.decode_with_checksum(store_files.read_regular_file(path))[0]
            time = os.stat(path).st_mtime
            env = "" if name.endswith(".told") else str(plan["env"])
            keys = [place[len(prefix) :].split("/")[0] for place, _ in plan["watch"] if place.startswith(prefix)]
            yield LastUse(path=path, spec=str(plan["spec"]), env=env, layers=frozenset(keys), time=time)
        except (OSError, ValueError, EOFError, TypeError, KeyError, AttributeError):
            continue


def _blob_items(store: Store) -> Iterator[StoredItem]:
    for prefix in list_names(store, "blobs", "sha256"):
        try:
            with os.scandir(store.path("blobs", "sha256", prefix)) as found:
                for item in found:
                    info = item.stat(follow_symlinks=False)
                    if len(item.name) == 64:
                        used = max(info.st_atime, info.st_mtime)  # see claims.py
                        yield StoredItem(sort="file", name=item.name, size=info.st_blocks * disk_usage.BLOCK, used=used)
        except OSError:
            continue


def _result_items(store: Store) -> Iterator[StoredItem]:
    for key in list_names(store, "results"):
        place = store.path("results", key)
        try:
            if key != "of":
                size, used = disk_usage.measure_tree(place), os.stat(place).st_mtime
                yield StoredItem(sort="result", name=key, size=size, used=used, ids=store.ids)
        except OSError:
            continue


def _cache_items(store: Store, inside: disk_usage.RunAsRoot) -> Iterator[StoredItem]:
    """What RUNs of Dockerfiles keep (caches.py). They change, so they are measured each time."""
    for key in list_names(store, caches.DIRECTORY):
        for number in list_names(store, caches.DIRECTORY, key):
            place = store.path(caches.DIRECTORY, key, number)
            if not number.isdigit():
                continue
            try:
                size = inside(disk_usage.measure_tree, ".", at=place)
                used = max(os.stat(place).st_mtime, _mtime(locks.lock_path(store, f"cache-{key}-{number}")))
            except (OSError, EnvtoolError, RuntimeError):
                continue
            yield StoredItem(sort="cache", name=f"{key}/{number}", size=size, used=used, ids=store.ids)


def item_path(store: Store, item: StoredItem) -> str:
    """The path of an item, in the store `under` its ids."""
    if item.sort == "file":
        return blobs.path(store, item.name)
    room = {"layer": "layers", "result": "results", "cache": caches.DIRECTORY}[item.sort]
    return store.path(room, item.name)


def item_lock(item: StoredItem) -> str:
    """Name of the lock that whoever uses an item holds; empty where there is none."""
    if item.sort == "layer":
        return layers.layer_lock_name(item.name)
    return f"cache-{item.name.replace('/', '-')}" if item.sort == "cache" else ""


def without_items(found: Inventory, gone: Iterable[StoredItem]) -> Inventory:
    """The same when these are gone."""
    lost = {(item.sort, item.name, item.ids) for item in gone}
    return replace(found, items=tuple(item for item in found.items if (item.sort, item.name, item.ids) not in lost))
