"""The operations of rootfs.py that few containers need: extra trees, caches, generated files, secrets, tmpfs, parts of
other trees, copies in the project, and a project that can be written to. Imported only for a program that has one,
before the root changes. (Those of a task's caches are in task_cache_mounts.py.)
"""

from __future__ import annotations

import errno
import os
import stat

from envtool.container import copy_files, messages, mounts, rootfs, task_cache_mounts, userns
from envtool.fs import passwd
from envtool.fs.beneath import open_beneath
from envtool.fs.rootpaths import resolve_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from envtool.container.rootfs import Maps, Operation, Rootfs

_NOSUID_NODEV = mounts.NOSUID | mounts.NODEV
_SPARE = 64 << 10  # bytes of a tmpfs for what is no content
_MAX_COPY = 1 << 30  # bytes of a file that may be written to: its copy is in memory


def _open_tree(root: Rootfs, number: int, operation: Operation, maps: Maps) -> None:
    root.trees[number] = [rootfs.clone_source(path) for path in operation[2]]


def _open_cache(root: Rootfs, number: int, operation: Operation, maps: Maps) -> None:
    root.opened[number] = rootfs.clone_source(operation[2], _NOSUID_NODEV, recursive=False)


def _open_checkout(root: Rootfs, number: int, operation: Operation, maps: Maps) -> None:
    _, _, source, identity, _ = operation
    descriptor = rootfs.clone_source(source, _NOSUID_NODEV, recursive=False, identity=identity)
    if root.ids.mode == "root" and not mounts.map_owner(descriptor, maps):
        raise messages.SourceError(
            errno.EOPNOTSUPP, f"{source}: its file system has no id-mapped mounts, for a container that writes to it"
        )
    root.opened[number] = descriptor


def _make_tree(root: Rootfs, number: int, operation: Operation) -> int:
    """Returns layer trees, top-most first, as one read-only tree. An empty tree is added at the bottom: an overlay
    without an upper layer needs two lowers, and does not show the whiteouts of the lowest one as files.
    """
    name = f"t{number}"
    os.mkdir(name)
    lowers = []
    for layer, descriptor in enumerate(root.trees[number]):
        lowers.append(f"{name}-{layer}")
        os.mkdir(lowers[-1])
        mounts.attach(descriptor, lowers[-1])
    os.mkdir(f"{name}-none")
    mounts.overlay(name, [*lowers, f"{name}-none"], "", "", volatile=False)
    return mounts.clone(name, _NOSUID_NODEV | mounts.RDONLY, recursive=False)


def _look_at_peek(root: Rootfs, number: int, operation: Operation) -> int:
    """Note whether the source is a file. The source can be mounted only in the new root, but its tree is staged now:
    the project as "p", an extra tree under the name that _make_tree gives it.
    """
    _, _, _, tree, path, _ = operation
    staged = {"project": "p"}
    trees = {
        target: staged.get(kind, f"t{at}")
        for at, (kind, target, *_) in enumerate(root.operations)
        if kind in ("project", "tree")
    }
    if tree in trees and not os.path.isdir(resolve_in_root(trees[tree], path)):
        root.files.add(number)
    return -1


def _note_file(root: Rootfs, number: int, operation: Operation) -> int:
    root.files.add(number)
    return -1


