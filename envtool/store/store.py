"""Where the store is, and whether it may be used.

Trees belong to the ids of one id map. What lies at the top belongs to the map that the store was made with; every other
map has rooms of its own in `ids/<name>/`. What depends on no ids (fetched files, answers, short cuts) all maps share.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from envtool.errors import EnvtoolError, StoreError
from envtool.fs import store_files
from envtool.fs.trusted_paths import why_untrusted
from envtool.model import Json
from envtool.store import json_documents
from envtool.store.disk_errors import translate_os_error

FORMAT = 1
DIRECTORIES = ("blobs/sha256", "caches", "layers", "memo", "plans", "results", "views", "tmp", "locks")
STAMP = "store.json"
IDS = "ids"
PER_IDMAP = frozenset(("caches", "layers", "results", "tmp", "views"))  # rooms that each id map has, and `locks`
_NAME = re.compile("(?:root|range|single|other)-[0-9a-f]{12}")
NETWORKED = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "fuse.sshfs", "lustre", "gpfs"})
HINT_LOCAL_DISK = "let ENVTOOL_STORE name a directory on a local disk (ext4, xfs, btrfs)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A store that may be used, as one id map has it. `root` is absolute; its top is 0700, what lies in it can be
    walked by other ids (container root) that were handed an open directory. `ids` names the map's place in `ids/`;
    empty: the top. `idmap` says which map that is where it is not the one that containers have here (`others`)."""

    root: str
    ids: str = ""
    idmap: str = ""

    def path(self, *parts: str) -> str:
        """Absolute path of something in it."""
        return self.idmap_path(*parts) if parts[0] in PER_IDMAP else os.path.join(self.root, *parts)

    def idmap_path(self, *parts: str) -> str:
        """Absolute path of something that this id map has for itself."""
        return os.path.join(self.root, IDS, self.ids, *parts) if self.ids else os.path.join(self.root, *parts)


def store_directory(environ: Mapping[str, str] | None = None) -> str:
    """Absolute path of the store: $ENVTOOL_STORE, else $XDG_CACHE_HOME/envtool, else ~/.cache/envtool.

    The XDG base directory specification has relative values ignored; for ours they would mean another store in each
    directory, so they are an error. Raises StoreError.
    """
    environ = os.environ if environ is None else environ
    own = environ.get("ENVTOOL_STORE", "")
    if own:
        if not os.path.isabs(own):
            hint = f"write it from the root on: {os.path.abspath(own)}"
            raise StoreError(f"ENVTOOL_STORE is not an absolute path: {own}", code="store-path", hint=hint)
        return os.path.normpath(own)
    cache = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            raise StoreError("no home directory for the store", code="store-path", hint="set ENVTOOL_STORE or HOME")
        cache = os.path.join(home, ".cache")
    return os.path.join(cache, "envtool")


def open_store(*, idmap: str = "", environ: Mapping[str, str] | None = None) -> Store:
    """The store of this user, made when it is not there.

    `idmap` describes the id map of the containers here (any stable text); empty: that of the top. Raises StoreError
    (codes store-path, store-owner, store-format, store-filesystem, store-damaged, and those of errors.refused).
    """
    root = store_directory(environ)
    try:
        _check_trusted(root)
        stamp = _read_stamp(root)
        if stamp is None:
            stamp = _create(root, idmap)
        _check_format(root, stamp)
        _make_directories(root, DIRECTORIES)
        store = Store(root=root, ids=_idmap_name(str(stamp["idmap"]), idmap))
        if store.ids:
            _make_idmap_directories(store, idmap)
    except OSError as error:
        raise _unusable_error(root, error) from error
    return store


def find_store(idmap: str = "") -> Store | None:
    """The same store where there is one, and make nothing."""
    root = store_directory()
    try:
        _check_trusted(root)
        if (stamp := _read_stamp(root)) is None:
            return None
        _check_format(root, stamp)
    except OSError as error:
        raise _unusable_error(root, error) from error
    return Store(root=root, ids=_idmap_name(str(stamp["idmap"]), idmap))


def other_idmap_stores(store: Store) -> list[Store]:
    """The store as other id maps have it, each with its `idmap`."""
    found = [] if not store.ids else [replace(store, ids="", idmap=_read_idmap(store.root))]
    try:
        names = sorted(os.listdir(store.path(IDS)))
    except OSError:
        names = []
    for name in names:
        place = store.path(IDS, name)
        if name != store.ids and _NAME.fullmatch(name) and not os.path.islink(place) and os.path.isdir(place):
            found.append(replace(store, ids=name, idmap=_read_idmap(place)))
    return found


def _read_idmap(directory: str) -> str:
    """Which id map a place is of, by its own stamp."""
    try:
        return str((_read_stamp(directory) or {}).get("idmap") or "unknown")
    except (OSError, StoreError):
        return "unknown"


