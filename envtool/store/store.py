"""Finds, opens and checks the store's directory.

Trees belong to the ids of one id map. Those at the top of the store belong to the map that the store was made with;
every other map has directories of its own in `ids/<name>/`. All maps share what depends on no ids: fetched files,
answers, plans.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from envtool.errors import EnvtoolError, StoreError
from envtool.fs import store_files
from envtool.fs.trusted_paths import why_untrusted
from envtool.lazy_dataclass import dataclass
from envtool.model import Json
from envtool.store import json_documents
from envtool.store.disk_errors import translate_os_error

FORMAT = 1
DIRECTORIES = ("blobs/sha256", "caches", "layers", "memo", "plans", "results", "views", "tmp", "up", "locks", "one-off")
STAMP = "store.json"
IDS = "ids"
PER_IDMAP = frozenset(("caches", "layers", "results", "tmp", "views"))  # directories of each id map, beside `locks`
_NAME = re.compile("(?:root|range|single|other)-[0-9a-f]{12}")
NETWORKED = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "fuse.sshfs", "lustre", "gpfs"})
HINT_LOCAL_DISK = "let ENVTOOL_STORE name a directory on a local disk (ext4, xfs, btrfs)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A store that was checked, with the directories of one id map. `root` is absolute and has mode 0700; its contents
    are readable to other ids (container root) through an open directory. `ids` names the map's directory in `ids/`;
    empty: the top. `idmap` describes the map where it is not that of the containers here (other_idmap_stores)."""

    root: str
    ids: str = ""
    idmap: str = ""

    def path(self, *parts: str) -> str:
        """Returns the absolute path of an entry of the store."""
        return self.idmap_path(*parts) if parts[0] in PER_IDMAP else os.path.join(self.root, *parts)

    def idmap_path(self, *parts: str) -> str:
        """Returns the absolute path of an entry that belongs to this id map alone."""
        return os.path.join(self.root, IDS, self.ids, *parts) if self.ids else os.path.join(self.root, *parts)


def store_directory(environ: Mapping[str, str] | None = None) -> str:
    """Returns the absolute path of the store: $ENVTOOL_STORE, else $XDG_CACHE_HOME/envtool, else ~/.cache/envtool.

    The XDG base directory specification says to ignore relative values; a relative ENVTOOL_STORE would mean another
    store in each directory, so it is an error. Raises StoreError.
    """
    environ = os.environ if environ is None else environ
    variable = environ.get("ENVTOOL_STORE", "")
    if variable:
        if not os.path.isabs(variable):
            hint = f"write it from the root on: {os.path.abspath(variable)}"
            raise StoreError(f"ENVTOOL_STORE is not an absolute path: {variable}", code="store-path", hint=hint)
        return os.path.normpath(variable)
    cache = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            raise StoreError("no home directory for the store", code="store-path", hint="set ENVTOOL_STORE or HOME")
        cache = os.path.join(home, ".cache")
    return os.path.join(cache, "envtool")


def open_store(*, idmap: str = "", environ: Mapping[str, str] | None = None) -> Store:
    """Opens the store of this user, and makes it where it does not exist.

    `idmap` describes the id map of the containers here (any stable text); empty: that of the top. Raises StoreError
    (codes store-path, store-owner, store-format, store-filesystem, store-damaged, and those of errors.to_store_error).
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
    """Returns the store of this user; None where it does not exist. Makes nothing. Raises StoreError."""
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
    """Returns the store once for each other id map, with its `idmap`."""
    stores = [] if not store.ids else [replace(store, ids="", idmap=_read_idmap(store.root))]
    try:
        names = sorted(os.listdir(store.path(IDS)))
    except OSError:
        names = []
    for name in names:
        directory = store.path(IDS, name)
        if name != store.ids and _NAME.fullmatch(name) and not os.path.islink(directory) and os.path.isdir(directory):
            stores.append(replace(store, ids=name, idmap=_read_idmap(directory)))
    return stores


def _read_idmap(directory: str) -> str:
    """Returns the description of the id map that a directory belongs to, by its own stamp."""
    try:
        return str((_read_stamp(directory) or {}).get("idmap") or "unknown")
    except (OSError, StoreError):
        return "unknown"


def _idmap_name(idmap_of_top: str, idmap: str) -> str:
    """Returns the name in `ids/` of the id map `idmap`, for a store that was made with the map `made`; empty: the
    top."""
    if not idmap or not idmap_of_top or idmap_of_top == idmap:
        return ""
    mode = idmap.partition(" ")[0]
    name = f"{mode}-{hashlib.sha256(idmap.encode()).hexdigest()[:12]}"
    return name if _NAME.fullmatch(name) else f"other-{name[-12:]}"


def _make_idmap_directories(store: Store, idmap: str) -> None:
    """Makes the missing directories of one id map. Raises OSError, StoreError."""
    _make_directories(store.root, (f"{IDS}/{store.ids}",))
    top = store.idmap_path()
    _make_directories(top, (*sorted(PER_IDMAP), "locks"))
    if _read_idmap(top) != idmap:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(top, STAMP))  # damaged: the directory's name says the map
        _write_stamp(top, os.stat(store.root).st_uid, idmap)


def _check_trusted(root: str) -> None:
    """Raises StoreError where another user could replace the store, or write to it: envtool trusts its content."""
    if os.path.lexists(root) and not os.path.isdir(root):
        raise StoreError(
            f"the store {root} is no directory", code="store-path", hint="set ENVTOOL_STORE to another place"
        )
    problem, remedy = why_untrusted(root, f"the store {root}")
    if problem:
        elsewhere = "set ENVTOOL_STORE to a place where nobody else writes"
        own_store = "each user has a store of their own: set ENVTOOL_STORE (or HOME) to a place of yours"
        raise StoreError(problem, code="store-owner", hint=f"{remedy}, or {elsewhere}" if remedy else own_store)


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


def _make_directories(root: str, directories: Iterable[str]) -> None:
    """Makes the directories that are missing. Raises OSError, and StoreError where a file is at a directory's path."""
    for directory in directories:
        path = root
        for name in directory.split("/"):
            path = os.path.join(path, name)
            try:
                os.mkdir(path)
                os.chmod(path, 0o755)  # whatever the umask
            except FileExistsError:
                if not stat.S_ISDIR(os.lstat(path).st_mode):
                    raise StoreError(
                        f"{path} is no directory", code="store-damaged", hint=f"remove it: `rm {path}`"
                    ) from None


