"""The further mounts of a build or task: caches, generated files, tmpfs, and parts of other trees at a second path.
Imported only for a program that has such mounts, before the root changes.
"""

from __future__ import annotations

import os
import stat

from envtool.container import copy_files, mounts, rootfs
from envtool.fs.rootpaths import resolve_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NOSUID_NODEV = mounts.NOSUID | mounts.NODEV
_MAX_COPY = 1 << 30  # bytes of a file that may be written to: its copy is in memory


def mount_points(program: dict[str, Any]) -> list[tuple[str, bool]]:
    """Returns the mount points that are needed, and whether each is a directory. Called while everything is staged:
    extra trees as "b0", "b1" …, the project as "p".
    """
    staged = {target: f"b{number}" for number, (_, target) in enumerate(program.get("beside", ()))}
    if program["view"] is not None:
        staged[program["view"][2]] = "p"
    points = []
    for kind, target, *rest in program["shown"]:
        directory = kind != "text"
        if kind == "peek":
            tree, path, _ = rest
            directory = os.path.isdir(resolve_in_root(staged[tree], path)) if tree in staged else True
        points.append((target, directory))
    return points


def attach_all(shown: tuple[Any, ...], caches: dict[str, int], made: list[str]) -> None:
    """Attach all mounts in order, in the new root. Mount points that had to be made are added to `made`."""
    for number, (kind, target, *rest) in enumerate(shown):
        if kind == "cache":
            _attach_cache(caches[target], target, rest[1], rest[2], made)
        elif kind == "text":
            _attach_text(f"/dev/.text{number}", target, rest[0], rest[1], made)
        elif kind == "memory":
            rootfs.ensure_mount_point(target, made, directory=True)
            size = {"size": str(rest[0])} if rest[0] else {}
            mounts.attach(mounts.new_filesystem("tmpfs", _NOSUID_NODEV, mode="1777", **size), target)
        else:
            _attach_peek(f"/dev/.peek{number}", target, rest[0], rest[1], rest[2], made)


def _attach_cache(
    descriptor: int, target: str, readonly: bool, owner: tuple[int, int, int] | None, made: list[str]
) -> None:
    rootfs.ensure_mount_point(target, made, directory=True)
    mounts.attach(descriptor, target)
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


def _attach_text(staged: str, target: str, content: bytes, owner: tuple[int, int, int], made: list[str]) -> None:
    with open(staged, "xb") as file:
        file.write(content)
    _set_owner(staged, *owner)
    rootfs.ensure_mount_point(target, made, directory=False)
    mounts.attach(mounts.clone(staged, _NOSUID_NODEV | mounts.RDONLY, recursive=False), target)
    os.unlink(staged)


def _attach_peek(staged: str, target: str, tree: str, path: str, writable: bool, made: list[str]) -> None:
    source = resolve_in_root(tree, path)
    info = os.stat(source)
    directory = stat.S_ISDIR(info.st_mode)
    rootfs.ensure_mount_point(target, made, directory=directory)
    if not writable:
        mounts.attach(mounts.clone(source, _NOSUID_NODEV | mounts.RDONLY, recursive=False), target)
        return
    os.mkdir(staged)
    if directory:
        for name in ("up", "work"):
            os.mkdir(f"{staged}/{name}")
        for owner in ((info.st_uid, -1), (-1, info.st_gid)):
            try:
                os.chown(f"{staged}/up", *owner)
            except OSError:  # one that has no id here
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
