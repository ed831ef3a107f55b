"""Puts the members of an archive into a tree, and never outside it.

The extractor has a model of the tree, which is empty at first and into which no other process writes. Each name is
looked up in the model before the disk is touched, and each directory is opened from its parent without following links,
so that neither a wrong model nor a symlink leads out of the tree. A symlink in the path of a member is followed in the
model, with the tree as `/`, as in containerd (continuity's fs.RootPath); a directory that it names is made if missing.
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

MAX_DEPTH = 250  # directories below one another: code that walks trees later is recursive
MAX_NAME, MAX_PATH = 255, 4000  # bytes
MAX_SYMLINKS = 40  # symlinks in one path, as in the kernel
MAX_MEMBERS = 2 << 20
MAX_OPEN_DIRECTORIES = 48  # directories that are kept open
WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
XATTR_ORIGIN = b"user.overlay.origin"  # if empty, "copied up from an unknown origin": overlayfs looks for whiteouts
_KEEP = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MTIME_RANGE = (-(1 << 31) * 10**9, (1 << 34) * 10**9)  # nanoseconds: the times of ext4


class ExtractedDirectory:
    """A directory of the model: its children by name, directories as such, all others as the fields of their manifest
    record."""

    __slots__ = ("above", "children", "gid", "hidden", "mode", "mtime", "name", "opaque", "uid", "xattrs")

    def __init__(self, name: bytes, above: ExtractedDirectory | None, mtime: int) -> None:
        self.name = name
        self.above = above
        self.children: dict[bytes, Node] = {}
        self.hidden: set[bytes] | None = None  # names that whiteouts delete
        self.opaque = False
        self.mode, self.uid, self.gid, self.mtime = 0o755, 0, 0, mtime
        self.xattrs: dict[bytes, bytes] | None = None


Node: TypeAlias = "ExtractedDirectory | bytes"
_DELETED = b"w 0 0 0 -"


class ArchiveExtractor:
    """Extracts members into the directory `top` (a descriptor). `owners` False: all files belong to the user who
    unpacks (a caller with a single id)."""

    def __init__(self, top: int, *, owners: bool) -> None:
        self.root = ExtractedDirectory(b"", None, 0)
        self.left_out: list[tuple[bytes, str]] = []
        self.total_size = 0  # bytes of all files, holes included
        self._top = top
        self._owners = owners
        self._open: OrderedDict[ExtractedDirectory, int] = OrderedDict()
        self._devices: set[tuple[ExtractedDirectory, bytes]] = set()
        self.start = self.root  # where names begin
        self._first = True
        self._member_count = 0

    def close(self) -> None:
        """Closes all descriptors."""
        while self._open:
            os.close(self._open.popitem()[1])

    def add_member(self, member: TarMember, content: Iterator[memoryview]) -> None:
        """Extracts one more member. Raises BuildError (codes unpack-name, unpack-parent, unpack-link, unpack-whiteout,
        unpack-owner, unpack-xattr, unpack-many, unpack-bomb), OSError."""
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
        else:  # a device: a container has its own /dev, and only root of the host may make one
            self._remove(directory, last)
            self._devices.add((directory, last))
            self.left_out.append((member.name, "device"))

    def _apply_root_member(self, member: TarMember) -> None:
        self.root.mtime = member.mtime  # owner and mode of the root are the same in every layer

    # ---- the directory of a member ----

    def _split_name(self, name: bytes, member: bytes) -> list[bytes]:
        """Returns the components of a name: of a member, or of a hard link's target. Raises BuildError."""
        return _split_name(name, member)

    def _is_skipped(self, parts: list[bytes]) -> bool:
        """Whether a member of this name is skipped."""
        return False

    def _visit_directory(self, directory: ExtractedDirectory) -> None:
        """Called before the children of a directory are looked up."""

    def _parent_directory(self, parts: list[bytes], member: TarMember) -> ExtractedDirectory:
        """Returns the directory of a member, made where no member has named it yet."""
        directory = self._resolve_directory(parts, member, make=True)
        assert directory is not None
        return directory

    def _resolve_directory(self, parts: list[bytes], member: TarMember, *, make: bool) -> ExtractedDirectory | None:
        """Returns the directory of this name, with links followed; None where it does not exist and `make` is False."""
        directory, remaining, links_followed = self.start, parts[::-1], 0
        self._visit_directory(directory)
        while remaining:
            part = remaining.pop()
            node = directory.children.get(part) if part != b".." else directory.above or directory
            if isinstance(node, ExtractedDirectory):
                directory = node
            elif node is None or node == _DELETED:
                if not make:
                    return None
                if links_followed:  # before anything is made there
                    self._check_followed(directory, member)
                directory = self._mkdir(directory, part, member.mtime)
            elif node[:1] != b"l":
                if not make:
                    return None
                raise_build_error("unpack-parent", "lies below one that is no directory", member.name)
            else:
                links_followed += 1
                link = os.readlink(part, dir_fd=self._descriptor(directory))
                remaining += [each for each in reversed(link.split(b"/")) if each not in (b"", b".")]
                if links_followed > MAX_SYMLINKS or len(remaining) > MAX_DEPTH:
                    raise_build_error("unpack-parent", "leads through symlinks without end", member.name)
                directory = self.root if link.startswith(b"/") else directory
            self._visit_directory(directory)
        if links_followed:
            self._check_followed(directory, member)
        return directory

    def _check_followed(self, directory: ExtractedDirectory, member: TarMember) -> None:
        """Checks a directory that symlinks led to. Raises BuildError where it is outside the target."""
        depth, above, inside = 0, directory, directory is self.start
        while above.above is not None:
            above, depth = above.above, depth + 1
            inside = inside or above is self.start
        if depth > MAX_DEPTH:
            raise_build_error("unpack-parent", "leads through symlinks without end", member.name)
        if not inside:
            raise_build_error("unpack-parent", "leads out of the target through a symlink", member.name)

    def _descriptor(self, directory: ExtractedDirectory) -> int:
        """Returns an open descriptor of a directory, valid until the next call."""
        if directory.above is None:
            return self._top
        descriptor = self._open.get(directory)
        if descriptor is not None:
            self._open.move_to_end(directory)
            return descriptor
        descriptor = os.open(directory.name, _KEEP, dir_fd=self._descriptor(directory.above))
        if len(self._open) >= MAX_OPEN_DIRECTORIES:
            os.close(self._open.popitem(last=False)[1])
        self._open[directory] = descriptor
        return descriptor

    def _mkdir(self, parent: ExtractedDirectory, name: bytes, mtime: int) -> ExtractedDirectory:
        if parent.children.get(name) == _DELETED:
            self._remove(parent, name)
        os.mkdir(name, 0o700, dir_fd=self._descriptor(parent))
        directory = ExtractedDirectory(name, parent, mtime)
        directory.opaque = parent.hidden is not None and name in parent.hidden
        parent.children[name] = directory
        return directory

    def _make_directory(self, parent: ExtractedDirectory, name: bytes, member: TarMember) -> None:
        directory = parent.children.get(name)
        if not isinstance(directory, ExtractedDirectory):
            self._remove(parent, name)
            directory = self._mkdir(parent, name, member.mtime)
        directory.mode, directory.mtime = member.mode, member.mtime
        if self._owners:
            directory.uid, directory.gid = member.uid, member.gid
        directory.xattrs = self._xattrs(member) or None

    def _remove(self, parent: ExtractedDirectory, name: bytes) -> None:
        """Removes the entry of this name, if any: a later member replaces an earlier one."""
        node = parent.children.pop(name, None)
        if node is None:
            return
        if isinstance(node, ExtractedDirectory):
            self._remove_children(node)
            os.rmdir(name, dir_fd=self._descriptor(parent))
        else:
            os.unlink(name, dir_fd=self._descriptor(parent))

    def _remove_children(self, directory: ExtractedDirectory) -> None:
        self._visit_directory(directory)
        for name in [*directory.children]:
            self._remove(directory, name)
        descriptor = self._open.pop(directory, None)
        if descriptor is not None:
            os.close(descriptor)

    # ---- members ----

    def _create_member(
        self, parent: ExtractedDirectory, name: bytes, member: TarMember, content: Iterator[memoryview]
    ) -> bytes:
        """Makes a file, symlink or fifo; returns the fields of its record."""
        parent_fd = self._descriptor(parent)
        uid, gid = (member.uid, member.gid) if self._owners else (0, 0)
        needs_chown = self._owners and (uid or gid)
        if member.kind == REGULAR:
            self.total_size += member.size
            if self.total_size > canonical.MAX_LAYER_SIZE:
                raise_build_error(
                    "unpack-bomb",
                    f"with it the layer is larger than {format_size(canonical.MAX_LAYER_SIZE)}",
                    member.name,
                )
            xattrs = self._xattrs(member)
            descriptor = os.open(name, _NEW, 0o600, dir_fd=parent_fd)
            try:
                crc = write_content(descriptor, member, content)
                if needs_chown:
                    chown_member(descriptor, uid, gid, member.name)
                for key, value in xattrs.items():
                    _set_xattr(descriptor, key, value, member.name)
                os.fchmod(descriptor, member.mode)
                os.utime(descriptor, ns=(member.mtime, member.mtime))
            finally:
                os.close(descriptor)
            fingerprint = canonical.fingerprint(member.size, crc, xattrs)
            return b"f %o %d %d %s" % (member.mode, uid, gid, fingerprint)
        if member.kind == SYMLINK:
            if not member.link or len(member.link) > MAX_PATH:
                raise_build_error("unpack-link", "is a symlink to nothing, or to too long a name", member.name)
            os.symlink(member.link, name, dir_fd=parent_fd)
            record = b"l 777 %d %d %s" % (uid, gid, hashlib.sha256(member.link).hexdigest().encode())
        else:
            os.mkfifo(name, 0o600, dir_fd=parent_fd)
            record = b"p %o %d %d -" % (member.mode, uid, gid)
        if needs_chown:
            chown_member(name, uid, gid, member.name, parent_fd)
        if member.kind == FIFO:
            os.chmod(name, member.mode, dir_fd=parent_fd)  # chown takes the setuid bit away
        os.utime(name, ns=(member.mtime, member.mtime), dir_fd=parent_fd, follow_symlinks=False)
        return record

    def _create_hard_link(self, parent: ExtractedDirectory, name: bytes, member: TarMember) -> None:
        parts = self._split_name(member.link, member.name)
        source_parent = self._resolve_directory(parts[:-1], member, make=False) if parts else None
        source = source_parent.children.get(parts[-1]) if source_parent else None
        if source_parent is None or not isinstance(source, bytes) or source == _DELETED:
            if source_parent and (source_parent, parts[-1]) in self._devices:
                self.left_out.append((member.name, "device"))
                return
            message = f"is a hard link to what is no file of this archive: {os.fsdecode(member.link[:200])!r}"
            raise_build_error("unpack-link", message, member.name)
        if source_parent is parent and parts[-1] == name:
            return
        self._remove(parent, name)
        if (
            isinstance(parent.children.get(name), ExtractedDirectory)
            or source_parent.children.get(parts[-1]) is not source
        ):
            raise_build_error("unpack-link", "is a hard link to what it takes the place of", member.name)
        parent_fd = os.dup(self._descriptor(parent))  # opening the other one may close it
        try:
            os.link(
                parts[-1], name, src_dir_fd=self._descriptor(source_parent), dst_dir_fd=parent_fd, follow_symlinks=False
            )
        finally:
            os.close(parent_fd)
        parent.children[name] = source

    def _xattrs(self, member: TarMember) -> dict[bytes, bytes]:
        """Returns the xattrs that are kept; all others mean something to another machine, or to overlayfs."""
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

    # ---- deletions ----

    def _whiteout(self, member: TarMember, parts: list[bytes]) -> None:
        """Applies a whiteout: a deletion of an entry of lower layers (OCI image spec, layer.md). Its order among the
        members does not matter: an entry of this layer itself stays, and hides that of the lower layers."""
        basename = parts[-1]
        if any(part.startswith(WHITEOUT) for part in parts[:-1]):
            if parts[0].startswith(b".wh..wh."):
                self.left_out.append((member.name, "aufs's own"))
                return
            raise_build_error("unpack-whiteout", "lies below a deletion", member.name)
        if self._is_hidden(parts[:-1]):
            return
        if basename == OPAQUE:
            self._parent_directory(parts[:-1], member).opaque = True
            return
        if basename.startswith(b".wh..wh."):
            self.left_out.append((member.name, "aufs's own"))
            return
        name = basename[len(WHITEOUT) :]
        if name in (b"", b".", b".."):
            raise_build_error("unpack-whiteout", "is a deletion of nothing", member.name)
        directory = self._parent_directory(parts[:-1], member)
        if directory.hidden is None:
            directory.hidden = set()
        directory.hidden.add(name)
        node = directory.children.get(name)
        if isinstance(node, ExtractedDirectory):
            node.opaque = True
        elif node is None:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=self._descriptor(directory))
            directory.children[name] = _DELETED

    def _is_hidden(self, parts: list[bytes]) -> bool:
        """Whether a file of this layer is at a path or above it, and hides the entry to delete: where a directory
        became a file, umoci writes a whiteout for each entry that was in the directory."""
        node: Node | None = self.root
        for part in parts:
            node = node.children.get(part) if isinstance(node, ExtractedDirectory) else None
            if node is None or node == _DELETED:
                return False
            if not isinstance(node, ExtractedDirectory):
                return True
        return False

    # ---- the finish ----

    def finish(self) -> list[bytes]:
        """Sets owners, modes, times and xattrs of directories, after their content. Returns the records of all entries,
        in the order of canonical.py. Raises BuildError (code unpack-opaque)."""
        if self.root.opaque:  # overlayfs always merges the roots of layers
            raise_build_error(
                "unpack-opaque", "the layer hides all that lies below it, from the root on: no overlay can show that"
            )
        records: list[bytes] = []
        self._finish_directory(self.root, b"", records, covered=False)
        return records

    def _finish_directory(
        self, directory: ExtractedDirectory, prefix: bytes, records: list[bytes], *, covered: bool
    ) -> None:
        """Finishes a directory and all below. `covered`: no entry of a lower layer is visible here, and overlayfs would
        list a whiteout as a broken name."""
        entries = [(WHITEOUT + n if node == _DELETED else n, n, node) for n, node in directory.children.items()]
        entries.sort(key=lambda entry: entry[0])
        for _, name, node in entries:
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
                # without it, overlayfs lists the whiteouts as files where no other layer has the directory
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
    """Returns the components of a name in an archive, with `..` resolved in the name alone, as Go's filepath.Clean
    does. An absolute name starts at the tree's root, as in every tool. Raises BuildError (code unpack-name)."""
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


def chown_member(target: int | bytes, uid: int, gid: int, name: bytes, parent_fd: int | None = None) -> None:
    """Changes the owner of an open file, or of a name in the directory `parent_fd`; `name` is the member's. Raises
    BuildError (code unpack-owner) for an id that the user namespace does not have, OSError."""
    try:
        if isinstance(target, int):
            os.fchown(target, uid, gid)
        else:
            os.chown(target, uid, gid, dir_fd=parent_fd, follow_symlinks=False)
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
