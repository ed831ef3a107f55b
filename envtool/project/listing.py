"""Lists the files of a project: the one place that says which names it has, and which of them count. On the fast path.

With git, the names are those that git lists in the project and in every repository in it (a submodule, or an embedded
one, at any depth). Without git, or if a repository above ignores the whole project, a walk finds them (walk.py). A name
counts if something is there that is no directory, no link leads to it, and it is not envtool's own.

Everything else that says which files there are reads it here: inputs of layers, `Project.glob`, detection, snapshots.
What git ignores, and what `list` compares, is of the same repositories (git.start_all).
"""

from __future__ import annotations

import _thread
import os
import struct

from envtool.fs.beneath import open_top, real_path
from envtool.project import git, is_own_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FORK_THRESHOLD = 20_000  # number of names from which a second process does half of the lstat calls
FIELDS = 5
ROW_SIZE = 8 * FIELDS
MISSING_ROW = bytes(ROW_SIZE)  # the row of a name that does not exist
KIND, _DIRECTORY, _LINK = 0o170000, 0o040000, 0o120000
_INT64_LIMIT = 1 << 63


class Listing:
    """The names of a project's files at one moment, and a row of numbers for each."""

    __slots__ = ("inner", "names", "outputs", "parents", "prefixes", "stats")

    def __init__(
        self,
        names: list[bytes],
        stats: bytes,
        outputs: list[bytes],
        prefixes: list[bytes] = [],  # noqa: B006 - never changed
        inner: list[tuple[bytes, bool]] = [],  # noqa: B006
        parents: list[bytes] = [],  # noqa: B006
    ) -> None:
        self.names = names  # relative to the project, as git listed them, with directories and deleted files
        self.stats = stats  # of each name: mode, inode, size, mtime, ctime; zeros if it does not exist
        self.outputs = outputs  # of git in each repository, or the names that a walk found, each ended by a zero byte
        self.prefixes = prefixes  # of each repository; none if the project is in no repository
        self.inner = inner  # each path where a repository could be, and whether there is one
        self.parents = parents  # the directories that the names are in


class Query:
    """A listing in progress: the project is open, and git works in each of its repositories that is known already."""

    __slots__ = ("gits", "logs", "repository", "root", "top")

    def __init__(self, root: str, prefixes: Sequence[bytes], arguments: Sequence[str], logs: tuple[str, ...]) -> None:
        self.root, self.logs = root, logs
        self.repository = git.find_repository(root)
        self.top = open_top(root)  # closed by `cancel`
        self.gits: dict[str, git.Git] = {}  # by the prefix of each repository
        if self.repository:
            try:
                found = git.nested_repositories(self.repository, root, map(os.fsdecode, prefixes))
                self.gits = git.start_all(self.top, root, found, arguments)
            except BaseException:
                self.cancel()
                raise

    def cancel(self) -> None:
        """Stops git and closes the project."""
        for process in self.gits.values():
            process.drop()
        if self.top >= 0:
            os.close(self.top)
            self.top = -1


def start(
    root: str,
    prefixes: Sequence[bytes] = (b"",),
    arguments: Sequence[str] = git.LISTED,
    logs: tuple[str, ...] = (),
) -> Query:
    """Starts a listing: git works meanwhile. `finish` and `Query.cancel` must follow. `prefixes` are the repositories
    that the project had last. The files `logs` count as missing. Raises RepositoryError, OSError."""
    return Query(root, prefixes, arguments, logs)


def list_files(root: str, cancel: int = -1) -> set[bytes]:
    """Returns the names that count in a project now. Raises RepositoryError, OSError, and GitStoppedError as soon as
    the descriptor `cancel` is readable."""
    query = start(root)
    try:
        outputs = end_gits(query, cancel)
        if not is_in_repository(query, outputs):  # a walk finds only what is there, and no directories
            return {name for name in walk_names(query) if not is_own_path(name)}
        found = _read_repositories(query, outputs, None, b"", cancel)
        return {name for _, name, _ in counted(found.names, found.stats)}
    finally:
        query.cancel()


def finish(query: Query, known: Listing | None = None, *, only_known: bool = False, cancel: int = -1) -> Listing | None:
    """Returns the names that the project has now: the very object `known` if they and their rows are as there. With
    `only_known` returns None at the first sign of a change. Raises as `list_files`."""
    stats = _stats(query, known.names, known.parents) if known else b""  # git works meanwhile
    outputs = end_gits(query, cancel)
    if is_in_repository(query, outputs):
        if (
            known
            and known.prefixes
            and known.outputs == [*outputs.values()]
            and stats == known.stats
            and all(os.path.lexists(path) == exists for path, exists in known.inner)
        ):
            return known
        return None if only_known else _read_repositories(query, outputs, known, stats, cancel)
    names = walk_names(query)
    if known and not known.prefixes and names == known.names and stats == known.stats:
        return known
    return None if only_known else Listing(names, _stats(query, names, ()), [b"".join(n + b"\0" for n in names)])


