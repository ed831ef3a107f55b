"""Turns an error of the system on the store's disk into an error of envtool: one sentence, and what to do."""

from __future__ import annotations

import errno
import os
import stat

from envtool.errors import EnvtoolError, StoreError, internal, to_store_error
from envtool.fs import sizes

HINT_OTHER_STORE = "ENVTOOL_STORE=DIR is another place"
HINT_FREE_SPACE = f"`envtool gc --dry-run --older-than 0s` shows what can go, {HINT_OTHER_STORE}"
NOTHING = f"nothing of the store can go: free some of that disk, or {HINT_OTHER_STORE}"
DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
PERMISSION_ERRNOS = (errno.EACCES, errno.EPERM)
UNPACK_FACTOR = 4  # usual size of unpacked files by that of the fetched ones: 4.1 for debs, 3 for wheels and images
MIN_FREE = 64 << 20  # bytes: a disk with less free is full for all purposes of the store


def disk_full_error(root: str, number: int = errno.ENOSPC) -> StoreError:
    """Returns the error for a full disk, or for a quota that is used up. `root` is the store's directory."""
    if number == errno.EDQUOT:
        return StoreError(
            f"the quota of the disk of the store is used up: {root}", code="store-space", hint=HINT_FREE_SPACE
        )
    try:
        disk = os.statvfs(root)
    except OSError:
        return StoreError(f"the disk of the store is full: {root}", code="store-space", hint=HINT_FREE_SPACE)
    if disk.f_files and not disk.f_favail:
        message = f"the disk of the store takes no more files (no inodes left): {root}"
        return StoreError(message, code="store-space", hint=HINT_FREE_SPACE)
    total, free = (
        sizes.format_size(disk.f_blocks * disk.f_frsize),
        sizes.format_size(disk.f_bavail * disk.f_frsize),
    )
    inodes = ""
    if disk.f_files and disk.f_bavail * disk.f_frsize >= MIN_FREE:  # the new files are gone again, or inodes ran out
        inodes = f"; {disk.f_files} inodes, {disk.f_favail} free"
    message = f"the disk of the store is full: {root} ({total}, {free} free now{inodes})"
    return StoreError(message, code="store-space", hint=HINT_FREE_SPACE)


def space_warning(root: str, what: str, least: int, about: int, left: int) -> tuple[str, bool]:
    """Returns the warning to give before something is made that takes about `about` bytes, and at least `least`, on a
    disk with `left` bytes free; and whether it cannot fit at all. The warning is empty where there is enough space."""
    if left >= about:
        return "", False
    never = left < least
    amount = f"{sizes.format_size(least)} at least" if never else f"about {sizes.format_size(about)}"
    return f"{what} takes {amount}, and the disk of the store has {sizes.format_size(left)} free: {root}", never


def needed(fetched: int, missing: int) -> tuple[int, int]:
    """Returns the bytes that a build from `fetched` bytes takes on the disk, at least and usually; `missing` of them
    are not downloaded yet. Packed files unpack to two to five times their size, and hardly ever to less than their
    size."""
    return missing + fetched, missing + UNPACK_FACTOR * fetched


def is_disk_full(root: str) -> bool:
    """Whether hardly anything can be written any more: less than MIN_FREE bytes, or 100 inodes."""
    try:
        disk = os.statvfs(root)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < MIN_FREE or bool(disk.f_files and disk.f_favail < 100)


def translate_os_error(root: str, error: OSError) -> EnvtoolError | None:
    """The error for what was refused of the store at `root`, or elsewhere; None for what is no refusal of the system's.
    Where a full disk has no name, it is the store's if that is full."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    is_in_store = name == root or name.startswith(root.rstrip("/") + "/")
    number = error.errno or 0
    if number in DISK_FULL_ERRNOS and (is_in_store or (not name and (number == errno.EDQUOT or is_disk_full(root)))):
        return disk_full_error(root, number)
    if not is_in_store:
        return to_store_error(error)
    if number == errno.EROFS:
        return StoreError(
            f"the store {root} is read-only", code="store-read-only", hint=f"mount it writable, or {HINT_OTHER_STORE}"
        )
    if number == errno.ENOTDIR and (above := _blocking_file(root)):
        return StoreError(
            f"the store {root} cannot be made: {above} is no directory", code="store", hint=HINT_OTHER_STORE
        )
    if number == errno.ENOENT and name == root:
        return StoreError(
            f"the store {root} cannot be made: there can be no directory", code="store", hint=HINT_OTHER_STORE
        )
    if number in PERMISSION_ERRNOS:
        what = os.strerror(number).lower()
        hint = (
            f"all of it has to be yours, and writable for you: `ls -ld {name}` shows whose it is, or {HINT_OTHER_STORE}"
        )
        if _is_own_unreadable(name):
            hint = f"it is yours, but not for you to read or write: `chmod u+rwX {name}`, or {HINT_OTHER_STORE}"
        return StoreError(f"the store {root} cannot be used: {name}: {what}", code="rights", hint=hint)
    return to_store_error(error)


def to_envtool_error(raised: Exception, store: str) -> EnvtoolError:
    """Returns an exception as an EnvtoolError: an internal error if it is neither an EnvtoolError nor an OSError that
    has a message of its own. `store` is the path of the store."""
    if isinstance(raised, EnvtoolError):
        return raised
    error = translate_os_error(store, raised) if isinstance(raised, OSError) else None
    return error or internal(raised, shown=bool(os.environ.get("ENVTOOL_DEBUG")))


def _is_own_unreadable(path: str) -> bool:
    try:
        info = os.lstat(path)
    except OSError:
        return False
    required = stat.S_IRUSR | stat.S_IWUSR | (stat.S_IXUSR if stat.S_ISDIR(info.st_mode) else 0)
    return info.st_uid == os.geteuid() and info.st_mode & required != required and not stat.S_ISLNK(info.st_mode)


def _blocking_file(path: str) -> str:
    """Returns the lowest existing part of a path if that is no directory, else an empty string."""
    while not os.path.lexists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return "" if os.path.isdir(path) else path
