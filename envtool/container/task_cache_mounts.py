"""The operations of rootfs.py for directories that a task keeps from run to run, and for the times of files.

A cache is an overlay: the trees below are those of the last whole cache, which other containers use at the same time
and nobody changes; what this container writes goes to a tree of its own. A cache was written by a task, and is a
stranger's: it is mounted nosuid and nodev, links in it are resolved in the container alone, and nothing of it is opened
here.
"""

from __future__ import annotations

import errno
import os

from envtool.container import mounts, rootfs, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from envtool.container.rootfs import Maps, Operation, Rootfs

    Collect: TypeAlias = Callable[..., None]

_NOSUID_NODEV = mounts.NOSUID | mounts.NODEV
_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/run", "/sbin", "/sys")


def _open_cache(root: Rootfs, number: int, operation: Operation, maps: Maps) -> None:
    _, _, lowers, draft = operation
    if root.ids.mode == "root":
        for name in ("tree", "work"):
            os.chown(f"{draft}/{name}", root.ids.uids[0][1], root.ids.gids[0][1])
    # An overlay's upper and work must be on one mount: so their parent is staged.
    root.trees[number] = [rootfs.clone_source(path, recursive=False) for path in (draft, *lowers)]


def _make_cache(root: Rootfs, number: int, operation: Operation) -> int:
    """Returns the overlay. An empty tree is its lowest: the first run has no other one."""
    names = []
    for index, descriptor in enumerate(root.trees[number]):
        names.append(f"c{number}-{index}")
        os.mkdir(names[-1])
        mounts.attach(descriptor, names[-1])
    draft, *lowers = names
    os.mkdir(f"c{number}-none")
    os.mkdir(f"c{number}")
    if root.ids.mode != "single":
        user = 0 if root.user == "root" else userns.TASK_UID
        os.chown(f"{draft}/tree", user, user)
    mounts.overlay(f"c{number}", [*lowers, f"c{number}-none"], f"{draft}/tree", f"{draft}/work", volatile=True)
    return mounts.clone(f"c{number}", _NOSUID_NODEV, recursive=False)


def _apply_cache(root: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    """Attach the cache. Directories that are made on the way belong to the task's user, as if it had made them."""
    target = operation[1]
    real = os.path.realpath(target)
    if real != target and (
        target.startswith("/project/") or any(f"{real}/".startswith(f"{top}/") for top in (*_SYSTEM, "/project"))
    ):
        raise OSError(errno.ELOOP, f"the cache {target}: a link leads to {real} there")
    made: list[str] = []
    mounts.ensure_mount_point(target, made, directory=True)
    user = 0 if root.user == "root" or root.ids.mode == "single" else userns.TASK_UID
    for path in made if user else ():
        os.chown(path, user, user)
    mounts.attach(descriptor, target)


def without_caches(operations: tuple[Operation, ...]) -> Callable[[Collect], Collect]:
    """Returns what makes of a function that sends outputs one that leaves out the caches: their content, which is what
    earlier runs left, is no output."""
    targets = [operation[1] for operation in operations if operation[0] == "task-cache"]

    def bind(collect: Collect) -> Collect:
        def send(project: str, patterns: tuple[str, ...], pipe: int, limit: int) -> None:
            top = f"{project}/"
            apart = tuple(target[len(top) :] for target in targets if target.startswith(top))
            collect(project, patterns, pipe, limit, apart)

        return send if targets else collect

    return bind


def _apply_times(root: Rootfs, number: int, operation: Operation, descriptor: int) -> None:
    """Set times, of links themselves too. The overlays keep them: the checkout and the layers stay as they are."""
    for path, time, size, before in operation[2]:
        try:
            info = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if (size >= 0 and info.st_size != size) or (before >= 0 and info.st_mtime_ns != before):
            continue
        if info.st_mtime_ns == time:
            continue
        try:
            os.utime(path, ns=(time, time), follow_symlinks=False)
        except OSError as error:
            if time < info.st_mtime_ns:  # what is too new only costs work
                continue
            text = f"the time of {path}, which changed since the task's cache was used last ({error.strerror}),"
            raise OSError(error.errno, text) from None


OPEN: dict[str, Callable[..., None]] = {"task-cache": _open_cache}
MAKE: dict[str, Callable[..., int]] = {"task-cache": _make_cache}
APPLY: dict[str, Callable[..., None]] = {"task-cache": _apply_cache, "times": _apply_times}
