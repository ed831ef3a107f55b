"""Which names of a directory tree a container never looked up: the files that its processes cannot have read.

The kernel keeps each name that a path lookup has found or missed (its dentry) with the mounted file system. The overlay
of a container is new, so at first it has none, and at the end a name without one was neither opened nor executed, nor
asked about by stat(2), access(2) or readlink(2). openat2(2) with RESOLVE_CACHED (Linux 5.12) finds only such names, and
else answers EAGAIN. Nothing is watched while the container runs, so that costs nothing.

What could make a name that was looked up appear as one that was not:

- The kernel drops names when memory is short, the oldest first. So pid 1 looks up names that do not exist, before any
  step does: if one of these canaries has gone, nothing is known. Each node of memory has a list of its own: on a
  machine with several nodes nothing is known either once the kernel has looked for memory to free at all.
- A name that was removed or renamed has gone. So only a name that is listed at the end counts as unread: whatever is
  missing was read.
- RESOLVE_CACHED also answers EAGAIN where the kernel would have to ask more than its cache, as on a file system of the
  network, and for the access control list of a directory that another user owns, on a mount with mapped ids. So each
  directory is asked as its owner, for whom no list counts; and in each a canary is looked up, and has to be found then.
- It answers so too when something was mounted or renamed on this machine at that very moment. So a name counts as
  unread only after several such answers, in two passes over the tree.

A directory that was never looked up stands for all that is in it.
"""

from __future__ import annotations

import contextlib
import errno
import os

from envtool.container import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from envtool.container.messages import Exit

_GIT = ".git"  # no part of the tree: it is watched (opened_files.py), and to look into it would look like the steps
_CANARIES = 16
_TRIES = 4  # so often is a name asked for
_SIZE = 1 << 22  # bytes of the names
MAX_NAMES = 20_000  # names that are reported
_MAX_ENTRIES = 500_000  # entries of directories that are looked at
_MAX_DEPTH = 200  # directories in each other
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NODES = "/sys/devices/system/node/online"
_KNOWN, _UNKNOWN = b"k", b"u"
NOT_FINISHED = "its container ended early"
MEMORY_SHORT = "the kernel was short of memory and forgot names"
TOO_MANY = f"more than {MAX_NAMES:,} names were not looked up, or {_MAX_ENTRIES:,} were there"
NO_KERNEL = "the kernel does not say which names it has looked up"


class _UnknownError(Exception):
    """It is not known which names were looked up."""


