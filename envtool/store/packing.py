"""Writes a captured tree as a tar, plain or compressed, to a descriptor, and returns the digests of both.

`pack` runs as container root (`container.userns.run_as_root`), to whom the files belong. Versions of gzip's and zstd's
libraries compress the same bytes differently, so a layer is identified by its diff ID, never by a compressed digest.
"""

from __future__ import annotations

import errno
import hashlib
import os
import select
import zlib
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from envtool.store import canonical, decompress

Compression: TypeAlias = Literal["", "gzip", "zstd"]
PackedLayer: TypeAlias = tuple[str, int, str, int]  # diff ID, bytes of the tar, digest of the written blob, its bytes

GZIP_LEVEL = 6
ZSTD_LEVEL = 3


def prepare(form: Compression) -> None:
    """Imports the modules that `pack` needs: the process of container root should import nothing."""
    if form == "zstd":
        decompress.import_zstd()


def compressor_version(form: Compression) -> str:
    """Returns the name, version and level of the compressor: with the same three, the same tar is the same blob."""
    if form == "gzip":
        return f"zlib {zlib.ZLIB_RUNTIME_VERSION} -{GZIP_LEVEL}"
    if form == "zstd":
        module = decompress.import_zstd()
        version = getattr(module, "ZSTD_VERSION", None) or module.zstd_version_info
        return f"zstd {'.'.join(map(str, version))} -{ZSTD_LEVEL}"
    return ""


def pack(tree: str | int, out: int, form: Compression, stop: int = -1) -> PackedLayer:
    """Writes the tar of a captured tree to the descriptor `out`. Raises OSError (ECANCELED once the descriptor `stop`
    is readable), StoreError."""
    sink = CompressedWriter(out, form, stop)
    canonical.write_tar(tree, sink)  # type: ignore[arg-type]  # write_tar calls nothing but `write`
    return sink.close()


class CompressedWriter:
    """A writer that compresses to a descriptor, in the format `form`, and hashes the plain and the compressed bytes."""

    def __init__(self, out: int, form: Compression, stop: int = -1) -> None:
        self._out = out
        self._plain = hashlib.sha256()
        self._packed = self._plain if not form else hashlib.sha256()
        self._sizes = [0, 0]
        self._pack: Any = _compressor(form)
        self._stopped = stop_check(stop)
        self._pieces: list[bytes] = []
        self._waiting = 0

    def write(self, piece: bytes) -> int:
        """Takes a piece of any length; small pieces are collected to one chunk."""
        self._pieces.append(piece)
        self._waiting += len(piece)
        if self._waiting >= canonical.CHUNK:
            self._flush()
        return len(piece)

    def close(self) -> PackedLayer:
        """Writes the remaining bytes; returns digests and sizes."""
        self._flush()
        if self._pack is not None:
            self._put(self._pack.flush())
        plain, packed = (f"sha256:{digest.hexdigest()}" for digest in (self._plain, self._packed))
        return plain, self._sizes[0], packed, self._sizes[1]

    def _flush(self) -> None:
        if self._stopped():
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        self._plain.update(data)
        self._sizes[0] += len(data)
        self._put(data if self._pack is None else self._pack.compress(data))

    def _put(self, data: bytes) -> None:
        if self._packed is not self._plain:
            self._packed.update(data)
        self._sizes[1] += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._out, view) :]


def detect_compression(path: str) -> Compression:
    """Returns a file's compression, by its first bytes."""
    with open(path, "rb") as file:
        form = decompress.detect_format(file.read(8))
    return "gzip" if form == "gzip" else "zstd" if form in ("zstd", decompress.SKIPPABLE) else ""


def _compressor(form: Compression) -> Any:
    if form == "gzip":
        return zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)  # a header without time and name
    if form == "zstd":
        compressor = decompress.import_zstd().ZstdCompressor(level=ZSTD_LEVEL)
        return compressor.compressobj() if hasattr(compressor, "compressobj") else compressor
    return None


def stop_check(stop: int) -> Callable[[], bool]:
    """Returns a function that tells whether a descriptor is readable; never for a negative one."""
    if stop < 0:
        return lambda: False
    poll = select.poll()
    poll.register(stop, select.POLLIN)
    return lambda: bool(poll.poll(0))
