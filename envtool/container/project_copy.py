"""A copy of the project where its owner or group cannot be mapped (old kernels, odd file systems, foreign groups).

The owner of the project may change it meanwhile, and we read with rights that the owner lacks. So both sides are walked
by descriptors, no link is followed, and only regular files are read. Holes stay holes.
"""

from __future__ import annotations

import errno
import os
import stat
from itertools import chain

from envtool.container import mounts, userns
from envtool.fs.beneath import Descent, open_beneath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    TreeInputs: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]  # inputs of trees, patterns of what tasks produce

MAX_COPIED_BYTES = 4 << 30  # bytes that are copied, mostly to memory; holes do not count
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_project(source: int, hidden: tuple[str, ...], ids: userns.IdMaps, user: int | None) -> int:
    """Returns a detached tmpfs with a copy of the project, of which `source` is a descriptor, without the hidden paths.
    The copy belongs to the container's `user` (None: to the caller). Raises OSError.
    """
    target = mounts.new_filesystem("tmpfs", mounts.NOSUID | mounts.NODEV, mode="0755")
    owner = (-1, -1) if user is None else (ids.uids[0][1] + user, ids.gids[0][1] + user)
    copy = _Copy(source, target, owner)
    for path, directory, state in copy.entries({path.rstrip("/") for path in hidden}):
        copy.copy_entry(path, directory, state)
    copy.finish_directories()
    return target


def adopt_and_restore(project: str, upper: str, trees: list[str], hidden: tuple[str, ...], given: TreeInputs) -> None:
    """Like `restore_project_files`, after what does not belong to the container's user was copied into the view's upper
    layer as that user's: so the user may write to all of a checkout that root owns. Of `.git` only the directory itself
    is copied, since git wants it to be the user's.
    """
    hidden_paths = {path.rstrip("/") for path in hidden}
    copy = _Copy.open_paths(project, upper, (userns.TASK_UID, userns.TASK_UID))
    covered = _Covered(given)
    for path, directory, state in copy.entries(hidden_paths.union(given[0]), apart=".git"):
        if state.st_uid != userns.TASK_UID and not (covered(path) and any(_has_file(tree, path) for tree in trees)):
            copy.copy_entry(path, directory, state)
    copy.close()
    restore_project_files(project, upper, trees, hidden, given)


def restore_project_files(
    project: str, upper: str, trees: list[str], hidden: tuple[str, ...], given: TreeInputs
) -> None:
    """Copy the project's own files into the view's upper layer where one of the `trees`, which cover the project, has
    or deletes a file of the same name. Three kinds of files stay covered: hidden ones, the inputs that the trees were
    made from, and outputs of earlier runs, which were made from the project as it was then.
    """
    if not trees:
        return
    hidden_paths, covered = {path.rstrip("/") for path in hidden}, _Covered(given)
    owner = os.stat(upper)  # the project's, where that has an id here
    copy = _Copy.open_paths(project, upper, (owner.st_uid, owner.st_gid))
    for tree in trees:
        for path, recursive in copy.wrongly_hidden(tree, hidden_paths, covered):
            for entry_path, directory, state in chain(
                copy.entry(path), copy.entries(hidden_paths, path) if recursive else ()
            ):
                if not (covered(entry_path) and _has_file(tree, entry_path)) and not copy.has(entry_path):
                    copy.copy_entry(entry_path, directory, state)
    copy.close()


class _Covered:
    """Tells whether a file of the project is one that a file of a tree replaces."""

    def __init__(self, given: TreeInputs) -> None:
        inputs, self._patterns = given
        self._inputs = {*inputs}
        if self._patterns:
            from envtool.container.output_patterns import matches_pattern  # `rootfs.prepare_copies` has imported it

            self._matches = matches_pattern

    def __call__(self, path: str) -> bool:
        return path in self._inputs or any(self._matches(pattern, path) for pattern in self._patterns)


