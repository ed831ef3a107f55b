"""The digest of a project's files at one moment: of every file that git lists, what a task can see of it. On the fast
path of `test`.

What counts of a file: its path, its type, whether it is executable, its content or (symlinks) its target. Names come
from git, and a name that leads through a symlink does not count. Contents never come from git (assume-unchanged,
fileMode, CRLF: its status and object ids have blind spots), but from envtool's own record of each file's mode, inode,
size, mtime and ctime in nanoseconds when it was hashed. A change of a file moves its ctime, which no program can set.
The clock of a file system ticks in milliseconds, so a file that changed less than CLOCK_GRAIN before it was hashed may
change again without another ctime: its record is never trusted.

The record only saves time: one file per project with the names as git listed them, and five numbers for each, compared
as bytes; the hashes are in a second file, read only if something changed. `source_files.list_files` has the same rules
for which files count.
"""

from __future__ import annotations

import _thread
import os
import struct
from itertools import chain

from envtool.fs.beneath import open_beneath, open_top, real_path
from envtool.project import OWN, VENDOR, git, snapshot_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

FORMAT = 1  # of the text that is hashed
CLOCK_GRAIN = 20_000_000  # nanoseconds
FORK_THRESHOLD = 20_000  # number of names from which a second process does half of the lstat calls
MAX_NEW_BYTES = 4 << 30  # bytes that are hashed for one snapshot: a directory of films is not a project
_FIELDS = 5
ROW_SIZE = 8 * _FIELDS
MISSING_ROW = bytes(ROW_SIZE)  # the row of a name that does not exist
_KIND, _DIRECTORY, _LINK, _FILE = 0o170000, 0o040000, 0o120000, 0o100000
_COUNTS = _KIND | 0o111  # the bits of a mode that count
_OURS = (OWN.encode(), VENDOR.encode())
_INT64_LIMIT = 1 << 63
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
    """A snapshot in progress: the record of the last one, and a running git."""

    __slots__ = ("gits", "logs", "place", "record", "repository", "root", "top")

    def __init__(self, root: str, place: str, logs: tuple[str, ...]) -> None:
        self.root, self.place, self.logs = root, place, logs
        self.record = snapshot_cache.load_record(place, root)
        self.repository = git.find_repository(root)
        self.top = open_top(root)  # the project; closed by `cancel_query`
        self.gits: dict[bytes, git.Git] = {}  # by the prefix of each repository


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
    query = start_query(root, place, logs)
    if afresh:
        query.record = {}
    result = finish_query(query, cancel=cancel, check=check)
    assert result is not None
    return result


def start_query(root: str, place: str, logs: tuple[str, ...] = ()) -> SnapshotQuery:
    """Starts a snapshot: git works meanwhile. `finish_query` or `cancel_query` must follow. Raises SnapshotError."""
    try:
        query = SnapshotQuery(root, place, logs)
        if query.repository:
            prefixes: list[bytes] = query.record.get("repositories") or [b""]
            try:
                for prefix in prefixes:
                    if process := _start(query, prefix):
                        query.gits[prefix] = process
            except git.RepositoryError:
                cancel_query(query)
                raise
    except git.RepositoryError as error:
        raise SnapshotError(str(error)) from error
    except OSError as error:
        raise SnapshotError(f"{root}: {error.strerror}") from error
    return query


def _start(query: SnapshotQuery, prefix: bytes) -> git.Git | None:
    """Starts git to list the names of one repository of the project; None if there is no repository any more."""
    assert query.repository is not None
    if not prefix:
        return git.start_git(query.repository, query.root, git.LISTED, where=query.top)
    directory = f"{query.root}/{os.fsdecode(prefix[:-1])}"
    inner = git.find_nested_repository(query.repository, directory)
    if inner is None:
        return None
    try:
        descriptor = open_beneath(query.top, os.fsdecode(prefix), os.O_PATH | os.O_DIRECTORY, follow=False)
    except OSError as error:
        raise git.RepositoryError(f"{directory}: {error.strerror}") from error
    try:
        return git.start_git(inner, directory, git.LISTED, where=descriptor)
    finally:
        os.close(descriptor)


def cancel_query(query: SnapshotQuery) -> None:
    """Stops git and closes the project."""
    for process in query.gits.values():
        process.drop()
    if query.top >= 0:
        os.close(query.top)
        query.top = -1


def finish_query(
    query: SnapshotQuery, *, unchanged: bool = False, cancel: int = -1, check: Callable[[], None] | None = None
) -> Snapshot | None:
    """Returns the snapshot. With `unchanged` returns None at the first sign of a change. Raises SnapshotError, also at
    once when the descriptor `cancel` becomes readable, and what `check` raises."""
    try:
        return _finish_query(query, cancel, check, unchanged=unchanged)
    except git.RepositoryError as error:
        raise SnapshotError(str(error)) from error
    finally:
        cancel_query(query)


