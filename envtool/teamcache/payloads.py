"""What is pushed, as one blob each: a layer's tree, or what is remembered of a run."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass

from envtool.container import userns
from envtool.net.oci.documents import OCI_LAYER_ZSTD
from envtool.store import layers, packing
from envtool.store.layers import Layer
from envtool.store.store import Store
from envtool.teamcache.statement import LAYER, RESULT, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """Something to be pushed. `pack` writes its blob to a path and says what it is; it raises OSError and EnvtoolError
    where it is gone, or not what it was."""

    sort: str
    key: str
    pack: Callable[[str], Statement]


def layer_payload(layer: Layer, store: Store, mode: str) -> Payload:
    """A layer that stands in the store; `mode` is whose files containers here can make."""

    def pack(path: str) -> Statement:
        packing.prepare("zstd")
        with layers.hold_layers(store, [layer]):
            came = _write_blob(path, lambda out: userns.run_as_root(packing.pack, ".", out, "zstd", at=layer.tree))
        if came[:2] != (layer.diff_id, layer.size):
            raise OSError(errno.EUCLEAN, "the layer in the store is damaged")
        return _statement(LAYER, layer.key, mode, came, layer.entries)

    return Payload(sort=LAYER, key=layer.key, pack=pack)


def result_payload(key: str, directory: str, mode: str) -> Payload:
    """A result in the store, whole: its sheet, log and outputs."""

    def pack(path: str) -> Statement:
        came = _write_blob(path, lambda out: packing.pack(directory, out, "zstd"))
        return _statement(RESULT, key, mode, came, 0)

    return Payload(sort=RESULT, key=key, pack=pack)


def _write_blob(path: str, pack: Callable[[int], packing.PackedLayer]) -> packing.PackedLayer:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        return pack(descriptor)
    finally:
        os.close(descriptor)


def _statement(sort: str, key: str, mode: str, came: packing.PackedLayer, entries: int) -> Statement:
    diff_id, size, blob, blob_size = came
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
