"""Brings a tree into canonical form, and computes its diff ID and its manifest.

Runs as container root in the container's user namespace (`container.userns.run_as_root`), since the files belong to its
ids. A tree (or manifest) may be given as a path or as an open descriptor: the store lies below directories that
container root cannot enter.

The diff ID is the sha256 of an OCI layer tar (image spec, layer.md): depth first, names sorted as bytes, whiteouts as
`.wh.NAME`, an opaque directory as `.wh..wh..opq` in it. The manifest holds one record an entry, for `find_conflicts`:
type, mode, uid, gid, fingerprint and path, NUL-ended. The fingerprint of a file is its size and CRC-32: it detects
accidental differences at a third of the cost of a second sha256; security rests on the diff ID.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import BinaryIO, TypeAlias

from envtool.errors import StoreError
from envtool.fs import globs, removal, store_files
from envtool.fs.sizes import format_limit, format_size
from envtool.store import tar_write

CaptureResult: TypeAlias = tuple[str, int, int]  # diff ID ("sha256:…"), bytes of the tar, number of entries
CHUNK = 1 << 20
MAX_MANIFEST_SIZE = 1 << 30  # bytes
MAX_PATH = 4000  # bytes of a path in a layer: PATH_MAX, less the path of the layer in the store
MAX_LAYER_SIZE = 256 << 30  # bytes of all files of a layer, holes and all
OPAQUE = (b"user.overlay.opaque", b"trusted.overlay.opaque")
OVERLAY = (b"user.overlay.", b"trusted.overlay.")
CAPABILITY = b"security.capability"
DIRECTORY, FILE, SYMLINK, WHITEOUT, FIFO, DEVICE = range(6)


class TreeEntry:
    """One name in a tree. Plain and slotted: there are a hundred thousand of them."""

    __slots__ = ("info", "kind", "mtime", "name", "opaque", "path", "xattrs")

    def __init__(self, name: bytes, path: bytes, kind: int, info: os.stat_result) -> None:
        self.name = name  # relative to the tree
        self.path = path
        self.kind = kind
        self.info = info
        self.mtime = max(0, int(info.st_mtime_ns // 1_000_000_000))
        self.opaque = False
        self.xattrs: dict[bytes, bytes] = {}


def capture(tree: str | int, epoch: int, drop: tuple[str, ...] = (), manifest: str | int = "") -> CaptureResult:
    """Makes a tree canonical in place, digests it, and writes its manifest.

    `drop`: patterns (absolute in the tree, `**` allowed) of the entries that are removed first. Directories get `epoch`
    (seconds) as their time, everything else the earlier of its own time and `epoch`, in whole seconds. Sockets are
    removed, and overlay's xattrs, except those of opaque directories. The root itself becomes 0755 root:root. Raises
    StoreError (codes capture-name, capture-moved, capture-changed), OSError.
    """
    top = _tree_path(tree)
    entries = _canonicalise(top, epoch, re.compile(globs.matcher(drop).pattern.encode("utf-8", "surrogateescape")))
    digest = hashlib.sha256()
    records: list[bytes] = []
    size = _write_tar_and_records(entries, digest.update, records.append)
    if manifest != "":
        with open(manifest, "wb", closefd=not isinstance(manifest, int)) as file:
            file.write(b"".join(records))
    return f"sha256:{digest.hexdigest()}", size, len(records)


def digest_tree(tree: str | int) -> tuple[CaptureResult, bytes]:
    """Returns what a captured tree is now, and the manifest that it would have, without changing anything. Raises
    StoreError, OSError."""
    digest = hashlib.sha256()
    records: list[bytes] = []
    size = _write_tar_and_records(list_entries(tree), digest.update, records.append)
    return (f"sha256:{digest.hexdigest()}", size, len(records)), b"".join(records)


def write_tar(tree: str | int, out: BinaryIO) -> int:
    """Writes a captured tree as the tar whose digest is the diff ID. Returns the tar's size in bytes."""

    def put(piece: bytes) -> None:
        out.write(piece)

    return _write_tar_and_records(list_entries(tree), put, _ignore)


def list_entries(tree: str | int) -> list[TreeEntry]:
    """Returns the entries of a captured tree in the order of its tar: each directory before its content."""
    return list(_walk(_tree_path(tree)))


