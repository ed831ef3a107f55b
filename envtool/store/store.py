"""Where the store is, and whether it may be used."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from envtool import stored
from envtool.errors import StoreError, refused
from envtool.model import Json
from envtool.store import document
from envtool.trusted import distrust

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
    store-filesystem, store-damaged, and those of errors.refused).
    """
    root = directory(environ)
    try:
        _guarded(root)
        stamp = _stamp(root)
        if stamp is None:
            stamp = _create(root, idmap)
        _check(root, stamp, idmap)
        _make_rooms(root)
    except OSError as error:
        raise _unusable(root, error) from error
    return Store(root=root)


def usable(idmap: str = "") -> None:
    """Raise what `locate` would of what stands there, and make nothing."""
    root = directory()
    try:
        _guarded(root)
        if (stamp := _stamp(root)) is not None:
            _check(root, stamp, idmap)
    except OSError as error:
        raise _unusable(root, error) from error


def _guarded(root: str) -> None:
    """Raise StoreError where another user could put another store in this one's place, or write to it: what is in a
    store is believed."""
    if os.path.lexists(root) and not os.path.isdir(root):
        raise StoreError(
            f"the store {root} is no directory", code="store-path", hint="set ENVTOOL_STORE to another place"
        )
    wrong, mend = distrust(root, f"the store {root}")
    if wrong:
        elsewhere = "set ENVTOOL_STORE to a place where nobody else writes"
        own = "each user has a store of their own: set ENVTOOL_STORE (or HOME) to a place of yours"
        raise StoreError(wrong, code="store-owner", hint=f"{mend}, or {elsewhere}" if mend else own)


def _unusable(root: str, error: OSError) -> StoreError:
    return refused(error) or StoreError(
        f"the store {root} cannot be used: {error.strerror}",
        code="store-path",
        hint="set ENVTOOL_STORE to another place",
    )


def _stamp(root: str) -> dict[str, object] | None:
    path = os.path.join(root, STAMP)
    try:
        stamp = document.load(path)
        if {key: type(stamp[key]) for key in ("format", "uid", "idmap")} == {"format": int, "uid": int, "idmap": str}:
            return stamp
    except FileNotFoundError:
        return None
    except PermissionError:
        return {"uid": os.stat(root).st_uid}
    except OSError as error:
        if error.errno not in stored.NO_FILE:
            raise
    except (ValueError, LookupError):
        pass
    raise StoreError(
        f"{path} is damaged",
        code="store-format",
        hint=f"remove it, and it is made again (`rm -r {path}`): it only says whose the store is",
    )


def _make_rooms(root: str) -> None:
    """Have every room: those that are gone are made again. Raises OSError, StoreError where something else stands in
    a room's place."""
    for room in ROOMS:
        part = root
        for name in room.split("/"):
            part = os.path.join(part, name)
            try:
                os.mkdir(part)
                os.chmod(part, 0o755)  # whatever the umask
            except FileExistsError:
                if not stat.S_ISDIR(os.lstat(part).st_mode):
                    raise StoreError(
                        f"{part} is no directory", code="store-damaged", hint=f"remove it: `rm {part}`"
                    ) from None


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
    _make_rooms(root)
    _check_file_system(root)
    stamp: dict[str, Json] = {"format": FORMAT, "uid": owner, "idmap": idmap}
    mine = os.path.join(root, "tmp", f"{STAMP}.{os.getpid()}.{os.urandom(4).hex()}")
    with open(mine, "xb") as file:
        file.write(document.dumps(stamp))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(mine, os.path.join(root, STAMP))  # the first of many starters decides
    except FileExistsError:
        pass
    finally:
        os.unlink(mine)
    return _stamp(root) or dict(stamp)


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
