"""Reads a compressed file in pieces, decompressed in a thread of its own while the caller uses the pieces.

Image layers are compressed with gzip or zstd (OCI image spec, media-types.md), in any number of members or frames one
after the other: estargz and zstd:chunked have thousands. No piece is longer than PIECE, whatever the ratio.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from envtool.errors import BuildError

PIECE = 1 << 20
READ = 1 << 17
MAX_WAITING = 6  # pieces that may wait: more would only fill memory
_GZIP = b"\x1f\x8b"
_ZSTD = (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + low, 0x2A, 0x4D, 0x18]) for low in range(16)))
_OTHERS = {b"\xfd7zXZ\0": "xz", b"BZh": "bzip2", b"PK\x03\x04": "zip", b"\x04\x22\x4d\x18": "lz4"}


def import_zstd() -> Any:
    """Returns the module that reads zstd: `zstandard`, else Python's own."""
    try:
        import zstandard
    except ImportError:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # since 3.14

        return zstd
    return zstandard


def decompress(descriptor: int) -> Iterator[bytes]:
    """Yields the content of an open file from its beginning, decompressed. Raises BuildError (codes unpack-format,
    unpack-damaged, unpack-truncated, unpack-trailing), OSError."""
    magic = os.pread(descriptor, 8, 0)
    with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
        file.seek(0)
        if magic.startswith(_GZIP):
            yield from _gunzip(file)
        elif magic.startswith(_ZSTD):
            yield from _unzstd(file)
        else:
            for start, name in _OTHERS.items():
                if magic.startswith(start):
                    raise BuildError(f"{name} is no compression of image layers", code="unpack-format")
            while piece := file.read(PIECE):
                yield piece


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    decoder = zlib.decompressobj(31)
    data = b""
    try:
        while data or (data := file.read(READ)):
            piece = decoder.decompress(data, PIECE)
            if piece:
                yield piece
            data = decoder.unconsumed_tail
            if decoder.eof:
                data = decoder.unused_data or file.read(READ)
                while data and not data.strip(b"\0"):  # padding, as gzip(1) allows it
                    data = file.read(READ)
                if not data:
                    return
                if not data.lstrip(b"\0").startswith(_GZIP[: len(data)]):
                    raise BuildError("something that is no gzip follows its end", code="unpack-trailing")
                data = data.lstrip(b"\0")
                decoder = zlib.decompressobj(31)
        while piece := decoder.flush():
            yield piece
    except zlib.error as error:
        raise BuildError(f"not what gzip writes: {error}", code="unpack-damaged") from error
    raise BuildError("the gzip stream ends too early", code="unpack-truncated")


def _unzstd(file: BinaryIO) -> Iterator[bytes]:
    module = import_zstd()
    if hasattr(module, "ZstdFile"):
        stream = cast("BinaryIO", module.ZstdFile(file))
    else:
        stream = cast("BinaryIO", module.ZstdDecompressor().stream_reader(file, READ, read_across_frames=True))
    try:
        while piece := stream.read(PIECE):
            yield piece
    except EOFError as error:
        raise BuildError("the zstd stream ends too early", code="unpack-truncated") from error
    except module.ZstdError as error:
        raise BuildError(f"not what zstd writes: {error}", code="unpack-damaged") from error


class ReadAhead:
    """Computes an iterator's items in another thread, a few ahead of the caller. `close` ends the thread."""

    def __init__(self, items: Iterator[bytes]) -> None:
        self._items = items
        self._ready: deque[bytes | BaseException] = deque()
        self._filled = threading.Semaphore(0)
        self._room = threading.Semaphore(MAX_WAITING)
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="inflate", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            for item in self._items:
                self._room.acquire()
                if self._closed:
                    return
                self._ready.append(item)
                self._filled.release()
            self._ready.append(b"")
        except BaseException as error:
            self._ready.append(error)
        finally:
            self._filled.release()

    def next(self) -> bytes:
        """Returns the next item; b"" at the end, after which there must be no further call. Raises what the iterator
        raised."""
        self._filled.acquire()
        item = self._ready.popleft()
        if isinstance(item, BaseException):
            raise item
        self._room.release()
        return item

    def close(self) -> None:
        """Drops the items that were not read, and waits for the end of the thread."""
        self._closed = True
        self._room.release()
        self._thread.join()