def _idmap_name(made: str, idmap: str) -> str:
    """Where a map's rooms are in a store that was made with the map `made`."""
    if not idmap or not made or made == idmap:
        return ""
    mode = idmap.partition(" ")[0]
    name = f"{mode}-{hashlib.sha256(idmap.encode()).hexdigest()[:12]}"
    return name if _NAME.fullmatch(name) else f"other-{name[-12:]}"


def _make_idmap_directories(store: Store, idmap: str) -> None:
    """Have the rooms of one id map. Raises OSError, StoreError."""
    _make_directories(store.root, (f"{IDS}/{store.ids}",))
    top = store.idmap_path()
    _make_directories(top, (*sorted(PER_IDMAP), "locks"))
    if _read_idmap(top) != idmap:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(top, STAMP))  # damaged: whose it is, its name says
        _write_stamp(top, os.stat(store.root).st_uid, idmap)


def _check_trusted(root: str) -> None:
    """Raise StoreError where another user could put another store in this one's place, or write to it: what is in a
    store is believed."""
    if os.path.lexists(root) and not os.path.isdir(root):
        raise StoreError(
            f"the store {root} is no directory", code="store-path", hint="set ENVTOOL_STORE to another place"
        )
    wrong, mend = why_untrusted(root, f"the store {root}")
    if wrong:
        elsewhere = "set ENVTOOL_STORE to a place where nobody else writes"
        own = "each user has a store of their own: set ENVTOOL_STORE (or HOME) to a place of yours"
        raise StoreError(wrong, code="store-owner", hint=f"{mend}, or {elsewhere}" if mend else own)


def _unusable_error(root: str, error: OSError) -> EnvtoolError:
    return translate_os_error(root, error) or StoreError(
        f"the store {root} cannot be used: {error.strerror}",
        code="store-path",
        hint="set ENVTOOL_STORE to another place",
    )


def _read_stamp(root: str) -> dict[str, object] | None:
    path = os.path.join(root, STAMP)
    try:
        stamp = json_documents.load(path)
        if {key: type(stamp[key]) for key in ("format", "uid", "idmap")} == {"format": int, "uid": int, "idmap": str}:
            return stamp
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in store_files.NO_FILE:
            raise
    except (ValueError, LookupError):
        pass
    raise StoreError(
        f"{path} is damaged",
        code="store-format",
        hint=f"remove it, and it is made again (`rm -r {path}`): it only says whose the store is",
    )


def _make_directories(root: str, rooms: Iterable[str]) -> None:
    """Have every room: those that are gone are made again. Raises OSError, StoreError where something else stands in
    a room's place."""
    for room in rooms:
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
    check_only_store_files(root)
    os.chmod(root, 0o700)
    _make_directories(root, DIRECTORIES)
    _check_file_system(root)
    name = _idmap_name("unknown", idmap)  # where the stamp was lost: who has a place in ids/ is not whose the top is
    _write_stamp(root, owner, "unknown" if name and os.path.isdir(os.path.join(root, IDS, name)) else idmap)
    return _read_stamp(root) or {"format": FORMAT, "uid": owner, "idmap": idmap}


def check_only_store_files(root: str) -> None:
    """Raise StoreError where a directory without a stamp has something that is none of ours."""
    leftover = next((name for name in sorted(os.listdir(root)) if name not in _known_names()), None)
    if leftover is not None:
        raise StoreError(
            f"{root} is not a store: it holds {leftover}",
            code="store-path",
            hint="let ENVTOOL_STORE name an empty directory",
        )


def _write_stamp(directory: str, owner: int, idmap: str) -> None:
    """Say whose a place is. The first of many starters decides."""
    stamp: dict[str, Json] = {"format": FORMAT, "uid": owner, "idmap": idmap}
    mine = os.path.join(directory, "tmp", f"{STAMP}.{os.getpid()}.{os.urandom(4).hex()}")
    with open(mine, "xb") as file:
        file.write(json_documents.dumps(stamp))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(mine, os.path.join(directory, STAMP))
    except FileExistsError:
        pass
    finally:
        os.unlink(mine)


def _known_names() -> set[str]:
    return {room.split("/")[0] for room in DIRECTORIES} | {IDS, STAMP}


def _check_format(root: str, stamp: Mapping[str, object]) -> None:
    if stamp.get("format") != FORMAT:
        raise StoreError(
            f"the store {root} has format {stamp.get('format')}, this envtool knows {FORMAT}",
            code="store-format",
            hint="set ENVTOOL_STORE to another place, or move this one away",
        )


def _check_file_system(root: str) -> None:
    """An overlay's upper wants user xattrs, whiteouts and d_type (kernel: Documentation/filesystems/overlayfs.rst)."""
    kind = file_system_type(root)
    if kind == "overlay" or kind in NETWORKED:
        raise StoreError(
            f"the store {root} is on {kind}, which cannot carry the writable side of an overlay",
            code="store-filesystem",
            hint=HINT_LOCAL_DISK,
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
            hint=HINT_LOCAL_DISK,
        ) from error
    finally:
        os.unlink(probe)


def file_system_type(path: str, mountinfo: str = "/proc/self/mountinfo") -> str:
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