class LookupRecord:
    """The record of one container. The supervisor makes it; `begin` and `end` are called in pid 1."""

    def __init__(self, top: str, descriptor: int = -1) -> None:
        """`top` is the absolute path of the tree in the container: the root of an overlay of its own. `descriptor` is
        that of the supervisor's record, in the process that forks pid 1."""
        self._top = top
        self.descriptor = descriptor if descriptor >= 0 else os.memfd_create("lookups")
        self._canaries = _canary_names()
        self._several_nodes = _has_several_nodes()
        self._scanned = b""
        self._entries = 0

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self.descriptor)

    def begin(self) -> None:
        """Looks the canaries up, before any step runs."""
        directory = os.open(self._top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        _look_up_missing(self._canaries, directory)
        os.close(directory)
        self._scanned = self._scanned_slabs()

    def end(self) -> None:
        """Notes what was never looked up, once all processes of the steps have ended. Raises nothing."""
        try:
            directory = os.open(self._top, _DIRECTORY)
            try:
                self._check_memory(directory)
                passes: list[list[str]] = [[], []]
                for unread in passes:
                    self._entries = 0
                    self._add_unread(directory, "", unread, 0)
                self._check_memory(directory)
            finally:
                os.close(directory)
            kind, text = _KNOWN, os.fsencode("\0".join(_in_both(*passes)))
            if len(text) > _SIZE:
                kind, text = _UNKNOWN, TOO_MANY.encode()
        except _UnknownError as error:
            kind, text = _UNKNOWN, str(error).encode()
        except OSError as error:
            kind, text = _UNKNOWN, f"{NO_KERNEL}: {os.strerror(error.errno or errno.EIO)}".encode()
        os.pwrite(self.descriptor, text, 1)
        os.pwrite(self.descriptor, kind, 0)  # last

    def report(self, result: Exit) -> None:
        """Notes what is known in the result of a container that has ended."""
        result.unread, result.unread_reason = self.unread()

    def unread(self) -> tuple[tuple[str, ...] | None, str]:
        """Returns the paths, relative to the tree, of what was never looked up: files, symlinks, and directories with
        all in them. None with the reason where that is not known. Call it once the container has ended."""
        kind, text = os.pread(self.descriptor, 1, 0), os.pread(self.descriptor, _SIZE, 1)
        if kind == _KNOWN:
            return tuple(os.fsdecode(name) for name in text.split(b"\0") if name), ""
        return None, text.decode() if kind == _UNKNOWN else NOT_FINISHED

    def _check_memory(self, directory: int) -> None:
        if {*_ask(directory, self._canaries)} != {errno.ENOENT} or self._scanned != self._scanned_slabs():
            raise _UnknownError(MEMORY_SHORT)

    def _scanned_slabs(self) -> bytes:
        """Returns the kernel's count of caches that it has searched for memory to free; b"" where that is not
        needed."""
        if not self._several_nodes:
            return b""
        with open("/proc/vmstat", "rb", buffering=0) as file:
            lines = file.read(1 << 20).splitlines()
        return b" ".join(line for line in lines if line.startswith((b"slabs_scanned", b"drop_slab")))

    def _add_unread(self, directory: int, prefix: str, names: list[str], depth: int) -> None:
        with os.scandir(directory) as scanned:
            entries = [entry for entry in scanned if entry.name != _GIT]
        self._entries += len(entries)
        if self._entries > _MAX_ENTRIES or depth > _MAX_DEPTH:
            raise _UnknownError(TOO_MANY)
        answers = _ask(directory, [entry.name for entry in entries])
        unread = [entry.name for entry, answer in zip(entries, answers, strict=True) if answer == errno.EAGAIN]
        if unread:
            _look_up_missing(self._canaries[:1], directory)
            if _ask(directory, self._canaries[:1]) != [errno.ENOENT]:
                raise _UnknownError(NO_KERNEL)
        names += [prefix + name for name in unread]
        if len(names) > MAX_NAMES:
            raise _UnknownError(TOO_MANY)
        read = [entry for entry, answer in zip(entries, answers, strict=True) if answer == 0]
        for name in [entry.name for entry in read if entry.is_dir(follow_symlinks=False)]:
            below = os.open(name, _DIRECTORY, dir_fd=directory)
            try:
                self._add_unread(below, f"{prefix}{name}/", names, depth + 1)
            finally:
                os.close(below)


def _look_up_missing(names: list[str], directory: int) -> None:
    """Looks up names that a directory does not have, which the kernel then knows to be missing."""
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            os.lstat(name, dir_fd=directory)


def _in_both(first: list[str], second: list[str]) -> list[str]:
    """Returns the names that are unread by both passes, by themselves or with a directory that they are in."""
    sets = {*first}, {*second}
    return sorted(name for name in sets[0] | sets[1] if all(is_below(name, names) for names in sets))


def is_below(path: str, names: AbstractSet[str]) -> bool:
    """Returns whether a path, or a directory that it is in, is one of these names."""
    while path and path not in names:
        path = path.rpartition("/")[0]
    return path != ""


def _ask(directory: int, names: list[str]) -> list[int]:
    """Returns the kernel's answer for each name in a directory: 0 if it was looked up, EAGAIN if it was not, ENOENT if
    it was looked up and is missing, EXDEV for a mount point: what the tree has below that could not be read. Raises
    OSError for other answers.
    """
    us, owner = os.geteuid(), os.fstat(directory).st_uid
    answers = []
    syscalls.syscall("setfsuid", owner)
    try:
        for name in names:
            for _ in range(_TRIES):
                descriptor = syscalls.open_looked_up(directory, name)
                if descriptor != -errno.EAGAIN:
                    break
            if descriptor >= 0:
                os.close(descriptor)
            elif descriptor not in (-errno.EAGAIN, -errno.ENOENT, -errno.EXDEV):
                raise OSError(-descriptor, os.strerror(-descriptor))
            answers.append(max(0, -descriptor))
    finally:
        syscalls.syscall("setfsuid", us)
    return answers


_names: list[str] = []  # of this process, and of those that it forks


def _canary_names() -> list[str]:
    """Returns names that no project has, and that no step can guess. All containers of a process have the same: a file
    system below the overlay then knows that they are missing, and does not search the directory for new ones.
    """
    if not _names:
        mark = os.urandom(8).hex()
        _names[:] = [f".envtool-{mark}-{number}" for number in range(_CANARIES)]
    return _names


def _has_several_nodes() -> bool:
    """Returns whether this machine has several nodes of memory, or does not say."""
    try:
        with open(_NODES, "rb", buffering=0) as file:
            return not file.read(4096).strip().isdigit()
    except FileNotFoundError:  # a kernel without NUMA
        return False
    except OSError:
        return True
