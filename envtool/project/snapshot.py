"""The digest of a project's view: of every file that git lists, what a task can tell of it. On the warm way of `test`.

What counts of a file: its path, its type, whether it may be executed, its content or (symlinks) its target. Names
come from git, and one that leads through a symlink is not there; contents from git never (assume-unchanged, fileMode,
CRLF: its status and object ids have blind spots) but from our own record of how each file stood when it was hashed:
mode, inode, size, mtime and ctime in nanoseconds. A change of a file moves its ctime, which no program can set. The
clock of a file system ticks in milliseconds, so what had changed within GRAIN before it was hashed may change again
unseen: such a record is never trusted.

The record is a *short cut*: one file a project with the names as git said them, and five numbers a name, compared as
bytes; the hashes stand in a second one, read only where something changed. Which files count is `project.listed`'s.
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

FORMAT = 1  # of what is hashed
CLOCK_GRAIN = 20_000_000  # nanoseconds
FORK_THRESHOLD = 20_000  # names of which another process looks at half: lstat is nearly all that takes time
MAX_NEW_BYTES = 4 << 30  # bytes that are hashed at once: a directory of films is no project
_FIELDS = 5
ROW_SIZE = 8 * _FIELDS
MISSING_ROW = bytes(ROW_SIZE)  # the row of what is not there
_KIND, _DIRECTORY, _LINK, _FILE = 0o170000, 0o040000, 0o120000, 0o100000
_COUNTS = _KIND | 0o111  # of a mode
_OURS = (OWN.encode(), VENDOR.encode())
_INT64_LIMIT = 1 << 63
_UNTRUSTED_MODE = struct.pack("q", -1)


class SnapshotError(Exception):
    """The view cannot be told: git fails, a file cannot be read, or there is far too much."""


class Snapshot:
    """How the project stood at one moment."""

    __slots__ = ("digest", "hashes", "logs", "names", "place", "root", "stats")

    def __init__(self, asked: SnapshotQuery, digest: str, names: list[bytes], stats: bytes, hashes: bytes) -> None:
        self.root, self.place, self.logs = asked.root, asked.place, asked.logs
        self.digest = digest  # lower-case hex
        self.names = names  # project-relative, as git said them: directories and vanished files among them
        self.stats = stats  # a row of five numbers a name
        self.hashes = hashes  # 32 bytes a name; empty where nothing had to be hashed: `text` knows where they are


class SnapshotQuery:
    """A question under way: what was recorded, and git at work."""

    __slots__ = ("gits", "logs", "place", "record", "repository", "root", "top")

    def __init__(self, root: str, place: str, logs: tuple[str, ...]) -> None:
        self.root, self.place, self.logs = root, place, logs
        self.record = snapshot_cache.load_record(place, root)
        self.repository = git.find_repository(root)
        self.top = open_top(root)  # all is looked at by this descriptor, until `drop`
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
    """How the project stands now. `place` is the path of its record, which is brought up to date; `afresh`: whatever it
    says. `logs` are files that are as if they were not there (logs.py). `check` is called while files are hashed, and
    may raise. Raises Unknown, at once when the descriptor `cancel` becomes readable."""
    asked = start_query(root, place, logs)
    if afresh:
        asked.record = {}
    found = finish_query(asked, cancel=cancel, check=check)
    assert found is not None
    return found


def start_query(root: str, place: str, logs: tuple[str, ...] = ()) -> SnapshotQuery:
    """Begin: git works meanwhile. Follow with `settle` or `drop`. Raises Unknown."""
    try:
        asked = SnapshotQuery(root, place, logs)
        if asked.repository:
            known: list[bytes] = asked.record.get("repositories") or [b""]
            try:
                for prefix in known:
                    if started := _start(asked, prefix):
                        asked.gits[prefix] = started
            except git.RepositoryError:
                cancel_query(asked)
                raise
    except git.RepositoryError as error:
        raise SnapshotError(str(error)) from error
    except OSError as error:
        raise SnapshotError(f"{root}: {error.strerror}") from error
    return asked


def _start(asked: SnapshotQuery, prefix: bytes) -> git.Git | None:
    """Ask git for the names of one repository of the project; None where there is none any more."""
    assert asked.repository is not None
    if not prefix:
        return git.start_git(asked.repository, asked.root, git.LISTED, where=asked.top)
    directory = f"{asked.root}/{os.fsdecode(prefix[:-1])}"
    inner = git.find_nested_repository(asked.repository, directory)
    if inner is None:
        return None
    try:
        where = open_beneath(asked.top, os.fsdecode(prefix), os.O_PATH | os.O_DIRECTORY, follow=False)
    except OSError as error:
        raise git.RepositoryError(f"{directory}: {error.strerror}") from error
    try:
        return git.start_git(inner, directory, git.LISTED, where=where)
    finally:
        os.close(where)


def cancel_query(asked: SnapshotQuery) -> None:
    """Ask no further."""
    for each in asked.gits.values():
        each.drop()
    if asked.top >= 0:
        os.close(asked.top)
        asked.top = -1


def finish_query(
    asked: SnapshotQuery, *, unchanged: bool = False, cancel: int = -1, check: Callable[[], None] | None = None
) -> Snapshot | None:
    """The answer. With `unchanged` None at the first sign that something may have changed. Raises Unknown, at once
    when the descriptor `cancel` becomes readable, and what `check` raises."""
    try:
        return _finish_query(asked, cancel, check, unchanged=unchanged)
    except git.RepositoryError as error:
        raise SnapshotError(str(error)) from error
    finally:
        cancel_query(asked)


def _finish_query(
    asked: SnapshotQuery, cancel: int, check: Callable[[], None] | None, *, unchanged: bool
) -> Snapshot | None:
    known = asked.record
    names: list[bytes] = known.get("names", [])
    stats = _stats(asked, names, known.get("parents", []))  # git works meanwhile
    said = {prefix: each.end(cancel) for prefix, each in asked.gits.items()}
    # where the repository above ignores all that is here, it is a project of its own
    if asked.repository and (said[b""] or asked.repository.top == real_path(asked.root)):
        same = known.get("listings") == [*said.values()] and all(
            os.path.lexists(inner) == there for inner, there in known["inner"]
        )
        if same and stats == known["stats"]:
            return Snapshot(asked, known["digest"], names, stats, b"")
        return None if unchanged else _hash_changed(asked, _from_git(asked, said, stats, cancel), check)
    found = _walk(asked)
    if found == names and "walked" in known and stats == known["stats"]:
        return Snapshot(asked, known["digest"], names, stats, b"")
    walked = {"names": found, "walked": b"".join(chain.from_iterable((name, b"\0") for name in found))}
    if unchanged:
        return None
    return _hash_changed(asked, {**walked, "parents": [], "stats": _stats(asked, found, [])}, check)


# ---- which files there are -------------------------------------------------------------------------------------------


def _from_git(asked: SnapshotQuery, said: dict[bytes, bytes], stats: bytes, cancel: int) -> dict[str, Any]:
    """Names and stats of all repositories of the project, of those in it too. `said` is what git said where it was
    asked, `stats` of the names that were recorded."""
    assert asked.repository is not None
    top = os.fsencode(asked.root)
    before, known = asked.record.get("names"), asked.record.get("parents", [])
    new: dict[str, Any] = {"listings": [], "repositories": [], "inner": [], "names": [], "parents": []}
    parts: list[bytes] = []
    pending = [b""]
    while pending:
        prefix = pending.pop()
        if prefix not in said:
            started = _start(asked, prefix)
            if started is None:
                raise SnapshotError(f"{os.fsdecode(prefix)}.git is no git repository")
            said[prefix] = started.end(cancel)
        git.check_names(said[prefix], asked.repository)
        names = snapshot_cache.split_names(prefix, said[prefix])
        parents = known if names == before else parent_directories(names)
        parts.append(stats if names == before else _stats(asked, names, parents))
        new["repositories"].append(prefix)
        new["listings"].append(said[prefix])
        new["names"] += names
        new["parents"] += parents
        # a submodule is a name that is a directory, an embedded repository one with a slash at its end
        modes = _modes(parts[-1])
        inner = {name.rstrip(b"/") for name, mode in zip(names, modes, strict=True) if mode & _KIND == _DIRECTORY}
        for name in sorted(inner):
            path = top + b"/" + name + b"/.git"
            there = os.path.lexists(path)
            new["inner"].append((path, there))
            if there:
                pending.append(name + b"/")
    new["stats"] = b"".join(parts)
    return new


def parent_directories(names: Sequence[bytes]) -> list[bytes]:
    """All directories on the way to names, each before what is in it."""
    found: set[bytes] = set()
    for directory in {name.rstrip(b"/").rpartition(b"/")[0] for name in names}:
        way = directory
        while way and way not in found:
            found.add(way)
            way = way.rpartition(b"/")[0]
    return sorted(found)


def _walk(asked: SnapshotQuery) -> list[bytes]:
    """All names of a project that is in no repository, sorted."""
    from envtool.project.walk import walk_files

    try:
        return sorted(os.fsencode(path) for path in walk_files(asked.top)[0])
    except OSError as error:
        raise SnapshotError(f"{error.filename or asked.root}: {error.strerror}") from error


# ---- how they stand --------------------------------------------------------------------------------------------------


def _stats(asked: SnapshotQuery, names: Sequence[bytes], parents: Sequence[bytes]) -> bytes:
    """A row a name: mode, inode, size, mtime, ctime; zeros for what is not there. A name that leads through one of
    `parents` is not there where that is a symlink: whatever the index says, git would not check it out so. Neither are
    the logs of this run."""
    stats = _stat_all(asked.top, names)
    lstat, top = os.lstat, asked.top
    linked = []
    for parent in parents:
        try:
            if lstat(parent, dir_fd=top).st_mode & _KIND == _LINK:
                linked.append(parent + b"/")
        except OSError:
            continue
    if not linked and not asked.logs:
        return stats
    behind, logs = tuple(linked), {os.fsencode(log) for log in asked.logs}
    rows = (
        MISSING_ROW if name.startswith(behind) or name in logs else stats[ROW_SIZE * at : ROW_SIZE * (at + 1)]
        for at, name in enumerate(names)
    )
    return b"".join(rows)


def _stat_all(top: int, names: Sequence[bytes]) -> bytes:
    if len(names) < FORK_THRESHOLD or _thread._count():  # noqa: SLF001 - threads and forks do not mix
        return _rows(top, names)
    half = len(names) // 2
    other = os.memfd_create("stats")
    try:
        child = os.fork()
        if not child:
            status = 1
            try:
                rows = memoryview(_rows(top, names[half:]))
                while rows:
                    rows = rows[os.write(other, rows) :]
                status = 0
            finally:
                os._exit(status)
        ours = _rows(top, names[:half])
        failed = os.waitpid(child, 0)[1] != 0
        return ours + (_rows(top, names[half:]) if failed else _read_all(other))
    finally:
        os.close(other)


def _rows(top: int, names: Sequence[bytes]) -> bytes:
    numbers: list[int] = []
    add, lstat = numbers.extend, os.lstat
    for name in names:
        try:
            found = lstat(name, dir_fd=top)
        except OSError:
            add((0, 0, 0, 0, 0))
        else:
            add((found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    return _packed(numbers)


def _packed(numbers: Sequence[int]) -> bytes:
    """Numbers of 64 bits. What has more, as inode numbers of some file systems and times that a task made up, loses its
    highest bits, the same ones each time: only whether it is what it was is ever asked."""
    form = f"{len(numbers)}q"
    try:
        return struct.pack(form, *numbers)
    except struct.error:
        return struct.pack(form, *[n if -_INT64_LIMIT <= n < _INT64_LIMIT else n & (_INT64_LIMIT - 1) for n in numbers])


def _numbers(row: bytes) -> list[int]:
    return memoryview(row).cast("q").tolist()


def _modes(stats: bytes) -> list[int]:
    return memoryview(stats).cast("q")[::_FIELDS].tolist()


def _hash_changed(asked: SnapshotQuery, new: dict[str, Any], check: Callable[[], None] | None) -> Snapshot:
    """The digest, with all hashed anew that does not stand as it was recorded; the record is written again."""
    import time

    now = time.time_ns()
    names, stats = new["names"], new["stats"]
    recorded = _recorded(asked)
    hashes, kept = bytearray(), bytearray()
    tree = _DirectoryTree(asked.top)
    room = MAX_NEW_BYTES
    try:
        for number, name in enumerate(names):
            row = stats[ROW_SIZE * number : ROW_SIZE * (number + 1)]
            digest = recorded.get((name, row))
            if digest is None:
                mode, _, size, _, ctime = _numbers(row)
                room -= size
                if room < 0:
                    raise SnapshotError(f"more than {MAX_NEW_BYTES >> 30} GiB of files that are new")
                if check is not None and not number & 0xFF:
                    check()
                digest, steady = _hash(tree, name, mode, row, check)
                if not steady or ctime > now - CLOCK_GRAIN:
                    row = _UNTRUSTED_MODE + row[8:]
            hashes += digest
            kept += row
    finally:
        tree.close()
    hashed = bytes(hashes)
    found = Snapshot(asked, snapshot_digest(format_manifest(names, stats, hashed)), names, stats, hashed)
    snapshot_cache.write_record(asked.place, asked.root, {**new, "stats": bytes(kept), "digest": found.digest}, hashed)
    return found


def format_manifest(names: Sequence[bytes], stats: bytes, hashes: bytes) -> bytes:
    """What is hashed: path, mode (octal) and hash (hex) of each file that is there, each ended by a zero, sorted."""
    rows = {
        name: b"%s\0%o\0%s\0" % (name, mode & _COUNTS, hashes[32 * number : 32 * (number + 1)].hex().encode())
        for number, (name, mode) in enumerate(zip(names, _modes(stats), strict=True))
        if mode and mode & _KIND != _DIRECTORY and not _own(name)
    }
    return b"".join(rows[name] for name in sorted(rows))


def snapshot_digest(text: bytes) -> str:
    """The digest of a view, by what `rows_text` says of it."""
    from hashlib import sha256

    return sha256(b"envtool view %d\n" % FORMAT + text).hexdigest()


def _own(name: bytes) -> bool:
    first, below, _ = name.partition(b"/")
    return first == _OURS[0] or (first == _OURS[1] and bool(below))


class _DirectoryTree:
    """The directories of the project, one at a time, reached without following a link."""

    __slots__ = ("_directory", "_held", "_top")

    def __init__(self, top: int) -> None:
        self._top, self._held, self._directory = top, -1, b""

    def find(self, name: bytes) -> tuple[int, bytes]:
        """A descriptor of the directory that a name is in, ours to close, and its last component. Raises OSError."""
        directory, _, last = name.rstrip(b"/").rpartition(b"/")
        if self._held < 0 or directory != self._directory:
            self.close()
            flags = os.O_PATH | os.O_DIRECTORY
            self._held = open_beneath(self._top, os.fsdecode(directory), flags, follow=False)
            self._directory = directory
        return self._held, last

    def close(self) -> None:
        if self._held >= 0:
            os.close(self._held)
        self._held = -1


def _hash(
    tree: _DirectoryTree, name: bytes, mode: int, row: bytes, check: Callable[[], None] | None
) -> tuple[bytes, bool]:
    """sha256 of a content or target, and whether it stood still meanwhile. Of other things only the type counts."""
    kind = mode & _KIND
    if kind not in (_LINK, _FILE):
        return b"\0" * 32, True
    from hashlib import sha256  # not by whom nothing has changed for: it loads a library of cryptography

    try:
        directory, last = tree.find(name)
        if kind == _LINK:
            digest = sha256(os.readlink(last, dir_fd=directory)).digest()
            return digest, _row(os.stat(last, dir_fd=directory, follow_symlinks=False)) == row
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(last, flags, dir_fd=directory)
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


def _row(found: os.stat_result) -> bytes:
    return _packed((found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))


def _recorded(asked: SnapshotQuery) -> dict[tuple[bytes, bytes], bytes]:
    """(name, row) -> hash, of all that is recorded."""
    if not asked.record:
        return {}
    names, stats, hashes = (
        asked.record["names"],
        asked.record["stats"],
        snapshot_cache.load_hashes(asked.place, asked.record),
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
