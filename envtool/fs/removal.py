"""Removes a tree of any depth, by descriptors of which three are open at a time: neither Python's stack, nor PATH_MAX,
nor the limit of open files bounds the depth. No link is followed. On the warm path: imports only os."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_HANDLE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_STALE = 116  # ESTALE


def remove_tree(path: str, dir_fd: int | None = None) -> None:
    """Removes a directory with all in it, a file or a link. What is missing, or vanishes meanwhile, is no error. Where
    an entry cannot be removed, all others are removed, then the first error is raised. Raises OSError; ESTALE where
    another process moves a directory of the tree meanwhile."""
    try:
        os.unlink(path, dir_fd=dir_fd)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        removal = _Removal(path)
        removal.remove(dir_fd)
        if removal.error is not None:
            raise removal.error from None


class _Removal:
    """The way through a tree. `error` is the first that was met, with the path of its entry."""

    __slots__ = ("_current", "_levels", "_path", "error")

    def __init__(self, path: str) -> None:
        self.error: OSError | None = None
        self._path = path
        self._current = -1  # descriptor of the directory that is being emptied
        # of each directory from the top to the current one: device and inode, name, directories that are left in it
        self._levels: list[tuple[tuple[int, int], str, list[str]]] = []

    def remove(self, dir_fd: int | None) -> None:
        if self._enter(self._path, dir_fd):
            try:
                self._empty()
            finally:
                os.close(self._current)
            self._attempt(os.rmdir, self._path, dir_fd)

    def _empty(self) -> None:
        while True:
            _, name, directories = self._levels[-1]
            if directories:
                below = directories.pop()
                current = self._current
                if self._enter(below, current):
                    os.close(current)
            elif len(self._levels) == 1:
                return
            else:
                self._levels.pop()
                self._ascend()
                self._attempt(os.rmdir, name, self._current)

    def _enter(self, name: str, dir_fd: int | None) -> bool:
        """Opens a directory, makes it current, and removes all in it but directories. Returns False if it cannot be
        opened."""
        try:
            self._current, identity = _open(name, dir_fd)
        except OSError as error:
            self._keep(error, name)
            return False
        self._levels.append((identity, name, []))
        directories = self._levels[-1][2]
        with os.scandir(self._current) as entries:
            others: list[str] = []
            for entry in entries:
                (directories if entry.is_dir(follow_symlinks=False) else others).append(entry.name)
        for other in others:
            self._attempt(os.unlink, other, self._current)
        return True

    def _ascend(self) -> None:
        above, identity = _open("..", self._current)
        os.close(self._current)
        self._current = above
        if identity != self._levels[-1][0]:
            raise OSError(_STALE, "a directory was moved while it was removed", self._path)

    def _attempt(self, function: Callable[..., None], name: str, dir_fd: int | None) -> None:
        try:
            function(name, dir_fd=dir_fd)
        except OSError as error:
            self._keep(error, name)

    def _keep(self, error: OSError, name: str) -> None:
        if self.error is None and not isinstance(error, FileNotFoundError):
            names = [level[1] for level in self._levels]
            error.filename = "/".join([*names, name] if name != self._path else [name])
            self.error = error


def _open(name: str, dir_fd: int | None) -> tuple[int, tuple[int, int]]:
    """Returns a descriptor of a directory, and its device and inode. Gives its owner the right to list and to change
    it: some tools make directories that nobody may write to, and overlayfs makes work/work with the mode 000. Raises
    OSError."""
    try:
        descriptor = os.open(name, _OPEN, dir_fd=dir_fd)
    except PermissionError:
        handle = os.open(name, _HANDLE, dir_fd=dir_fd)
        try:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
        finally:
            os.close(handle)
        descriptor = os.open(name, _OPEN, dir_fd=dir_fd)
    info = os.fstat(descriptor)
    if info.st_mode & 0o700 != 0o700:
        try:  # noqa: SIM105 - contextlib is not for the warm path
            os.fchmod(descriptor, 0o700)
        except OSError:  # another user's: the removal of its entries says so
            pass
    return descriptor, (info.st_dev, info.st_ino)
