"""The digest of a project's files at one moment: of every file that git lists, what a task can see of it. On the fast
path of `test`.

What counts of a file: its path, its type, whether it is executable, its content or (symlinks) its target. listing.py
says which names there are. Contents never come from git (assume-unchanged, fileMode, CRLF: its status and object ids
have blind spots), but from envtool's own record of each file's mode, inode, size, mtime and ctime in nanoseconds when
it was hashed. A change of a file moves its ctime, which no program can set. The clock of a file system ticks in
milliseconds, so a file that changed less than CLOCK_GRAIN before it was hashed may change again without another ctime:
its record is never trusted.

The record only saves time; the store has one for each path of a project. Its first file holds the names as git listed
them, and a row of numbers for each, which are compared as bytes; the second file holds the hashes, read only if
something changed. The two are written one after the other, possibly by several processes at once, and belong together
if they have the same tag, which is computed from the hashes: if two processes saw the same files, the files of either
fit. In the first file, names and rows come after the part with the checksum (`store_files.encode_with_checksum`): a
checksum of megabytes would cost the fast path milliseconds. They are compared with what git and the file system say
now, so damage there only looks like a change.
"""

from __future__ import annotations

import os
import struct

from envtool.fs import store_files
from envtool.fs.beneath import open_beneath
from envtool.project import git, listing
from envtool.project.git import split_names
from envtool.project.listing import KIND, ROW_SIZE, Listing, pack_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

FORMAT = 1  # of the text that is hashed
RECORD_FORMAT = 3
HASH_SIZE = 32  # bytes of a hash
MAX_RECORD_SIZE = 1 << 30  # bytes of a record: about five million names
CLOCK_GRAIN = 20_000_000  # nanoseconds
MAX_NEW_BYTES = 4 << 30  # bytes that are hashed for one snapshot: a directory of films is not a project
_LINK, _FILE = 0o120000, 0o100000
_COUNTS = KIND | 0o111  # the bits of a mode that count
_UNTRUSTED_MODE = struct.pack("q", -1)


class SnapshotError(Exception):
    """There is no snapshot: git fails, a file cannot be read, or there are far too many bytes."""


class Snapshot:
    """The state of the project at one moment."""

    __slots__ = ("digest", "hashes", "logs", "names", "place", "root", "stats")

    def __init__(self, query: SnapshotQuery, digest: str, names: list[bytes], stats: bytes, hashes: bytes) -> None:
        self.root, self.place, self.logs = query.root, query.place, query.logs
        self.digest = digest  # lower-case hex
        self.names = names  # relative to the project, as git listed them, with directories and deleted files
        self.stats = stats  # a row of five numbers for each name
        self.hashes = hashes  # 32 bytes for each name; empty if no file was hashed: then the record has them


class SnapshotQuery:
    """A snapshot in progress: the record of the last one, and the listing that git works on."""

    __slots__ = ("known", "listing", "logs", "place", "record", "root")

    def __init__(self, root: str, place: str, logs: tuple[str, ...], *, afresh: bool) -> None:
        self.root, self.place, self.logs = root, place, logs
        self.record = {} if afresh else load_record(place, root)
        self.known: Listing | None = self.record.get("listing")
        self.listing = listing.start(root, (self.known.prefixes if self.known else None) or [b""], logs=logs)

    @property
    def repository(self) -> git.Repository | None:
        """The repository that the project is in."""
        return self.listing.repository


def take_snapshot(
    root: str,
    place: str,
    cancel: int = -1,
    check: Callable[[], None] | None = None,
    *,
    logs: tuple[str, ...] = (),
    afresh: bool = False,
) -> Snapshot:
    """Returns the state of the project now. `place` is the path of its record, which is updated; `afresh`: without
    using the record. The files `logs` count as missing (own_logs.py). `check` is called while files are hashed, and may
    raise. Raises SnapshotError, also at once when the descriptor `cancel` becomes readable."""
    result = finish_query(start_query(root, place, logs, afresh=afresh), cancel=cancel, check=check)
    assert result is not None
    return result


def start_query(root: str, place: str, logs: tuple[str, ...] = (), *, afresh: bool = False) -> SnapshotQuery:
    """Starts a snapshot: git works meanwhile. `finish_query` or `cancel_query` must follow. Raises SnapshotError."""
    try:
        return SnapshotQuery(root, place, logs, afresh=afresh)
    except git.RepositoryError as error:
        raise SnapshotError(str(error)) from error
    except OSError as error:
        raise SnapshotError(f"{root}: {error.strerror}") from error


