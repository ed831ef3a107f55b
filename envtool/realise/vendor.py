"""Every pinned file of a spec, written to a folder or an archive from which it builds without a network.

The layout is that of `store/sources.py`: `<ab>/<sha256>`, so a folder serves as `envtool.vendor/` beside a spec and as
a place in ENVTOOL_BLOBS. `SHA256SUMS` names what each file is, in comments, and is what `sha256sum -c` reads.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

from envtool.errors import StoreError, UsageError
from envtool.project import VENDOR
from envtool.realise.gather import Wanted
from envtool.store import blobs, placing
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
UNFINISHED = re.compile(r"\.[^/]*\.[0-9]+\.new")
Check: TypeAlias = Callable[[], None]  # raises Interrupted when the end was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendored:
    """What was done: how many files were written, were there already, and were removed; `size` bytes in all."""

    path: str
    written: int
    kept: int
    removed: int
    size: int


def is_archive(path: str) -> bool:
    """Whether a path names an archive rather than a folder."""
    return path.endswith(ENDINGS)


def folder(files: Sequence[Wanted], store: Store, path: str, *, prune: bool, check: Check) -> Vendored:
    """Bring a folder up to date: what is missing (or not what its name says) is written, each file by one rename.

    `prune` removes files that are no longer pinned. Raises UsageError, StoreError, Interrupted.
    """
    _claim(path)
    written = removed = 0
    wanted = {item.fetch.sha256 for item in files}
    try:
        for item in files:
            check()
            target = os.path.join(path, _place(item))
            if not _holds(target, item):
                with placing.written(target) as out:
                    _copy(item, store, out)
                written += 1
        others = [name for name in _present(path) if name not in wanted]
        if prune:
            for name in others:
                os.unlink(os.path.join(path, name[:2], name))
            removed, others = len(others), []
            for name in _unfinished(path):
                os.unlink(name)
            for name in {name[:2] for name in _directories(path)}:
                if not os.listdir(os.path.join(path, name)):
                    os.rmdir(os.path.join(path, name))
        for name, text in ((INDEX, _index(files, others)), (README, TEXT)):
            with placing.written(os.path.join(path, name)) as out:
                out.write(text.encode())
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}", code="vendor-write") from error
    size = sum(item.size for item in files)
    return Vendored(path=path, written=written, kept=len(files) - written, removed=removed, size=size)


def archive(files: Sequence[Wanted], store: Store, path: str, *, check: Check) -> Vendored:
    """Write an archive that holds the folder `envtool.vendor/`: the same bytes for the same files (and the same zstd).

    Raises StoreError, Interrupted.
    """
    try:
        with (
            placing.written(path) as out,
            _packed(path, out) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=FORM) as tar,
        ):
            for name, text in ((README, TEXT), (INDEX, _index(files, []))):
                tar.addfile(_member(name, len(text.encode())), io.BytesIO(text.encode()))
            for item in files:
                check()
                with _opened(item, store) as source:
                    tar.addfile(_member(_place(item), item.size), source)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}", code="vendor-write") from error
    return Vendored(path=path, written=len(files), kept=0, removed=0, size=sum(item.size for item in files))


def _place(item: Wanted) -> str:
    return f"{item.fetch.sha256[:2]}/{item.fetch.sha256}"


def _index(files: Sequence[Wanted], others: Sequence[str]) -> str:
    lines = [f"# {len(files)} files, {sum(item.size for item in files)} bytes: what it is, and what needs it", ""]
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


def _claim(path: str) -> None:
    """Make the folder; refuse one that holds something else. Raises UsageError, StoreError."""
    try:
        if os.path.isdir(path):
            strange = [name for name in sorted(os.listdir(path)) if not _known(name)]
            if strange and not os.path.exists(os.path.join(path, INDEX)):
                hint = "name an empty folder, or one that `envtool vendor` wrote"
                raise UsageError(f"{path} holds other things: {strange[0]}", code="vendor-folder", hint=hint)
        else:
            os.makedirs(path)
            placing.own(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}", code="vendor-write") from error


def _known(name: str) -> bool:
    return name in (INDEX, README) or re.fullmatch("[0-9a-f]{2}", name) is not None or bool(UNFINISHED.fullmatch(name))


def _directories(path: str) -> list[str]:
    return [name for name in sorted(os.listdir(path)) if re.fullmatch(r"[0-9a-f]{2}", name)]


def _present(path: str) -> list[str]:
    """Names of the files that lie under their hash, sorted."""
    found: list[str] = []
    for directory in _directories(path):
        inside = os.listdir(os.path.join(path, directory))
        found += [name for name in inside if re.fullmatch(r"[0-9a-f]{64}", name) and name.startswith(directory)]
    return sorted(found)


def _unfinished(path: str) -> list[str]:
    """What a killed `vendor` left."""
    places = [path, *(os.path.join(path, name) for name in _directories(path))]
    return [os.path.join(place, name) for place in places for name in os.listdir(place) if UNFINISHED.fullmatch(name)]


def _holds(target: str, item: Wanted) -> bool:
    try:
        with open(target, "rb") as file:
            if os.fstat(file.fileno()).st_size != item.size:
                return False
            return hashlib.file_digest(file, "sha256").hexdigest() == item.fetch.sha256
    except FileNotFoundError:
        return False


@contextmanager
def _opened(item: Wanted, store: Store) -> Iterator[IO[bytes]]:
    """A file of the store whose content is right. Raises StoreError."""
    if not blobs.verify(store, item.fetch.sha256):
        text = f"{item.names[0]} was damaged in {store.root} and has been put aside"
        raise StoreError(text, code="blob-damaged", hint="run it again: it is fetched anew")
    with open(blobs.path(store, item.fetch.sha256), "rb") as source:
        yield source


def _copy(item: Wanted, store: Store, out: IO[bytes]) -> None:
    with _opened(item, store) as source:
        shutil.copyfileobj(source, out, 1 << 20)


@contextmanager
def _packed(path: str, out: IO[bytes]) -> Iterator[Any]:
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
