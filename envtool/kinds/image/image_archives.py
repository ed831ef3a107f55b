"""Images in one file: OCI layouts as a tar, and what `docker save` and `podman save` write. Perhaps compressed.

No member is ever written under its own name: members are looked up by the name that a document gives.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import posixpath
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from envtool.api import FetchError, ResolveError, Site
from envtool.net.oci import documents

CHUNK_SIZE = 1 << 20
MAX_MEMBERS = 20_000
MAX_LINKS = 16  # docker's older archives link from one layer to the same in another image
_OPENERS: Mapping[bytes, Callable[[BinaryIO], object]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
RATIO, FREELY = 250, 1 << 28  # as for layers: what unpacks to more than that is a bomb


class ImageArchive:
    """The members of an open archive, by their names without `./`."""

    def __init__(self, what: str, archive: tarfile.TarFile) -> None:
        self.what = what
        self._archive = archive
        self._members: dict[str, tarfile.TarInfo] = {}
        for number, member in enumerate(archive):
            if number >= MAX_MEMBERS:
                self.wrong(f"more than {MAX_MEMBERS} members")
            self._members[posixpath.normpath(member.name)] = member

    def wrong(self, why: str, hint: str = "") -> Any:
        """Raise the error about this archive."""
        raise FetchError(f"{self.what}: {why}", code="image-archive", hint=hint)

    def names(self) -> list[str]:
        """Of the regular files, sorted."""
        return sorted(name for name, member in self._members.items() if member.isreg())

    def layer_type(self, name: str) -> str:
        """The media type of a layer, by its first bytes: docker leaves them plain, others do not."""
        start = next(self.pieces(name), b"")[:4]
        gz, zst = start.startswith(b"\x1f\x8b"), start.startswith(b"\x28\xb5\x2f\xfd")
        return documents.OCI_LAYER_GZIP if gz else documents.OCI_LAYER_ZSTD if zst else documents.OCI_LAYER

    def size(self, name: str) -> int:
        """Of a regular file, bytes."""
        return self._found(name).size

    def pieces(self, name: str) -> Iterator[bytes]:
        """The content of a regular file. Raises FetchError."""
        member = self._found(name)
        file = cast("IO[bytes]", self._archive.extractfile(member))
        left = member.size
        while left:
            piece = file.read(min(CHUNK_SIZE, left))
            if not piece:
                self.wrong(f"{name} is cut short")
            left -= len(piece)
            yield piece

    def small(self, name: str, limit: int) -> bytes:
        """A file whole. Raises FetchError."""
        if self.size(name) > limit:
            self.wrong(f"{name} has more than {limit} bytes")
        return b"".join(self.pieces(name))

    def _found(self, name: str) -> tarfile.TarInfo:
        at = posixpath.normpath(name)
        for _ in range(MAX_LINKS):
            member = self._members.get(at)
            if member is None:
                self.wrong(f"{name} is not in it")
            assert member is not None
            if member.isreg() and not member.issparse():
                return member
            if member.issym():
                at = posixpath.normpath(posixpath.join(posixpath.dirname(at), member.linkname))
            elif member.islnk():
                at = posixpath.normpath(member.linkname)
            else:
                break
        self.wrong(f"{name} is no regular file in it")
        raise AssertionError


@contextmanager
def open_archive(path: str, what: str, site: Site) -> Iterator[ImageArchive]:
    """An archive of the project; a compressed one is kept in the store as the tar that it is. Raises FetchError (code
    image-archive)."""
    try:
        with site.open(path) as file:
            plain = _decompress_to_store(file, what, site)
            with tarfile.open(plain, "r:") if plain else tarfile.open(fileobj=file, mode="r:") as archive:
                yield ImageArchive(what, archive)
    except ResolveError as error:
        raise FetchError(f"{what}: {error.message}", code="image-archive", hint=error.hint) from None
    except (tarfile.TarError, EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise FetchError(f"{what}: not an archive that can be read: {error}", code="image-archive") from error
    except OSError as error:
        raise FetchError(f"{what}: {error.strerror or error}", code="image-archive") from error


def _decompress_to_store(file: BinaryIO, what: str, site: Site) -> Path | None:
    """Where a compressed archive is plain, None for one that is. Leaves the file at its beginning."""
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        raise FetchError(f"{what}: archives in zstd are not read", code="image-archive", hint="`zstd -d` it first")
    opener = next((found for start, found in _OPENERS.items() if magic.startswith(start)), None)
    if opener is None:
        return None
    limit = max(FREELY, RATIO * os.fstat(file.fileno()).st_size)

    def pieces() -> Iterator[bytes]:
        done = 0
        with cast("IO[bytes]", opener(file)) as unpacked:
            while piece := unpacked.read(CHUNK_SIZE):
                done += len(piece)
                if done > limit:
                    raise FetchError(f"{what}: unpacks to more than {limit} bytes", code="image-archive")
                yield piece

    return site.keep(pieces())
