"""Keeps captured layers by key: `layers/<key>/{tree/,layer.json,manifest}`."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from envtool.errors import StoreError
from envtool.fs import store_files
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Json
from envtool.store import answer_cache, disk_errors, locks
from envtool.store.json_documents import dumps, is_count, load
from envtool.store.store import Store
from envtool.store.temp_dirs import RemoveTree, temp_directory

if TYPE_CHECKING:
    from envtool.store.canonical import CaptureResult

__all__ = ["Layer", "NewLayer", "find", "hold_layers", "open_draft", "temp_directory"]


_FIELDS = re.compile(
    rb"(?:f [0-7]{1,7} [0-9]{1,20} [0-9]{1,20} [0-9]{1,19}:|[a-eg-z] [0-7]{1,7} [0-9]{1,20} [0-9]{1,20} )[^ ]+"
)
_DIFF_ID = re.compile("sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A complete layer in the store. `size` is that of its tar, in bytes."""

    key: str
    tree: str  # absolute path
    manifest: str  # absolute path: see canonical.py
    diff_id: str  # "sha256:…"
    size: int
    entries: int
    document: Mapping[str, Json]  # everything that determined the layer: its digest is the key
    listed: str = ""  # sha256 of its manifest; empty for layers of older envtools
    built: Mapping[str, Json] = field(default_factory=dict)  # who built it first, when, and as what: not in the key


def find(store: Store, key: str) -> Layer | None:
    """Returns the layer of a key, None when there is none. Raises StoreError (code layer-damaged) where the layer is
    incomplete or damaged. The caller may hold no lock: a gc, or another build, may take the layer's place meanwhile."""
    directory = store.path("layers", key)
    identity = _identity(directory)
    while identity is not None:
        try:
            return _read(store, key)
        except StoreError:
            found, identity = identity, _identity(directory)
            if identity == found:  # the same one as before: nobody was moving it away
                raise
    return None


def _identity(directory: str) -> tuple[int, int] | None:
    """As store_files.read_identity. Raises StoreError."""
    try:  # one system call for a layer that is not there: a plan asks for thousands
        return store_files.read_identity(directory)
    except OSError as error:
        raise damaged_layer_error(os.path.basename(directory), f"{error.strerror}: {error.filename}") from error


def _read(store: Store, key: str) -> Layer:
    """Raises StoreError where the layer is incomplete or damaged."""
    try:
        layer = read_layer_json(store, key)
        if not stat.S_ISDIR(os.lstat(layer.tree).st_mode) or not stat.S_ISREG(os.lstat(layer.manifest).st_mode):
            raise damaged_layer_error(key, "its tree or its manifest is something else")
    except FileNotFoundError as error:
        raise damaged_layer_error(key, f"{os.path.basename(error.filename)} is missing") from error
    except OSError as error:
        raise damaged_layer_error(key, f"{error.strerror}: {error.filename}") from error
    except ValueError as error:
        raise damaged_layer_error(key, f"layer.json: {error}") from error
    return layer


def read_layer_json(store: Store, key: str) -> Layer:
    """Reads a layer's layer.json, without a look at its tree. Raises OSError, ValueError where it is malformed."""
    directory = store.path("layers", key)
    sheet = load(os.path.join(directory, "layer.json"))
    diff_id, size, entries = (sheet.get(name) for name in ("diff_id", "size", "entries"))
    built = sheet.get("built", {})
    is_valid = isinstance(diff_id, str) and _DIFF_ID.fullmatch(diff_id) and is_count(size) and is_count(entries)
    if not is_valid or not isinstance(sheet.get("document"), dict) or not isinstance(built, dict):
        raise ValueError("it does not say what a layer is")
    return Layer(
        key=key,
        tree=os.path.join(directory, "tree"),
        manifest=os.path.join(directory, "manifest"),
        diff_id=str(diff_id),
        size=size,  # type: ignore[arg-type]
        entries=entries,  # type: ignore[arg-type]
        document=sheet["document"],
        listed=str(sheet.get("manifest", "")),
        built=built,
    )


def read_records(layer: Layer) -> list[tuple[bytes, bytes]]:
    """Returns the path and fields of each entry of a layer, by its manifest (canonical.read_manifest). Raises
    StoreError (code layer-damaged)."""
    from envtool.store import canonical  # verbs that look read no manifest

    try:
        data = store_files.read_regular_file(layer.manifest, most=canonical.MAX_MANIFEST_SIZE)
        if layer.listed and hashlib.sha256(data).hexdigest() != layer.listed:
            raise damaged_layer_error(layer.key, "its manifest is another")
        records = [*canonical.parse_manifest(data)]
    except OSError as error:
        raise damaged_layer_error(layer.key, f"its manifest: {error.strerror}") from error
    except ValueError:
        records = [(b"", b"")]
    if not all(_FIELDS.fullmatch(fields) for _, fields in records):
        raise damaged_layer_error(layer.key, "its manifest is none")
    return records


def damaged_layer_error(key: str, why: str) -> StoreError:
    """Returns the error for a layer that is incomplete or damaged."""
    return StoreError(
        f"layer {key[:12]} in the store is damaged: {why}",
        code="layer-damaged",
        hint="`envtool store verify --repair` removes what is damaged; it is built again when it is needed",
    )


def find_known_output(store: Store, key: str) -> str:
    """Returns the recorded diff ID of a layer, which may be gone from the store; empty where there is no record."""
    answer = answer_cache.get(store, {"diff id of": key})
    return answer if isinstance(answer, str) and _DIFF_ID.fullmatch(answer) else ""


