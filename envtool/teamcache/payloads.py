"""Packs a layer's tree, or a result, as one blob to push."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from envtool.container.runner import Runner
from envtool.lazy_dataclass import dataclass
from envtool.net.oci.documents import OCI_LAYER_ZSTD
from envtool.store import layers, packing
from envtool.store.layers import Layer
from envtool.store.store import Store
from envtool.teamcache.statement import LAYER, RESULT, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A layer or result to push. `pack` writes its blob to a path and returns its statement; it raises OSError and
    EnvtoolError where the item is gone, or damaged."""

    sort: str
    key: str
    pack: Callable[[str], Statement]


def layer_payload(layer: Layer, store: Store, mode: str, runner: Runner) -> Payload:
    """Returns the payload of a layer in the store; `mode` are the user ids of the containers here (connect.id_mode)."""

    def pack(path: str) -> Statement:
        packing.prepare("zstd")
        with layers.hold_layers(store, [layer]):
            packed = _write_blob(path, lambda out: runner.as_root(packing.pack, ".", out, "zstd", at=layer.tree))
        if packed[:2] != (layer.diff_id, layer.size):
            raise OSError(errno.EUCLEAN, "the layer in the store is damaged")
        return _statement(LAYER, layer.key, mode, packed, layer.entries)

    return Payload(sort=LAYER, key=layer.key, pack=pack)


def result_payload(key: str, directory: str, mode: str) -> Payload:
    """Returns the payload of a result in the store: result.json, log and outputs."""

    def pack(path: str) -> Statement:
        packed = _write_blob(path, lambda out: packing.pack(directory, out, "zstd"))
        return _statement(RESULT, key, mode, packed, 0)

    return Payload(sort=RESULT, key=key, pack=pack)


def _write_blob(path: str, pack: Callable[[int], packing.PackedLayer]) -> packing.PackedLayer:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        return pack(descriptor)
    finally:
        os.close(descriptor)


def _statement(sort: str, key: str, mode: str, packed: packing.PackedLayer, entries: int) -> Statement:
    diff_id, size, blob, blob_size = packed
    return Statement(
        sort=sort,
        key=key,
        ids=mode,
        diff_id=diff_id,
        size=size,
        entries=entries,
        blob=blob,
        blob_size=blob_size,
        media_type=OCI_LAYER_ZSTD,
    )
