"""Extracts the members of an archive into a tree: the one extractor of layers, of ADD, of `fetch` and of `tarball:`
bases.

extract_tree finds the directory of each member, and never leaves the tree. A member replaces the entry at its path,
whatever that is, but a directory is merged with a directory, and nothing is written through a link at a member's own
path. Devices are left out: a container has its own /dev, and only root of the host may make any. Extended attributes
are left out but for `user.*` and, of files, `security.capability`. ExtractRules has all in which the four uses differ.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from typing import TypeAlias

from envtool.fs.passwd import explain_unmapped
from envtool.fs.sizes import format_size
from envtool.lazy_dataclass import dataclass
from envtool.store import canonical
from envtool.store.extract_tree import DELETED, ExtractedDirectory, ExtractTree, Node, check_length, split_name
from envtool.store.sparse import write_content
from envtool.store.tar_read import DIRECTORY, FIFO, HARD_LINK, REGULAR, SYMLINK, TarMember, raise_build_error

MAX_MEMBERS = 2 << 20
MAX_REPORTED = 20  # members that were left out and are named
WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
XATTR_ORIGIN = b"user.overlay.origin"  # if empty, "copied up from an unknown origin": overlayfs looks for whiteouts
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MTIME_RANGE = (-(1 << 31) * 10**9, (1 << 34) * 10**9)  # nanoseconds: the times of ext4
_MOUNTED = (b"dev", b"proc", b"sys")  # names at the top of a container's tree, on which file systems are mounted
Members: TypeAlias = Iterator[tuple[TarMember, Iterator[memoryview]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractRules:
    """How members are extracted.

    `is_layer`: whiteouts delete entries of lower layers, and the root is 0755 root:root; else a whiteout is an error,
    and members in /dev, /proc and /sys are skipped. `owners`: members belong to the archive's owners, else to the user
    who unpacks. `owner` is the uid and gid of all members, in place of the archive's. `is_plain`: nobody else can write
    a file, and setuid bits and extended attributes are dropped. `strip`: number of leading components that are dropped
    from names; a member with no more components is skipped. `keeps_links`: a directory does not replace a link to a
    directory of the target."""

    is_layer: bool = False
    owners: bool = True
    owner: tuple[int, int] | None = None
    is_plain: bool = False
    strip: int = 0
    keeps_links: bool = False


class Extractor:
    """Extracts members into the directory `target` (absolute in the tree, made if missing) of the tree `top` (an open
    descriptor). A context manager, which closes its own descriptors."""

    def __init__(self, top: int, rules: ExtractRules, *, target: bytes = b"") -> None:
        self.left_out: list[tuple[bytes, str]] = []  # (member, why)
        self.any_selected = False  # whether any member but the root was not skipped
        self._rules = rules
        if rules.is_layer:
            os.fchmod(top, 0o755)  # a setgid store gives a layer neither its bit nor its group
        self._tree = ExtractTree(top, rules.owner or (0, 0))
        self._tree.root.is_written = rules.is_layer
        self._devices: set[tuple[ExtractedDirectory, bytes]] = set()
        self._total_size = 0  # bytes of all files, holes included
        self._member_count = 0
        parts = [part for part in target.split(b"/") if part]
        self._tree.start = self._tree.make_parent(parts, TarMember(b"/".join(parts), DIRECTORY))

    def __enter__(self) -> Extractor:
        return self

    def __exit__(self, *_: object) -> None:
        self._tree.close()

    def add_members(self, members: Members) -> None:
        """Extracts all members, and sets the attributes of directories. Raises BuildError (codes unpack-name,
        unpack-parent, unpack-link, unpack-whiteout, unpack-owner, unpack-xattr, unpack-many, unpack-bomb,
        unpack-opaque), and OSError with the member's name."""
        for member, content in members:
            try:
                self._add_member(member, content)
            except OSError as error:
                error.filename = member.name
                raise
        self._finish()

    def _add_member(self, member: TarMember, content: Iterator[memoryview]) -> None:
        if not self._rules.is_layer:
            self._apply_rules(member)
        self._check_member(member)
        parts = split_name(member.name, member.name)
        if not self._rules.is_layer:
            parts = parts[self._rules.strip :]
            if self._is_skipped(parts):
                return
        if not parts:
            self._apply_root_member(member)
            return
        self.any_selected = True
        if any(part.startswith(WHITEOUT) for part in parts):
            self._whiteout(member, parts)
            return
        parent, name = self._tree.make_parent(parts[:-1], member), parts[-1]
        check_length(parent, name, member)
        if member.kind == DIRECTORY:
            self._make_directory(parent, name, member)
        elif member.kind == HARD_LINK:
            self._create_hard_link(parent, name, member)
        elif member.kind in (REGULAR, SYMLINK, FIFO):
            self._tree.remove(parent, name)
            parent.children[name] = self._create_member(parent, name, member, content)
        else:  # a device
            self._tree.remove(parent, name)
            self._devices.add((parent, name))
            self.left_out.append((member.name, "device"))

    def _apply_rules(self, member: TarMember) -> None:
        if self._rules.owner is not None:
            member.uid, member.gid = self._rules.owner
        if self._rules.is_plain:
            member.uid = member.gid = 0
            member.mode = 0o755 if member.kind == DIRECTORY else member.mode & 0o755
            member.xattrs = {}

    def _check_member(self, member: TarMember) -> None:
        self._member_count += 1
        if self._member_count > MAX_MEMBERS:
            raise_build_error("unpack-many", f"more than {MAX_MEMBERS} members")
        if member.uid >= 0xFFFFFFFF or member.gid >= 0xFFFFFFFF:
            raise_build_error(
                "unpack-owner", f"belongs to {member.uid}:{member.gid}: no user has such an id", member.name
            )
        member.mtime = min(max(member.mtime, _MTIME_RANGE[0]), _MTIME_RANGE[1])
        if self._member_count == 1:
            self._tree.root.mtime = member.mtime

    def _is_skipped(self, parts: list[bytes]) -> bool:
        """Whether a member of this name is skipped. Raises BuildError (code unpack-whiteout)."""
        if any(part.startswith(WHITEOUT) for part in parts):
            text = "has a name that begins with .wh.: in a layer of an image that says that something is deleted"
            raise_build_error("unpack-whiteout", text, b"/".join(parts))
        if self._rules.strip and not parts:
            return True
        return self._tree.start is self._tree.root and bool(parts) and parts[0] in _MOUNTED

    # ---- directories ----

    def _apply_root_member(self, member: TarMember) -> None:
        """Applies the archive's "./" to the target."""
        if member.kind != DIRECTORY:
            raise_build_error("unpack-name", "would take the place of the root", member.name)
        start = self._tree.start
        if start is not self._tree.root:
            self._set_directory(start, member)
        elif self._rules.is_layer:  # owner and mode of the root are the same in every layer
            start.mtime = member.mtime

    def _make_directory(self, parent: ExtractedDirectory, name: bytes, member: TarMember) -> None:
        directory = parent.children.get(name)
        if not isinstance(directory, ExtractedDirectory):
            if self._rules.keeps_links and self._leads_to_directory(directory, member):
                return
            self._tree.remove(parent, name)
            directory = self._tree.mkdir(parent, name, member.mtime)
        self._set_directory(directory, member)
        directory.xattrs = self._xattrs(member) or None

    def _leads_to_directory(self, node: bytes | None, member: TarMember) -> bool:
        """Whether a node is a link to a directory of the target. Raises BuildError for a link that leads out of it."""
        if node is None or node[:1] != b"l":
            return False
        parts = split_name(member.name, member.name)[self._rules.strip :]
        return self._tree.find_directory(parts, member) is not None

    def _set_directory(self, directory: ExtractedDirectory, member: TarMember) -> None:
        directory.is_written = True
        directory.mode, directory.mtime = member.mode, member.mtime
        if self._rules.owners:
            directory.uid, directory.gid = member.uid, member.gid

    # ---- files, links and fifos ----

    def _create_member(
        self, parent: ExtractedDirectory, name: bytes, member: TarMember, content: Iterator[memoryview]
    ) -> bytes:
        """Makes a file, symlink or fifo; returns the fields of its record."""
        parent_fd = self._tree.descriptor(parent)
        uid, gid = (member.uid, member.gid) if self._rules.owners else (0, 0)
        needs_chown = uid or gid or parent.is_setgid
        if member.kind == REGULAR:
            self._total_size += member.size
            if self._total_size > canonical.MAX_LAYER_SIZE:
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
                    _chown(descriptor, uid, gid, member.name)
                for key, value in xattrs.items():
                    _set_xattr(descriptor, key, value, member.name)
                os.fchmod(descriptor, member.mode)
                os.utime(descriptor, ns=(member.mtime, member.mtime))
            finally:
                os.close(descriptor)
            fingerprint = canonical.fingerprint(member.size, crc, xattrs)
            return b"f %o %d %d %s" % (member.mode, uid, gid, fingerprint)
        if member.kind == SYMLINK:
            if not member.link or len(member.link) > canonical.MAX_PATH:
                raise_build_error("unpack-link", "is a symlink to nothing, or to too long a name", member.name)
            os.symlink(member.link, name, dir_fd=parent_fd)
            record = b"l 777 %d %d %s" % (uid, gid, hashlib.sha256(member.link).hexdigest().encode())
        else:
            os.mkfifo(name, 0o600, dir_fd=parent_fd)
            record = b"p %o %d %d -" % (member.mode, uid, gid)
        if needs_chown:
            _chown(name, uid, gid, member.name, parent_fd)
        if member.kind == FIFO:
            os.chmod(name, member.mode, dir_fd=parent_fd)  # chown takes the setuid bit away
        os.utime(name, ns=(member.mtime, member.mtime), dir_fd=parent_fd, follow_symlinks=False)
        return record

    def _create_hard_link(self, parent: ExtractedDirectory, name: bytes, member: TarMember) -> None:
        parts = split_name(member.link, member.name)[self._rules.strip :]
        source_parent = self._tree.find_directory(parts[:-1], member) if parts else None
        source = source_parent.children.get(parts[-1]) if source_parent else None
        if source_parent is None or not isinstance(source, bytes) or source == DELETED:
            if source_parent and (source_parent, parts[-1]) in self._devices:
                self.left_out.append((member.name, "device"))
                return
            message = f"is a hard link to what is no file of this archive: {os.fsdecode(member.link[:200])!r}"
            raise_build_error("unpack-link", message, member.name)
        if source_parent is parent and parts[-1] == name:
            return
        self._tree.remove(parent, name)
        if (
            isinstance(parent.children.get(name), ExtractedDirectory)
            or source_parent.children.get(parts[-1]) is not source
        ):
            raise_build_error("unpack-link", "is a hard link to what it takes the place of", member.name)
        parent_fd = os.dup(self._tree.descriptor(parent))  # opening the other one may close it
        try:
            os.link(
                parts[-1],
                name,
                src_dir_fd=self._tree.descriptor(source_parent),
                dst_dir_fd=parent_fd,
                follow_symlinks=False,
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
            self._tree.make_parent(parts[:-1], member).opaque = True
            return
        if basename.startswith(b".wh..wh."):
            self.left_out.append((member.name, "aufs's own"))
            return
        name = basename[len(WHITEOUT) :]
        if name in (b"", b".", b".."):
            raise_build_error("unpack-whiteout", "is a deletion of nothing", member.name)
        directory = self._tree.make_parent(parts[:-1], member)
        if directory.hidden is None:
            directory.hidden = set()
        directory.hidden.add(name)
        node = directory.children.get(name)
        if isinstance(node, ExtractedDirectory):
            node.opaque = True
        elif node is None:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=self._tree.descriptor(directory))
            directory.children[name] = DELETED

    def _is_hidden(self, parts: list[bytes]) -> bool:
        """Whether a file of this layer is at a path or above it, and hides the entry to delete: where a directory
        became a file, umoci writes a whiteout for each entry that was in the directory."""
        node: Node | None = self._tree.root
        for part in parts:
            node = node.children.get(part) if isinstance(node, ExtractedDirectory) else None
            if node is None or node == DELETED:
                return False
            if not isinstance(node, ExtractedDirectory):
                return True
        return False

    # ---- the finish ----

    def _finish(self) -> None:
        """Sets owners, modes, times and xattrs of directories, after their content. Raises BuildError (code
        unpack-opaque), OSError."""
        if self._tree.root.opaque:  # overlayfs always merges the roots of layers
            raise_build_error(
                "unpack-opaque", "the layer hides all that lies below it, from the root on: no overlay can show that"
            )
        pending, directories = [(self._tree.root, b"", False)], []
        while pending:  # a loop, since a tree that was there may be deeper than Python's stack
            directory, prefix, covered = pending.pop()
            directories.append((directory, prefix, covered))
            pending += [
                (node, prefix + name + b"/", covered or node.opaque)
                for name, node in directory.children.items()
                if isinstance(node, ExtractedDirectory)
            ]
        for directory, prefix, covered in reversed(directories):
            self._finish_directory(directory, prefix, covered=covered)

    def _finish_directory(self, directory: ExtractedDirectory, prefix: bytes, *, covered: bool) -> None:
        """Finishes a directory after those below. `covered`: no entry of a lower layer is visible here, and overlayfs
        would list a whiteout as a broken name."""
        whiteouts = [name for name, node in directory.children.items() if node == DELETED]
        if covered:
            for name in whiteouts:
                self._tree.remove(directory, name)
        if directory.is_written:
            self._set_attributes(directory, prefix, has_whiteouts=bool(whiteouts) and not covered)

    def _set_attributes(self, directory: ExtractedDirectory, path: bytes, *, has_whiteouts: bool) -> None:
        descriptor = self._tree.descriptor(directory)
        if directory is self._tree.root:
            os.fchmod(descriptor, 0o755)
        else:
            if directory.opaque:
                os.setxattr(descriptor, canonical.OPAQUE[0], b"y")
            elif has_whiteouts:
                # without it, overlayfs lists the whiteouts as files where no other layer has the directory
                os.setxattr(descriptor, XATTR_ORIGIN, b"")
            for key, value in (directory.xattrs or {}).items():
                _set_xattr(descriptor, key, value, path)
            # in a tree that was not empty, an existing directory may belong to another user
            is_other = directory.is_setgid or (self._rules.owners and not self._rules.is_layer)
            if directory.uid or directory.gid or is_other:
                _chown(descriptor, directory.uid, directory.gid, path)
            os.fchmod(descriptor, directory.mode)
        os.utime(descriptor, ns=(directory.mtime, directory.mtime))

    def records(self) -> list[bytes]:
        """Returns the manifest's records of all entries, in the order of canonical.py; complete for a tree that was
        empty at first."""
        records: list[bytes] = []
        pending = _in_reverse_order(self._tree.root, b"")
        while pending:
            path, node = pending.pop()
            if isinstance(node, ExtractedDirectory):
                letter = b"o" if node.opaque else b"d"
                records.append(b"%s %o %d %d - %s\0" % (letter, node.mode, node.uid, node.gid, path))
                pending += _in_reverse_order(node, path + b"/")
            else:
                records.append(b"%s %s\0" % (node, path))
        return records


def _in_reverse_order(directory: ExtractedDirectory, prefix: bytes) -> list[tuple[bytes, Node]]:
    """Returns the paths and nodes of a directory's entries, as a stack pops them in the order of canonical.py."""
    entries = [(WHITEOUT + n if node == DELETED else n, n, node) for n, node in directory.children.items()]
    entries.sort(key=lambda entry: entry[0], reverse=True)
    return [(prefix + name, node) for _, name, node in entries]


def _chown(target: int | bytes, uid: int, gid: int, name: bytes, parent_fd: int | None = None) -> None:
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