def _finish_query(
    query: SnapshotQuery, cancel: int, check: Callable[[], None] | None, *, unchanged: bool
) -> Snapshot | None:
    record = query.record
    names: list[bytes] = record.get("names", [])
    stats = _stats(query, names, record.get("parents", []))  # git works meanwhile
    listings = {prefix: process.end(cancel) for prefix, process in query.gits.items()}
    # if a repository above ignores the whole project, the project belongs to no repository
    if query.repository and (listings[b""] or query.repository.top == real_path(query.root)):
        same = record.get("listings") == [*listings.values()] and all(
            os.path.lexists(path) == exists for path, exists in record["inner"]
        )
        if same and stats == record["stats"]:
            return Snapshot(query, record["digest"], names, stats, b"")
        return None if unchanged else _hash_changed(query, _from_git(query, listings, stats, cancel), check)
    found_names = _walk(query)
    if found_names == names and "walked" in record and stats == record["stats"]:
        return Snapshot(query, record["digest"], names, stats, b"")
    walked = {"names": found_names, "walked": b"".join(chain.from_iterable((name, b"\0") for name in found_names))}
    if unchanged:
        return None
    return _hash_changed(query, {**walked, "parents": [], "stats": _stats(query, found_names, [])}, check)


# ---- names -----------------------------------------------------------------------------------------------------------


def _from_git(query: SnapshotQuery, listings: dict[bytes, bytes], stats: bytes, cancel: int) -> dict[str, Any]:
    """Returns names and stats of all repositories of the project, nested ones too. `listings` is the output of git for
    repositories that are listed already, `stats` are those of the recorded names."""
    assert query.repository is not None
    top = os.fsencode(query.root)
    recorded_names, recorded_parents = query.record.get("names"), query.record.get("parents", [])
    new: dict[str, Any] = {"listings": [], "repositories": [], "inner": [], "names": [], "parents": []}
    parts: list[bytes] = []
    pending = [b""]
    while pending:
        prefix = pending.pop()
        if prefix not in listings:
            process = _start(query, prefix)
            if process is None:
                raise SnapshotError(f"{os.fsdecode(prefix)}.git is no git repository")
            listings[prefix] = process.end(cancel)
        git.check_names(listings[prefix], query.repository)
        names = snapshot_cache.split_names(prefix, listings[prefix])
        parents = recorded_parents if names == recorded_names else parent_directories(names)
        parts.append(stats if names == recorded_names else _stats(query, names, parents))
        new["repositories"].append(prefix)
        new["listings"].append(listings[prefix])
        new["names"] += names
        new["parents"] += parents
        # a submodule is a name that is a directory, an embedded repository one with a slash at its end
        modes = _modes(parts[-1])
        nested = {name.rstrip(b"/") for name, mode in zip(names, modes, strict=True) if mode & _KIND == _DIRECTORY}
        for name in sorted(nested):
            path = top + b"/" + name + b"/.git"
            exists = os.path.lexists(path)
            new["inner"].append((path, exists))
            if exists:
                pending.append(name + b"/")
    new["stats"] = b"".join(parts)
    return new


def parent_directories(names: Sequence[bytes]) -> list[bytes]:
    """Returns all directories that the names are in, each before those in it."""
    directories: set[bytes] = set()
    for directory in {name.rstrip(b"/").rpartition(b"/")[0] for name in names}:
        current = directory
        while current and current not in directories:
            directories.add(current)
            current = current.rpartition(b"/")[0]
    return sorted(directories)


def _walk(query: SnapshotQuery) -> list[bytes]:
    """Returns all names of a project that is in no repository, sorted."""
    from envtool.project.walk import walk_files

    try:
        return sorted(os.fsencode(path) for path in walk_files(query.top)[0])
    except OSError as error:
        raise SnapshotError(f"{error.filename or query.root}: {error.strerror}") from error


# ---- stats and hashes ------------------------------------------------------------------------------------------------


def _stats(query: SnapshotQuery, names: Sequence[bytes], parents: Sequence[bytes]) -> bytes:
    """Returns a row for each name: mode, inode, size, mtime, ctime; zeros for a name that does not exist. A name below
    one of `parents` that is a symlink counts as missing: whatever the index says, git would not check it out there. So
    do the logs of this run."""
    stats = _stat_all(query.top, names)
    lstat, top = os.lstat, query.top
    symlinks = []
    for parent in parents:
        try:
            if lstat(parent, dir_fd=top).st_mode & _KIND == _LINK:
                symlinks.append(parent + b"/")
        except OSError:
            continue
    if not symlinks and not query.logs:
        return stats
    symlink_prefixes, logs = tuple(symlinks), {os.fsencode(log) for log in query.logs}
    rows = (
        MISSING_ROW
        if name.startswith(symlink_prefixes) or name in logs
        else stats[ROW_SIZE * number : ROW_SIZE * (number + 1)]
        for number, name in enumerate(names)
    )
    return b"".join(rows)


