"""The digest of a project's view: of every file that git lists, what a task can tell of it. On the warm way of `test`.

What counts of a file: its path, its type, whether it may be executed, its content or (symlinks) its target. Names
come from git; contents from git never (assume-unchanged, fileMode, CRLF: its status and object ids have blind spots)
but from our own record of how each file stood when it was hashed: mode, inode, size, mtime and ctime in nanoseconds.
Whoever changes a file moves its ctime, which no program can set. The clock of a file system ticks in milliseconds,
so what had changed within GRAIN before it was hashed may change again unseen: such a record is never trusted.

The record is a *short cut*: one file a project with the names as git said them, and five numbers a name, compared as
bytes; the hashes stand in a second one, read only where something changed. Which files count is `project.listed`'s.
"""

from __future__ import annotations

import _hashlib
import _thread
import os
from array import array
from itertools import chain

from envtool import git
from envtool.view import OWN, VENDOR, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

FORMAT = 1
GRAIN = 20_000_000  # nanoseconds
MANY = 20_000  # names of which another process looks at half: lstat is nearly all that takes time
MOST = 4 << 30  # bytes that are hashed at once: a directory of films is no project
_FIELDS = 5
ROW = 8 * _FIELDS
_KIND, _DIRECTORY, _LINK, _FILE = 0o170000, 0o040000, 0o120000, 0o100000
_COUNTS = _KIND | 0o111  # of a mode
_OURS = (OWN.encode(), VENDOR.encode())
_MORE = 1 << 63
_DISTRUSTED = array("q", [-1]).tobytes()
sha256 = _hashlib.openssl_sha256


class Unknown(Exception):  # noqa: N818 - it is what is the case
    """The view cannot be told: git fails, a file cannot be read, or there is far too much."""


class View:
    """How the project stood at one moment."""

    __slots__ = ("digest", "hashes", "names", "place", "root", "stats")

    def __init__(self, asked: Asked, digest: str, names: list[bytes], stats: bytes, hashes: bytes) -> None:
        self.root, self.place = asked.root, asked.place
        self.digest = digest  # lower-case hex
        self.names = names  # project-relative, as git said them: directories and vanished files among them
        self.stats = stats  # a row of five numbers a name
        self.hashes = hashes  # 32 bytes a name; empty where nothing had to be hashed: `text` knows where they are


class Asked:
    """A question under way: what was recorded, and git at work."""

    __slots__ = ("gits", "ground", "place", "record", "root")

    def __init__(self, root: str, place: str) -> None:
        self.root, self.place = root, place
        self.record = record.load(place, root)
        self.ground = _ground(root)
        self.gits: list[_Git] = []

    def repositories(self) -> list[tuple[bytes, bytes]]:
        """(prefix, directory) of those that are known so far: the project's own at least."""
        known: list[tuple[bytes, bytes]] = self.record.get("repositories", [])
        return known or [(b"", os.fsencode(self.root))]


class _Git:
    """One git, writing into memory: a pipe would make it wait for us, who work on something else."""

    __slots__ = ("_child", "_errors", "_output")

    def __init__(self, directory: bytes, words: Sequence[str]) -> None:
        self._output = os.memfd_create("git")
        self._errors = os.memfd_create("git")
        actions = [(os.POSIX_SPAWN_DUP2, self._output, 1), (os.POSIX_SPAWN_DUP2, self._errors, 2)]
        argv: list[str | bytes] = [git.WORDS[0], "-C", directory, *git.WORDS[1:], *words]
        try:
            self._child = os.posix_spawnp("git", argv, git.environment(), file_actions=actions)
        except BaseException:
            self._close()
            raise

    def end(self) -> tuple[int, bytes, bytes]:
        """Its status (0: well), output and errors."""
        status = os.waitpid(self._child, 0)[1]
        try:
            return status, _whole(self._output), _whole(self._errors)
        finally:
            self._close()

    def _close(self) -> None:
        os.close(self._output)
        os.close(self._errors)


def _spawn(directory: bytes, words: Sequence[str]) -> _Git:
    try:
        return _Git(directory, words)
    except OSError as error:
        raise Unknown(f"git cannot be started: {error.strerror}") from error


def look(root: str, place: str, check: Callable[[], None] | None = None) -> View:
    """How the project stands now. `place` is the path of its record, which is brought up to date. `check` is called
    while files are hashed, and may raise. Raises Unknown."""
    found = settle(ask(root, place), check=check)
    assert found is not None
    return found


def ask(root: str, place: str) -> Asked:
    """Begin: git works meanwhile. Follow with `settle` or `drop`. Raises Unknown."""
    asked = Asked(root, place)
    if not asked.ground:
        return asked
    try:
        for _, directory in asked.repositories():
            asked.gits.append(_Git(directory, git.LISTED))
        if asked.ground == "below":
            asked.gits.append(_Git(os.fsencode(root), ("check-ignore", "-q", ".")))
    except OSError as error:
        drop(asked)
        asked.gits, asked.ground = [], ""
        if not isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError):
            raise Unknown(f"git cannot be started: {error.strerror}") from error  # else: everything belongs to it
    return asked


