"""Merges the trees of an overlay into one directory, by hard links: as the kernel shows them, without a mount.

The trees are never written to, so files of several may share their inodes. Container root calls this, outside of any
container, on trees that a task has written: each directory is opened by a descriptor, and no link is followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def merge_trees(trees: Sequence[int], parent: int, name: str) -> int:
    """Makes the directory `name` in `parent` with what the `trees` show together; all are descriptors (O_PATH), of
    trees top-most first. The rules are those of overlayfs: whiteouts, and opaque directories. Returns the number of
    files and directories. Raises OSError."""
    count = 0
    os.mkdir(name, 0o700, dir_fd=parent)
    target = os.open(name, _OPEN, dir_fd=parent)
    pending: list[tuple[str, tuple[int, ...]]] = [("", tuple(trees))]
    finished: list[tuple[str, int]] = []
    while pending:
        path, sources = pending.pop()
        finished.append((path, sources[0]))
        with ExitStack() as exits:
            opened = [_open_directory(tree, path, exits) for tree in sources]
            into = _open_directory(target, path, exits)
            names, directories = _list(sources, opened)
            for file, index in names.items():
                os.link(file, file, src_dir_fd=opened[index], dst_dir_fd=into, follow_symlinks=False)
            for directory_name in directories:
                os.mkdir(directory_name, 0o700, dir_fd=into)
        count += len(names) + len(directories)
        pending += [(f"{path}/{below}".lstrip("/"), tuple(found)) for below, found in directories.items()]
    for path, tree in reversed(finished):  # each after those in it: what is put into a directory changes its times
        with ExitStack() as exits:
            info = os.fstat(_open_directory(tree, path, exits))
            directory = _open_directory(target, path, exits)
            os.fchown(directory, info.st_uid, info.st_gid)
            os.fchmod(directory, stat.S_IMODE(info.st_mode))
            os.utime(directory, ns=(info.st_atime_ns, info.st_mtime_ns))
    os.close(target)
    return count


def _list(sources: Sequence[int], opened: Sequence[int]) -> tuple[dict[str, int], dict[str, list[int]]]:
    """Returns what one directory shows, of its `sources`, top-most first: name -> the source that has it, of what is no
    directory; name -> the trees whose directories of this name are merged."""
    names: dict[str, int] = {}
    directories: dict[str, list[int]] = {}
    closed: set[str] = set()  # names of which no lower tree counts
    for index, (tree, descriptor) in enumerate(zip(sources, opened, strict=True)):
        with os.scandir(descriptor) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        hidden = {*closed}
        for name, is_directory in found:
            if name in hidden:
                continue
            if is_directory:
                directories.setdefault(name, []).append(tree)
                if _is_opaque(name, descriptor):
                    closed.add(name)
                continue
            closed.add(name)
            if name not in directories and not _is_whiteout(name, descriptor):
                names[name] = index
    return names, directories


def _is_whiteout(name: str, directory: int) -> bool:
    info = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def _is_opaque(name: str, directory: int) -> bool:
    descriptor = os.open(name, _OPEN, dir_fd=directory)
    try:
        return os.getxattr(descriptor, "user.overlay.opaque") in (b"y", b"x")
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _open_directory(tree: int, path: str, exits: ExitStack) -> int:
    """Returns a descriptor of a directory below a tree, on a way without links, until `exits` is left."""
    descriptor = os.open(".", _OPEN, dir_fd=tree)
    try:
        for name in path.split("/") if path else ():
            below = os.open(name, _OPEN, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
    except BaseException:
        os.close(descriptor)
        raise
    exits.callback(os.close, descriptor)
    return descriptor