def counted(names: Sequence[bytes], stats: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yields the number, name and mode of each name that counts as a file of the project."""
    for number, (name, mode) in enumerate(zip(names, modes(stats), strict=True)):
        if mode and mode & KIND != _DIRECTORY and not is_own_path(name):
            yield number, name, mode


# ---- repositories ----------------------------------------------------------------------------------------------------


def end_gits(query: Query, cancel: int = -1) -> dict[bytes, bytes]:
    """Returns what git printed, by the prefix of each repository. Raises RepositoryError, GitStoppedError."""
    return {os.fsencode(prefix): process.end(cancel) for prefix, process in query.gits.items()}


def is_in_repository(query: Query, outputs: dict[bytes, bytes]) -> bool:
    """Returns whether the project is in a repository: if one above ignores all of it, then not."""
    repository = query.repository
    return repository is not None and (bool(outputs[b""]) or repository.top == real_path(query.root))


def read_all(
    query: Query,
    outputs: dict[bytes, bytes],
    arguments: Sequence[str],
    read: Callable[[bytes, bytes], Sequence[bytes]],
    cancel: int,
) -> list[tuple[bytes, bool]]:
    """Reads the listing of the project, and of every repository in it. `outputs` has those that git has ended already.
    `read` gets the prefix and the output of each, checks the names, and returns those, with the prefix, at which there
    may be another repository. Returns each path where one could be, and whether there is one. Raises RepositoryError,
    GitStoppedError."""
    assert query.repository is not None
    top = os.fsencode(query.root)
    inner: list[tuple[bytes, bool]] = []
    pending = [b""]
    while pending:
        prefix = pending.pop()
        if prefix not in outputs:
            key = os.fsdecode(prefix)
            found = [(key, git.find_nested_repository(query.repository, f"{query.root}/{key[:-1]}"))]
            query.gits |= git.start_all(query.top, query.root, found, arguments)
            outputs[prefix] = query.gits[key].end(cancel)
        for name in read(prefix, outputs[prefix]):
            path = top + b"/" + name + b"/.git"
            exists = os.path.lexists(path)
            inner.append((path, exists))
            if exists:
                pending.append(name + b"/")
    return inner


def _read_repositories(
    query: Query, outputs: dict[bytes, bytes], known: Listing | None, stats: bytes, cancel: int
) -> Listing:
    """Returns names and rows of all repositories. `stats` are the rows of the known names."""
    found = Listing([], b"", [], [], [], [])
    rows: list[bytes] = []

    def read(prefix: bytes, output: bytes) -> list[bytes]:
        assert query.repository is not None
        git.check_names(output, query.repository)
        names = git.split_names(prefix, output)
        is_known = known is not None and names == known.names
        parents = known.parents if known and is_known else parent_directories(names)
        rows.append(stats if is_known else _stats(query, names, parents))
        found.prefixes.append(prefix)
        found.outputs.append(output)
        found.names += names
        found.parents += parents
        # a submodule is a name that is a directory, an embedded repository one with a slash at its end
        kinds = zip(names, modes(rows[-1]), strict=True)
        return sorted({name.rstrip(b"/") for name, mode in kinds if mode & KIND == _DIRECTORY})

    found.inner = read_all(query, outputs, git.LISTED, read, cancel)
    found.stats = b"".join(rows)
    return found


def parent_directories(names: Sequence[bytes]) -> list[bytes]:
    """Returns all directories that the names are in, each before those in it."""
    directories: set[bytes] = set()
    for directory in {name.rstrip(b"/").rpartition(b"/")[0] for name in names}:
        current = directory
        while current and current not in directories:
            directories.add(current)
            current = current.rpartition(b"/")[0]
    return sorted(directories)


def walk_names(query: Query) -> list[bytes]:
    """Returns all names of a project that is in no repository, sorted. Raises OSError."""
    from envtool.project.walk import walk_files

    return sorted(os.fsencode(path) for path in walk_files(query.top)[0])


# ---- rows of numbers -------------------------------------------------------------------------------------------------


def _stats(query: Query, names: Sequence[bytes], parents: Sequence[bytes]) -> bytes:
    """Returns a row for each name: mode, inode, size, mtime, ctime; zeros for a name that does not exist. A name below
    one of `parents` that is a symlink counts as missing: whatever the index says, git would not check it out there. So
    do the logs of this run."""
    stats = _stat_all(query.top, names)
    lstat, top = os.lstat, query.top
    symlinks = []
    for parent in parents:
        try:
            if lstat(parent, dir_fd=top).st_mode & KIND == _LINK:
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
        return read_rows(top, names)
    half = len(names) // 2
    output = os.memfd_create("stats")
    try:
        child = os.fork()
        if not child:
            status = 1
            try:
                rows = memoryview(read_rows(top, names[half:]))
                while rows:
                    rows = rows[os.write(output, rows) :]
                status = 0
            finally:
                os._exit(status)
        rows_here = read_rows(top, names[:half])
        failed = os.waitpid(child, 0)[1] != 0
        return rows_here + (read_rows(top, names[half:]) if failed else _read_all(output))
    finally:
        os.close(output)


def read_rows(top: int, names: Sequence[bytes]) -> bytes:
    """Returns a row for each name in the directory `top`: see Listing.stats."""
    numbers: list[int] = []
    add, lstat = numbers.extend, os.lstat
    for name in names:
        try:
            info = lstat(name, dir_fd=top)
        except OSError:
            add((0, 0, 0, 0, 0))
        else:
            add((info.st_mode, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns))
    return pack_numbers(numbers)


def pack_numbers(numbers: Sequence[int]) -> bytes:
    """Returns numbers as 64 bits each. A larger number (inodes of some file systems, times that a task set) loses its
    highest bits, always the same: rows are only compared for equality."""
    form = f"{len(numbers)}q"
    try:
        return struct.pack(form, *numbers)
    except struct.error:
        return struct.pack(form, *[n if -_INT64_LIMIT <= n < _INT64_LIMIT else n & (_INT64_LIMIT - 1) for n in numbers])


def modes(stats: bytes) -> list[int]:
    """Returns the modes of rows; 0 for a name that does not exist."""
    return memoryview(stats).cast("q")[::FIELDS].tolist()


def _read_all(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0) if size else b""