def cancel_query(query: SnapshotQuery) -> None:
    """Stops git and closes the project."""
    query.listing.cancel()


def finish_query(
    query: SnapshotQuery, *, unchanged: bool = False, cancel: int = -1, check: Callable[[], None] | None = None
) -> Snapshot | None:
    """Returns the snapshot. With `unchanged` returns None at the first sign of a change. Raises SnapshotError, also at
    once when the descriptor `cancel` becomes readable, and what `check` raises."""
    try:
        found = listing.finish(query.listing, query.known, only_known=unchanged, cancel=cancel)
        if found is None:
            return None
        if found is query.known:
            return Snapshot(query, query.record["digest"], found.names, found.stats, b"")
        return _hash_changed(query, found, check)
    except git.RepositoryError as error:
        raise SnapshotError(str(error)) from error
    except OSError as error:
        raise SnapshotError(f"{error.filename or query.root}: {error.strerror}") from error
    finally:
        cancel_query(query)


# ---- hashes --------------------------------------------------------------------------------------------------------


def _numbers(row: bytes) -> list[int]:
    return memoryview(row).cast("q").tolist()


def _hash_changed(query: SnapshotQuery, found: Listing, check: Callable[[], None] | None) -> Snapshot:
    """Hashes all files that differ from the record, writes the new record, and returns the snapshot."""
    import time

    now = time.time_ns()
    names, stats = found.names, found.stats
    recorded = _recorded_hashes(query)
    hashes, kept_rows = bytearray(), bytearray()
    tree = _DirectoryTree(query.listing.top)
    remaining = MAX_NEW_BYTES
    try:
        for number, name in enumerate(names):
            row = stats[ROW_SIZE * number : ROW_SIZE * (number + 1)]
            digest = recorded.get((name, row))
            if digest is None:
                mode, _, size, _, ctime = _numbers(row)
                remaining -= size
                if remaining < 0:
                    raise SnapshotError(f"more than {MAX_NEW_BYTES >> 30} GiB of files that are new")
                if check is not None and not number & 0xFF:
                    check()
                digest, steady = _hash(tree, name, mode, row, check)
                if not steady or ctime > now - CLOCK_GRAIN:
                    row = _UNTRUSTED_MODE + row[8:]
            hashes += digest
            kept_rows += row
    finally:
        tree.close()
    hashed = bytes(hashes)
    result = Snapshot(query, snapshot_digest(format_manifest(names, stats, hashed)), names, stats, hashed)
    write_record(query.place, query.root, found, bytes(kept_rows), result.digest, hashed)
    return result


def format_manifest(names: Sequence[bytes], stats: bytes, hashes: bytes) -> bytes:
    """Returns the text that is hashed: path, mode (octal) and hash (hex) of each file that exists, each ended by a zero
    byte, sorted."""
    rows = {
        name: b"%s\0%o\0%s\0" % (name, mode & _COUNTS, hashes[32 * number : 32 * (number + 1)].hex().encode())
        for number, name, mode in listing.counted(names, stats)
    }
    return b"".join(rows[name] for name in sorted(rows))


def snapshot_digest(text: bytes) -> str:
    """Returns the digest of a snapshot with this manifest."""
    from hashlib import sha256

    return sha256(b"envtool view %d\n" % FORMAT + text).hexdigest()