def find_conflicts(lower: Iterable[tuple[bytes, bytes]], upper: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Returns the paths that two layers, neither of which stands on the other, write differently; `lower` and `upper`
    are their records. The same file in both layers is no conflict; a directory in both is none, unless one of them
    hides the other's content."""
    lower_records = dict(lower)
    conflicts: list[str] = []
    upper_records = dict(upper)
    for path, record in upper_records.items():
        other = lower_records.get(path)
        if other is None or other == record:
            continue
        if record[:1] in b"do" and other[:1] in b"do":
            hides = _has_content(lower_records, path) if record[:1] == b"o" else _has_content(upper_records, path)
            if record[:1] == other[:1] or not hides:
                continue
        conflicts.append(os.fsdecode(path))
    return sorted(conflicts)


def _has_content(records: dict[bytes, bytes], directory: bytes) -> bool:
    prefix = directory + b"/"
    return any(path.startswith(prefix) for path in records)


def read_manifest(manifest: str) -> Iterator[tuple[bytes, bytes]]:
    """Yields the path and the fields (type, mode, uid, gid, fingerprint) of each entry of a manifest file. Raises
    OSError, ValueError."""
    yield from parse_manifest(store_files.read_regular_file(manifest, most=MAX_MANIFEST_SIZE))


def parse_manifest(manifest: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the path and the fields of each entry of a manifest's content. Raises ValueError where it is malformed."""
    for line in manifest.split(b"\0")[:-1]:
        fields, path = line[: (cut := _fifth_space(line))], line[cut + 1 :]
        yield path, fields


def _fifth_space(line: bytes) -> int:
    position = -1
    for _ in range(5):
        position = line.index(b" ", position + 1)
    return position


def _ignore(_: bytes) -> None:
    pass


# ---- the walk -------------------------------------------------------------------------------------------------------


def _tree_path(tree: str | int) -> bytes:
    return b"/proc/self/fd/%d" % tree if isinstance(tree, int) else os.fsencode(tree)


def _canonicalise(top: bytes, epoch: int, drop: re.Pattern[bytes]) -> list[TreeEntry]:
    epoch_ns = epoch * 1_000_000_000
    os.chmod(top, 0o755)
    os.chown(top, 0, 0) if os.geteuid() == 0 else None
    entries = list(_walk(top, lambda path: drop.fullmatch(path) is not None, _remove_overlay_xattrs))
    for entry in reversed(entries):  # children first: removing one touches its directory
        mtime = entry.info.st_mtime_ns
        new_mtime = (
            epoch_ns if entry.kind == DIRECTORY else min(max(0, mtime), epoch_ns) // 1_000_000_000 * 1_000_000_000
        )
        entry.mtime = new_mtime // 1_000_000_000
        if entry.kind == WHITEOUT or (entry.kind != DIRECTORY and new_mtime == mtime):
            continue
        os.utime(entry.path, ns=(new_mtime, new_mtime), follow_symlinks=False)
    os.utime(top, ns=(epoch_ns, epoch_ns))
    return entries


def _walk(
    top: bytes,
    dropped: Callable[[bytes], bool] | None = None,
    clean: Callable[[TreeEntry, list[bytes]], None] | None = None,
) -> Iterator[TreeEntry]:
    """Yields all entries below `top`, each directory before its content. With `dropped` and `clean`, also removes what
    `dropped` matches, and passes overlay's xattrs of each entry to `clean`."""
    pending = _children(top, b"", dropped)
    _read_xattrs(TreeEntry(b"", top, DIRECTORY, os.stat(top)), clean)
    while pending:
        entry = pending.pop()
        if entry.kind in (DIRECTORY, FILE):
            _read_xattrs(entry, clean)
        yield entry
        if entry.kind == DIRECTORY:
            pending += _children(entry.path, entry.name + b"/", dropped)


def _children(directory: bytes, prefix: bytes, dropped: Callable[[bytes], bool] | None) -> list[TreeEntry]:
    """Returns the entries of a directory in reverse order, for a stack to pop them in order."""
    keyed: list[tuple[bytes, TreeEntry]] = []
    with os.scandir(directory) as names:
        for item in names:
            name = prefix + item.name
            path = directory + b"/" + item.name
            info = item.stat(follow_symlinks=False)
            mode = info.st_mode
            if dropped is not None and (stat.S_ISSOCK(mode) or dropped(b"/" + name)):
                removal.remove_tree(os.fsdecode(path))
                continue
            if stat.S_ISSOCK(mode):
                continue
            if len(name) > MAX_PATH:
                raise StoreError(
                    f"/{os.fsdecode(name[:100])}… cannot be part of a layer: its path has more than {MAX_PATH:,} bytes",
                    code="capture-name",
                    hint="a command made very many directories inside one another: remove them at its end",
                )
            kind = _kind(mode, info.st_rdev)
            if item.name.startswith(b".wh."):
                path_in_tree = os.fsdecode(name)
                raise StoreError(
                    f"/{path_in_tree} cannot be part of a layer: OCI images read names with `.wh.` as deletions",
                    code="capture-name",
                )
            keyed.append((b".wh." + item.name if kind == WHITEOUT else item.name, TreeEntry(name, path, kind, info)))
    keyed.sort(key=_sort_key, reverse=True)
    return [entry for _, entry in keyed]


def _sort_key(pair: tuple[bytes, TreeEntry]) -> bytes:
    return pair[0]


def _kind(mode: int, rdev: int) -> int:
    if stat.S_ISREG(mode):
        return FILE
    if stat.S_ISDIR(mode):
        return DIRECTORY
    if stat.S_ISLNK(mode):
        return SYMLINK
    if stat.S_ISCHR(mode) and rdev == 0:
        return WHITEOUT
    return FIFO if stat.S_ISFIFO(mode) else DEVICE


def _read_xattrs(entry: TreeEntry, clean: Callable[[TreeEntry, list[bytes]], None] | None) -> None:
    try:
        names = [os.fsencode(name) for name in os.listxattr(entry.path, follow_symlinks=False)]
    except OSError:  # a file system without them
        return
    if not names:
        return
    overlay_names = []
    for name in names:
        if name.startswith(OVERLAY):
            if name in OPAQUE and os.getxattr(entry.path, name) == b"y":
                entry.opaque = True
            else:
                overlay_names.append(name)
        elif name == CAPABILITY:
            entry.xattrs[name] = normalize_capability(os.getxattr(entry.path, name))
        elif name.startswith(b"user."):
            entry.xattrs[name] = os.getxattr(entry.path, name)
    if clean is not None and overlay_names:
        clean(entry, overlay_names)


def _remove_overlay_xattrs(entry: TreeEntry, names: list[bytes]) -> None:
    for name in names:
        if name.endswith((b".overlay.redirect", b".overlay.metacopy")):
            path = os.fsdecode(entry.name)
            raise StoreError(
                f"/{path} was moved by overlay's redirect_dir or metacopy, and means nothing outside this mount",
                code="capture-moved",
                hint="mount overlays with redirect_dir=off,metacopy=off",
            )
        try:
            os.removexattr(entry.path, name, follow_symlinks=False)
        except PermissionError:
            if name.startswith(b"user."):
                raise


def normalize_capability(value: bytes) -> bytes:
    """Returns a `security.capability` value in the form that root sets (revision 2): a value that was set in a user
    namespace carries the namespace's root id (revision 3, capabilities(7))."""
    if len(value) == 24 and value[3] == 3:
        return value[:3] + b"\x02" + value[4:20]
    return value


# ---- the tar and the manifest ---------------------------------------------------------------------------------------


def _write_tar_and_records(
    entries: list[TreeEntry], put: Callable[[bytes], None], record: Callable[[bytes], None]
) -> int:
    """Writes the members of a tar, and a record for each. Returns the size of the tar in bytes."""
    _check_total_size(entries)
    first_names: dict[tuple[int, int], tuple[bytes, bytes]] = {}  # inode -> first name, fingerprint
    size = len(tar_write.END)
    for entry in entries:
        info, name = entry.info, entry.name
        mode, uid, gid = stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid
        digest = b""
        letter = b"f"
        if entry.kind == FILE:
            inode = (info.st_dev, info.st_ino)
            first = first_names.get(inode) if info.st_nlink > 1 else None
            if first is not None:
                head = tar_write.header(
                    name,
                    tar_write.HARD_LINK,
                    mode=mode,
                    uid=uid,
                    gid=gid,
                    mtime=entry.mtime,
                    link=first[0],
                    xattrs=entry.xattrs,
                )
                put(head)
                digest = first[1]
            else:
                head = tar_write.header(
                    name,
                    tar_write.REGULAR,
                    mode=mode,
                    uid=uid,
                    gid=gid,
                    size=info.st_size,
                    mtime=entry.mtime,
                    xattrs=entry.xattrs,
                )
                put(head)
                digest = fingerprint(info.st_size, _write_content(entry, put), entry.xattrs)
                size += info.st_size + -info.st_size % tar_write.BLOCK
                if info.st_nlink > 1:
                    first_names[inode] = (name, digest)
        else:
            letter, digest, head = _special(entry, mode, uid, gid)
            put(head)
        size += len(head)
        if letter == b"w":
            mode = uid = gid = 0
        record(b"%s %o %d %d %s %s\0" % (letter, mode, uid, gid, digest or b"-", name))
    put(tar_write.END)
    return size


def _check_total_size(entries: list[TreeEntry]) -> None:
    """Raises OSError (EFBIG) where the files together are larger than a layer may be: a hole takes no space on the
    disk, but all of its zeros are hashed."""
    total = 0
    for entry in entries:
        if entry.kind == FILE:
            total += entry.info.st_size
            if total > MAX_LAYER_SIZE:
                size, limit = format_size(entry.info.st_size), format_limit(MAX_LAYER_SIZE)
                message = f"{size}, with which the layer is larger than {limit}"
                raise OSError(errno.EFBIG, message, entry.name)


def fingerprint(size: int, crc: int, xattrs: Mapping[bytes, bytes]) -> bytes:
    """Returns the fingerprint of a file in a manifest: its size, the CRC-32 of its content, and that of its xattrs."""
    content = b"%d:%08x" % (size, crc)
    return content + b":%08x" % zlib.crc32(repr(sorted(xattrs.items())).encode()) if xattrs else content


def _special(entry: TreeEntry, mode: int, uid: int, gid: int) -> tuple[bytes, bytes, bytes]:
    """Returns the manifest's letter, the fingerprint and the tar header of an entry without content."""
    name, mtime, rdev = entry.name, entry.mtime, entry.info.st_rdev
    if entry.kind == DIRECTORY:
        header = tar_write.header(
            name + b"/", tar_write.DIRECTORY, mode=mode, uid=uid, gid=gid, mtime=mtime, xattrs=entry.xattrs
        )
        if entry.opaque:
            header += tar_write.header(name + b"/.wh..wh..opq", tar_write.REGULAR, mode=0)
        return b"o" if entry.opaque else b"d", b"", header
    if entry.kind == SYMLINK:
        target = os.readlink(entry.path)
        header = tar_write.header(name, tar_write.SYMLINK, mode=0o777, uid=uid, gid=gid, mtime=mtime, link=target)
        return b"l", hashlib.sha256(target).hexdigest().encode(), header
    if entry.kind == WHITEOUT:
        parent, slash, basename = name.rpartition(b"/")
        return b"w", b"", tar_write.header(parent + slash + b".wh." + basename, tar_write.REGULAR, mode=0)
    if entry.kind == FIFO:
        return b"p", b"", tar_write.header(name, tar_write.FIFO, mode=mode, uid=uid, gid=gid, mtime=mtime)
    device = (os.major(rdev), os.minor(rdev))
    block = stat.S_ISBLK(entry.info.st_mode)
    kind = tar_write.BLOCKDEV if block else tar_write.CHARACTER
    header = tar_write.header(name, kind, mode=mode, uid=uid, gid=gid, mtime=mtime, device=device)
    return b"b" if block else b"c", b"%d:%d" % device, header


def _write_content(entry: TreeEntry, put: Callable[[bytes], None]) -> int:
    """Passes a file's content to `put`, padded to whole blocks, and returns its CRC-32. Holes are read as zeros. Raises
    StoreError when the size has changed: some process still writes into the tree."""
    expected = entry.info.st_size
    if not expected:
        return 0
    crc = done = 0
    descriptor = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        while done < expected:
            piece = os.read(descriptor, min(CHUNK, expected - done))
            if not piece:
                break
            done += len(piece)
            crc = zlib.crc32(piece, crc)
            put(piece)
    finally:
        os.close(descriptor)
    if done != expected:
        raise StoreError(f"/{os.fsdecode(entry.name)} changed while it was captured", code="capture-changed")
    put(tar_write.padding(expected))
    return crc
