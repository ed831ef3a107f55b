"""A tree that members of an archive are put into, and never out of.

What is in the tree is known from a model of it: it was empty at first, and nobody else writes into it. Every name is
looked up there before the disk is touched, and every directory is opened from the one above it without following links,
so that neither a wrong model nor a symlink leads out. A symlink on the way to a member is followed in the model, where
the tree is `/`, as containerd does (continuity's fs.RootPath): what it leads to is made where it is not there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from typing import TypeAlias

from envtool.fs.passwd import explain_unmapped
from envtool.fs.sizes import format_size
from envtool.store import canonical
from envtool.store.sparse import write_content
from envtool.store.tar_read import DIRECTORY, FIFO, HARD_LINK, REGULAR, SYMLINK, TarMember, raise_build_error

MAX_DEPTH = 250  # directories below one another: what walks trees later recurses
MAX_NAME, MAX_PATH = 255, 4000  # bytes
MAX_SYMLINKS = 40  # symlinks on one way, as the kernel has it
MAX_MEMBERS = 2 << 20
MAX_OPEN_DIRECTORIES = 48  # directories that are kept open
WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
XATTR_ORIGIN = b"user.overlay.origin"  # empty: "copied up, from where is not known": its deletions are looked for
_KEEP = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MTIME_RANGE = (-(1 << 31) * 10**9, (1 << 34) * 10**9)  # nanoseconds: what ext4 can say


class ExtractedDirectory:
    """A directory of the model: by name its directories, and of everything else the fields of its manifest record."""

    __slots__ = ("above", "children", "gid", "hidden", "mode", "mtime", "name", "opaque", "uid", "xattrs")

    def __init__(self, name: bytes, above: ExtractedDirectory | None, mtime: int) -> None:
        self.name = name
        self.above = above
        self.children: dict[bytes, Node] = {}
        self.hidden: set[bytes] | None = None  # names that a whiteout speaks of
        self.opaque = False
        self.mode, self.uid, self.gid, self.mtime = 0o755, 0, 0, mtime
        self.xattrs: dict[bytes, bytes] | None = None


Node: TypeAlias = "ExtractedDirectory | bytes"
_DELETED = b"w 0 0 0 -"


class ArchiveExtractor:
    """See above. `owners` False: everything belongs to who unpacks (a caller with a single id)."""

    def __init__(self, top: int, *, owners: bool) -> None:
        self.root = ExtractedDirectory(b"", None, 0)
        self.left_out: list[tuple[bytes, str]] = []
        self.total_size = 0  # bytes of all files, holes and all
        self._top = top
        self._owners = owners
        self._open: OrderedDict[ExtractedDirectory, int] = OrderedDict()
        self._devices: set[tuple[ExtractedDirectory, bytes]] = set()
        self.start = self.root  # where names begin
        self._first = True
        self._member_count = 0

    def close(self) -> None:
        """Close what is open."""
        while self._open:
            os.close(self._open.popitem()[1])

    def add_member(self, member: TarMember, content: Iterator[memoryview]) -> None:
        """One more member. Raises BuildError: codes unpack-name, unpack-parent, unpack-link, unpack-whiteout,
        unpack-owner, unpack-xattr, unpack-many; OSError."""
        self._member_count += 1
        if self._member_count > MAX_MEMBERS:
            raise_build_error("unpack-many", f"more than {MAX_MEMBERS} members")
        if member.uid >= 0xFFFFFFFF or member.gid >= 0xFFFFFFFF:
            raise_build_error(
                "unpack-owner", f"belongs to {member.uid}:{member.gid}: no user has such an id", member.name
            )
        member.mtime = min(max(member.mtime, _MTIME_RANGE[0]), _MTIME_RANGE[1])
        if self._first:
            self.root.mtime = member.mtime
            self._first = False
        parts = self._split_name(member.name, member.name)
        if self._is_skipped(parts):
            return
        if not parts:
            if member.kind != DIRECTORY:
                raise_build_error("unpack-name", "would take the place of the root", member.name)
            self._apply_root_member(member)
            return
        last = parts[-1]
        if any(part.startswith(WHITEOUT) for part in parts):
            self._whiteout(member, parts)
            return
        directory = self._parent_directory(parts[:-1], member)
        if member.kind == DIRECTORY:
            self._make_directory(directory, last, member)
        elif member.kind == HARD_LINK:
            self._create_hard_link(directory, last, member)
        elif member.kind in (REGULAR, SYMLINK, FIFO):
            self._remove(directory, last)
            directory.children[last] = self._create_member(directory, last, member, content)
        else:  # a container brings its own /dev, and nobody without the host's root may make one
            self._remove(directory, last)
            self._devices.add((directory, last))
            self.left_out.append((member.name, "device"))

    def _apply_root_member(self, member: TarMember) -> None:
        self.root.mtime = member.mtime  # all else of the root is as in every layer

    # ---- the way to a member ----

    def _split_name(self, name: bytes, member: bytes) -> list[bytes]:
        """The components of a name, of a member or of what one is a hard link to. Raises BuildError."""
        return _split_name(name, member)

    def _is_skipped(self, parts: list[bytes]) -> bool:
        """Whether a member of this name is passed by."""
        return False

    def _visit_directory(self, directory: ExtractedDirectory) -> None:
        """The way leads to a directory: its children are looked at next."""

    def _parent_directory(self, parts: list[bytes], member: TarMember) -> ExtractedDirectory:
        """The directory a member lies in, made where no member has named it yet."""
        found = self._resolve_directory(parts, member, make=True)
        assert found is not None
        return found

    def _resolve_directory(self, parts: list[bytes], member: TarMember, *, make: bool) -> ExtractedDirectory | None:
        """The directory of this name, links followed; None where there is none and it is not to be made."""
        at, ahead, followed = self.start, parts[::-1], 0
        self._visit_directory(at)
        while ahead:
            part = ahead.pop()
            below = at.children.get(part) if part != b".." else at.above or at
            if isinstance(below, ExtractedDirectory):
                at = below
            elif below is None or below == _DELETED:
                if not make:
                    return None
                if followed:  # before anything is made there
                    self._check_followed(at, member)
                at = self._mkdir(at, part, member.mtime)
            elif below[:1] != b"l":
                if not make:
                    return None
                raise_build_error("unpack-parent", "lies below one that is no directory", member.name)
            else:
                followed += 1
                link = os.readlink(part, dir_fd=self._descriptor(at))
                ahead += [each for each in reversed(link.split(b"/")) if each not in (b"", b".")]
                if followed > MAX_SYMLINKS or len(ahead) > MAX_DEPTH:
                    raise_build_error("unpack-parent", "leads through symlinks without end", member.name)
                at = self.root if link.startswith(b"/") else at
            self._visit_directory(at)
        if followed:
            self._check_followed(at, member)
        return at

    def _check_followed(self, at: ExtractedDirectory, member: TarMember) -> None:
        """Symlinks led here."""
        depth, above, inside = 0, at, at is self.start
        while above.above is not None:
            above, depth = above.above, depth + 1
            inside = inside or above is self.start
        if depth > MAX_DEPTH:
            raise_build_error("unpack-parent", "leads through symlinks without end", member.name)
        if not inside:
            raise_build_error("unpack-parent", "leads out of the target through a symlink", member.name)

    def _descriptor(self, directory: ExtractedDirectory) -> int:
        """An open descriptor of it, good until the next call."""
        if directory.above is None:
            return self._top
        found = self._open.get(directory)
        if found is not None:
            self._open.move_to_end(directory)
            return found
        found = os.open(directory.name, _KEEP, dir_fd=self._descriptor(directory.above))
        if len(self._open) >= MAX_OPEN_DIRECTORIES:
            os.close(self._open.popitem(last=False)[1])
        self._open[directory] = found
        return found

    def _mkdir(self, at: ExtractedDirectory, name: bytes, mtime: int) -> ExtractedDirectory:
        if at.children.get(name) == _DELETED:
            self._remove(at, name)
        os.mkdir(name, 0o700, dir_fd=self._descriptor(at))
        made = ExtractedDirectory(name, at, mtime)
        made.opaque = at.hidden is not None and name in at.hidden
        at.children[name] = made
        return made

    def _make_directory(self, at: ExtractedDirectory, name: bytes, member: TarMember) -> None:
        found = at.children.get(name)
        if not isinstance(found, ExtractedDirectory):
            self._remove(at, name)
            found = self._mkdir(at, name, member.mtime)
        found.mode, found.mtime = member.mode, member.mtime
        if self._owners:
            found.uid, found.gid = member.uid, member.gid
        found.xattrs = self._xattrs(member) or None

    def _remove(self, at: ExtractedDirectory, name: bytes) -> None:
        """Make room: what comes later counts."""
        found = at.children.pop(name, None)
        if found is None:
            return
        if isinstance(found, ExtractedDirectory):
            self._remove_children(found)
            os.rmdir(name, dir_fd=self._descriptor(at))
        else:
            os.unlink(name, dir_fd=self._descriptor(at))

    def _remove_children(self, directory: ExtractedDirectory) -> None:
        self._visit_directory(directory)
        for name in [*directory.children]:
            self._remove(directory, name)
        descriptor = self._open.pop(directory, None)
        if descriptor is not None:
            os.close(descriptor)

    # ---- members ----

    def _create_member(
        self, at: ExtractedDirectory, name: bytes, member: TarMember, content: Iterator[memoryview]
    ) -> bytes:
        """Put a file, symlink or fifo on disk; the fields of its record."""
        place = self._descriptor(at)
        uid, gid = (member.uid, member.gid) if self._owners else (0, 0)
        owned = self._owners and (uid or gid)
        if member.kind == REGULAR:
            self.total_size += member.size
            if self.total_size > canonical.MAX_LAYER_SIZE:
                raise_build_error(
                    "unpack-bomb",
                    f"with it the layer is larger than {format_size(canonical.MAX_LAYER_SIZE)}",
                    member.name,
                )
            xattrs = self._xattrs(member)
            descriptor = os.open(name, _NEW, 0o600, dir_fd=place)
            try:
                crc = write_content(descriptor, member, content)
                if owned:
                    chown_member(descriptor, uid, gid, member.name)
                for key, value in xattrs.items():
                    _set_xattr(descriptor, key, value, member.name)
                os.fchmod(descriptor, member.mode)
                os.utime(descriptor, ns=(member.mtime, member.mtime))
            finally:
                os.close(descriptor)
            mark = canonical.fingerprint(member.size, crc, xattrs)
            return b"f %o %d %d %s" % (member.mode, uid, gid, mark)
        if member.kind == SYMLINK:
            if not member.link or len(member.link) > MAX_PATH:
                raise_build_error("unpack-link", "is a symlink to nothing, or to too long a name", member.name)
            os.symlink(member.link, name, dir_fd=place)
            record = b"l 777 %d %d %s" % (uid, gid, hashlib.sha256(member.link).hexdigest().encode())
        else:
            os.mkfifo(name, 0o600, dir_fd=place)
            record = b"p %o %d %d -" % (member.mode, uid, gid)
        if owned:
            chown_member(name, uid, gid, member.name, place)
        if member.kind == FIFO:
            os.chmod(name, member.mode, dir_fd=place)  # chown takes the setuid bit away
        os.utime(name, ns=(member.mtime, member.mtime), dir_fd=place, follow_symlinks=False)
        return record

    def _create_hard_link(self, at: ExtractedDirectory, name: bytes, member: TarMember) -> None:
        parts = self._split_name(member.link, member.name)
        above = self._resolve_directory(parts[:-1], member, make=False) if parts else None
        source = above.children.get(parts[-1]) if above else None
        if above is None or not isinstance(source, bytes) or source == _DELETED:
            if above and (above, parts[-1]) in self._devices:
                self.left_out.append((member.name, "device"))
                return
            what = f"is a hard link to what is no file of this archive: {os.fsdecode(member.link[:200])!r}"
            raise_build_error("unpack-link", what, member.name)
        if above is at and parts[-1] == name:
            return
        self._remove(at, name)
        if isinstance(at.children.get(name), ExtractedDirectory) or above.children.get(parts[-1]) is not source:
            raise_build_error("unpack-link", "is a hard link to what it takes the place of", member.name)
        place = os.dup(self._descriptor(at))  # opening the other one may close it
        try:
            os.link(parts[-1], name, src_dir_fd=self._descriptor(above), dst_dir_fd=place, follow_symlinks=False)
        finally:
            os.close(place)
        at.children[name] = source

    def _xattrs(self, member: TarMember) -> dict[bytes, bytes]:
        """Those that are kept: what others say is said to another machine, or to overlayfs."""
        if not member.xattrs:
            return {}
        kept = {}
        for key, value in member.xattrs.items():
            if key == canonical.CAPABILITY and member.kind == REGULAR:
                kept[key] = canonical.normalize_capability(value)
            elif key.startswith(b"user.") and not key.startswith(canonical.OVERLAY):
                kept[key] = value
            else:
                self.left_out.append((member.name, f"xattr {os.fsdecode(key[:80])}"))
        return kept

    # ---- what is deleted ----

    def _whiteout(self, member: TarMember, parts: list[bytes]) -> None:
        """A deletion of something below (OCI image spec, layer.md). Its order among the members means nothing: what is
        in this layer itself stays, but lets nothing through."""
        last = parts[-1]
        if any(part.startswith(WHITEOUT) for part in parts[:-1]):
            if parts[0].startswith(b".wh..wh."):
                self.left_out.append((member.name, "aufs's own"))
                return
            raise_build_error("unpack-whiteout", "lies below a deletion", member.name)
        if self._is_hidden(parts[:-1]):
            return
        if last == OPAQUE:
            self._parent_directory(parts[:-1], member).opaque = True
            return
        if last.startswith(b".wh..wh."):
            self.left_out.append((member.name, "aufs's own"))
            return
        name = last[len(WHITEOUT) :]
        if name in (b"", b".", b".."):
            raise_build_error("unpack-whiteout", "is a deletion of nothing", member.name)
        directory = self._parent_directory(parts[:-1], member)
        if directory.hidden is None:
            directory.hidden = set()
        directory.hidden.add(name)
        found = directory.children.get(name)
        if isinstance(found, ExtractedDirectory):
            found.opaque = True
        elif found is None:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=self._descriptor(directory))
            directory.children[name] = _DELETED

    def _is_hidden(self, parts: list[bytes]) -> bool:
        """Whether something of this layer that is no directory lies there, and hides what would be deleted: umoci tells
        of all that was in a directory which is a file now."""
        at: Node | None = self.root
        for part in parts:
            at = at.children.get(part) if isinstance(at, ExtractedDirectory) else None
            if at is None or at == _DELETED:
                return False
            if not isinstance(at, ExtractedDirectory):
                return True
        return False

    # ---- the end ----

    def finish(self) -> list[bytes]:
        """Set what is set last, and the records of all that is there, in the order of canonical.py. Raises BuildError
        (code unpack-opaque)."""
        if self.root.opaque:  # overlayfs merges roots whatever is said of them
            raise_build_error(
                "unpack-opaque", "the layer hides all that lies below it, from the root on: no overlay can show that"
            )
        records: list[bytes] = []
        self._finish_directory(self.root, b"", records, covered=False)
        return records

    def _finish_directory(
        self, directory: ExtractedDirectory, prefix: bytes, records: list[bytes], *, covered: bool
    ) -> None:
        """`covered`: nothing of a lower layer is seen here, and a deletion would be listed as a broken name."""
        named = [(WHITEOUT + n if node == _DELETED else n, n, node) for n, node in directory.children.items()]
        named.sort(key=lambda item: item[0])
        for _, name, node in named:
            path = prefix + name
            if isinstance(node, ExtractedDirectory):
                letter = b"o" if node.opaque else b"d"
                records.append(b"%s %o %d %d - %s\0" % (letter, node.mode, node.uid, node.gid, path))
                self._finish_directory(node, path + b"/", records, covered=covered or node.opaque)
            elif node == _DELETED and covered:
                self._remove(directory, name)
            else:
                records.append(b"%s %s\0" % (node, path))
        self._apply_attributes(directory, prefix)

    def _apply_attributes(self, directory: ExtractedDirectory, path: bytes) -> None:
        descriptor = self._descriptor(directory)
        if directory.above is not None:
            if directory.opaque:
                os.setxattr(descriptor, canonical.OPAQUE[0], b"y")
            elif _DELETED in directory.children.values():
                # or overlayfs lists deletions of what is not there, where no other layer has the directory
                os.setxattr(descriptor, XATTR_ORIGIN, b"")
            for key, value in (directory.xattrs or {}).items():
                _set_xattr(descriptor, key, value, path)
            if directory.uid or directory.gid:
                chown_member(descriptor, directory.uid, directory.gid, path)
            os.fchmod(descriptor, directory.mode)
        else:
            os.fchmod(descriptor, 0o755)
        os.utime(descriptor, ns=(directory.mtime, directory.mtime))


def _split_name(name: bytes, member: bytes) -> list[bytes]:
    """The components of a name in an archive, `..` taken for what it means in the name alone, as Go's filepath.Clean
    does; an absolute one starts at the tree's root, as in every tool."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise_build_error(
                    "unpack-name", f"leads out of the archive's directory{_name_suffix(name, member)}", member
                )
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    if (
        not name
        or b"\0" in name
        or len(name) > MAX_PATH
        or len(parts) > MAX_DEPTH
        or any(len(part) > MAX_NAME for part in parts)
    ):
        raise_build_error("unpack-name", f"has no name, or one that is too long{_name_suffix(name, member)}", member)
    return parts


def _name_suffix(name: bytes, member: bytes) -> str:
    return "" if name == member else f": {os.fsdecode(name[:200])!r}"


def chown_member(what: int | bytes, uid: int, gid: int, name: bytes, place: int | None = None) -> None:
    try:
        if isinstance(what, int):
            os.fchown(what, uid, gid)
        else:
            os.chown(what, uid, gid, dir_fd=place, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise_build_error(
            "unpack-owner", f"belongs to {uid}:{gid}: {explain_unmapped(uid, gid) or error.strerror}", name
        )


def _set_xattr(descriptor: int, key: bytes, value: bytes, name: bytes) -> None:
    try:
        os.setxattr(descriptor, key, value)
    except OSError as error:
        text = f"has an extended attribute that cannot be kept here: {os.fsdecode(key[:80])}: {error.strerror}"
        raise_build_error("unpack-xattr", text, name)
