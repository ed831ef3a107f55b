"""Steps that our own code runs inside a build's container, after the root has changed: they can import nothing any
more."""

from __future__ import annotations

import os
import shutil
import stat

from envtool.errors import BuildError
from envtool.fs.tree_walk import walk_tree
from envtool.store import unpack_archive


def unpack(archive: str, target: str, strip: int = 0, owners: bool = False) -> None:
    """Unpacks a tar (plain, gz, xz, bz2, zst) or zip into `target`, which is created where it is missing: see
    store.unpack_archive. Prints the members that were left out. Raises BuildError (codes unpack-…)."""
    name = os.path.basename(archive)
    try:
        _make_parents(target)
        left_out = unpack_archive.extract_archive(archive, os.path.realpath(target), strip=strip, owners=owners)
    except BuildError as error:
        raise BuildError(f"{name}: {error.message}", code=error.code, hint=error.hint) from error
    except OSError as error:
        where = os.fsdecode(error.filename or target)
        raise BuildError(f"{name}: {where}: {error.strerror or error}", code="unpack-write") from error
    for line in left_out:
        print(line)


def make_directories(paths: list[str], owner: int | None = None) -> None:
    """Creates directories, and gives those of `paths` to a user and group of this id. Raises BuildError (code
    place)."""
    for path in paths:
        try:
            _make_parents(path)
            if owner is not None:
                os.chown(path, owner, owner)
        except OSError as error:
            where = os.fsdecode(error.filename or path)
            raise BuildError(f"{where}: {error.strerror or error}", code="place") from error


def check_directories(paths: list[str]) -> None:
    """Raises BuildError (code place) for a path that is no directory, or that leads through a link."""
    for path in paths:
        place = ""
        for name in path.strip("/").split("/"):
            place += f"/{name}"
            try:
                mode = os.lstat(place).st_mode
            except OSError as error:
                raise BuildError(f"{place}: {error.strerror or error}", code="place") from error
            if not stat.S_ISDIR(mode):
                what = f"a link, to {os.readlink(place)}" if stat.S_ISLNK(mode) else "no directory"
                raise BuildError(f"{place} is {what}", code="place")


def copy_to(source: str, target: str, mode: int | None = None) -> None:
    """Copies a file, symlink or directory (recursively) to `target`, and creates its parents. `mode` is for files; None
    keeps only the executable bit (0755 or 0644). All entries belong to root. Raises BuildError (code place)."""
    try:
        target = target.rstrip("/") or "/"
        _make_parents(os.path.dirname(target))
        if os.path.islink(source) or not os.path.isdir(source):
            _copy_file_or_link(source, target, mode)
            return
        _make_parents(target)
        for directory, directories, names in walk_tree(source):
            copy = target + directory[len(source) :]
            for name in directories:
                _make_parents(os.path.join(copy, name))
            for name in names:
                _copy_file_or_link(os.path.join(directory, name), os.path.join(copy, name), mode)
    except OSError as error:
        raise BuildError(f"{source} could not be copied to {target}: {error.strerror}", code="place") from error


def _copy_file_or_link(source: str, target: str, mode: int | None) -> None:
    info = os.lstat(source)
    if os.path.lexists(target):
        os.unlink(target)
    if stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(source), target)
        _take_group(target)
        return
    shutil.copyfile(source, target)
    _take_group(target)
    os.chmod(target, mode if mode is not None else 0o755 if info.st_mode & 0o111 else 0o644)
    os.utime(target, ns=(info.st_mtime_ns, info.st_mtime_ns))


def _take_group(path: str) -> None:
    """Gives a new entry our own group: in a setgid directory it has the directory's (inode(7))."""
    if os.lstat(path).st_gid != os.getegid():
        os.chown(path, -1, os.getegid(), follow_symlinks=False)


def _make_parents(path: str) -> None:
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path.rstrip("/")) or "/"
    for directory in reversed(missing):
        os.mkdir(directory)
        _take_group(directory)
        os.chmod(directory, 0o755)  # whatever the umask