def drop(asked: Asked) -> None:
    """Ask no further."""
    for each in asked.gits:
        each.end()


def settle(asked: Asked, *, unchanged: bool = False, check: Callable[[], None] | None = None) -> View | None:
    """The answer. With `unchanged` None at the first sign that something may have changed. Raises Unknown, and what
    `check` raises."""
    known = asked.record
    names: list[bytes] = known.get("names", [])
    stats = _stats(asked.root, names)  # git works meanwhile
    said = [each.end() for each in asked.gits]
    ignored = asked.ground == "below" and said.pop()[0] == 0
    if asked.ground and not ignored and any(status for status, _, _ in said):
        ignored = _no_repository(asked.root)
    if asked.ground and not ignored:
        listings = [output for _, output, _ in said]
        same = known.get("listings") == listings and all(
            os.path.lexists(inner) == there for inner, there in known["inner"]
        )
        if same and stats == known["stats"]:
            return View(asked, known["digest"], names, stats, b"")
        return None if unchanged else _again(asked, _from_git(asked, listings, stats), check)
    found = sorted(_walk(os.fsencode(asked.root), b""))
    if found == names and "walked" in known and stats == known["stats"]:
        return View(asked, known["digest"], names, stats, b"")
    walked = {"names": found, "walked": b"".join(chain.from_iterable((name, b"\0") for name in found))}
    return None if unchanged else _again(asked, {**walked, "stats": _stats(asked.root, found)}, check)


# ---- which files there are -------------------------------------------------------------------------------------------


def _ground(root: str) -> str:
    """Where the nearest repository begins: "here", "below" (the project is a directory in it), or nowhere."""
    directory = os.path.realpath(root)
    if os.path.lexists(f"{directory}/.git"):
        return "here"
    while (parent := os.path.dirname(directory)) != directory:
        directory = parent
        if os.path.lexists(f"{directory}/.git".replace("//", "/")):
            return "below"
    return ""


def _no_repository(root: str) -> bool:
    """Why git failed: True where there is no repository. Raises Unknown."""
    status, output, errors = _spawn(os.fsencode(root), ("rev-parse", "--is-inside-work-tree")).end()
    if (status == 0 and output.strip() != b"true") or (status and b"not a git repository" in errors):
        return True
    raise Unknown(errors.decode(errors="replace").strip() or "git failed")


def _from_git(asked: Asked, listings: list[bytes], stats: bytes) -> dict[str, Any]:
    """Names and stats of all repositories of the project, of those in it too. `listings` is what git said where it was
    asked, `stats` of the names that were recorded."""
    top = os.fsencode(asked.root)
    before = asked.record.get("names")
    directories = [directory for _, directory in asked.repositories()]
    said = dict(zip(directories, listings, strict=True))
    new: dict[str, Any] = {"listings": [], "repositories": [], "inner": [], "names": []}
    parts: list[bytes] = []
    pending = [(b"", top)]
    while pending:
        prefix, directory = pending.pop()
        listing = said[directory] if directory in said else _listing(directory)
        names = record.names(prefix, listing)
        parts.append(stats if names == before else _stats(asked.root, names))
        new["repositories"].append((prefix, directory))
        new["listings"].append(listing)
        new["names"] += names
        # a submodule is a name that is a directory, an embedded repository one with a slash at its end
        modes = array("q", parts[-1])[::_FIELDS]
        inner = {name.rstrip(b"/") for name, mode in zip(names, modes, strict=True) if mode & _KIND == _DIRECTORY}
        for name in sorted(inner):
            path = top + b"/" + name
            there = os.path.lexists(path + b"/.git")
            new["inner"].append((path + b"/.git", there))
            if there:
                pending.append((name + b"/", path))
    new["stats"] = b"".join(parts)
    return new


def _listing(directory: bytes) -> bytes:
    status, output, errors = _spawn(directory, git.LISTED).end()
    if status:
        raise Unknown(errors.decode(errors="replace").strip() or "git failed")
    return output


def _walk(root: bytes, below: bytes) -> Iterator[bytes]:
    try:
        with os.scandir(root + b"/" + below) as entries:
            for entry in entries:
                path = below + b"/" + entry.name if below else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != b".git" and path not in _OURS:
                        yield from _walk(root, path)
                else:
                    yield path
    except OSError as error:
        raise Unknown(f"{os.fsdecode(below or root)}: {error.strerror}") from error


# ---- how they stand --------------------------------------------------------------------------------------------------


