"""An archive into a tree that is in use, as ADD does it: with the care of `grow`, over what is there.

As buildah and docker do: a member takes the place of what lies there, but a directory is merged with one; nothing is
written through a link that lies at a member's own place. Links on the way are followed as the tree has them, but never
out of the target: there docker and buildah, whose `/` is the target then, fail or write elsewhere. Runs in a build's
container, whose `/` is the tree: what is mounted there (/dev, /proc, /sys) stays as it is.
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
from envtool.store import inflate
from envtool.store.grow import WHITEOUT, Directory, Tree, own
from envtool.store.tarread import BLOCK, DIRECTORY, Member, Reader, refuse

PIECE = 1 << 20
RATIO = 250  # as in unpack.py
FREELY = 1 << 30  # bytes that any archive may unpack to
_MOUNTED = (b"dev", b"proc", b"sys")
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError)  # bz2 and gzip say OSError without a number


def prepare() -> None:
    """Import what is imported late: in a container nothing can be."""
    inflate.zstandard()


def unpack(
    path: str, target: str, owner: tuple[int, int] | None, make: Callable[[], None], *, root: str = "/"
) -> list[str] | None:
    """See api.Call. `target` is absolute in `root`, without links. Raises BuildError (codes unpack-…), OSError."""
    with open(path, "rb") as file:
        reader = Reader(_pull(file, max(FREELY, RATIO * os.fstat(file.fileno()).st_size)))
        members = iter(reader)
        try:
            first = next(members, None)
        except (BuildError, OSError):
            return None
        if first is None:
            return None
        make()
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        tree = _Live(top, [part for part in os.fsencode(target).split(b"/") if part], owner)
        try:
            member: Member | None = first
            while member is not None:
                tree.put(member, reader.content())
                member = next(members, None)
            tree.finish()
        finally:
            tree.close()
            os.close(top)
        return [f"{os.fsdecode(name)}: left out: {why}" for name, why in tree.left_out]


def _pull(file: IO[bytes], limit: int) -> Callable[[], bytes]:
    stream = _opened(file)
    size = 0

    def pull() -> bytes:
        nonlocal size
        try:
            piece = stream.read(PIECE if size else BLOCK)  # one that is cut short is an archive all the same
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


def _opened(file: IO[bytes]) -> IO[bytes]:
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if magic == b"\xfd7zXZ\0":
        return lzma.LZMAFile(file)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return cast("IO[bytes]", _Pieces(file))
    return file


class _Pieces:
    """What zstd packed, as `read` gives it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._pieces = inflate.pieces(file.fileno())

    def read(self, _: int) -> bytes:
        return next(self._pieces, b"")


class _Live(Tree):
    """The model is read from the disk, directory by directory, when the way first leads there."""

    def __init__(self, top: int, into: list[bytes], owner: tuple[int, int] | None) -> None:
        super().__init__(top, owners=True)
        self._owner = owner
        self._seen: set[Directory] = set()
        self._ours: dict[Directory, None] = {}  # directories that were made, or that a member names
        self.start = self._directory(into, Member(b"/".join(into), DIRECTORY))

    def put(self, member: Member, content: Any) -> None:
        if self._owner is not None:
            member.uid, member.gid = self._owner
        super().put(member, content)

    def _left_out(self, parts: list[bytes]) -> bool:
        if any(part.startswith(WHITEOUT) for part in parts):
            text = "has a name that begins with .wh.: in a layer that says that something is deleted"
            refuse("unpack-whiteout", text, b"/".join(parts))
        return self.start is self.root and parts[:1] in ([each] for each in _MOUNTED)

    def _name_root(self, member: Member) -> None:
        """The archive's "./" is the target."""
        if self.start is not self.root:
            self._named(self.start, member)

    def _enter(self, directory: Directory) -> None:
        if directory in self._seen:
            return
        self._seen.add(directory)
        with os.scandir(self._descriptor(directory)) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if name not in directory.children:
                    directory.children[name] = (
                        Directory(name, directory, 0)
                        if entry.is_dir(follow_symlinks=False)
                        else b"l"
                        if entry.is_symlink()
                        else b"f"
                    )

    def _mkdir(self, at: Directory, name: bytes, mtime: int) -> Directory:
        made = super()._mkdir(at, name, mtime)
        self._seen.add(made)
        self._ours[made] = None
        if self._owner is not None:
            made.uid, made.gid = self._owner
        return made

    def _make_directory(self, at: Directory, name: bytes, member: Member) -> None:
        super()._make_directory(at, name, member)
        found = at.children[name]
        assert isinstance(found, Directory)
        self._named(found, member)

    def _named(self, found: Directory, member: Member) -> None:
        self._ours[found] = None
        found.mode, found.uid, found.gid, found.mtime = member.mode, member.uid, member.gid, member.mtime

    def _empty(self, directory: Directory) -> None:
        super()._empty(directory)
        self._ours.pop(directory, None)

    def finish(self) -> list[bytes]:
        """Set what is set last: of directories of the archive alone."""
        for directory in self._ours:
            own(self._descriptor(directory), directory.uid, directory.gid, directory.name)
            self._attributes(directory, directory.name)
        return []
