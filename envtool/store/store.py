"""Where the store is, and whether it may be used."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from envtool.errors import StoreError

FORMAT = 1
ROOMS = ("blobs/sha256", "caches", "layers", "memo", "plans", "results", "views", "tmp", "locks")
STAMP = "store.json"
NETWORKED = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "fuse.sshfs", "lustre", "gpfs"})
ELSEWHERE = "let ENVTOOL_STORE name a directory on a local disk (ext4, xfs, btrfs)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A store that may be used. `root` is absolute; its top is 0700, what lies in it can be walked by other ids
    (container root) that were handed an open directory."""

    root: str

    def path(self, *parts: str) -> str:
        """Absolute path of something in it."""
        return os.path.join(self.root, *parts)


def directory(environ: Mapping[str, str] | None = None) -> str:
    """Absolute path of the store: $ENVTOOL_STORE, else $XDG_CACHE_HOME/envtool, else ~/.cache/envtool.

    The XDG base directory specification has relative values ignored; for ours they would mean another store in each
    directory, so they are an error. Raises StoreError.
    """
    environ = os.environ if environ is None else environ
    own = environ.get("ENVTOOL_STORE", "")
    if own:
        if not os.path.isabs(own):
            raise StoreError(f"ENVTOOL_STORE is not an absolute path: {own}", code="store-path")
        return os.path.normpath(own)
    cache = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            raise StoreError("no home directory for the store", code="store-path", hint="set ENVTOOL_STORE or HOME")
        cache = os.path.join(home, ".cache")
    return os.path.join(cache, "envtool")


def locate(*, idmap: str = "", environ: Mapping[str, str] | None = None) -> Store:
    """The store of this user, made when it is not there.

    `idmap` describes the id map of the containers here (any stable text): layers belong to the ids of one map, so a
    store made with another is refused. Raises StoreError (codes store-path, store-owner, store-idmap, store-format,
    store-filesystem, store-space).
    """
    root = directory(environ)
    try:
        stamp = _stamp(root)
        if stamp is None:
            stamp = _create(root, idmap)
    except OSError as error:
        raise StoreError(
            f"the store {root} cannot be used: {error.strerror}",
            code="store-path",
            hint="set ENVTOOL_STORE to another place",
        ) from error
    _check(root, stamp, idmap)
    return Store(root=root)


def _stamp(root: str) -> dict[str, object] | None:
    try:
        with open(os.path.join(root, STAMP), encoding="utf-8") as file:
            stamp = json.load(file)
    except FileNotFoundError:
        return None
    except PermissionError:
        return {"uid": os.stat(root).st_uid}
    except ValueError:
        stamp = None
    if not isinstance(stamp, dict):
        raise StoreError(
            f"{root}/{STAMP} is damaged", code="store-format", hint=f"move {root} away; it will be made again"
        )
    return stamp


def _create(root: str, idmap: str) -> dict[str, object]:
    os.makedirs(root, mode=0o700, exist_ok=True)
    owner = os.stat(root).st_uid
    if owner != os.geteuid():
        return {"uid": owner}
    leftover = next((name for name in os.listdir(root) if name.split("/")[0] not in _known()), None)
    if leftover is not None:
        raise StoreError(
            f"{root} is not a store: it holds {leftover}",
            code="store-path",
            hint="let ENVTOOL_STORE name an empty directory",
        )
    os.chmod(root, 0o700)
    for room in ROOMS:
        os.makedirs(os.path.join(root, room), exist_ok=True)
        part = root
        for name in room.split("/"):  # whatever the umask
            part = os.path.join(part, name)
            os.chmod(part, 0o755)
    _check_file_system(root)
    stamp: dict[str, object] = {"format": FORMAT, "uid": owner, "idmap": idmap}
    mine = os.path.join(root, "tmp", f"{STAMP}.{os.getpid()}.{os.urandom(4).hex()}")
    with open(mine, "x", encoding="utf-8") as file:
        json.dump(stamp, file)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(mine, os.path.join(root, STAMP))  # the first of many starters decides
    except FileExistsError:
        pass
    finally:
        os.unlink(mine)
    return _stamp(root) or stamp


def _known() -> set[str]:
    return {room.split("/")[0] for room in ROOMS} | {STAMP}


def _check(root: str, stamp: Mapping[str, object], idmap: str) -> None:
    if stamp.get("uid") != os.geteuid():
        raise StoreError(
            f"the store {root} belongs to user id {stamp.get('uid')}, not to {os.geteuid()}",
            code="store-owner",
            hint="each user has a store of their own: set ENVTOOL_STORE (or HOME) to a place of yours",
        )
    if stamp.get("format") != FORMAT:
        raise StoreError(
            f"the store {root} has format {stamp.get('format')}, this envtool knows {FORMAT}",
            code="store-format",
            hint="set ENVTOOL_STORE to another place, or move this one away",
        )
    made = stamp.get("idmap")
    if idmap and made and made != idmap:
        raise StoreError(
            f"the store {root} was made with the container ids `{made}`, containers here have `{idmap}`",
            code="store-idmap",
            hint="set ENVTOOL_STORE to another place, or remove this one: docs/troubleshooting.md says how",
        )


def _check_file_system(root: str) -> None:
    """An overlay's upper wants user xattrs, whiteouts and d_type (kernel: Documentation/filesystems/overlayfs.rst)."""
    kind = file_system(root)
    if kind == "overlay" or kind in NETWORKED:
        raise StoreError(
            f"the store {root} is on {kind}, which cannot carry the writable side of an overlay",
            code="store-filesystem",
            hint=ELSEWHERE,
        )
    probe = os.path.join(root, "tmp", f"probe.{os.getpid()}.{os.urandom(4).hex()}")
    with open(probe, "x", encoding="ascii"):  # a file: directories without a lock are what another starter sweeps
        pass
    try:
        os.setxattr(probe, "user.envtool", b"y")
    except OSError as error:
        raise StoreError(
            f"the store {root} is on {kind or 'a file system'} without user xattrs, which overlays need",
            code="store-filesystem",
            hint=ELSEWHERE,
        ) from error
    finally:
        os.unlink(probe)


def file_system(path: str, mountinfo: str = "/proc/self/mountinfo") -> str:
    """Type of the file system that `path` is on ("ext4"), empty when it cannot be told (proc(5): mountinfo)."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    where = os.path.realpath(path)
    best, kind = -1, ""
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        point = fields[4].encode("utf-8", "surrogateescape").decode("unicode_escape")  # \040 stands for a space
        inside = where == point or where.startswith(point.rstrip("/") + "/")
        # btrfs subvolumes have a device number that no mount shows: the longest mount point decides for them
        score = len(point) + (1 << 16) * (fields[2] == number)
        if inside and score > best:
            best, kind = score, after.split(" ")[0]
    return kind
