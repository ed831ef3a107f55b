"""What is said when the system refuses something of the store: one sentence, and what to do."""

from __future__ import annotations

import errno
import os
import stat

from envtool.errors import EnvtoolError, StoreError, refused
from envtool.fs import sizes

PLACE = "ENVTOOL_STORE=DIR is another place"
ROOM = f"`envtool gc --dry-run --older-than 0s` shows what can go, {PLACE}"
NOTHING = f"nothing of the store can go: free some of that disk, or {PLACE}"
FULL = (errno.ENOSPC, errno.EDQUOT)
RIGHTS = (errno.EACCES, errno.EPERM)
LARGER = 4  # times as much as is fetched is what mostly comes of it: of debs 4.1, of wheels and images 3
LITTLE = 64 << 20  # bytes: with less free, a disk is full for all that is made here


def full(root: str, number: int = errno.ENOSPC) -> StoreError:
    """The error for a disk that is full, or a quota that is used up. `root` is the store's."""
    if number == errno.EDQUOT:
        return StoreError(f"the quota of the disk of the store is used up: {root}", code="store-space", hint=ROOM)
    try:
        found = os.statvfs(root)
    except OSError:
        return StoreError(f"the disk of the store is full: {root}", code="store-space", hint=ROOM)
    if found.f_files and not found.f_favail:
        text = f"the disk of the store takes no more files (no inodes left): {root}"
        return StoreError(text, code="store-space", hint=ROOM)
    whole, left = sizes.said(found.f_blocks * found.f_frsize), sizes.said(found.f_bavail * found.f_frsize)
    names = ""
    if found.f_files and found.f_bavail * found.f_frsize >= LITTLE:  # what was made is gone again, or it was inodes
        names = f"; {found.f_files} inodes, {found.f_favail} free"
    text = f"the disk of the store is full: {root} ({whole}, {left} free now{names})"
    return StoreError(text, code="store-space", hint=ROOM)


def tight(root: str, what: str, least: int, about: int, left: int) -> tuple[str, bool]:
    """What to say before something is made that takes `about` so many bytes, and `least` in any case, on a disk with
    `left` free, and whether it cannot fit at all. Empty where there is room."""
    if left >= about:
        return "", False
    never = left < least
    amount = f"{sizes.said(least)} at least" if never else f"about {sizes.said(about)}"
    return f"{what} takes {amount}, and the disk of the store has {sizes.said(left)} free: {root}", never


def needed(fetched: int, missing: int) -> tuple[int, int]:
    """What is made of `fetched` bytes, of which so many are `missing`, takes of the disk: at least, and mostly. Packed
    files unpack to two to five times as much, and never to less than a little under their own size."""
    return missing + fetched, missing + LARGER * fetched


def low(root: str) -> bool:
    """Whether hardly anything can be written any more."""
    try:
        found = os.statvfs(root)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < LITTLE or bool(found.f_files and found.f_favail < 100)


def refusal(root: str, error: OSError) -> EnvtoolError | None:
    """The error for what was refused of the store at `root`, or elsewhere; None for what is no refusal of the system's.
    Where a full disk has no name, it is the store's if that is full."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    ours = name == root or name.startswith(root.rstrip("/") + "/")
    number = error.errno or 0
    if number in FULL and (ours or (not name and (number == errno.EDQUOT or low(root)))):
        return full(root, number)
    if not ours:
        return refused(error)
    if number == errno.EROFS:
        return StoreError(
            f"the store {root} is read-only", code="store-read-only", hint=f"mount it writable, or {PLACE}"
        )
    if number == errno.ENOTDIR and (above := _file_above(root)):
        return StoreError(f"the store {root} cannot be made: {above} is no directory", code="store", hint=PLACE)
    if number == errno.ENOENT and name == root:
        return StoreError(f"the store {root} cannot be made: there can be no directory", code="store", hint=PLACE)
    if number in RIGHTS:
        what = os.strerror(number).lower()
        hint = f"all of it has to be yours, and writable for you: `ls -ld {name}` shows whose it is, or {PLACE}"
        if _is_ours(name):
            hint = f"it is yours, but not for you to read or write: `chmod u+rwX {name}`, or {PLACE}"
        return StoreError(f"the store {root} cannot be used: {name}: {what}", code="rights", hint=hint)
    return refused(error)


def _is_ours(path: str) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    wanted = stat.S_IRUSR | stat.S_IWUSR | (stat.S_IXUSR if stat.S_ISDIR(found.st_mode) else 0)
    return found.st_uid == os.geteuid() and found.st_mode & wanted != wanted and not stat.S_ISLNK(found.st_mode)


def _file_above(path: str) -> str:
    """What of a path, or above it, is there and no directory; empty where there is none."""
    while not os.path.lexists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return "" if os.path.isdir(path) else path