def _stat_all(top: int, names: Sequence[bytes]) -> bytes:
    if len(names) < FORK_THRESHOLD or _thread._count():  # noqa: SLF001 - threads and forks do not mix
        return _rows(top, names)
    half = len(names) // 2
    output = os.memfd_create("stats")
    try:
        child = os.fork()
        if not child:
            status = 1
            try:
                rows = memoryview(_rows(top, names[half:]))
                while rows:
                    rows = rows[os.write(output, rows) :]
                status = 0
            finally:
                os._exit(status)
        rows_here = _rows(top, names[:half])
        failed = os.waitpid(child, 0)[1] != 0
        return rows_here + (_rows(top, names[half:]) if failed else _read_all(output))
    finally:
        os.close(output)


def _rows(top: int, names: Sequence[bytes]) -> bytes:
    numbers: list[int] = []
    add, lstat = numbers.extend, os.lstat
    for name in names:
        try:
            info = lstat(name, dir_fd=top)
        except OSError:
            add((0, 0, 0, 0, 0))
        else:
            add((info.st_mode, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns))
    return _pack_numbers(numbers)


def _pack_numbers(numbers: Sequence[int]) -> bytes:
    """Returns numbers as 64 bits each. A larger number (inodes of some file systems, times that a task set) loses its
    highest bits, always the same: rows are only compared for equality."""
    form = f"{len(numbers)}q"
    try:
        return struct.pack(form, *numbers)
    except struct.error:
        return struct.pack(form, *[n if -_INT64_LIMIT <= n < _INT64_LIMIT else n & (_INT64_LIMIT - 1) for n in numbers])


def _numbers(row: bytes) -> list[int]:
    return memoryview(row).cast("q").tolist()


def _modes(stats: bytes) -> list[int]:
    return memoryview(stats).cast("q")[::_FIELDS].tolist()


def _hash_changed(query: SnapshotQuery, new: dict[str, Any], check: Callable[[], None] | None) -> Snapshot:
    """Hashes all files that differ from the record, writes the new record, and returns the snapshot."""
    import time

    now = time.time_ns()
    names, stats = new["names"], new["stats"]
    recorded = _recorded_hashes(query)
    hashes, kept_rows = bytearray(), bytearray()
    tree = _DirectoryTree(query.top)
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
    snapshot_cache.write_record(
        query.place, query.root, {**new, "stats": bytes(kept_rows), "digest": result.digest}, hashed
    )
    return result


def format_manifest(names: Sequence[bytes], stats: bytes, hashes: bytes) -> bytes:
    """Returns the text that is hashed: path, mode (octal) and hash (hex) of each file that exists, each ended by a zero
    byte, sorted."""
    rows = {
        name: b"%s\0%o\0%s\0" % (name, mode & _COUNTS, hashes[32 * number : 32 * (number + 1)].hex().encode())
        for number, (name, mode) in enumerate(zip(names, _modes(stats), strict=True))
        if mode and mode & _KIND != _DIRECTORY and not _is_own_path(name)
    }
    return b"".join(rows[name] for name in sorted(rows))


def snapshot_digest(text: bytes) -> str:
    """Returns the digest of a snapshot with this manifest."""
    from hashlib import sha256

    return sha256(b"envtool view %d\n" % FORMAT + text).hexdigest()


def _is_own_path(name: bytes) -> bool:
    first, below, _ = name.partition(b"/")
    return first == _OURS[0] or (first == _OURS[1] and bool(below))


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
    kind = mode & _KIND
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
    return _pack_numbers((info.st_mode, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns))


def _recorded_hashes(query: SnapshotQuery) -> dict[tuple[bytes, bytes], bytes]:
    """Returns (name, row) -> hash of all recorded files."""
    if not query.record:
        return {}
    names, stats, hashes = (
        query.record["names"],
        query.record["stats"],
        snapshot_cache.load_hashes(query.place, query.record),
    )
    if len(hashes) != 32 * len(names) or len(stats) != ROW_SIZE * len(names):
        return {}
    return {
        (name, stats[ROW_SIZE * number : ROW_SIZE * (number + 1)]): hashes[32 * number : 32 * (number + 1)]
        for number, name in enumerate(names)
    }


def _read_all(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0) if size else b""
