"""Reads images in one file, which may be compressed: tars of OCI layouts, and archives of `docker save` and `podman
save`.

No member is ever written under its own name: members are looked up by the names in the image's oci_images."""

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

from envtool.api import FetchError, ResolveError, Site, oci_images

CHUNK_SIZE = 1 << 20
MAX_MEMBERS = 20_000
MAX_LINKS = 16  # older archives of docker have links between equal layers of two images
_OPENERS: Mapping[bytes, Callable[[BinaryIO], object]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
# As for layers: an archive that unpacks to more than 250 times its size, and more than 256 MiB, is a bomb.
MAX_RATIO, UNLIMITED_SIZE = 250, 1 << 28


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
        """Raises FetchError about this archive."""
        raise FetchError(f"{self.what}: {why}", code="image-archive", hint=hint)

    def names(self) -> list[str]:
        """Returns the names of the regular files, sorted."""
        return sorted(name for name, member in self._members.items() if member.isreg())

    def layer_type(self, name: str) -> str:
        """Returns the media type of a layer, from its first bytes: docker writes layers uncompressed, other tools may
        compress them."""
        start = next(self.chunks(name), b"")[:4]
        gz, zst = start.startswith(b"\x1f\x8b"), start.startswith(b"\x28\xb5\x2f\xfd")
        return oci_images.OCI_LAYER_GZIP if gz else oci_images.OCI_LAYER_ZSTD if zst else oci_images.OCI_LAYER

    def size(self, name: str) -> int:
        """Returns the size of a regular file in bytes."""
        return self._regular_member(name).size

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yields the content of a regular file. Raises FetchError."""
        member = self._regular_member(name)
        file = cast("IO[bytes]", self._archive.extractfile(member))
        remaining = member.size
        while remaining:
            chunk = file.read(min(CHUNK_SIZE, remaining))
            if not chunk:
                self.wrong(f"{name} is cut short")
            remaining -= len(chunk)
            yield chunk

    def read(self, name: str, limit: int) -> bytes:
        """Returns the content of a file. Raises FetchError if it has more than `limit` bytes."""
        if self.size(name) > limit:
            self.wrong(f"{name} has more than {limit} bytes")
        return b"".join(self.chunks(name))

    def _regular_member(self, name: str) -> tarfile.TarInfo:
        path = posixpath.normpath(name)
        for _ in range(MAX_LINKS):
            member = self._members.get(path)
            if member is None:
                self.wrong(f"{name} is not in it")
            assert member is not None
            if member.isreg() and not member.issparse():
                return member
            if member.issym():
                path = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.linkname))
            elif member.islnk():
                path = posixpath.normpath(member.linkname)
            else:
                break
        self.wrong(f"{name} is no regular file in it")
        raise AssertionError


@contextmanager
def open_archive(path: str, what: str, site: Site) -> Iterator[ImageArchive]:
    """Opens an archive of the project. A compressed archive is unpacked into the store first. Raises FetchError (code
    image-archive)."""
    try:
        with site.open(path) as file:
            tar_path = _decompress_to_store(file, what, site)
            with tarfile.open(tar_path, "r:") if tar_path else tarfile.open(fileobj=file, mode="r:") as archive:
                yield ImageArchive(what, archive)
    except ResolveError as error:
        raise FetchError(f"{what}: {error.message}", code="image-archive", hint=error.hint) from None
    except (tarfile.TarError, EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise FetchError(f"{what}: not an archive that can be read: {error}", code="image-archive") from error
    except OSError as error:
        raise FetchError(f"{what}: {error.strerror or error}", code="image-archive") from error


def _decompress_to_store(file: BinaryIO, what: str, site: Site) -> Path | None:
    """Returns the path of the unpacked archive in the store; None for an archive that is not compressed. Leaves the
    file at its beginning. Raises FetchError."""
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        raise FetchError(f"{what}: archives in zstd are not read", code="image-archive", hint="`zstd -d` it first")
    opener = next((candidate for prefix, candidate in _OPENERS.items() if magic.startswith(prefix)), None)
    if opener is None:
        return None
    limit = max(UNLIMITED_SIZE, MAX_RATIO * os.fstat(file.fileno()).st_size)

    def chunks() -> Iterator[bytes]:
        size = 0
        with cast("IO[bytes]", opener(file)) as unpacked:
            while chunk := unpacked.read(CHUNK_SIZE):
                size += len(chunk)
                if size > limit:
                    raise FetchError(f"{what}: unpacks to more than {limit} bytes", code="image-archive")
                yield chunk

    return site.keep(chunks())
