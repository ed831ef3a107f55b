"""Checks every item of the store against its name and its document, on all processors, and repairs the store.

Blobs are hashed; the trees of layers are digested again and compared with diff ID and manifest. A layer of an image
keeps the image's diff ID, which is that of the image's own tar: its tree is compared with its manifest alone.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from envtool import keys
from envtool.container import userns
from envtool.errors import EnvtoolError
from envtool.fs import store_files
from envtool.lazy_dataclass import dataclass
from envtool.store import blobs, canonical, json_documents, layers, locks, results, snapshots
from envtool.store.collect import remove_items
from envtool.store.disk_errors import DISK_FULL_ERRNOS
from envtool.store.inventory import PLAN_NAME, StoredItem, bind_idmap, is_deletable, list_names, store_of_ids
from envtool.store.overlay_view import parse_record
from envtool.store.store import DIRECTORIES, IDS, PER_IDMAP, STAMP, Store, other_idmap_stores
from envtool.store.temp_dirs import remove_tree

ARCHIVE_KIND = "archive"  # kind in the document of an image's layer: keys.archive_document
KEY_PATTERN = re.compile(r"[0-9a-f]{64}")
REQUIRED_DIRECTORIES = ("blobs/sha256", "layers", "locks", "memo", "plans", "tmp")
MAX_PATHS = 20  # paths of one layer that a message names; of the others it gives the number
Progress: TypeAlias = Callable[[int], None]  # receives the number of bytes that were checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One damaged item. `sort` is "layer", "file", "result", "memory" (a cached answer), "view" (a snapshot), "plan",
    "lock", "rest" (of tmp/) or "room" (a directory of the store); `what` is wrong with it; `paths` are the damaged ones
    of a layer, as in "/usr/bin/x: content"; `mended` is "removed" or "restored", or why neither was done."""

    sort: str
    name: str
    what: str
    paths: tuple[str, ...] = ()
    mended: str = ""
    ids: str = ""  # the id map that the item belongs to: Store.ids


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCheck:
    """All damages, the number of checked items by sort, and their size in bytes."""

    damages: tuple[Damage, ...]
    counts: dict[str, int]
    size: int

    @property
    def left(self) -> tuple[Damage, ...]:
        """The damages that were not repaired."""
        return tuple(damage for damage in self.damages if damage.mended not in ("removed", "restored"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One item to check, of `size` bytes."""

    sort: str
    name: str
    size: int
    check: Callable[[], Damage | None]


def check_store(store: Store, *, jobs: int = 0, progress: Progress | None = None) -> StoreCheck:
    """Check every item, the largest first. An exception of `progress` ends the check and is raised."""
    stores = _readable_stores(store)
    queue = sorted(_list_jobs(stores), key=lambda job: (-job.size, job.sort, job.name))
    lock = threading.Lock()

    def check_job(job: _Job) -> Damage | None:
        damage = job.check()
        if progress is not None:
            with lock:
                progress(job.size)
        return damage

    pool = ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0)), thread_name_prefix="check")
    try:
        damaged_items = [damage for damage in pool.map(check_job, queue) if damage is not None]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    counts: dict[str, int] = {}
    for job in queue:
        counts[job.sort] = counts.get(job.sort, 0) + 1
    directory_damages = [
        *check_directories(store),
        *(damage for part in stores[1:] for damage in _check_idmap_directories(part)),
    ]
    damages = [*directory_damages, *sorted(damaged_items, key=lambda damage: (damage.sort, damage.name))]
    return StoreCheck(damages=tuple(damages), counts=counts, size=sum(job.size for job in queue))


def bytes_to_check(store: Store) -> int:
    """The number of bytes that check_store will check."""
    return sum(job.size for job in _list_jobs(_readable_stores(store)))


def _readable_stores(store: Store) -> tuple[Store, ...]:
    """The store, and those of its other id maps whose trees this account can read."""
    return (store, *(other for other in other_idmap_stores(store) if is_deletable(other, userns.run_as_root)))


def _list_jobs(stores: Sequence[Store]) -> Iterator[_Job]:
    """The items of each id map, and those that all share."""
    for part in stores:
        for key in list_names(part, "layers"):
            yield _Job(sort="layer", name=key, size=_layer_size(part, key), check=partial(check_layer, part, key))
        for sort, check in (("result", check_result), ("view", check_snapshot)):
            for name in list_names(part, f"{sort}s"):
                if name != "of":
                    yield _Job(sort=sort, name=name, size=0, check=partial(check, part, name))
    store = stores[0]
    for prefix in list_names(store, "blobs", "sha256"):
        for name in list_names(store, "blobs", "sha256", prefix):
            path = store.path("blobs", "sha256", prefix, name)
            yield _Job(sort="file", name=name, size=_file_size(path), check=partial(check_blob, path))
    for sort, directory, check in (("memory", "memo", check_answer), ("plan", "plans", check_plan)):
        for name in list_names(store, directory):
            yield _Job(sort=sort, name=name, size=0, check=partial(check, store, name))


def _layer_size(store: Store, key: str) -> int:
    try:
        return layers.read_layer_json(store, key).size
    except (OSError, ValueError):
        return 0


def _file_size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


# ---- layers ----------------------------------------------------------------------------------------------------------


def check_layer(store: Store, key: str) -> Damage | None:
    """Check one layer. Returns None if it is undamaged, or was removed meanwhile."""

    def damaged(what: str, paths: Sequence[str] = ()) -> Damage:
        named_paths = (
            (*paths[:MAX_PATHS], f"and {len(paths) - MAX_PATHS} more") if len(paths) > MAX_PATHS else tuple(paths)
        )
        return Damage(sort="layer", name=key, what=what, paths=named_paths, ids=store.ids)

    if not KEY_PATTERN.fullmatch(key):
        return damaged("does not belong here")
    try:
        # unlike a lease, this lock does not mark the layer as used
        descriptor = locks.open_locked(store, layers.layer_lock_name(key), locks.SHARED)
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            raise
        if error.errno != errno.EROFS:  # on a read-only file system nobody can remove the layer meanwhile
            return damaged(f"its lock cannot be held: {_error_text(error)}")
        descriptor = -1
    try:
        directory = store.path("layers", key)
        if not os.path.lexists(directory):
            return None
        if not os.path.lexists(os.path.join(directory, "layer.json")):
            return damaged("is a half: it has no layer.json")
        try:
            layer = layers.find(store, key)
            if layer is None:
                return None
            if keys.digest(dict(layer.document)) != key:
                return damaged("layer.json is of another layer, or was changed")
            manifest = store_files.read_regular_file(layer.manifest, most=canonical.MAX_MANIFEST_SIZE)
            recorded = dict(canonical.parse_manifest(manifest))
        except (EnvtoolError, OSError, ValueError, TypeError) as error:
            return damaged(f"cannot be read: {_error_text(error)}")
        try:
            captured, actual_manifest = bind_idmap(userns.run_as_root, store)(_digest_tree, ".", at=layer.tree)
        except (EnvtoolError, OSError, RuntimeError) as error:
            return damaged(f"its tree cannot be read: {_error_text(error)}")
        return _compare_layer(layer, manifest, recorded, tuple(captured), actual_manifest, damaged)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _digest_tree(tree: str) -> tuple[list[Any], bytes]:
    """Runs as root of a container, in the tree."""
    captured, manifest = canonical.digest_tree(tree)
    return [*captured, stat.S_IMODE(os.stat(tree).st_mode)], manifest


def _compare_layer(
    layer: layers.Layer,
    manifest: bytes,
    recorded: dict[bytes, bytes],
    captured: tuple[Any, ...],
    actual_manifest: bytes,
    damaged: Callable[..., Damage],
) -> Damage | None:
    diff_id, length, entries, mode = captured
    from_image = layer.document.get("kind") == ARCHIVE_KIND
    if actual_manifest != manifest:
        differences = describe_differences(recorded, dict(canonical.parse_manifest(actual_manifest)))
        if differences:
            count = f"{len(differences)} path{'s' if len(differences) != 1 else ''}"
            return damaged(f"its tree is not what its manifest says: {count}", differences)
        if not from_image:
            return damaged("its manifest is in another order")
    if not from_image and (diff_id, length, entries) != (layer.diff_id, layer.size, layer.entries):
        return damaged(f"its tree is {diff_id[:19]}, not {layer.diff_id[:19]}: a time, a link or an xattr was changed")
    if len(recorded) != layer.entries and from_image:
        return damaged("layer.json counts another number of entries")
    if mode != 0o755 and not from_image:
        return damaged(f"its tree has mode {mode:04o}, not 0755")
    return None


def describe_differences(recorded: dict[bytes, bytes], actual: dict[bytes, bytes]) -> list[str]:
    """One line per path that differs, as in "/usr/bin/x: mode 0755, now 0644". Pure."""
    lines = []
    for path in sorted(recorded.keys() | actual.keys()):
        if recorded.get(path) == actual.get(path):
            continue
        name = f"/{os.fsdecode(path)}"
        if path not in actual:
            lines.append(f"{name}: missing")
        elif path not in recorded:
            lines.append(f"{name}: extra")
        else:
            lines.append(f"{name}: {_describe_change(recorded[path], actual[path])}")
    return lines


def _describe_change(recorded: bytes, actual: bytes) -> str:
    try:
        old, new = parse_record(recorded), parse_record(actual)
    except ValueError:
        return "not an entry of a manifest"
    if old.letter != new.letter:
        return f"type {old.letter}, now {new.letter}"
    changes = []
    if old.mark != new.mark:
        changes.append("content" if old.letter == "f" else "target")
    if old.mode != new.mode:
        changes.append(f"mode {old.mode:04o}, now {new.mode:04o}")
    if (old.uid, old.gid) != (new.uid, new.gid):
        changes.append(f"owner {old.uid}:{old.gid}, now {new.uid}:{new.gid}")
    return "; ".join(changes)


def _error_text(error: BaseException) -> str:
    text = getattr(error, "message", "") or getattr(error, "strerror", "") or str(error)
    return " ".join(str(text).split())[:200]


# ---- other items -----------------------------------------------------------------------------------------------------


def check_blob(path: str) -> Damage | None:
    """Check one fetched file."""
    name = os.path.basename(path)
    damaged = Damage(sort="file", name=name, what="")
    if not KEY_PATTERN.fullmatch(name):
        return replace(damaged, what="does not belong here")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        return replace(damaged, what=f"cannot be read: {_error_text(error)}")
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        os.close(descriptor)
        return replace(damaged, what="is no file")
    with open(descriptor, "rb", buffering=0) as file:
        times = state.st_atime_ns, state.st_mtime_ns
        try:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return replace(damaged, what=f"cannot be read: {_error_text(error)}")
        if os.fstat(descriptor).st_atime_ns != times[0]:
            os.utime(descriptor, ns=times)  # gc would take the reading for a use
    if sha256 != name:
        return replace(damaged, what=f"its content is {sha256[:12]}")
    if state.st_uid != os.geteuid():
        return replace(damaged, what=f"it belongs to user id {state.st_uid}")
    if stat.S_IMODE(state.st_mode) != 0o644:
        return replace(damaged, what=f"its mode is {stat.S_IMODE(state.st_mode):04o}, not 0644")
    return None


def check_result(store: Store, key: str) -> Damage | None:
    """Check one cached result. One that another process replaces or removes meanwhile is checked again."""
    identity = results.read_identity(store, key)
    while identity is not None:
        result = results.find(store, key)
        if result is not None and results.verify(result):
            return None
        found, identity = identity, results.read_identity(store, key)
        if identity == found:
            what = "is not whole" if result is None else "its outputs were changed"
            return Damage(sort="result", name=key, what=what, ids=store.ids)
    return None


def check_answer(store: Store, name: str) -> Damage | None:
    """Check one cached answer."""
    damaged = Damage(sort="memory", name=name, what="cannot be read")
    try:
        entry = json_documents.load(store.path("memo", name), unseen=True)
        matches = f"{keys.digest(entry['question'])}.json" == name and "answer" in entry
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return damaged
    return None if matches else replace(damaged, what="is the answer to another question")


def check_snapshot(store: Store, name: str) -> Damage | None:
    """Check one snapshot of a project."""
    if snapshots.get(store, name) is None and os.path.lexists(store.path("views", name)):
        return Damage(sort="view", name=name, what="is not what its name says", ids=store.ids)
    return None


def check_plan(store: Store, name: str) -> Damage | None:
    """Check that one plan of the fast path can be read. Its contents are checked at every use."""
    path = store.path("plans", name)
    try:
        if PLAN_NAME.fullmatch(name):
            store_files.decode_with_checksum(store_files.read_regular_file(path, most=1 << 30))
        elif not stat.S_ISREG(os.lstat(path).st_mode):  # a plan that is being written is a file
            return Damage(sort="plan", name=name, what="is no file")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, TypeError):
        return Damage(sort="plan", name=name, what="cannot be read")
    return None


def _check_locks(store: Store) -> Iterator[Damage]:
    """Check that locks are regular files, and that tmp/ holds only files and directories."""
    expected = [("lock", directory, (stat.S_IFREG,)) for directory in locks.lock_directories(store)]
    for sort, directory, types in (*expected, ("rest", store.path("tmp"), (stat.S_IFREG, stat.S_IFDIR))):
        for name in list_names(store, directory):
            with suppress(OSError):  # removed meanwhile
                if stat.S_IFMT(os.lstat(os.path.join(directory, name)).st_mode) not in types:
                    yield Damage(sort=sort, name=name, what="is no file", ids=store.ids)


def check_directories(store: Store) -> Iterator[Damage]:
    """Check the directories of the store: their owners and modes, foreign entries, and the locks."""
    modes = dict.fromkeys(DIRECTORIES, 0o755) | {"": 0o700, "blobs": 0o755}
    for directory, mode in sorted(modes.items()):
        is_root = not directory
        yield from _check_directory(
            store.root if is_root else os.path.join(store.root, directory), store.root if is_root else directory, mode
        )
    yield from _check_locks(store)
    yield from _find_foreign(store.root, DIRECTORIES)
    if store.ids:
        yield from _check_idmap_directories(store)


def _check_idmap_directories(store: Store) -> Iterator[Damage]:
    """Check the directories that belong to one id map."""
    if store.ids:
        for directory in ("", *sorted(PER_IDMAP), "locks"):
            path = store.idmap_path(directory).rstrip("/")
            yield from _check_directory(path, os.path.relpath(path, store.root), 0o755)
        yield from _find_foreign(store.idmap_path(), (*PER_IDMAP, "locks"))
    yield from _check_locks(store)


def _check_directory(path: str, name: str, mode: int) -> Iterator[Damage]:
    try:
        state = os.stat(path) if name == path else os.lstat(path)
    except FileNotFoundError as error:
        if name in REQUIRED_DIRECTORIES or name == path:  # the others are created when they are needed
            yield Damage(sort="room", name=name, what=_error_text(error))
        return
    except OSError as error:
        yield Damage(sort="room", name=name, what=_error_text(error))
        return
    if state.st_uid != os.geteuid():
        yield Damage(sort="room", name=name, what=f"it belongs to user id {state.st_uid}")
    elif stat.S_IMODE(state.st_mode) != mode:
        yield Damage(sort="room", name=name, what=f"its mode is {stat.S_IMODE(state.st_mode):04o}, not {mode:04o}")


def _find_foreign(path: str, directories: Iterable[str]) -> Iterator[Damage]:
    """Entries of a directory that envtool did not put there."""
    own_names = {directory.split("/")[0] for directory in directories} | {STAMP, IDS}
    with suppress(OSError):
        for name in sorted(os.listdir(path)):
            if name not in own_names:
                yield Damage(sort="room", name=name, what="does not belong here")


# ---- repair ----------------------------------------------------------------------------------------------------------


def repair(store: Store, checked: StoreCheck) -> StoreCheck:
    """Remove damaged items, which will be built or fetched again, and restore the modes of directories. Items in use,
    and those that are not envtool's, stay."""
    return replace(
        checked, damages=tuple(replace(damage, mended=_repair_damage(store, damage)) for damage in checked.damages)
    )


def _repair_damage(all_stores: Store, damage: Damage) -> str:
    store = store_of_ids(all_stores, damage.ids)
    try:
        if damage.what == "does not belong here":
            return "left: it is nothing of envtool's"
        if damage.sort == "room":
            return _restore_mode(store, damage.name)
        if damage.sort in ("layer", "file", "result"):
            item = StoredItem(sort=damage.sort, name=damage.name, size=0, used=0.0, ids=damage.ids)  # type: ignore[arg-type]
            if damage.sort == "file" and damage.what.startswith("its mode"):
                os.chmod(blobs.path(store, damage.name), 0o644)
                return "restored"
            removed, _ = remove_items(all_stores, [item], remove=userns.remove_as_root)
            return "removed" if removed else "kept: it is in use"
        if damage.sort == "lock":
            remove_tree(locks.lock_path(store, damage.name))
            return "removed"
        directory = {"memory": "memo", "view": "views", "plan": "plans", "rest": "tmp"}[damage.sort]
        remove_tree(store.path(directory, damage.name), bind_idmap(userns.remove_as_root, store))
    except FileNotFoundError:
        return "removed"
    except OSError as error:
        return f"kept: {_error_text(error)}"
    return "removed"


def _restore_mode(store: Store, name: str) -> str:
    path = os.path.join(store.root, name)
    if not os.path.isdir(path):
        os.makedirs(path)
    os.chmod(path, 0o700 if path == store.root else 0o755)
    return "restored" if os.stat(path).st_uid == os.geteuid() else "kept: it belongs to another user"