def _create(root: str, idmap: str) -> dict[str, object]:
    os.makedirs(root, mode=0o700, exist_ok=True)
    owner = os.stat(root).st_uid
    check_only_store_files(root)
    os.chmod(root, 0o700)
    _make_directories(root, DIRECTORIES)
    _check_file_system(root)
    name = _idmap_name("unknown", idmap)  # where the stamp was lost: a map with a directory in ids/ is not the top's
    _write_stamp(root, owner, "unknown" if name and os.path.isdir(os.path.join(root, IDS, name)) else idmap)
    return _read_stamp(root) or {"format": FORMAT, "uid": owner, "idmap": idmap}


def check_only_store_files(root: str) -> None:
    """Raises StoreError where a directory without a stamp holds any entry that a store does not have."""
    leftover = next((name for name in sorted(os.listdir(root)) if name not in _known_names()), None)
    if leftover is not None:
        raise StoreError(
            f"{root} is not a store: it holds {leftover}",
            code="store-path",
            hint="let ENVTOOL_STORE name an empty directory",
        )


def _write_stamp(directory: str, owner: int, idmap: str) -> None:
    """Writes the stamp that names the id map of a directory. Of several processes, the first decides."""
    stamp: dict[str, Json] = {"format": FORMAT, "uid": owner, "idmap": idmap}
    new_file = os.path.join(directory, "tmp", f"{STAMP}.{os.getpid()}.{os.urandom(4).hex()}")
    with open(new_file, "xb") as file:
        file.write(json_documents.dumps(stamp))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(new_file, os.path.join(directory, STAMP))
    except FileExistsError:
        pass
    finally:
        os.unlink(new_file)


def _known_names() -> set[str]:
    return {path.split("/")[0] for path in DIRECTORIES} | {IDS, STAMP}


def _check_format(root: str, stamp: Mapping[str, object]) -> None:
    if stamp.get("format") != FORMAT:
        raise StoreError(
            f"the store {root} has format {stamp.get('format')}, this envtool knows {FORMAT}",
            code="store-format",
            hint="set ENVTOOL_STORE to another place, or move this one away",
        )


def _check_file_system(root: str) -> None:
    """Raises StoreError where the file system cannot hold an overlay's upper directory, which needs user xattrs,
    whiteouts and d_type (kernel: Documentation/filesystems/overlayfs.rst)."""
    kind = file_system_type(root)
    if kind == "overlay" or kind in NETWORKED:
        raise StoreError(
            f"the store {root} is on {kind}, which cannot carry the writable side of an overlay",
            code="store-filesystem",
            hint=HINT_LOCAL_DISK,
        )
    probe = os.path.join(root, "tmp", f"probe.{os.getpid()}.{os.urandom(4).hex()}")
    with open(probe, "x", encoding="ascii"):  # a file: another process may sweep directories without a lock
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
    """Returns the type of the file system of `path` ("ext4"), empty when mountinfo (proc(5)) does not show it."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    real_path = os.path.realpath(path)
    best, kind = -1, ""
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        mount_point = fields[4].encode("utf-8", "surrogateescape").decode("unicode_escape")  # \040 stands for a space
        is_below = real_path == mount_point or real_path.startswith(mount_point.rstrip("/") + "/")
        # the device number of a btrfs subvolume is in no line: the longest mount point decides for them
        score = len(mount_point) + (1 << 16) * (fields[2] == number)
        if is_below and score > best:
            best, kind = score, after.split(" ")[0]
    return kind
