"""Every pinned file of a spec, written to a folder or an archive from which it builds without a network.

The layout is that of `store/fetch_sources.py`: `<ab>/<sha256>`, so a folder serves as `envtool.vendor/` beside a spec
and as a place in ENVTOOL_BLOBS. `SHA256SUMS` names what each file is, in comments, and is what `sha256sum -c` reads.
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
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

from envtool.build.fetch_all import WantedFile
from envtool.errors import StoreError, UsageError
from envtool.fs.caller_paths import atomic_write, open_directory
from envtool.fs.directory import OpenDirectory
from envtool.project.source_files import VENDOR
from envtool.store import blobs
from envtool.store.store import Store

INDEX = "SHA256SUMS"
README = "README"
ENDINGS = (".tar", ".tar.zst")
FORM = tarfile.USTAR_FORMAT  # holds all our names, and says nothing that differs from one machine to another
LEVEL = 3  # of zstd: debs and wheels are compressed already
TEXT = f"""\
The outside files of a project's environments, each under the sha256 of its content. Written by `envtool vendor`.

Beside the project's envtool.yaml, as `{VENDOR}/`, this folder is used before any URL. Elsewhere:

    ENVTOOL_BLOBS=/path/of/this/folder envtool test

ENVTOOL_BLOBS takes URLs too: any web server can serve the folder as it is. `{INDEX}` says what each file is and what
needs it; `sha256sum -c {INDEX}` checks them all.
"""
MODE = 0o644  # whatever the umask: others read the folder
Check: TypeAlias = Callable[[], None]  # raises Interrupted when the end was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorReport:
    """What was done: how many files were written, were there already, and were removed; `size` bytes in all."""

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
    """Bring a folder up to date: what is missing (or not what its name says) is written, each file by one rename.

    `project`: see drafts.reached.
    `prune` removes files that are no longer pinned. Raises UsageError, StoreError, Interrupted.
    """
    added = removed = 0
    wanted = {item.fetch.sha256 for item in files}
    try:
        with open_directory(path, project) as top:
            _check_folder(top, path)
            for item in files:
                check()
                with top.open_below(item.fetch.sha256[:2], make=True) as inner:
                    if not _holds(inner, item):
                        with inner.atomic_write(item.fetch.sha256, MODE) as out:
                            _copy(item, store, out)
                        added += 1
            others = []
            for name, inner in _directories(top):
                with inner:
                    inner.sweep()
                    strangers = [each for each in _present(name, inner) if each not in wanted]
                    for each in strangers if prune else ():
                        inner.remove(each)
                    if prune and not inner.names():
                        top.remove_empty(name)
                    others += strangers
            if prune:
                removed, others = len(others), []
            for name, text in ((INDEX, _index(files, others)), (README, TEXT)):
                with top.atomic_write(name, MODE) as out:
                    out.write(text.encode())
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}", code="vendor-write") from error
    size = sum(item.size for item in files)
    return VendorReport(path=path, written=added, kept=len(files) - added, removed=removed, size=size)


def write_archive(
    files: Sequence[WantedFile], store: Store, path: str, *, check: Check, project: str = ""
) -> VendorReport:
    """Write an archive that holds the folder `envtool.vendor/`: the same bytes for the same files (and the same zstd).

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
                    tar.addfile(_member(_place(item), item.size), source)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}", code="vendor-write") from error
    return VendorReport(path=path, written=len(files), kept=0, removed=0, size=sum(item.size for item in files))


def _place(item: WantedFile) -> str:
    return f"{item.fetch.sha256[:2]}/{item.fetch.sha256}"


def _index(files: Sequence[WantedFile], others: Sequence[str]) -> str:
    count = f"{len(files)} file{'s' if len(files) != 1 else ''}"
    lines = [f"# {count}, {sum(item.size for item in files)} bytes: what it is, and what needs it", ""]
    for item in files:
        words = f"{', '.join(item.names)} ({', '.join(item.needed_by)}; {item.size} bytes)"
        lines += [f"# {_plain(words)}", f"{item.fetch.sha256}  {_place(item)}"]
    if others:
        lines += ["", "# no longer pinned: `envtool vendor --prune` removes them"]
        lines += [f"{name}  {name[:2]}/{name}" for name in others]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """One line, whatever a file is called."""
    return "".join(character if character.isprintable() else "_" for character in text)


def _check_folder(top: OpenDirectory, path: str) -> None:
    """Refuse a folder that holds something else. Raises UsageError, OSError."""
    top.sweep()
    names = top.names()
    strange = [name for name in names if name not in (INDEX, README) and not re.fullmatch("[0-9a-f]{2}", name)]
    if strange and INDEX not in names:
        hint = "name an empty folder, or one that `envtool vendor` wrote"
        raise UsageError(f"{path} holds other things: {strange[0]}", code="vendor-folder", hint=hint)


def _directories(top: OpenDirectory) -> Iterator[tuple[str, OpenDirectory]]:
    """The directories that are named by the first digits of hashes; links are none."""
    for name in top.names():
        if re.fullmatch(r"[0-9a-f]{2}", name):
            with suppress(NotADirectoryError):
                yield name, top.open_below(name)


def _present(name: str, inner: OpenDirectory) -> list[str]:
    """Names of the files that lie under their hash, sorted."""
    return [each for each in inner.names() if re.fullmatch(r"[0-9a-f]{64}", each) and each.startswith(name)]


def _holds(inner: OpenDirectory, item: WantedFile) -> bool:
    try:
        with inner.read(item.fetch.sha256) as file:
            if os.fstat(file.fileno()).st_size != item.size:
                return False
            return hashlib.file_digest(file, "sha256").hexdigest() == item.fetch.sha256
    except OSError:  # nothing, or no file: it is replaced, or its writing says why not
        return False


@contextmanager
def _open_verified(item: WantedFile, store: Store) -> Iterator[IO[bytes]]:
    """A file of the store whose content is right. Raises StoreError."""
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
    except ImportError:  # Python 3.14 has its own
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
