"""Reads a compressed file in pieces, and bounds what archives unpack to.

Image layers are compressed with gzip or zstd (OCI image spec, media-types.md), in any number of members or frames one
after the other: estargz and zstd:chunked have thousands. Other archives may also be compressed with bzip2, xz, or lzma.
No piece is longer than PIECE, whatever the ratio.
"""

from __future__ import annotations

import bz2
import lzma
import os
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from envtool.errors import BuildError

PIECE = 1 << 20
FIRST_PIECE = 512  # bytes: of a damaged file, at least the first block of a tar is read before the error
READ = 1 << 17
MAX_WAITING = 6  # pieces that may wait: more would only fill memory
MAX_RATIO = 250  # an archive that unpacks to more times its size is a bomb: deflate ends at 1032, zstd has no limit
SKIPPABLE = "skippable frame"  # of zstd, as zstd:chunked has them
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    *((bytes([0x50 + low, 0x2A, 0x4D, 0x18]), SKIPPABLE) for low in range(16)),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # without members
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x5d\0\0", "lzma"),  # xz's forerunner, which has no container: not read as such where any file may come
)
LAYER_FORMATS = frozenset(("gzip", "zstd", SKIPPABLE))
_GZIP_MAGIC = MAGIC[0][0]
_ALONE = frozenset(("lzma",))


class UnpackedSize:
    """Counts the bytes that an archive of `packed` bytes unpacks to: at most `minimum`, or MAX_RATIO times its size."""

    def __init__(self, packed: int, minimum: int) -> None:
        self.size = 0
        self._limit = max(minimum, MAX_RATIO * packed)

    def add(self, count: int) -> None:
        """Counts bytes. Raises BuildError (code unpack-bomb)."""
        self.size += count
        if self.size > self._limit:
            raise BuildError(
                f"it unpacks to more than {self._limit} bytes: no archive of its size does", code="unpack-bomb"
            )


def import_zstd() -> Any:
    """Returns the module that reads and writes zstd: `zstandard`, else Python's own."""
    try:
        import zstandard
    except ImportError:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # since 3.14

        return zstd
    return zstandard


def detect_format(head: bytes) -> str:
    """Returns the format of a file by its first bytes (six are enough), one of those in MAGIC; empty for any other."""
    return next((name for magic, name in MAGIC if head.startswith(magic)), "")


def decompress_layer(descriptor: int) -> Iterator[bytes]:
    """Yields the content of an image's layer from its beginning. Raises BuildError (codes unpack-format,
    unpack-damaged, unpack-truncated, unpack-trailing), OSError."""
    form = detect_format(os.pread(descriptor, 8, 0))
    if form and form not in LAYER_FORMATS | _ALONE:
        raise BuildError(f"{form} is no compression of image layers", code="unpack-format")
    return decompress(descriptor, form if form in LAYER_FORMATS else "")


def decompress(descriptor: int, form: str) -> Iterator[bytes]:
    """Yields the content of an open file from its beginning; `form` is its compression as in MAGIC, empty for none.
    Raises BuildError (codes unpack-damaged, unpack-truncated, unpack-trailing), OSError."""
    with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
        file.seek(0)
        if form == "gzip":
            yield from _gunzip(file)
        elif form in ("zstd", SKIPPABLE):
            module = import_zstd()
            stream = (
                module.ZstdFile(file)
                if hasattr(module, "ZstdFile")
                else module.ZstdDecompressor().stream_reader(file, READ, read_across_frames=True)
            )
            yield from _read_stream(stream, "zstd", module.ZstdError)
        elif form == "bzip2":
            yield from _read_stream(cast("BinaryIO", bz2.BZ2File(file)), form, OSError)
        elif form in ("xz", "lzma"):
            yield from _read_stream(cast("BinaryIO", lzma.LZMAFile(file)), form, lzma.LZMAError)  # noqa: SIM115
        else:
            while piece := file.read(PIECE):
                yield piece


def _read_stream(stream: BinaryIO, form: str, damaged: type[Exception]) -> Iterator[bytes]:
    count = FIRST_PIECE
    try:
        while piece := stream.read(count):
            yield piece
            count = PIECE
    except EOFError as error:
        raise BuildError(f"the {form} stream ends too early", code="unpack-truncated") from error
    except damaged as error:
        if isinstance(error, OSError) and error.errno:  # bz2 raises OSError without a number
            raise
        raise BuildError(f"not what {form} writes: {error}", code="unpack-damaged") from error


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    decoder = zlib.decompressobj(31)
    data, count = b"", FIRST_PIECE
    try:
        while data or (data := file.read(READ)):
            piece = decoder.decompress(data, count)
            if piece:
                yield piece
                count = PIECE
            data = decoder.unconsumed_tail
            if decoder.eof:
                data = decoder.unused_data or file.read(READ)
                while data and not data.strip(b"\0"):  # padding, as gzip(1) allows it
                    data = file.read(READ)
                if not data:
                    return
                if not data.lstrip(b"\0").startswith(_GZIP_MAGIC[: len(data)]):
                    raise BuildError("something that is no gzip follows its end", code="unpack-trailing")
                data = data.lstrip(b"\0")
                decoder = zlib.decompressobj(31)
        while piece := decoder.flush():
            yield piece
    except zlib.error as error:
        raise BuildError(f"not what gzip writes: {error}", code="unpack-damaged") from error
    raise BuildError("the gzip stream ends too early", code="unpack-truncated")


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