def store_known_output(store: Store, key: str, diff_id: str) -> None:
    """Records the diff ID of a layer beyond the layer's removal. Raises OSError."""
    if answer_cache.get(store, {"diff id of": key}) is None:
        answer_cache.put(store, {"diff id of": key}, diff_id)


class NewLayer:
    """A layer that is being built, in a directory of its own. `layer` is set once it is in the store; another process
    may have built it."""

    def __init__(self, store: Store, key: str, top: str, layer: Layer | None) -> None:
        self.layer = layer
        self.upper = os.path.join(top, "layer", "tree")
        self.work = os.path.join(top, "layer", "work")  # beside the tree, as overlayfs wants it
        self.manifest = os.path.join(top, "layer", "manifest")
        self._store = store
        self._key = key
        self._top = top

    def commit(
        self,
        captured: CaptureResult,
        document: Mapping[str, Json],
        built: Mapping[str, Json] | None = None,
        sync: Callable[[str], None] | None = None,
    ) -> Layer:
        """Syncs the layer and puts it into the store, by one rename, which a crash of the machine may lose. `built` is
        kept beside the document, for people: it is no part of the key. `sync` is syncfs(2) of a directory. Raises
        StoreError for errors of the disk."""
        diff_id, size, entries = captured
        directory = os.path.join(self._top, "layer")
        sheet: dict[str, Json] = {"diff_id": diff_id, "size": size, "entries": entries, "document": dict(document)}
        if built is not None:
            sheet["built"] = dict(built)
        try:
            with open(self.manifest, "rb") as manifest:
                sheet["manifest"] = hashlib.file_digest(manifest, "sha256").hexdigest()
            with open(os.path.join(directory, "layer.json"), "wb") as file:
                file.write(dumps(sheet))
            (sync or _sync)(directory)
            os.rename(directory, self._store.path("layers", self._key))
        except OSError as error:
            raise disk_errors.translate_os_error(self._store.root, error) or error from error
        self.layer = find(self._store, self._key)
        assert self.layer is not None
        return self.layer


@contextmanager
def open_draft(
    store: Store,
    key: str,
    *,
    remove: RemoveTree | None = None,
    waiting: locks.OnWait | None = None,
    cancelled: locks.Cancelled | None = None,
) -> Iterator[NewLayer]:
    """Yields the draft of a layer to the one process that builds it. When another process has built the layer
    meanwhile, the draft's `layer` is set and there is nothing to do; else the caller fills `upper` (with `work` beside
    it for the overlay, which must be removed again), captures it and calls `commit`. Without a commit the draft is
    removed. `remove` deletes trees that container ids own. Raises Interrupted, StoreError."""
    with ExitStack() as stack:
        stack.enter_context(locks.exclusive(store, f"build-{key}", waiting=waiting, cancelled=cancelled))
        layer = find(store, key)
        if layer is not None:
            yield NewLayer(store, key, "", layer)
            return
        try:
            top = stack.enter_context(temp_directory(store, remove=remove))
            draft = NewLayer(store, key, top, None)
            for path in (os.path.dirname(draft.upper), draft.upper, draft.work):
                os.mkdir(path)
                os.chmod(path, 0o755)  # container root may be another id; whatever the umask
        except OSError as error:
            raise disk_errors.translate_os_error(store.root, error) or error from error
        yield draft


class _HeldLocks:
    """The shared locks of this process, counted, so that two hundred layers in ten containers take two hundred
    descriptors."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open: dict[tuple[str, str], tuple[int, int]] = {}


_held = _HeldLocks()


@contextmanager
def hold_layers(store: Store, layers: Sequence[Layer]) -> Iterator[None]:
    """Holds layers so that no gc removes them meanwhile. Raises StoreError when a layer is gone already."""
    held: list[str] = []
    try:
        for key in dict.fromkeys(layer.key for layer in layers):
            _acquire(store, key)
            held.append(key)
            if not os.path.exists(store.path("layers", key, "layer.json")):
                raise StoreError(f"layer {key[:12]} is gone from the store", code="layer-gone", hint="run it again")
        yield
    finally:
        for key in held:
            _release(store, key)


def _acquire(store: Store, key: str) -> None:
    with _held.lock:
        descriptor, count = _held.open.get((store.idmap_path(), key), (-1, 0))
        if not count:
            descriptor = hold_layer(store, key)
        _held.open[store.idmap_path(), key] = (descriptor, count + 1)


def _release(store: Store, key: str) -> None:
    with _held.lock:
        descriptor, count = _held.open.pop((store.idmap_path(), key))
        if count > 1:
            _held.open[store.idmap_path(), key] = (descriptor, count - 1)
        else:
            os.close(descriptor)


def hold_layer(store: Store, key: str) -> int:
    """Returns a descriptor: while it is open, no gc removes the layer of this key, whether it exists or not. Notes the
    layer as used now."""
    descriptor = locks.open_locked(store, layer_lock_name(key), fcntl.LOCK_SH)
    os.utime(descriptor)
    return descriptor


def layer_lock_name(key: str) -> str:
    """Returns the name of the lock that the users of a layer share; the lock's time is that of the layer's last use."""
    return f"layer-{key}"


def _sync(path: str) -> None:
    """syncfs(2): one call for thousands of files."""
    import ctypes

    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(descriptor)
