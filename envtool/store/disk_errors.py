"""What is said when the system refuses something of the store: one sentence, and what to do."""

from __future__ import annotations

import errno
import os
import stat

from envtool.errors import EnvtoolError, StoreError, to_store_error
from envtool.fs import sizes

HINT_OTHER_STORE = "ENVTOOL_STORE=DIR is another place"
HINT_FREE_SPACE = f"`envtool gc --dry-run --older-than 0s` shows what can go, {HINT_OTHER_STORE}"
NOTHING = f"nothing of the store can go: free some of that disk, or {HINT_OTHER_STORE}"
DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
PERMISSION_ERRNOS = (errno.EACCES, errno.EPERM)
UNPACK_FACTOR = 4  # times as much as is fetched is what mostly comes of it: of debs 4.1, of wheels and images 3
MIN_FREE = 64 << 20  # bytes: with less free, a disk is full for all that is made here


def disk_full_error(root: str, number: int = errno.ENOSPC) -> StoreError:
    """The error for a disk that is full, or a quota that is used up. `root` is the store's."""
    if number == errno.EDQUOT:
        return StoreError(
            f"the quota of the disk of the store is used up: {root}", code="store-space", hint=HINT_FREE_SPACE
        )
    try:
        found = os.statvfs(root)
    except OSError:
        return StoreError(f"the disk of the store is full: {root}", code="store-space", hint=HINT_FREE_SPACE)
    if found.f_files and not found.f_favail:
        text = f"the disk of the store takes no more files (no inodes left): {root}"
        return StoreError(text, code="store-space", hint=HINT_FREE_SPACE)
    whole, left = (
        sizes.format_size(found.f_blocks * found.f_frsize),
        sizes.format_size(found.f_bavail * found.f_frsize),
    )
    names = ""
    if found.f_files and found.f_bavail * found.f_frsize >= MIN_FREE:  # what was made is gone again, or it was inodes
        names = f"; {found.f_files} inodes, {found.f_favail} free"
    text = f"the disk of the store is full: {root} ({whole}, {left} free now{names})"
    return StoreError(text, code="store-space", hint=HINT_FREE_SPACE)


def space_warning(root: str, what: str, least: int, about: int, left: int) -> tuple[str, bool]:
    """What to say before something is made that takes `about` so many bytes, and `least` in any case, on a disk with
    `left` free, and whether it cannot fit at all. Empty where there is room."""
    if left >= about:
        return "", False
    never = left < least
    amount = f"{sizes.format_size(least)} at least" if never else f"about {sizes.format_size(about)}"
    return f"{what} takes {amount}, and the disk of the store has {sizes.format_size(left)} free: {root}", never


def needed(fetched: int, missing: int) -> tuple[int, int]:
    """What is made of `fetched` bytes, of which so many are `missing`, takes of the disk: at least, and mostly. Packed
    files unpack to two to five times as much, and never to less than a little under their own size."""
    return missing + fetched, missing + UNPACK_FACTOR * fetched


def is_disk_full(root: str) -> bool:
    """Whether hardly anything can be written any more."""
    try:
        found = os.statvfs(root)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < MIN_FREE or bool(found.f_files and found.f_favail < 100)


def translate_os_error(root: str, error: OSError) -> EnvtoolError | None:
    """The error for what was refused of the store at `root`, or elsewhere; None for what is no refusal of the system's.
    Where a full disk has no name, it is the store's if that is full."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    ours = name == root or name.startswith(root.rstrip("/") + "/")
    number = error.errno or 0
    if number in DISK_FULL_ERRNOS and (ours or (not name and (number == errno.EDQUOT or is_disk_full(root)))):
        return disk_full_error(root, number)
    if not ours:
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


def _is_own_unreadable(path: str) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    wanted = stat.S_IRUSR | stat.S_IWUSR | (stat.S_IXUSR if stat.S_ISDIR(found.st_mode) else 0)
    return found.st_uid == os.geteuid() and found.st_mode & wanted != wanted and not stat.S_ISLNK(found.st_mode)


def _blocking_file(path: str) -> str:
    """What of a path, or above it, is there and no directory; empty where there is none."""
    while not os.path.lexists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return "" if os.path.isdir(path) else path