def _stats(root: str, names: Sequence[bytes]) -> bytes:
    """A row a name: mode, inode, size, mtime, ctime; zeros for what is not there."""
    if len(names) < MANY or _thread._count():  # noqa: SLF001 - threads and forks do not mix
        return _rows(root, names)
    half = len(names) // 2
    other = os.memfd_create("stats")
    try:
        child = os.fork()
        if not child:
            status = 1
            try:
                rows = memoryview(_rows(root, names[half:]))
                while rows:
                    rows = rows[os.write(other, rows) :]
                status = 0
            finally:
                os._exit(status)
        ours = _rows(root, names[:half])
        failed = os.waitpid(child, 0)[1] != 0
        return ours + (_rows(root, names[half:]) if failed else _whole(other))
    finally:
        os.close(other)


def _rows(root: str, names: Sequence[bytes]) -> bytes:
    numbers: list[int] = []
    add, lstat, top = numbers.extend, os.lstat, os.fsencode(root) + b"/"
    for name in names:
        try:
            found = lstat(top + name)
        except OSError:
            add((0, 0, 0, 0, 0))
        else:
            add((found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    return _packed(numbers)


def _packed(numbers: Sequence[int]) -> bytes:
    """Numbers of 64 bits. What has more, as inode numbers of some file systems and times that a task made up, loses its
    highest bits, the same ones each time: only whether it is what it was is ever asked."""
    try:
        return array("q", numbers).tobytes()
    except OverflowError:
        return array("q", [n if -_MORE <= n < _MORE else n & (_MORE - 1) for n in numbers]).tobytes()


def _again(asked: Asked, new: dict[str, Any], check: Callable[[], None] | None) -> View:
    """The digest, with all hashed anew that does not stand as it was recorded; the record is written again."""
    import time

    now = time.time_ns()
    names, stats = new["names"], new["stats"]
    recorded = _recorded(asked)
    hashes, kept = bytearray(), bytearray()
    top = os.fsencode(asked.root) + b"/"
    room = MOST
    for number, name in enumerate(names):
        row = stats[ROW * number : ROW * (number + 1)]
        digest = recorded.get((name, row))
        if digest is None:
            mode, _, size, _, ctime = array("q", row)
            room -= size
            if room < 0:
                raise Unknown(f"more than {MOST >> 30} GiB of files that are new")
            if check is not None and not number & 0xFF:
                check()
            digest, steady = _hash(top + name, mode, row, check)
            if not steady or ctime > now - GRAIN:
                row = _DISTRUSTED + row[8:]
        hashes += digest
        kept += row
    hashed = bytes(hashes)
    found = View(asked, digest_of(rows_text(names, stats, hashed)), names, stats, hashed)
    record.write(asked.place, asked.root, {**new, "stats": bytes(kept), "digest": found.digest}, hashed)
    return found


def rows_text(names: Sequence[bytes], stats: bytes, hashes: bytes) -> bytes:
    """What is hashed: path, mode (octal) and hash (hex) of each file that is there, each ended by a zero, sorted."""
    rows = {
        name: b"%s\0%o\0%s\0" % (name, mode & _COUNTS, hashes[32 * number : 32 * (number + 1)].hex().encode())
        for number, (name, mode) in enumerate(zip(names, array("q", stats)[::_FIELDS], strict=True))
        if mode and mode & _KIND != _DIRECTORY and not _own(name)
    }
    return b"".join(rows[name] for name in sorted(rows))


def digest_of(text: bytes) -> str:
    """The digest of a view, by what `rows_text` says of it."""
    digest: str = sha256(b"envtool view %d\n" % FORMAT + text).hexdigest()
    return digest


def _own(name: bytes) -> bool:
    first, below, _ = name.partition(b"/")
    return first == _OURS[0] or (first == _OURS[1] and bool(below))


def _hash(path: bytes, mode: int, row: bytes, check: Callable[[], None] | None) -> tuple[bytes, bool]:
    """sha256 of a content or target, and whether it stood still meanwhile. Of other things only the type counts."""
    kind = mode & _KIND
    try:
        if kind == _LINK:
            digest = sha256(os.readlink(path)).digest()
            return digest, _row(os.lstat(path)) == row
        if kind != _FILE:
            return b"\0" * 32, True
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
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
        raise Unknown(f"{os.fsdecode(path)}: {error.strerror}") from error


def _row(found: os.stat_result) -> bytes:
    return _packed((found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))


def _recorded(asked: Asked) -> dict[tuple[bytes, bytes], bytes]:
    """(name, row) -> hash, of all that is recorded."""
    if not asked.record:
        return {}
    names, stats, hashes = asked.record["names"], asked.record["stats"], record.hashes(asked.place, asked.record)
    if len(hashes) != 32 * len(names) or len(stats) != ROW * len(names):
        return {}
    return {
        (name, stats[ROW * number : ROW * (number + 1)]): hashes[32 * number : 32 * (number + 1)]
        for number, name in enumerate(names)
    }


def _whole(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0) if size else b""
