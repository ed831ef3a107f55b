"""Writes every pinned file of a spec to a folder or an archive, from which the spec builds without a network.

The layout is that of `store/fetch_sources.py`: `<ab>/<sha256>`. A folder serves as `envtool.vendor/` beside a spec, and
as a place in ENVTOOL_BLOBS. `SHA256SUMS` says in comments what each file is; `sha256sum -c` reads it.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any, TypeAlias

from envtool.build.fetch_all import WantedFile
from envtool.errors import StoreError, UsageError
from envtool.fs.caller_paths import atomic_write, open_directory
from envtool.fs.directory import OpenDirectory
from envtool.lazy_dataclass import dataclass
from envtool.project.source_files import VENDOR
from envtool.store import blobs
from envtool.store.store import Store

INDEX = "SHA256SUMS"
README = "README"
ENDINGS = (".tar", ".tar.zst")
FORM = tarfile.USTAR_FORMAT  # holds all our names, and no field that differs from one machine to another
LEVEL = 3  # zstd level: debs and wheels are compressed already
TEXT = f"""\
The outside files of a project's environments, each under the sha256 of its content. Written by `envtool vendor`.

Beside the project's envtool.yaml, as `{VENDOR}/`, this folder is used before any URL. Elsewhere:

    ENVTOOL_BLOBS=/path/of/this/folder envtool test

