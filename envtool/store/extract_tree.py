"""The tree that an archive is extracted into: finds and makes the directory of each member, and never leaves the tree.

The tree has a model, which is read from the disk directory by directory, when a member's path first leads there; no
other process writes into the tree. Each name is looked up in the model before the disk is touched, and each directory
is opened from its parent without following links, so that neither a wrong model nor a symlink leads out of the tree. A
symlink in the path of a member is followed in the model, with the tree as `/`, as in containerd (continuity's
fs.RootPath); a directory that it names is made if missing."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from typing import TypeAlias

from envtool.store.canonical import MAX_PATH
from envtool.store.tar_read import TarMember, raise_build_error

MAX_NAME = 255  # bytes
MAX_SYMLINKS = 40  # symlinks in one path, as in the kernel
MAX_OPEN_DIRECTORIES = 48  # directories that are kept open
DELETED = b"w 0 0 0 -"  # the record of a whiteout
_KEEP = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class ExtractedDirectory:
    """A directory of the model: its children by name, directories as such, all others as the fields of their manifest
    record, of which a file that was there before has only the first letter."""

    __slots__ = (
        "above", "children", "gid", "hidden", "is_loaded", "is_setgid", "is_written", "length", "mode", "mtime", "name",
        "opaque", "uid", "xattrs",
    )  # fmt: skip

    def __init__(self, name: bytes, above: ExtractedDirectory | None, mtime: int) -> None:
        self.name = name
        self.above = above
        self.length: int = above.length + len(name) + 1 if above else 0  # bytes of its path, with a slash at the end
        self.children: dict[bytes, Node] = {}
        self.is_loaded = False  # whether `children` has what is on the disk
        self.is_written = False  # whether it was made here, or a member names it: its attributes are set at the end
        self.is_setgid = False  # whether the kernel gives what is made here the directory's group (inode(7))
        self.hidden: set[bytes] | None = None  # names that whiteouts delete
        self.opaque = False
        self.mode, self.uid, self.gid, self.mtime = 0o755, 0, 0, mtime
        self.xattrs: dict[bytes, bytes] | None = None


Node: TypeAlias = "ExtractedDirectory | bytes"


class ExtractTree:
    """The directories of a tree. `top` is a descriptor of it, which stays the caller's; `start` is the directory in
    which the names of members begin: no member leads out of it. `owner`: uid and gid of the directories that no member
    names."""

    def __init__(self, top: int, owner: tuple[int, int]) -> None:
        self.root = self.start = ExtractedDirectory(b"", None, 0)
        self._top, self._owner = top, owner
        self._open: OrderedDict[ExtractedDirectory, int] = OrderedDict()

    def close(self) -> None:
        """Closes all descriptors."""
        while self._open:
            os.close(self._open.popitem()[1])

    def make_parent(self, parts: list[bytes], member: TarMember) -> ExtractedDirectory:
        """Returns the directory of this name, links followed, and makes the directories that are missing. Raises
        BuildError (code unpack-parent), OSError."""
        directory = self._resolve(parts, member, make=True)
        assert directory is not None
        return directory

    def find_directory(self, parts: list[bytes], member: TarMember) -> ExtractedDirectory | None:
        """Returns the directory of this name, links followed; None where there is none. Raises BuildError (code
        unpack-parent), OSError."""
        return self._resolve(parts, member, make=False)

    def _resolve(self, parts: list[bytes], member: TarMember, *, make: bool) -> ExtractedDirectory | None:
        directory, remaining, links_followed = self.start, parts[::-1], 0
        if not directory.is_loaded:
            self.load(directory)
        while remaining:
            part = remaining.pop()
            node = directory.children.get(part) if part != b".." else directory.above or directory
            if isinstance(node, ExtractedDirectory):
                directory = node
            elif node is None or node == DELETED:
                if not make:
                    return None
                if links_followed:  # before anything is made there
                    self._check_followed(directory, member)
                check_length(directory, part, member)
                directory = self.mkdir(directory, part, member.mtime)
            elif node[:1] != b"l":
                if not make:
                    return None
                raise_build_error("unpack-parent", "lies below one that is no directory", member.name)
            else:
                links_followed += 1
                link = os.readlink(part, dir_fd=self.descriptor(directory))
                remaining += [name for name in reversed(link.split(b"/")) if name not in (b"", b".")]
                if links_followed > MAX_SYMLINKS or len(remaining) > MAX_PATH:
                    raise_build_error("unpack-parent", "leads through symlinks without end", member.name)
                directory = self.root if link.startswith(b"/") else directory
            if not directory.is_loaded:
                self.load(directory)
        if links_followed:
            self._check_followed(directory, member)
        return directory

    def _check_followed(self, directory: ExtractedDirectory, member: TarMember) -> None:
        """Checks a directory that symlinks led to. Raises BuildError where it is outside the target."""
        above: ExtractedDirectory | None = directory
        while above is not None and above is not self.start:
            above = above.above
        if above is None:
            raise_build_error("unpack-parent", "leads out of the target through a symlink", member.name)

    def descriptor(self, directory: ExtractedDirectory) -> int:
        """Returns an open descriptor of a directory, valid until the next call. Raises OSError."""
        descriptor = self._open.get(directory)
        if descriptor is not None:
            self._open.move_to_end(directory)
            return descriptor
        closed: list[ExtractedDirectory] = []
        above: ExtractedDirectory | None = directory
        while above is not None and above.above is not None and above not in self._open:
            closed.append(above)
            above = above.above
        descriptor = self._open.get(above, self._top) if above is not None else self._top
        for below in reversed(closed):  # a loop, since the tree may be deeper than Python's stack
            descriptor = os.open(below.name, _KEEP, dir_fd=descriptor)
            if len(self._open) >= MAX_OPEN_DIRECTORIES:
                os.close(self._open.popitem(last=False)[1])
            self._open[below] = descriptor
        return descriptor

    def load(self, directory: ExtractedDirectory) -> None:
        """Reads the entries of a directory that was there before into the model, once. Raises OSError."""
        if directory.is_loaded:
            return
        directory.is_loaded = True
        descriptor = self.descriptor(directory)
        directory.is_setgid = bool(os.fstat(descriptor).st_mode & stat.S_ISGID)
        with os.scandir(descriptor) as entries:
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

    def mkdir(self, parent: ExtractedDirectory, name: bytes, mtime: int) -> ExtractedDirectory:
        """Makes a directory, in the place of a whiteout, if there is one. Raises OSError."""
        if parent.children.get(name) == DELETED:
            self.remove(parent, name)
        os.mkdir(name, 0o700, dir_fd=self.descriptor(parent))
        directory = ExtractedDirectory(name, parent, mtime)
        directory.is_loaded = directory.is_written = True
        directory.is_setgid = parent.is_setgid
        directory.mode |= stat.S_ISGID * parent.is_setgid  # as mkdir(2) does, tar and Docker: no member names it yet
        directory.uid, directory.gid = self._owner
        directory.opaque = parent.hidden is not None and name in parent.hidden
        parent.children[name] = directory
        return directory

    def remove(self, parent: ExtractedDirectory, name: bytes) -> None:
        """Removes the entry of this name with all below it, if there is one. Raises OSError."""
        node = parent.children.pop(name, None)
        if node is None:
            return
        if not isinstance(node, ExtractedDirectory):
            os.unlink(name, dir_fd=self.descriptor(parent))
            return
        pending, directories = [node], []
        while pending:  # a loop, since the tree may be deeper than Python's stack
            directory = pending.pop()
            directories.append(directory)
            self.load(directory)
            for child, entry in directory.children.items():
                if isinstance(entry, ExtractedDirectory):
                    pending.append(entry)
                else:
                    os.unlink(child, dir_fd=self.descriptor(directory))
            directory.children.clear()
        for directory in reversed(directories):
            descriptor = self._open.pop(directory, None)
            if descriptor is not None:
                os.close(descriptor)
            os.rmdir(directory.name, dir_fd=self.descriptor(directory.above or self.root))


def check_length(directory: ExtractedDirectory, name: bytes, member: TarMember) -> None:
    """Raises BuildError (code unpack-parent) if the path of an entry that is made is too long: with symlinks in it, it
    may be longer than the member's name."""
    if directory.length + len(name) > MAX_PATH:
        raise_build_error("unpack-parent", f"leads through symlinks to a path of over {MAX_PATH:,} bytes", member.name)


def split_name(name: bytes, member: bytes) -> list[bytes]:
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
    problem = ""
    if not name or b"\0" in name:
        problem = "has no name"
    elif len(name) > MAX_PATH:
        problem = f"has a path of over {MAX_PATH:,} bytes"
    elif any(len(part) > MAX_NAME for part in parts):
        problem = f"has a name of over {MAX_NAME} bytes"
    if problem:
        raise_build_error("unpack-name", f"{problem}{_name_suffix(name, member)}", member)
    return parts


def _name_suffix(name: bytes, member: bytes) -> str:
    return "" if name == member else f": {os.fsdecode(name[:200])!r}"
