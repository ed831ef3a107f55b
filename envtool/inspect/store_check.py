"""Everything in the store against what its name or its sheet says of it, on all processors.

Blobs by sha256; layers by digesting their trees anew, against their diff ID and manifest. A layer that came from an
image keeps the image's diff ID, which is of the image's own tar: its tree is compared with its manifest alone.
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
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from envtool import keys
from envtool.container import userns
from envtool.errors import EnvtoolError
from envtool.fs import store_files
from envtool.store import blobs, canonical, json_documents, layers, locks, results, snapshots
from envtool.store.collect import remove_items
from envtool.store.disk_errors import DISK_FULL_ERRNOS
from envtool.store.inventory import PLAN_NAME, StoredItem, bind_idmap, is_deletable, list_names, store_of_ids
from envtool.store.overlay_view import parse_record
from envtool.store.store import DIRECTORIES, IDS, PER_IDMAP, STAMP, Store, other_idmap_stores
from envtool.store.temp_dirs import remove_tree

ARCHIVE_KIND = "archive"  # kind of the document of a layer that is an image's: keys.archive_document
KEY_PATTERN = re.compile(r"[0-9a-f]{64}")
REQUIRED_DIRECTORIES = ("blobs/sha256", "layers", "locks", "memo", "plans", "tmp")
MAX_PATHS = 20  # paths of one layer that are named; their number is told
Progress: TypeAlias = Callable[[int], None]  # is told how many bytes were looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One thing that is not what it should be. `sort` is "layer", "file", "result", "memory", "view", "plan", "lock",
    "rest" (of tmp/) or "room"; `paths` are those in a layer, as in "/usr/bin/x: content"; `mended` is how ("removed",
    "restored"), or why not."""

    sort: str
    name: str
    what: str
    paths: tuple[str, ...] = ()
    mended: str = ""
    ids: str = ""  # of which id map: Store.ids


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCheck:
    """All that was found, and how much was looked at: things by sort, and bytes."""

    damages: tuple[Damage, ...]
    counts: dict[str, int]
    size: int

    @property
    def left(self) -> tuple[Damage, ...]:
        """What is damaged still."""
        return tuple(each for each in self.damages if each.mended not in ("removed", "restored"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One thing to look at: `size` bytes; `look` finds what is wrong."""

    sort: str
    name: str
    size: int
    look: Callable[[], Damage | None]


def check_store(store: Store, *, jobs: int = 0, progress: Progress | None = None) -> StoreCheck:
    """Look at all of it, the largest first. `progress` may raise, and then that is raised."""
    stores = _readable_stores(store)
    work = sorted(_list_jobs(stores), key=lambda job: (-job.size, job.sort, job.name))
    turn = threading.Lock()

    def one(job: _Job) -> Damage | None:
        found = job.look()
        if progress is not None:
            with turn:
                progress(job.size)
        return found

    pool = ThreadPoolExecutor(jobs or os.cpu_count() or 1, thread_name_prefix="check")
    try:
        found = [damage for damage in pool.map(one, work) if damage is not None]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    counts: dict[str, int] = {}
    for job in work:
        counts[job.sort] = counts.get(job.sort, 0) + 1
    wrong = [*check_directories(store), *(damage for other in stores[1:] for damage in _check_idmap_directories(other))]
    damages = [*wrong, *sorted(found, key=lambda each: (each.sort, each.name))]
    return StoreCheck(damages=tuple(damages), counts=counts, size=sum(job.size for job in work))


def bytes_to_check(store: Store) -> int:
    """Bytes that `check` will look at."""
    return sum(job.size for job in _list_jobs(_readable_stores(store)))


def _readable_stores(store: Store) -> tuple[Store, ...]:
    """The store as each id map has it whose trees this account can read."""
    return (store, *(other for other in other_idmap_stores(store) if is_deletable(other, userns.run_as_root)))


def _list_jobs(stores: Sequence[Store]) -> Iterator[_Job]:
    """What each id map has for itself, and what all share."""
    for each in stores:
        for key in list_names(each, "layers"):
            yield _Job(sort="layer", name=key, size=_layer_size(each, key), look=partial(check_layer, each, key))
        for sort, look in (("result", check_result), ("view", check_snapshot)):
            for name in list_names(each, f"{sort}s"):
                if name != "of":
                    yield _Job(sort=sort, name=name, size=0, look=partial(look, each, name))
    store = stores[0]
    for prefix in list_names(store, "blobs", "sha256"):
        for name in list_names(store, "blobs", "sha256", prefix):
            place = store.path("blobs", "sha256", prefix, name)
            yield _Job(sort="file", name=name, size=_file_size(place), look=partial(check_blob, place))
    for sort, room, look in (("memory", "memo", check_answer), ("plan", "plans", check_plan)):
        for name in list_names(store, room):
            yield _Job(sort=sort, name=name, size=0, look=partial(look, store, name))


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
    """Look at one layer; None when it is whole, or gone meanwhile."""

    def damaged(what: str, paths: Sequence[str] = ()) -> Damage:
        shown = (*paths[:MAX_PATHS], f"and {len(paths) - MAX_PATHS} more") if len(paths) > MAX_PATHS else tuple(paths)
        return Damage(sort="layer", name=key, what=what, paths=shown, ids=store.ids)

    if not KEY_PATTERN.fullmatch(key):
        return damaged("does not belong here")
    try:
        descriptor = locks.open_locked(store, layers.layer_lock_name(key), locks.SHARED)  # without marking it as used
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            raise
        if error.errno != errno.EROFS:  # where nothing can be written, nothing can be taken away meanwhile
            return damaged(f"its lock cannot be held: {_error_text(error)}")
        descriptor = -1
    try:
        top = store.path("layers", key)
        if not os.path.lexists(top):
            return None
        if not os.path.lexists(os.path.join(top, "layer.json")):
            return damaged("is a half: it has no layer.json")
        try:
            sheet = layers.find(store, key)
            if sheet is None:
                return None
            if keys.digest(dict(sheet.document)) != key:
                return damaged("layer.json is of another layer, or was changed")
            manifest = store_files.read_regular_file(sheet.manifest, most=canonical.MAX_MANIFEST_SIZE)
            told = dict(canonical.parse_manifest(manifest))
        except (EnvtoolError, OSError, ValueError, TypeError) as error:
            return damaged(f"cannot be read: {_error_text(error)}")
        try:
            captured, now = bind_idmap(userns.run_as_root, store)(_digest_tree, ".", at=sheet.tree)
        except (EnvtoolError, OSError, RuntimeError) as error:
            return damaged(f"its tree cannot be read: {_error_text(error)}")
        return _compare_layer(sheet, manifest, told, tuple(captured), now, damaged)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _digest_tree(top: str) -> tuple[list[Any], bytes]:
    """Runs as container root in the tree."""
    captured, manifest = canonical.digest_tree(top)
    return [*captured, stat.S_IMODE(os.stat(top).st_mode)], manifest


def _compare_layer(
    sheet: layers.Layer,
    manifest: bytes,
    told: dict[bytes, bytes],
    captured: tuple[Any, ...],
    now: bytes,
    damaged: Callable[..., Damage],
) -> Damage | None:
    diff_id, length, entries, mode = captured
    image = sheet.document.get("kind") == ARCHIVE_KIND
    if now != manifest:
        found = describe_differences(told, dict(canonical.parse_manifest(now)))
        if found:
            count = f"{len(found)} path{'s' if len(found) != 1 else ''}"
            return damaged(f"its tree is not what its manifest says: {count}", found)
        if not image:
            return damaged("its manifest is in another order")
    if not image and (diff_id, length, entries) != (sheet.diff_id, sheet.size, sheet.entries):
        return damaged(f"its tree is {diff_id[:19]}, not {sheet.diff_id[:19]}: a time, a link or an xattr was changed")
    if len(told) != sheet.entries and image:
        return damaged("layer.json counts another number of entries")
    if mode != 0o755 and not image:
        return damaged(f"its tree has mode {mode:04o}, not 0755")
    return None


def describe_differences(told: dict[bytes, bytes], found: dict[bytes, bytes]) -> list[str]:
    """As in "/usr/bin/x: mode 0755, now 0644". Pure."""
    lines = []
    for path in sorted(told.keys() | found.keys()):
        if told.get(path) == found.get(path):
            continue
        name = f"/{os.fsdecode(path)}"
        if path not in found:
            lines.append(f"{name}: missing")
        elif path not in told:
            lines.append(f"{name}: extra")
        else:
            lines.append(f"{name}: {_describe_change(told[path], found[path])}")
    return lines


def _describe_change(told: bytes, found: bytes) -> str:
    try:
        old, new = parse_record(told), parse_record(found)
    except ValueError:
        return "not an entry of a manifest"
    if old.letter != new.letter:
        return f"type {old.letter}, now {new.letter}"
    words = []
    if old.mark != new.mark:
        words.append("content" if old.letter == "f" else "target")
    if old.mode != new.mode:
        words.append(f"mode {old.mode:04o}, now {new.mode:04o}")
    if (old.uid, old.gid) != (new.uid, new.gid):
        words.append(f"owner {old.uid}:{old.gid}, now {new.uid}:{new.gid}")
    return "; ".join(words)


def _error_text(error: BaseException) -> str:
    text = getattr(error, "message", "") or getattr(error, "strerror", "") or str(error)
    return " ".join(str(text).split())[:200]


# ---- all else --------------------------------------------------------------------------------------------------------


def check_blob(place: str) -> Damage | None:
    """Look at one fetched file."""
    name = os.path.basename(place)
    damaged = Damage(sort="file", name=name, what="")
    if not KEY_PATTERN.fullmatch(name):
        return replace(damaged, what="does not belong here")
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
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
            found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return replace(damaged, what=f"cannot be read: {_error_text(error)}")
        if os.fstat(descriptor).st_atime_ns != times[0]:
            os.utime(descriptor, ns=times)  # gc would take this for a use
    if found != name:
        return replace(damaged, what=f"its content is {found[:12]}")
    if state.st_uid != os.geteuid():
        return replace(damaged, what=f"it belongs to user id {state.st_uid}")
    if stat.S_IMODE(state.st_mode) != 0o644:
        return replace(damaged, what=f"its mode is {stat.S_IMODE(state.st_mode):04o}, not 0644")
    return None


def check_result(store: Store, key: str) -> Damage | None:
    """Look at one remembered result."""
    found = results.find(store, key)
    if found is None:
        there = os.path.lexists(store.path("results", key))
        return Damage(sort="result", name=key, what="is not whole", ids=store.ids) if there else None
    if results.verify(found):
        return None
    return Damage(sort="result", name=key, what="its outputs were changed", ids=store.ids)


def check_answer(store: Store, name: str) -> Damage | None:
    """Look at one remembered answer."""
    damaged = Damage(sort="memory", name=name, what="cannot be read")
    try:
        entry = json_documents.load(store.path("memo", name), unseen=True)
        right = f"{keys.digest(entry['question'])}.json" == name and "answer" in entry
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return damaged
    return None if right else replace(damaged, what="is the answer to another question")


def check_snapshot(store: Store, name: str) -> Damage | None:
    """Look at one manifest of a project."""
    if snapshots.get(store, name) is None and os.path.lexists(store.path("views", name)):
        return Damage(sort="view", name=name, what="is not what its name says", ids=store.ids)
    return None


def check_plan(store: Store, name: str) -> Damage | None:
    """Look at one short cut: whether it can be read; what it says is looked at whenever it is used."""
    place = store.path("plans", name)
    try:
        if PLAN_NAME.fullmatch(name):
            store_files.decode_with_checksum(store_files.read_regular_file(place, most=1 << 30))
        elif not stat.S_ISREG(os.lstat(place).st_mode):  # one that is being written is a file
            return Damage(sort="plan", name=name, what="is no file")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, TypeError):
        return Damage(sort="plan", name=name, what="cannot be read")
    return None


def _check_locks(store: Store) -> Iterator[Damage]:
    """Locks are files, whatever they hold; and nothing but files and directories is ever in tmp/."""
    places = [("lock", room, (stat.S_IFREG,)) for room in locks.lock_directories(store)]
    for sort, room, kinds in (*places, ("rest", store.path("tmp"), (stat.S_IFREG, stat.S_IFDIR))):
        for name in list_names(store, room):
            with suppress(OSError):  # gone meanwhile
                if stat.S_IFMT(os.lstat(os.path.join(room, name)).st_mode) not in kinds:
                    yield Damage(sort=sort, name=name, what="is no file", ids=store.ids)


def check_directories(store: Store) -> Iterator[Damage]:
    """What is wrong with the directories themselves."""
    places = dict.fromkeys(DIRECTORIES, 0o755) | {"": 0o700, "blobs": 0o755}
    for place, mode in sorted(places.items()):
        top = not place
        yield from _check_directory(
            store.root if top else os.path.join(store.root, place), store.root if top else place, mode
        )
    yield from _check_locks(store)
    yield from _find_foreign(store.root, DIRECTORIES)
    if store.ids:
        yield from _check_idmap_directories(store)


def _check_idmap_directories(store: Store) -> Iterator[Damage]:
    """The same of what one id map has for itself."""
    if store.ids:
        for room in ("", *sorted(PER_IDMAP), "locks"):
            place = store.idmap_path(room).rstrip("/")
            yield from _check_directory(place, os.path.relpath(place, store.root), 0o755)
        yield from _find_foreign(store.idmap_path(), (*PER_IDMAP, "locks"))
    yield from _check_locks(store)


def _check_directory(place: str, name: str, mode: int) -> Iterator[Damage]:
    try:
        state = os.stat(place) if name == place else os.lstat(place)
    except FileNotFoundError as error:
        if name in REQUIRED_DIRECTORIES or name == place:  # the others are made when they are needed
            yield Damage(sort="room", name=name, what=_error_text(error))
        return
    except OSError as error:
        yield Damage(sort="room", name=name, what=_error_text(error))
        return
    if state.st_uid != os.geteuid():
        yield Damage(sort="room", name=name, what=f"it belongs to user id {state.st_uid}")
    elif stat.S_IMODE(state.st_mode) != mode:
        yield Damage(sort="room", name=name, what=f"its mode is {stat.S_IMODE(state.st_mode):04o}, not {mode:04o}")


def _find_foreign(place: str, listed: Iterable[str]) -> Iterator[Damage]:
    """What no room is called."""
    known = {room.split("/")[0] for room in listed} | {STAMP, IDS}
    with suppress(OSError):
        for name in sorted(os.listdir(place)):
            if name not in known:
                yield Damage(sort="room", name=name, what="does not belong here")


# ---- repair ----------------------------------------------------------------------------------------------------------


def repair(store: Store, found: StoreCheck) -> StoreCheck:
    """Take away what is damaged, to be made or fetched again, and restore the modes of directories. What is in use, and
    what is not ours, stays."""
    return replace(found, damages=tuple(replace(each, mended=_repair_damage(store, each)) for each in found.damages))


def _repair_damage(whole: Store, damage: Damage) -> str:
    store = store_of_ids(whole, damage.ids)
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
            gone, _ = remove_items(whole, [item], remove=userns.remove_as_root)
            return "removed" if gone else "kept: it is in use"
        if damage.sort == "lock":
            remove_tree(locks.lock_path(store, damage.name))
            return "removed"
        room = {"memory": "memo", "view": "views", "plan": "plans", "rest": "tmp"}[damage.sort]
        remove_tree(store.path(room, damage.name), bind_idmap(userns.remove_as_root, store))
    except FileNotFoundError:
        return "removed"
    except OSError as error:
        return f"kept: {_error_text(error)}"
    return "removed"


def _restore_mode(store: Store, name: str) -> str:
    place = os.path.join(store.root, name)
    if not os.path.isdir(place):
        os.makedirs(place)
    os.chmod(place, 0o700 if place == store.root else 0o755)
    return "restored" if os.stat(place).st_uid == os.geteuid() else "kept: it belongs to somebody else"
