"""An open directory that others may write to, through which every change in it is made.

A checkout, a shared folder, /tmp: another user may have put a link, a fifo or a hard link to a third user's file where
we are about to write, or may do so meanwhile. So a directory is opened once and used by its descriptor, no link below
it is followed, and nothing that exists is ever opened for writing: a file is made under a random name, gets mode and
owner by its own descriptor, and takes its place by a rename. When root works in another user's checkout, new files
belong to the checkout's owner, and a file that was not made just now keeps its owner and mode. On the warm path:
imports next to nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time

from envtool.fs.beneath import open_beneath, open_top

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import BufferedReader
    from types import TracebackType
    from typing import IO

    from envtool.fs.changes import DirectoryChange, DirectoryChanges

PREFIX, SUFFIX = ".envtool-", ".tmp"  # of files being written; if we are killed, `OpenDirectory.sweep` removes them
_RANDOM = 8  # random bytes in a temporary name, as hexadecimal digits
_LINK_AGE = 60.0  # seconds after which a temporary link is a left-over: links cannot be locked
_HANDLE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


class OpenDirectory:
    """An open directory, and a context that closes it. `owner`: (uid, gid) of the user that root works for, None for
    every other caller. `changes` records the changes in it, and in those below it. Every method raises OSError.
    """

    __slots__ = ("changes", "fd", "owner")

    def __init__(self, fd: int, owner: tuple[int, int] | None, changes: DirectoryChanges | None = None) -> None:
        self.fd, self.owner, self.changes = fd, owner, changes

    @classmethod
    def open(cls, path: str) -> OpenDirectory:
        """Returns the directory at a path that the caller named; links on the way are followed. As root everything that
        is made in it, at any depth, goes to its owner. The project must be the one that was found (beneath.py).
        """
        fd = open_top(path)
        info = os.fstat(fd)
        return cls(fd, None if os.geteuid() else (info.st_uid, info.st_gid))

    def __enter__(self) -> OpenDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record_change(self) -> DirectoryChange | _NoRecord:
        """Returns a context for one change in it."""
        return self.changes.record_around(self.fd) if self.changes else _NO_RECORD

    def close(self) -> None:
        """Close the descriptor. A second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def open_below(self, path: str, *, make: bool = False) -> OpenDirectory:
        """Returns a directory in it, by a relative path on which no link is followed. With `make` missing directories
        are made, 0755 whatever the umask.
        """
        directory = OpenDirectory(os.dup(self.fd), self.owner, self.changes)
        for name in path.split("/") if path else ():
            with directory:
                directory = directory._child(check_component(name), make=make)
        return directory

    def _child(self, name: str, *, make: bool) -> OpenDirectory:
        try:
            return OpenDirectory(open_beneath(self.fd, name, _HANDLE, follow=False), self.owner, self.changes)
        except FileNotFoundError:
            if not make:
                raise
        except OSError as error:
            if error.errno == errno.ENOTDIR:
                raise OSError(error.errno, f"`{name}` in the way is not a directory") from None
            if error.errno == errno.ELOOP:
                raise OSError(error.errno, f"`{name}` in the way is not a directory but a link") from None
            raise
        try:
            return self.make_directory(name)
        except FileExistsError:  # made by another process meanwhile
            return self._child(name, make=False)

    def make_directory(self, name: str) -> OpenDirectory:
        """Make a new directory, 0755 whatever the umask, and return it."""
        with self.record_change():
            os.mkdir(check_component(name), 0o700, dir_fd=self.fd)
        fd = open_beneath(self.fd, name, os.O_RDONLY | os.O_DIRECTORY, follow=False)
        try:
            # Another user may have put a directory here by now: only an empty one of ours is changed.
            info = os.fstat(fd)
            if info.st_uid == os.geteuid() and stat.S_IMODE(info.st_mode) & 0o777 == 0o700 and not os.listdir(fd):
                self.give_to_owner(fd)
                os.fchmod(fd, 0o755 | info.st_mode & stat.S_ISGID)
            return OpenDirectory(os.dup(fd), self.owner, self.changes)
        finally:
            os.close(fd)

    def names(self) -> list[str]:
        """Returns the names of its entries, sorted."""
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def read(self, path: str) -> BufferedReader:
        """Returns a regular file in it, opened for reading."""
        fd = open_beneath(self.fd, path, os.O_RDONLY, follow=False)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return open(fd, "rb")

    def begin_file(self, mode: int = 0) -> NewFile:
        """Returns a new file under a temporary name. `mode` 0: 0666 without the bits of the umask."""
        for _ in range(100):
            name = temporary_name()
            with self.record_change():
                fd = os.open(name, NEW, 0o600 if mode else 0o666, dir_fd=self.fd)
            if _try_lock(fd):
                return NewFile(self, fd, name, mode)
            os.close(fd)  # swept by another process before it was locked
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def atomic_write(self, name: str, mode: int = 0, *, replace: bool = True, sync: bool = True) -> AtomicFile:
        """Returns a context with a file to write, which at the end takes its place complete, or after an error is
        removed. `replace` False: raises FileExistsError where there is something already.
        """
        return AtomicFile(self, check_component(name), mode, replace=replace, sync=sync)

    def create(self, name: str) -> IO[bytes]:
        """Make a new file in its place at once, for content that others read while it grows, and return it for writing
        and reading. An older file of this name is removed.
        """
        for _ in range(100):
            try:
                fd = os.open(check_component(name), NEW, 0o666, dir_fd=self.fd)
            except FileExistsError:
                os.unlink(name, dir_fd=self.fd)
                continue
            self.give_to_owner(fd)
            return open(fd, "w+b")
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def link(self, name: str, target: str) -> None:
        """Make a symlink; it replaces a file or link of the same name."""
        check_component(name)
        with self.record_change():
            self._link(name, target, temporary_name())

    def _link(self, name: str, target: str, temporary: str) -> None:
        os.symlink(target, temporary, dir_fd=self.fd)
        try:
            if self.owner:
                fd = os.open(temporary, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
                try:
                    info = os.fstat(fd)
                    if stat.S_ISLNK(info.st_mode) and info.st_uid == os.geteuid() and info.st_nlink == 1:
                        os.chown(f"/proc/self/fd/{fd}", *self.owner)  # fchown(2) takes no descriptor of a link
                finally:
                    os.close(fd)
            os.rename(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except BaseException:
            self._discard(temporary)
            raise

    def remove(self, name: str) -> None:
        """Remove a file, a link or a directory with all in it, if it exists; no link is followed."""
        from envtool.fs.removal import remove_tree

        remove_tree(check_component(name), self.fd)

    def remove_empty(self, name: str) -> None:
        """Remove an empty directory."""
        os.rmdir(check_component(name), dir_fd=self.fd)

    def sweep(self) -> None:
        """Remove temporary files that a killed envtool left here: those whose names have our form and that no process
        has locked. Raises nothing.
        """
        try:
            names = [name for name in self.names() if is_temporary(name)]
        except OSError:  # a directory that we may write and not list
            return
        for name in names:
            try:
                self._sweep(name)
            except OSError:  # locked, gone, or refused
                continue

    def _sweep(self, name: str) -> None:
        info = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        if info.st_uid != os.geteuid() and not (self.owner and info.st_uid == self.owner[0]):
            return
        if stat.S_ISLNK(info.st_mode) and time.time() - info.st_ctime > _LINK_AGE:
            self.discard(name)
        elif stat.S_ISREG(info.st_mode):
            fd = open_beneath(self.fd, name, os.O_RDONLY, follow=False)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.discard(name)
            finally:
                os.close(fd)

    def give_to_owner(self, fd: int) -> None:
        """Give a new file to the user that root works for."""
        if self.owner and self.owner != (0, 0):
            # refused to a root without CAP_CHOWN, or in a namespace that lacks the owner: then the file stays root's
            try:  # noqa: SIM105 - contextlib is not for the warm path
                os.fchown(fd, *self.owner)
            except OSError:
                pass

    def discard(self, name: str) -> None:
        """Remove a file, if it exists."""
        with self.record_change():
            self._discard(name)

    def _discard(self, name: str) -> None:
        try:  # noqa: SIM105
            os.unlink(name, dir_fd=self.fd)
        except OSError:
            pass


# ---- files that take their place when they are complete --------------------------------------------------------------


class NewFile:
    """A file that is being written (`fd`), until `rename_to` or `abandon`. While it is open its lock keeps it from
    `sweep`.
    """

    __slots__ = ("_directory", "_mode", "_name", "fd")

    def __init__(self, directory: OpenDirectory, fd: int, name: str, mode: int) -> None:
        self._directory = OpenDirectory(os.dup(directory.fd), directory.owner, directory.changes)
        self.fd, self._name, self._mode = fd, name, mode

    def rename_to(self, name: str, mode: int = 0, *, replace: bool = True) -> None:
        """Set owner and mode (0: that of `begin_file`) and move it to its place. After an error it is removed."""
        directory = self._directory
        try:
            directory.give_to_owner(self.fd)  # first: a change of owner takes bits of the mode away
            if mode or self._mode:
                os.fchmod(self.fd, mode or self._mode)
            with directory.record_change():
                if replace:
                    os.rename(self._name, check_component(name), src_dir_fd=directory.fd, dst_dir_fd=directory.fd)
                else:
                    _link_without_replacing(self._name, check_component(name), directory.fd)
            if replace:
                self._name = ""
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close it, and remove it unless it was renamed. A second call does nothing."""
        name, self._name = self._name, ""
        if name:
            self._directory.discard(name)
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
        self._directory.close()


class AtomicFile:
    """See `OpenDirectory.atomic_write`."""

    __slots__ = ("_directory", "_draft", "_file", "_mode", "_name", "_replace", "_sync")

    def __init__(self, directory: OpenDirectory, name: str, mode: int, *, replace: bool, sync: bool) -> None:
        self._directory, self._name, self._mode = directory, name, mode
        self._replace, self._sync = replace, sync

    def __enter__(self) -> IO[bytes]:
        self._directory.sweep()
        self._draft = self._directory.begin_file(self._mode)
        self._file = open(self._draft.fd, "wb", closefd=False)
        return self._file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.close()  # the descriptor of the draft stays open
                if self._sync:
                    os.fsync(self._draft.fd)
                self._draft.rename_to(self._name, replace=self._replace)
        finally:
            # else its buffer would be flushed later, into whatever file has the descriptor's number then
            try:  # noqa: SIM105 - contextlib is not for the warm path
                self._file.close()
            except OSError:
                pass
            self._draft.abandon()


def _try_lock(fd: int) -> bool:
    """Lock a new file, so that no sweep removes it. Returns False if a sweep was faster."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, where no sweep removes files either
        pass
    return os.fstat(fd).st_nlink > 0


def _link_without_replacing(temporary: str, name: str, fd: int) -> None:
    """Rename without replacing: add the new name as a hard link; `abandon` removes the temporary name."""
    try:
        os.link(temporary, name, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        try:
            os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
            return
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None


class _NoRecord:
    """A context that records nothing."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


_NO_RECORD = _NoRecord()


# ---- names -----------------------------------------------------------------------------------------------------------


def check_component(name: str) -> str:
    """Returns a name that is one component. Raises OSError (EINVAL) for every other."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise OSError(errno.EINVAL, "leaves the directory", name)
    return name


def temporary_name() -> str:
    """Returns a random name for a file that is being written, which nobody can guess."""
    return f"{PREFIX}{os.urandom(_RANDOM).hex()}{SUFFIX}"


def is_temporary(name: str) -> bool:
    """Returns whether a name has the form of `temporary_name`."""
    inner = name[len(PREFIX) : -len(SUFFIX)]
    return name == f"{PREFIX}{inner}{SUFFIX}" and len(inner) == 2 * _RANDOM and not inner.strip("0123456789abcdef")
