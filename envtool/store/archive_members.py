"""Keeps single files of zip archives as blobs, so that they are decompressed once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from envtool.errors import FetchError
from envtool.store import blobs
from envtool.store.store import Store

_CHUNK = 1 << 20  # bytes


def keep_member(store: Store, archive: str, member: str, sha256: str, size: int) -> str:
    """Returns the path of the blob of `size` bytes with this sha256; unless the store has it, it is read from the
    member of the zip archive at the path `archive`. Raises FetchError (codes archive, fetch-hash), StoreError."""
    if blobs.has(store, sha256, size):
        return blobs.path(store, sha256)
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(archive) as opened, opened.open(member) as file:
            return blobs.put_content(store, _chunks(file, member, size), sha256)
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FetchError(f"the archive has no file `{member}` that can be read: {error}", code="archive") from error


def _chunks(file: IO[bytes], member: str, size: int) -> Iterator[bytes]:
    """Yields the content in pieces. Raises FetchError (code archive) where it has not exactly `size` bytes: a small
    archive may decompress to any length."""
    rest = size
    while chunk := file.read(min(_CHUNK, rest + 1)):
        rest -= len(chunk)
        if rest < 0:
            break
        yield chunk
    if rest:
        raise FetchError(f"`{member}` has not the {size} bytes that it should have", code="archive")