def _apply_copy(root: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    copy_files.copy_into_view(operation[2], operation[1])


def _apply_tmpfs(root: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    _, target, size = operation
    mounts.ensure_mount_point(target, root.made, directory=True)
    options = {"size": str(size)} if size else {}
    mounts.attach(mounts.new_filesystem("tmpfs", _NOSUID_NODEV, mode="1777", **options), target)


def _apply_cache(root: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    _, target, _, readonly, owner = operation
    rootfs.attach(root, number, operation, descriptor)
    if owner is not None:
        mode, uid, gid = owner
        _set_owner(target, mode, uid, gid)
    if readonly:
        mounts.attach(mounts.clone(target, _NOSUID_NODEV | mounts.RDONLY, recursive=False), target)


def _set_owner(path: str, mode: int, uid: int, gid: int) -> None:
    try:
        os.chown(path, uid, gid)
    except OSError:  # with a single id everything is that id's
        pass
    os.chmod(path, mode)


def _apply_file(root: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    _, target, name, content, owner = operation
    staged = f"/dev/.{name}"
    with open(staged, "xb") as file:
        file.write(content)
    _set_owner(staged, *owner)
    mounts.ensure_mount_point(target, root.made, directory=False)
    mounts.attach(mounts.clone(staged, _NOSUID_NODEV | mounts.RDONLY, recursive=False), target)
    os.unlink(staged)


def _apply_secret(root: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    """Mount a file of a tmpfs that nothing else is in: the memory of other ephemeral writes may be a directory on a
    disk.
    """
    _, target, name, content, (mode, uid, gid, owner) = operation
    if owner == "user":
        uid = gid = userns.TASK_UID
    elif owner:
        try:
            user = passwd.find_user(owner, rootfs.read_etc_file("/etc/passwd"), rootfs.read_etc_file("/etc/group"))
            uid, gid = user.uid, user.gid
        except passwd.UnknownUserError:  # the step that runs as this user says so
            pass
    staged = f"/dev/.{name}"
    os.mkdir(staged, 0o700)
    mounts.attach(mounts.new_filesystem("tmpfs", _NOSUID_NODEV, mode="0700", size=str(len(content) + _SPARE)), staged)
    with open(f"{staged}/secret", "xb") as file:
        file.write(content)
    _set_owner(f"{staged}/secret", mode, uid, gid)
    mounts.ensure_mount_point(target, root.made, directory=False)
    mounts.attach(mounts.clone(f"{staged}/secret", _NOSUID_NODEV | mounts.RDONLY, recursive=False), target)
    mounts.unmount(staged)  # the file is left, at its target alone
    os.rmdir(staged)


def _apply_peek(root: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    _, target, name, tree, path, writable = operation
    source = resolve_in_root(tree, path)
    info = os.stat(source)
    directory = stat.S_ISDIR(info.st_mode)
    mounts.ensure_mount_point(target, root.made, directory=directory)
    if not writable:
        mounts.attach(mounts.clone(source, _NOSUID_NODEV | mounts.RDONLY, recursive=False), target)
        return
    staged = f"/dev/.{name}"
    os.mkdir(staged)
    if directory:
        for part in ("up", "work"):
            os.mkdir(f"{staged}/{part}")
        for owner in ((info.st_uid, -1), (-1, info.st_gid)):
            try:
                os.chown(f"{staged}/up", *owner)
            except OSError:  # the owner has no id here
                pass
        os.chmod(f"{staged}/up", stat.S_IMODE(info.st_mode))
        working_directory = os.getcwd()
        os.chdir(source)  # paths of an overlay's options are short, whatever `source` has in it
        mounts.overlay(staged, ["."], f"{staged}/up", f"{staged}/work", volatile=False)
        os.chdir(working_directory)
    else:
        staged += "/file"
        copy_files.copy_file(source, staged, stat.S_IMODE(info.st_mode), _MAX_COPY)
    mounts.attach(mounts.clone(staged, _NOSUID_NODEV, recursive=False), target)


def _apply_checkout(root: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    """Attach the project, then make the protected paths read-only: each by a descriptor, on a way without links, and
    only if it is the inode that was found. Another container may write to the project meanwhile.
    """
    _, target, _, _, protected = operation
    rootfs.attach(root, number, operation, descriptor)
    for path, *identity in protected:
        opened = open_beneath(target, path, os.O_PATH, follow=False)
        try:
            info = os.fstat(opened)
            if [info.st_dev, info.st_ino] != identity:
                raise OSError(errno.ESTALE, f"{target}/{path}, which was replaced meanwhile,")
            mounts.make_readonly_here(opened)
        finally:
            os.close(opened)


OPEN: dict[str, Callable[..., None]] = {
    "tree": _open_tree,
    "cache": _open_cache,
    "checkout": _open_checkout,
    **task_cache_mounts.OPEN,
}
MAKE: dict[str, Callable[..., int]] = {
    **task_cache_mounts.MAKE,
    "tree": _make_tree,
    "file": _note_file,
    "secret": _note_file,
    "peek": _look_at_peek,
}
APPLY: dict[str, Callable[..., None]] = {
    "tree": rootfs.attach,
    "copy": _apply_copy,
    "cache": _apply_cache,
    "file": _apply_file,
    "secret": _apply_secret,
    "tmpfs": _apply_tmpfs,
    "peek": _apply_peek,
    "checkout": _apply_checkout,
    **task_cache_mounts.APPLY,
}


def functions(operations: tuple[Operation, ...]) -> dict[str, Any]:
    """Returns what a program with such operations needs besides: their parts, and what keeps caches out of outputs."""
    return {"extra": (OPEN, MAKE, APPLY), "without": task_cache_mounts.without_caches(operations)}