def _stat_or_none(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None


def _has_file(tree: str, path: str) -> bool:
    """Returns whether a tree has a file or a link at a path. (An overlay marks a deleted file by a device.)"""
    try:
        mode = os.lstat(f"{tree}/{path}").st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _is_opaque(path: str) -> bool:
    for name in ("user.overlay.opaque", "trusted.overlay.opaque"):
        try:
            if os.getxattr(path, name) == b"y":
                return True
        except OSError:
            continue
    return False


class _Copy:
    """Copies from one open directory to another, for one owner."""

    @classmethod
    def open_paths(cls, source: str, target: str, owner: tuple[int, int]) -> _Copy:
        """Open both directories; `close` closes them."""
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        return cls(os.open(source, flags), os.open(target, flags), owner)

    def __init__(self, source: int, target: int, owner: tuple[int, int]) -> None:
        self._source, self._target, self._owner = source, target, owner
        self._bytes_left = MAX_COPIED_BYTES
        self._made: dict[str, os.stat_result] = {}  # directories, parents first
        self._open_directory = ("", os.dup(target))  # of the target: the next entry is mostly in the same one

    def wrongly_hidden(self, tree: str, hidden: set[str], covers: _Covered) -> Iterator[tuple[str, bool]]:
        """Yields each path of the project that a tree hides and should not, and whether all below it is meant. Only
        directories that both have are entered.
        """
        pending = [""]
        for parent, directory in self._directories(pending):
            with os.scandir(directory) as entries:
                own = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
            with os.scandir(f"{tree}/{parent}") as entries:
                both = [entry for entry in entries if entry.name in own]
            for entry in both:
                path = f"{parent}/{entry.name}" if parent else entry.name
                is_directory = own[entry.name]
                if path in hidden:
                    continue
                if is_directory and entry.is_dir(follow_symlinks=False):
                    if _is_opaque(entry.path):
                        yield path, True
                    else:
                        pending.append(path)
                elif not covers(path) or not (entry.is_file(follow_symlinks=False) or entry.is_symlink()):
                    yield path, is_directory

    def has(self, path: str) -> bool:
        """Returns whether the target has anything but a directory at a path."""
        state = _stat_or_none(path, self._target)
        return state is not None and not stat.S_ISDIR(state.st_mode)

    def entry(self, path: str) -> Iterator[tuple[str, int, os.stat_result]]:
        """Like `entries`, for one path alone."""
        parent, _, name = path.rpartition("/")
        try:
            directory = open_beneath(self._source, parent, _DIRECTORY, follow=False)
        except FileNotFoundError:  # removed meanwhile
            return
        try:
            state = _stat_or_none(name, directory)
            if state is not None:
                yield path, directory, state
        finally:
            os.close(directory)

    def entries(self, hidden: set[str], top: str = "", apart: str = "") -> Iterator[tuple[str, int, os.stat_result]]:
        """Yields (path, descriptor of its directory, state) of everything in the source below `top`, directories before
        their entries. A directory named `apart` is not entered.
        """
        pending = [top]
        for parent, directory in self._directories(pending):
            with os.scandir(directory) as entries:
                listing = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
            for name, state in listing:
                path = f"{parent}/{name}" if parent else name
                if path in hidden:
                    continue
                if stat.S_ISDIR(state.st_mode) and name != apart:
                    pending.append(path)
                yield path, directory, state

    def _directories(self, pending: list[str]) -> Iterator[tuple[str, int]]:
        """Yields (path, descriptor) of each of the source's directories that are `pending`, until none is left."""
        with Descent(self._source) as source:
            while pending:
                parent = pending.pop()
                try:
                    directory = source.open(parent)
                except FileNotFoundError:  # removed meanwhile
                    continue
                yield parent, directory

    def copy_entry(self, path: str, directory: int, state: os.stat_result) -> None:
        """Copy the entry at a path, if it still exists, and make the directories that it is in."""
        try:
            if stat.S_ISDIR(state.st_mode):
                self._make_directory(path)
            else:
                self._copy_file_or_link(path, directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise OSError(error.errno, "it was exchanged for a link while it was copied", path) from None
            raise

    def _make_directory(self, path: str) -> None:
        missing = []
        while path and path not in self._made:
            missing.append(path)
            path = path.rpartition("/")[0]
        for directory in reversed(missing):
            self._make_one_directory(directory)

    def _make_one_directory(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        directory = open_beneath(self._source, path, _DIRECTORY, follow=False)
        try:
            self._made[path] = os.fstat(directory)
        finally:
            os.close(directory)
        try:
            os.mkdir(name, 0o700, dir_fd=self._target_directory(parent))
        except FileExistsError:  # an earlier pass made it
            pass

    def _target_directory(self, path: str) -> int:
        """Returns a directory of the target, open until the next one is asked for."""
        if path != self._open_directory[0]:
            descriptor = open_beneath(self._target, path, os.O_PATH | os.O_DIRECTORY, follow=False)
            os.close(self._open_directory[1])
            self._open_directory = (path, descriptor)
        return self._open_directory[1]

    def _copy_file_or_link(self, path: str, directory: int) -> None:
        """Copy a file or a link; everything else is left out."""
        parent, _, name = path.rpartition("/")
        state = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not (stat.S_ISREG(state.st_mode) or stat.S_ISLNK(state.st_mode)):
            return
        self._make_directory(parent)
        target = self._target_directory(parent)
        if stat.S_ISREG(state.st_mode):
            self._copy_regular(path, directory, target)
            return
        os.symlink(os.readlink(name, dir_fd=directory), name, dir_fd=target)
        os.chown(name, *self._owner, dir_fd=target, follow_symlinks=False)
        os.utime(name, ns=(state.st_mtime_ns, state.st_mtime_ns), dir_fd=target, follow_symlinks=False)

    def _copy_regular(self, path: str, directory: int, target: int) -> None:
        name = path.rpartition("/")[2]
        reading = os.open(name, _READ, dir_fd=directory)
        try:
            state = os.fstat(reading)
            if not stat.S_ISREG(state.st_mode):  # replaced meanwhile
                return
            writing = os.open(name, _NEW, 0o600, dir_fd=target)
            try:
                self._copy_data(path, writing, reading, state.st_size)
                os.fchown(writing, *self._owner)
                os.fchmod(writing, stat.S_IMODE(state.st_mode) & 0o777)
                os.utime(writing, ns=(state.st_mtime_ns, state.st_mtime_ns))
            finally:
                os.close(writing)
        finally:
            os.close(reading)

    def _copy_data(self, path: str, writing: int, reading: int, size: int) -> None:
        end = 0
        while end < size:
            try:
                start = os.lseek(reading, end, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:  # a hole to the end
                    raise
                break
            end = min(os.lseek(reading, start, os.SEEK_HOLE), size)
            self._bytes_left -= end - start
            if self._bytes_left < 0:
                why = f"its files have to be copied here, and more than {MAX_COPIED_BYTES >> 30} GiB are not"
                raise OSError(errno.EFBIG, why, path)
            os.lseek(writing, start, os.SEEK_SET)
            while start < end and (count := os.sendfile(writing, reading, start, min(end - start, 1 << 24))):
                start += count
        os.ftruncate(writing, size)

    def finish_directories(self) -> None:
        """Set owner, mode and time of the directories, last: each file that is put into one changes its times."""
        for path, state in reversed(self._made.items()):
            directory = open_beneath(self._target, path, _DIRECTORY, follow=False)
            try:
                os.fchown(directory, *self._owner)
                os.fchmod(directory, stat.S_IMODE(state.st_mode) & 0o777)
                os.utime(directory, ns=(state.st_mtime_ns, state.st_mtime_ns))
            finally:
                os.close(directory)
        os.close(self._open_directory[1])
        top = open_beneath(self._target, "", _DIRECTORY)
        try:
            os.fchown(top, *self._owner)
        finally:
            os.close(top)

    def close(self) -> None:
        """Finish the directories, and close those that `open_paths` opened."""
        self.finish_directories()
        os.close(self._source)
        os.close(self._target)
