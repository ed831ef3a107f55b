"""A copy of the project where its owner or group cannot be mapped (old kernels, odd file systems, foreign groups)."""

from __future__ import annotations

import os
import stat

from envtool.container import ids, mounts


def project(source: str, hidden: tuple[str, ...], own: ids.Ids, user: int | None) -> int:
    """A detached tmpfs with the project in it, without what is hidden, owned by the container's `user` (None: by
    the caller, who makes it).
    """
    target = mounts.filesystem("tmpfs", mounts.NOSUID | mounts.NODEV, mode="0755")
    owner = (-1, -1) if user is None else (own.uids[0][1] + user, own.gids[0][1] + user)
    _copy(source, f"/proc/self/fd/{target}", "", {path.rstrip("/") for path in hidden}, owner)
    os.chown(f"/proc/self/fd/{target}", *owner)
    return target


def adopt(project: str, upper: str, hidden: set[str]) -> None:
    """Put what does not belong to the container's user into the view's upper layer, as its own: the user of a checkout
    that root holds may write to all of it. Of `.git` only the directory itself, which git wants to be the user's.
    """
    os.chown(upper, ids.USER, ids.USER)
    _adopt(project, upper, "", hidden)


def _adopt(project: str, upper: str, below: str, hidden: set[str]) -> None:
    with os.scandir(f"{project}/{below}") as entries:
        found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    for name, state in found:
        path = f"{below}/{name}" if below else name
        foreign = state.st_uid != ids.USER
        if path in hidden:
            continue
        if stat.S_ISDIR(state.st_mode):
            if foreign:
                _parents(project, upper, path)
            if name != ".git":
                _adopt(project, upper, path, hidden)
        elif foreign:
            _parents(project, upper, below)
            _adopt_file(f"{project}/{path}", f"{upper}/{path}", state)


def _adopt_file(source: str, target: str, state: os.stat_result) -> None:
    if stat.S_ISLNK(state.st_mode):
        os.symlink(os.readlink(source), target)
    elif stat.S_ISREG(state.st_mode):
        _copy_file(source, target)
        os.chmod(target, stat.S_IMODE(state.st_mode) & 0o777)
    else:
        return
    os.chown(target, ids.USER, ids.USER, follow_symlinks=False)
    os.utime(target, ns=(state.st_mtime_ns, state.st_mtime_ns), follow_symlinks=False)


def _parents(project: str, upper: str, path: str) -> None:
    """The directories of the project down to `path`, in the upper layer too, where they merge with those below."""
    if not path or os.path.lexists(f"{upper}/{path}"):
        return
    _parents(project, upper, path.rpartition("/")[0])
    state = os.lstat(f"{project}/{path}")
    os.mkdir(f"{upper}/{path}")
    os.chmod(f"{upper}/{path}", stat.S_IMODE(state.st_mode) & 0o777)
    os.chown(f"{upper}/{path}", ids.USER, ids.USER)


def _copy(source: str, target: str, below: str, hidden: set[str], owner: tuple[int, int]) -> None:
    with os.scandir(f"{source}/{below}") as entries:
        names = [entry.name for entry in entries]
    for name in names:
        path = f"{below}/{name}" if below else name
        if path in hidden:
            continue
        from_path, to_path = f"{source}/{path}", f"{target}/{path}"
        found = os.lstat(from_path)
        if stat.S_ISDIR(found.st_mode):
            os.mkdir(to_path)
            _copy(source, target, path, hidden, owner)
        elif stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(from_path), to_path)
        elif stat.S_ISREG(found.st_mode):
            _copy_file(from_path, to_path)
        else:
            continue
        os.chown(to_path, *owner, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            os.chmod(to_path, stat.S_IMODE(found.st_mode) & 0o777)
        os.utime(to_path, ns=(found.st_mtime_ns, found.st_mtime_ns), follow_symlinks=False)


def _copy_file(source: str, target: str) -> None:
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            while os.sendfile(writing, reading, None, 1 << 24):
                pass
        finally:
            os.close(writing)
    finally:
        os.close(reading)