ENVTOOL_BLOBS takes URLs too: any web server can serve the folder as it is. `{INDEX}` says what each file is and what
needs it; `sha256sum -c {INDEX}` checks them all.
"""
MODE = 0o644  # whatever the umask: other users read the folder
Check: TypeAlias = Callable[[], None]  # raises Interrupted once the run is cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorReport:
    """How many files were written, were there already, and were removed; `size` is the sum of all in bytes."""

    path: str
    written: int
    kept: int
    removed: int
    size: int


def is_archive(path: str) -> bool:
    """Whether a path names an archive rather than a folder."""
    return path.endswith(ENDINGS)


def write_folder(
    files: Sequence[WantedFile], store: Store, path: str, *, prune: bool, check: Check, project: str = ""
) -> VendorReport:
    """Brings a folder up to date: writes each file that is missing or damaged by one rename.

    `project`: see fs.caller_paths. `prune` removes files that are no longer pinned. Raises UsageError, StoreError,
    Interrupted.
    """
    added = removed = 0
    wanted = {item.fetch.sha256 for item in files}
    try:
        with open_directory(path, project) as top:
            _check_folder(top, path)
            for item in files:
                check()
                with top.open_below(item.fetch.sha256[:2], make=True) as directory:
                    if not _has_valid(directory, item):
                        with directory.atomic_write(item.fetch.sha256, MODE) as out:
                            _copy(item, store, out)
                        added += 1
            all_unpinned = []
            for name, directory in _directories(top):
                with directory:
                    directory.sweep()
                    unpinned = [digest for digest in _stored_digests(name, directory) if digest not in wanted]
                    for digest in unpinned if prune else ():
                        directory.remove(digest)
                    if prune and not directory.names():
                        top.remove_empty(name)
                    all_unpinned += unpinned
            if prune:
                removed, all_unpinned = len(all_unpinned), []
            for name, text in ((INDEX, _index(files, all_unpinned)), (README, TEXT)):
                with top.atomic_write(name, MODE) as out:
                    out.write(text.encode())
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}", code="vendor-write") from error
    size = sum(item.size for item in files)
    return VendorReport(path=path, written=added, kept=len(files) - added, removed=removed, size=size)


def write_archive(
    files: Sequence[WantedFile], store: Store, path: str, *, check: Check, project: str = ""
) -> VendorReport:
    """Writes an archive with the folder `envtool.vendor/`: the same bytes for the same files and the same zstd.

    Raises StoreError, Interrupted.
    """
    try:
        with (
            atomic_write(path, project, MODE, make=True) as out,
            _open_compressed(path, out) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=FORM) as tar,
        ):
            for name, text in ((README, TEXT), (INDEX, _index(files, []))):
                tar.addfile(_member(name, len(text.encode())), io.BytesIO(text.encode()))
            for item in files:
                check()
                with _open_verified(item, store) as source:
                    tar.addfile(_member(_blob_path(item), item.size), source)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}", code="vendor-write") from error
    return VendorReport(path=path, written=len(files), kept=0, removed=0, size=sum(item.size for item in files))


def _blob_path(item: WantedFile) -> str:
    return f"{item.fetch.sha256[:2]}/{item.fetch.sha256}"


def _index(files: Sequence[WantedFile], unpinned: Sequence[str]) -> str:
    count = f"{len(files)} file{'s' if len(files) != 1 else ''}"
    lines = [f"# {count}, {sum(item.size for item in files)} bytes: what it is, and what needs it", ""]
    for item in files:
        words = f"{', '.join(item.names)} ({', '.join(item.needed_by)}; {item.size} bytes)"
        lines += [f"# {_printable(words)}", f"{item.fetch.sha256}  {_blob_path(item)}"]
    if unpinned:
        lines += ["", "# no longer pinned: `envtool vendor --prune` removes them"]
        lines += [f"{name}  {name[:2]}/{name}" for name in unpinned]
    return "\n".join(lines) + "\n"


def _printable(text: str) -> str:
    """Replaces characters that are not printable: one line, whatever the name of a file is."""
    return "".join(character if character.isprintable() else "_" for character in text)


def _check_folder(top: OpenDirectory, path: str) -> None:
    """Raises UsageError for a folder that holds other files, OSError."""
    top.sweep()
    names = top.names()
    others = [name for name in names if name not in (INDEX, README) and not re.fullmatch("[0-9a-f]{2}", name)]
    if others and INDEX not in names:
        hint = "name an empty folder, or one that `envtool vendor` wrote"
        raise UsageError(f"{path} holds other things: {others[0]}", code="vendor-folder", hint=hint)


def _directories(top: OpenDirectory) -> Iterator[tuple[str, OpenDirectory]]:
    """Yields the directories that are named by the first digits of hashes; never follows a link."""
    for name in top.names():
        if re.fullmatch(r"[0-9a-f]{2}", name):
            with suppress(NotADirectoryError):
                yield name, top.open_below(name)


def _stored_digests(prefix: str, directory: OpenDirectory) -> list[str]:
    """Returns the names of the files that are named by their hash, sorted."""
    return [
        digest for digest in directory.names() if re.fullmatch(r"[0-9a-f]{64}", digest) and digest.startswith(prefix)
    ]


def _has_valid(directory: OpenDirectory, item: WantedFile) -> bool:
    try:
        with directory.read(item.fetch.sha256) as file:
            if os.fstat(file.fileno()).st_size != item.size:
                return False
            return hashlib.file_digest(file, "sha256").hexdigest() == item.fetch.sha256
    except OSError:  # missing, or not a file: it is replaced, or writing it reports why not
        return False


@contextmanager
def _open_verified(item: WantedFile, store: Store) -> Iterator[IO[bytes]]:
    """Opens a file of the store after its content was verified. Raises StoreError."""
    if not blobs.verify(store, item.fetch.sha256):
        text = f"{item.names[0]} was damaged in {store.root} and has been put aside"
        raise StoreError(text, code="blob-damaged", hint="run it again: it is fetched anew")
    with open(blobs.path(store, item.fetch.sha256), "rb") as source:
        yield source


def _copy(item: WantedFile, store: Store, out: IO[bytes]) -> None:
    with _open_verified(item, store) as source:
        shutil.copyfileobj(source, out, 1 << 20)


@contextmanager
def _open_compressed(path: str, out: IO[bytes]) -> Iterator[Any]:
    if not path.endswith(".zst"):
        yield out
        return
    try:
        import zstandard
    except ImportError:  # Python 3.14 has zstd in its standard library
        from compression import zstd  # type: ignore[import-not-found]

        with zstd.ZstdFile(out, "wb", level=LEVEL) as packed:
            yield packed
        return
    with zstandard.ZstdCompressor(level=LEVEL).stream_writer(out, closefd=False) as packed:
        yield packed


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(f"{VENDOR}/{name}")
    member.size = size
    member.mode = 0o644
    return member
