"""Unpacks an archive into a tree that is in use, over the files that are there: for ADD, for `fetch`, and for the
archive of a `tarball:` base.

As in buildah and docker, a member replaces the file at its path, but a directory is merged with a directory; nothing is
written through a link at a member's own path. Links in the directories above are followed as the tree has them, but
never out of the target: there docker and buildah, for which the target is `/` then, fail or write elsewhere. Runs in a
build's container, whose `/` is the tree; what is mounted there (/dev, /proc, /sys) stays as it is.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Callable
from typing import IO, Any, cast

from envtool.errors import BuildError
from envtool.store import decompress, zip_read
from envtool.store.tar_extract import WHITEOUT, ArchiveExtractor, ExtractedDirectory, chown_member
from envtool.store.tar_read import BLOCK, DIRECTORY, TarMember, TarReader, looks_like_tar, quote_name, raise_build_error
from envtool.store.zip_read import Members

PIECE = 1 << 20
MAX_RATIO = 250  # as in unpack_layer.py
MIN_UNPACKED_LIMIT = 1 << 30  # bytes that any archive may unpack to
MAX_REPORTED = 20  # members that were left out and are named
MAX_NAMED = 6  # names at an archive's top in the error for an archive of which nothing is unpacked
_MOUNTED = (b"dev", b"proc", b"sys")
_LZMA_MAGIC = b"\x5d\0\0"  # xz's forerunner, without a container: only read where an archive is expected
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError)  # bz2 and gzip raise OSError without a number


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
        reader = TarReader(_limited_reader(file, _unpacked_limit(file)))
        members = iter(reader)
        try:
            first_member = next(members, None)
        except (BuildError, OSError):
            return None
        if first_member is None:
            return None
        make()

        def all_members() -> Members:
            member: TarMember | None = first_member
            while member is not None:
                yield member, reader.content()
                member = next(members, None)

        with LiveExtractor(root, target, owner=owner) as tree:
            return tree.add_all(all_members())


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
    with open(path, "rb") as file:
        members = _read_members(file, _unpacked_limit(file))
        with LiveExtractor(root, target, strip=strip, plain=not owners, keeps_links=True) as tree:
            lines = tree.add_all(members)
            tree.check_any_extracted()
            return lines


def _read_members(file: IO[bytes], limit: int) -> Members:
    magic = file.read(4)
    file.seek(0)
    if magic in zip_read.MAGIC:
        yield from zip_read.read_members(file, limit)
        return
    pull = _limited_reader(file, limit, alone=True)
    head = b""
    while len(head) < BLOCK and (piece := pull()):
        head += piece
    if not looks_like_tar(head[:BLOCK]):
        raise_build_error("unpack-format", "neither a tar (gz, xz, bz2, zst) nor a zip archive")
    pieces = [head]
    reader = TarReader(lambda: pieces.pop() if pieces else pull())
    for member in reader:
        yield member, reader.content()


def _unpacked_limit(file: IO[bytes]) -> int:
    """Returns the bytes that an archive may unpack to."""
    return max(MIN_UNPACKED_LIMIT, MAX_RATIO * os.fstat(file.fileno()).st_size)


def _limited_reader(file: IO[bytes], limit: int, *, alone: bool = False) -> Callable[[], bytes]:
    stream = _open_decompressed(file, alone=alone)
    size = 0

    def pull() -> bytes:
        nonlocal size
        try:
            piece = stream.read(
                PIECE if size else BLOCK
            )  # one block is enough to recognise an archive that is cut short
        except _DAMAGED as error:
            raise BuildError(f"damaged: {error}", code="unpack-damaged") from error
        except OSError as error:
            if error.errno:
                raise
            raise BuildError(f"damaged: {error}", code="unpack-damaged") from error
        size += len(piece)
        if size > limit:
            raise BuildError(f"it unpacks to more than {limit} bytes: no archive of its size does", code="unpack-bomb")
        return piece

    return pull


def _open_decompressed(file: IO[bytes], *, alone: bool) -> IO[bytes]:
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if magic == b"\xfd7zXZ\0" or (alone and magic.startswith(_LZMA_MAGIC)):
        return lzma.LZMAFile(file)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return cast("IO[bytes]", _ZstdStream(file))
    return file


class _ZstdStream:
    """The content of a zstd file, with a `read` method."""

    def __init__(self, file: IO[bytes]) -> None:
        self._pieces = decompress.decompress(file.fileno())

    def read(self, _: int) -> bytes:
        return next(self._pieces, b"")


class LiveExtractor(ArchiveExtractor):
    """Extracts into a tree that is not empty: its model is read from the disk, directory by directory, when a member's
    path first leads there.

    `owner`: uid and gid of all members, None: those in the archive; the other parameters as in `extract_archive`."""

    def __init__(
        self,
        root: str,
        target: str,
        *,
        owner: tuple[int, int] | None = None,
        strip: int = 0,
        plain: bool = False,
        keeps_links: bool = False,
    ) -> None:
        self._at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        super().__init__(self._at, owners=not plain)
        self._owner, self._strip, self._plain, self._keeps_links = owner, strip, plain, keeps_links
        self._seen: set[ExtractedDirectory] = set()
        self._written: dict[ExtractedDirectory, None] = {}  # directories that were made, or that a member names
        self._top_names: dict[bytes, bytes] = {}  # the first names at the archive's top, in the form of messages
        self._any_deep = False  # whether any name has more components than are dropped
        self._any_selected = False  # whether any member was not skipped
        parts = [part for part in os.fsencode(target).split(b"/") if part]
        self.start = self._parent_directory(parts, TarMember(b"/".join(parts), DIRECTORY))

    def __enter__(self) -> LiveExtractor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        os.close(self._at)

    def add_all(self, members: Members) -> list[str]:
        """Extracts all members; returns lines about those that were left out. Raises BuildError, and OSError with the
        member's name."""
        for member, content in members:
            try:
                self.add_member(member, content)
            except OSError as error:
                error.filename = member.name
                raise
        self.finish()
        lines = [f"{os.fsdecode(name)}: left out: {why}" for name, why in self.left_out[:MAX_REPORTED]]
        more = len(self.left_out) - len(lines)
        return [*lines, f"and {more} more"] if more else lines

    def check_any_extracted(self) -> None:
        """Raises BuildError (code unpack-nothing) where the archive has members, and all were skipped."""
        if self._any_selected or not self._top_names:
            return
        names = [quote_name(name) for name in self._top_names.values()]
        has = f"at its top it has {', '.join(names[:MAX_NAMED])}{' and more' if len(names) > MAX_NAMED else ''}"
        why = f"`strip: {self._strip}` leaves nothing of it, since no name is deeper"
        if self._any_deep:
            why = "all of it lies in /dev, /proc and /sys, of which every container has its own"
        raise_build_error("unpack-nothing", f"{why}; {has}")

    def add_member(self, member: TarMember, content: Any) -> None:
        if not self._any_selected:
            self._note_top_name(member)
        if self._owner is not None:
            member.uid, member.gid = self._owner
        if self._plain:
            member.uid = member.gid = 0
            member.mode = 0o755 if member.kind == DIRECTORY else member.mode & 0o755
            member.xattrs = {}
        super().add_member(member, content)

    def _note_top_name(self, member: TarMember) -> None:
        """Notes the name that a member has at the archive's top, until any member is not skipped."""
        parts = super()._split_name(member.name, member.name)
        if parts:
            remaining = parts[self._strip :]
            self._any_deep |= bool(remaining)
            self._any_selected = not self._is_skipped(remaining)
            if len(self._top_names) <= MAX_NAMED:
                is_directory = len(parts) > 1 or member.kind == DIRECTORY
                self._top_names.setdefault(parts[0], parts[0] + b"/" if is_directory else parts[0])

    def _split_name(self, name: bytes, member: bytes) -> list[bytes]:
        return super()._split_name(name, member)[self._strip :]

    def _is_skipped(self, parts: list[bytes]) -> bool:
        if any(part.startswith(WHITEOUT) for part in parts):
            text = "has a name that begins with .wh.: in a layer of an image that says that something is deleted"
            raise_build_error("unpack-whiteout", text, b"/".join(parts))
        if self._strip and not parts:
            return True
        return self.start is self.root and parts[:1] in ([name] for name in _MOUNTED)

    def _apply_root_member(self, member: TarMember) -> None:
        """Applies the archive's "./" to the target."""
        if self.start is not self.root:
            self._apply_directory_member(self.start, member)

    def _visit_directory(self, directory: ExtractedDirectory) -> None:
        if directory in self._seen:
            return
        self._seen.add(directory)
        with os.scandir(self._descriptor(directory)) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if name not in directory.children:
                    directory.children[name] = (
                        ExtractedDirectory(name, directory, 0)
                        if entry.is_dir(follow_symlinks=False)
                        else b"l"
                        if entry.is_symlink()
                        else b"f"
                    )

    def _mkdir(self, parent: ExtractedDirectory, name: bytes, mtime: int) -> ExtractedDirectory:
        directory = super()._mkdir(parent, name, mtime)
        self._seen.add(directory)
        self._written[directory] = None
        if self._owner is not None:
            directory.uid, directory.gid = self._owner
        return directory

    def _make_directory(self, parent: ExtractedDirectory, name: bytes, member: TarMember) -> None:
        if self._keeps_links and self._leads_to_directory(parent, name, member):
            return
        super()._make_directory(parent, name, member)
        directory = parent.children[name]
        assert isinstance(directory, ExtractedDirectory)
        self._apply_directory_member(directory, member)

    def _leads_to_directory(self, parent: ExtractedDirectory, name: bytes, member: TarMember) -> bool:
        """Whether a link to a directory of the target is at a member's path. Raises BuildError for a link that leads
        out of the target."""
        node = parent.children.get(name)
        if not isinstance(node, bytes) or node[:1] != b"l":
            return False
        return self._resolve_directory(self._split_name(member.name, member.name), member, make=False) is not None

    def _apply_directory_member(self, directory: ExtractedDirectory, member: TarMember) -> None:
        self._written[directory] = None
        directory.mode, directory.uid, directory.gid, directory.mtime = (
            member.mode,
            member.uid,
            member.gid,
            member.mtime,
        )

    def _remove_children(self, directory: ExtractedDirectory) -> None:
        super()._remove_children(directory)
        self._written.pop(directory, None)

    def finish(self) -> list[bytes]:
        """Sets owners, modes and times of the directories, after their content; only of those of the archive."""
        for directory in self._written:
            if self._owners:
                chown_member(self._descriptor(directory), directory.uid, directory.gid, directory.name)
            self._apply_attributes(directory, directory.name)
        return []