class _DirectoryTree:
    """Opens one directory of the project at a time, without following a link."""

    __slots__ = ("_descriptor", "_directory", "_top")

    def __init__(self, top: int) -> None:
        self._top, self._descriptor, self._directory = top, -1, b""

    def find(self, name: bytes) -> tuple[int, bytes]:
        """Returns a descriptor of the directory that a name is in, which this object closes, and the name's last
        component. Raises OSError."""
        directory, _, last = name.rstrip(b"/").rpartition(b"/")
        if self._descriptor < 0 or directory != self._directory:
            self.close()
            flags = os.O_PATH | os.O_DIRECTORY
            self._descriptor = open_beneath(self._top, os.fsdecode(directory), flags, follow=False)
            self._directory = directory
        return self._descriptor, last

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def _hash(
    tree: _DirectoryTree, name: bytes, mode: int, row: bytes, check: Callable[[], None] | None
) -> tuple[bytes, bool]:
    """Returns the sha256 of a content or target, and whether the file was unchanged meanwhile. Of other types only the
    type counts."""
    kind = mode & KIND
    if kind not in (_LINK, _FILE):
        return b"\0" * 32, True
    from hashlib import sha256  # only if something changed: it loads a cryptographic library

    try:
        directory, basename = tree.find(name)
        if kind == _LINK:
            digest = sha256(os.readlink(basename, dir_fd=directory)).digest()
            return digest, _row(os.stat(basename, dir_fd=directory, follow_symlinks=False)) == row
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(basename, flags, dir_fd=directory)
        try:
            state = sha256()
            while piece := os.read(descriptor, 1 << 20):
                if check is not None and len(piece) == 1 << 20:
                    check()
                state.update(piece)
            return state.digest(), _row(os.fstat(descriptor)) == row
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SnapshotError(f"{os.fsdecode(name)}: {error.strerror}") from error


def _row(info: os.stat_result) -> bytes:
    return pack_numbers((info.st_mode, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns))


def _recorded_hashes(query: SnapshotQuery) -> dict[tuple[bytes, bytes], bytes]:
    """Returns (name, row) -> hash of all recorded files."""
    if not query.known:
        return {}
    names, stats = query.known.names, query.known.stats
    hashes = load_hashes(query.place, query.record)
    if len(hashes) != 32 * len(names) or len(stats) != ROW_SIZE * len(names):
        return {}
    return {
        (name, stats[ROW_SIZE * number : ROW_SIZE * (number + 1)]): hashes[32 * number : 32 * (number + 1)]
        for number, name in enumerate(names)
    }


# ---- the record ------------------------------------------------------------------------------------------------


def cache_path(store: str, root: str) -> str:
    """Returns the path of a project's record; the content says which project it belongs to."""
    import binascii

    return f"{store}/plans/{binascii.crc32(os.fsencode(root)):08x}.view"


def load_record(path: str, root: str) -> dict[str, Any]:
    """Returns the record of a project, with its Listing as `listing`; empty if there is none that is valid."""
    try:
        record: dict[str, Any]
        record, bulk = store_files.decode_with_checksum(store_files.read_regular_file(path, most=MAX_RECORD_SIZE))
        if (record["format"], record["root"]) != (RECORD_FORMAT, root) or sum(record["lengths"]) != len(bulk):
            return {}
        pieces, offset = [], 0
        for length in record["lengths"]:
            pieces.append(bytes(bulk[offset : offset + length]))
            offset += length
        stats, *outputs = pieces
        prefixes = record["repositories"]
        names = [name for pair in zip(prefixes or [b""], outputs, strict=True) for name in split_names(*pair)]
        record["listing"] = Listing(names, stats, outputs, prefixes, record["inner"], record["parents"])
    except (OSError, ValueError, EOFError, TypeError, LookupError):
        return {}
    return record


def load_hashes(path: str, record: dict[str, Any]) -> bytes:
    """Returns the hashes of a record, HASH_SIZE bytes for each name; empty if the file is missing or belongs to another
    record."""
    try:
        tag, hashes = store_files.decode_with_checksum(
            store_files.read_regular_file(f"{path}.hashes", most=MAX_RECORD_SIZE)
        )[0]
    except (OSError, ValueError, EOFError, TypeError):
        return b""
    return hashes if tag == record["tag"] else b""


def hashes_tag(hashed: bytes) -> bytes:
    """Returns the tag of a record with these hashes."""
    from hashlib import sha256

    return sha256(hashed).digest()[:16]


def write_record(path: str, root: str, listing: Listing, stats: bytes, digest: str, hashed: bytes) -> None:
    """Replaces the record. `stats` are the rows of the names, with such that are not to be trusted. Never raises: with
    a full disk the next snapshot is only slower."""
    pieces = [stats, *listing.outputs]
    header = {
        "format": RECORD_FORMAT,
        "root": root,
        "tag": hashes_tag(hashed),
        "digest": digest,
        "repositories": listing.prefixes,
        "inner": listing.inner,
        "parents": listing.parents,
        "lengths": [len(piece) for piece in pieces],
    }
    store_files.replace_if_possible(f"{path}.hashes", store_files.encode_with_checksum((header["tag"], hashed)))
    store_files.replace_if_possible(path, store_files.encode_with_checksum(header, b"".join(pieces)))
