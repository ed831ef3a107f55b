"""Unpacks an archive into a tree that is in use, over the files that are there: for ADD, for `fetch`, and for the
archive of a `tarball:` base.

As in buildah and docker, a member replaces the file at its path, but a directory is merged with a directory; nothing is
written through a link at a member's own path. Links in the directories above are followed as the tree has them, but
never out of the target: there docker and buildah, for which the target is `/` then, fail or write elsewhere. Runs in a
build's container, whose `/` is the tree; what is mounted there (/dev, /proc, /sys) stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import chain
from typing import IO

from envtool.errors import BuildError
from envtool.store import decompress, tar_read, zip_read
from envtool.store.extract import MAX_REPORTED, Extractor, ExtractRules, Members
from envtool.store.extract_tree import split_name
from envtool.store.tar_read import BLOCK, DIRECTORY, TarReader, quote_name, raise_build_error

MIN_UNPACKED_LIMIT = 1 << 30  # bytes that any archive may unpack to
MAX_NAMED = 6  # names at an archive's top in the error for an archive of which nothing is unpacked
_ADD_FORMATS = frozenset(("gzip", "zstd", "xz", "bzip2"))  # of files that ADD unpacks; it copies all others
_FORMATS = _ADD_FORMATS | {"lzma"}


def prepare() -> None:
    """Imports the modules that are imported late otherwise: in a container nothing can be imported."""
    decompress.import_zstd()
    zip_read.prepare()


def unpack_if_archive(
    path: str, target: str, owner: tuple[int, int] | None, make: Callable[[], None], *, root: str = "/"
) -> list[str] | None:
    """Unpacks a file if it is a tar; returns lines about the members that were left out, None for any other file (see
    api.Call). `target` is absolute in `root`, without links; `make` makes it. Raises BuildError (codes unpack-…),
    OSError."""
    with open(path, "rb") as file:
        members = tar_read.read_members(TarReader(_reader(file, _ADD_FORMATS)))
        try:
            first = next(members, None)
        except (BuildError, OSError):
            return None
        if first is None:
            return None
        make()
        return _extract(chain([first], members), target, ExtractRules(owner=owner), root)


def extract_archive(path: str, target: str, *, strip: int = 0, owners: bool = False, root: str = "/") -> list[str]:
    """Unpacks a file that must be an archive: a tar (plain, gzip, bzip2, xz, zstd) or a zip. Returns lines about the
    members that were left out.

    `target` is a directory, absolute in `root`, without links. `strip`: number of leading components that are dropped
    from names; members with no more components are dropped, as `tar --strip-components` does; it is an error if no
    member is left. Without `owners` everything belongs to the user who unpacks, nobody else can write it, and setuid
    bits and extended attributes are dropped. A directory does not replace a link to a directory, as in dpkg and
    `tar --keep-directory-symlink`: `lib/` of an archive leaves /lib -> usr/lib. Raises BuildError (codes unpack-…),
    OSError.
    """
    rules = ExtractRules(owners=owners, is_plain=not owners, strip=strip, keeps_links=True)
    with open(path, "rb") as file:
        return _extract(_read_members(file), target, rules, root)


def _extract(members: Members, target: str, rules: ExtractRules, root: str) -> list[str]:
    top_names = _TopNames(rules.strip)
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with Extractor(top, rules, target=os.fsencode(target)) as extractor:
            extractor.add_members(top_names.note(members, extractor) if rules.keeps_links else members)
    finally:
        os.close(top)
    if rules.keeps_links and not extractor.any_selected:
        top_names.check()
    lines = [f"{os.fsdecode(name)}: left out: {why}" for name, why in extractor.left_out[:MAX_REPORTED]]
    more = len(extractor.left_out) - len(lines)
    return [*lines, f"and {more} more"] if more else lines


class _TopNames:
    """The names at an archive's top, for the error about an archive of which nothing is unpacked."""

    def __init__(self, strip: int) -> None:
        self._strip = strip
        self._names: dict[bytes, bytes] = {}  # in the form of the message: a directory ends in a slash
        self._any_deep = False  # whether any name has more components than are dropped

    def note(self, members: Members, extractor: Extractor) -> Members:
        """Yields the members, and notes their names until one is extracted."""
        for member, content in members:
            if not extractor.any_selected and (parts := split_name(member.name, member.name)):
                self._any_deep |= len(parts) > self._strip
                if len(self._names) <= MAX_NAMED:
                    is_directory = len(parts) > 1 or member.kind == DIRECTORY
                    self._names.setdefault(parts[0], parts[0] + b"/" if is_directory else parts[0])
            yield member, content

    def check(self) -> None:
        """Raises BuildError (code unpack-nothing) where there was any member."""
        if not self._names:
            return
        names = [quote_name(name) for name in self._names.values()]
        has = f"at its top it has {', '.join(names[:MAX_NAMED])}{' and more' if len(names) > MAX_NAMED else ''}"
        why = f"`strip: {self._strip}` leaves nothing of it, since no name is deeper"
        if self._any_deep:
            why = "all of it lies in /dev, /proc and /sys, of which every container has its own"
        raise_build_error("unpack-nothing", f"{why}; {has}")


def _read_members(file: IO[bytes]) -> Members:
    if decompress.detect_format(os.pread(file.fileno(), 8, 0)) == "zip":
        yield from zip_read.read_members(file, _unpacked_size(file))
        return
    pull = _reader(file, _FORMATS)
    head = b""
    while len(head) < BLOCK and (piece := pull()):
        head += piece
    if not tar_read.looks_like_tar(head[:BLOCK]):
        raise_build_error("unpack-format", "neither a tar (gz, xz, bz2, zst) nor a zip archive")
    pieces = [head]
    yield from tar_read.read_members(TarReader(lambda: pieces.pop() if pieces else pull()))


def _unpacked_size(file: IO[bytes]) -> decompress.UnpackedSize:
    return decompress.UnpackedSize(os.fstat(file.fileno()).st_size, MIN_UNPACKED_LIMIT)


def _reader(file: IO[bytes], formats: frozenset[str]) -> Callable[[], bytes]:
    """Returns a function that reads the next piece of a file, decompressed if its format is one of these; b"" at the
    end. It raises BuildError (codes unpack-…), OSError."""
    form = decompress.detect_format(os.pread(file.fileno(), 8, 0))
    pieces = decompress.decompress(file.fileno(), form if form in formats else "")
    unpacked = _unpacked_size(file)

    def pull() -> bytes:
        piece = next(pieces, b"")
        unpacked.add(len(piece))
        return piece

    return pull
