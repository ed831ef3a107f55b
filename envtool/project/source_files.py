"""The project's files, as pure steps and containers need them: what git lists, what it hides, what a layer depends on.

git is asked, never imitated, and on a git directory of our own (git.py says how). Where there is no git or no
repository, everything belongs to the project but `.envtool/` and the directories that tools make (project/walk.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from envtool.errors import EnvtoolError, Interrupted, UsageError
from envtool.fs import globs, hashing
from envtool.fs.beneath import ESCAPES, DirectoryReplacedError, open_beneath, open_top, real_path
from envtool.fs.sizes import format_limit, format_size
from envtool.model import InputFile
from envtool.project import OWN as OWN  # noqa: PLC0414 - they are this room's words too
from envtool.project import VENDOR as VENDOR  # noqa: PLC0414
from envtool.project import git, host_access, neighbours, refs, walk

T = TypeVar("T")

MAX_READ_SIZE = 8 << 20
MAX_INPUTS_SIZE = 4 << 30  # bytes of what one layer depends on, as of what is new in a view (project/snapshot.py)
STAGED = ("ls-files", "-t", "-s", *git.LISTED[1:])


# ---- what git says --------------------------------------------------------------------------------------------------


def list_files(root: str, cancel: int = -1) -> list[str]:
    """Project-relative paths of all files that are tracked, or untracked and not ignored; sorted. Symlinks count as
    files; tracked files that were deleted are left out, and so are names that lead through a symlink. Raises
    EnvtoolError (code project-git), Interrupted as soon as the descriptor `cancel` is readable."""
    known = _repositories(root, cancel)
    found: set[str] = set()
    real: dict[str, bool] = {"": True}
    with _opened(root) as top:
        if not known:
            return sorted(path for path in all_files(top) if not is_own_path(path))
        for prefix, _, names in known:
            for name in names:
                path = prefix + name
                if not is_own_path(path) and _has_no_links(top, os.path.dirname(path), real):
                    mode = _mode(top, path)
                    if mode is not None and not stat.S_ISDIR(mode):
                        found.add(path)
    return sorted(found)


def list_hidden(root: str, cancel: int = -1) -> tuple[str, ...]:
    """Project-relative entries that a container must not see: what git ignores (whole directories collapsed, without a
    slash at the end), or without git what tools make, and `.envtool`; sorted. Raises EnvtoolError (code project-git),
    Interrupted."""
    found = {OWN}  # there or not: the run itself may be about to make it
    if os.path.isdir(os.path.join(root, VENDOR)):
        found.add(VENDOR)
    known = _repositories(root, cancel)
    try:
        for prefix, repository, _ in known:
            found |= {prefix + name for name in _ignored(repository, root, prefix, cancel)}
    except git.RepositoryError as error:
        raise _read_error(error) from error
    if not known:
        with _opened(root) as top:
            found.update(walk.walk_files(top, lenient=True)[1])
    return tuple(sorted(path for path in found if path in (OWN, VENDOR) or not is_own_path(path)))


def repositories(root: str, cancel: int = -1) -> list[tuple[str, str]]:
    """(prefix, directory) of every repository that `hidden` asks; none outside git. Raises as `hidden` does."""
    return [(prefix, os.path.join(root, prefix.rstrip("/"))) for prefix, _, _ in _repositories(root, cancel)]


def list_repositories(root: str, cancel: int = -1) -> list[tuple[str, git.Repository]]:
    """(prefix, repository) of the project and of every one in it; none outside git. Raises as `hidden` does."""
    return [(prefix, repository) for prefix, repository, _ in _repositories(root, cancel)]


def sees_git(root: str) -> bool:
    """Whether a task sees a git directory. Raises EnvtoolError (code project-git)."""
    try:
        return git.is_git_visible(_find_repository(root), root)
    except git.RepositoryError as error:
        raise _read_error(error) from error


def git_history_digest(root: str) -> str:
    """What of git's history versions are made of, as one digest: the commit, and the tags. Empty without a repository.
    Raises EnvtoolError (code project-git)."""
    try:
        repository = _find_repository(root)
        if not repository:
            return ""
        head = refs.head_commit(repository)
        tags = "".join(f"{value} {name}\n" for name, value in refs.read_tags(repository))
    except git.RepositoryError as error:
        raise _read_error(error) from error
    said = f"{head}\n" if head else ""
    return hashlib.sha256(f"{said}\0{tags}".encode("utf-8", "surrogateescape")).hexdigest()


def list_tags(root: str, below: str = "") -> tuple[str, ...]:
    """Names of the tags of the repository that the project, or its directory `below`, is in. Raises EnvtoolError (code
    project-git)."""
    return _query_repository(
        root,
        below,
        lambda repository: tuple(name.removeprefix("refs/tags/") for name, _ in refs.read_tags(repository)),
        (),
    )


def nearest_tag(root: str, below: str, names: Collection[str]) -> str:
    """Which of these tags `git describe --tags` names there; empty where it names none of them. Raises EnvtoolError
    (code project-git)."""
    return _query_repository(root, below, lambda repository: refs.nearest_tag(repository, names), "")


def _query_repository(root: str, below: str, look: Callable[[git.Repository], T], nothing: T) -> T:
    top = real_path(root)
    directory = os.path.realpath(os.path.join(top, below))
    if not host_access.is_at_or_below(directory, top) or not os.path.isdir(directory):
        return nothing
    try:
        _find_repository(root)
        repository = git.find_repository(directory)
        return look(repository) if repository else nothing
    except git.RepositoryError as error:
        raise _read_error(error) from error


def is_own_path(path: str) -> bool:
    return path == OWN or path.startswith((OWN + "/", VENDOR + "/"))


def _repositories(root: str, cancel: int) -> list[tuple[str, git.Repository, list[str]]]:
    """(prefix, repository, names) of the project and of each submodule and embedded repository in it, at any depth;
    none where there is no repository, or where the one above ignores all that is here: such a project is its own."""
    found: list[tuple[str, git.Repository, list[str]]] = []
    try:
        top = _find_repository(root)
        pending: list[tuple[str, git.Repository | None]] = [("", top)] if top else []
        while pending:
            prefix, known = pending.pop()
            directory = os.path.join(real_path(root), prefix).rstrip("/") or "/"
            asked = start_git_in(known, root, prefix, STAGED)
            repository = asked.repository
            names, inner = _parse_listing(asked, cancel)
            if not prefix and not names and not inner and repository.top != directory:
                return []
            found.append((prefix, repository, names))
            for name in sorted(inner):
                place = os.path.join(directory, name)
                if os.path.lexists(os.path.join(place, ".git")) and os.path.realpath(place) == place:
                    pending.append((f"{prefix}{name}/", git.find_nested_repository(repository, place)))
    except git.RepositoryError as error:
        raise _read_error(error) from error
    return found


def _find_repository(root: str) -> git.Repository | None:
    """The repository that a project is in. Raises EnvtoolError (code project-git), git.Failure."""
    with _opened(root):
        found = git.find_repository(root)
    with _opened(root):  # still
        return found


@contextlib.contextmanager
def _opened(root: str) -> Iterator[int]:
    """A descriptor of the project. Raises EnvtoolError (code project-git)."""
    try:
        descriptor = open_top(root)
    except OSError as error:
        raise _read_error(error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def start_git_in(repository: git.Repository | None, root: str, prefix: str, words: Sequence[str]) -> git.Git:
    """Start git in the project, or in a repository in it, where no link is on the way. Raises EnvtoolError (code
    project-git), git.Failure."""
    try:
        where = open_beneath(root, prefix, os.O_PATH | os.O_DIRECTORY, follow=False)
    except OSError as error:
        raise _read_error(error) from error
    try:
        return git.start_git(repository, os.path.join(root, prefix), words, where=where)
    finally:
        os.close(where)


def _parse_listing(asked: git.Git, cancel: int) -> tuple[list[str], list[str]]:
    """The files of one repository, tracked and untracked, and the repositories in it: a submodule is an index entry of
    mode 160000, an embedded one an untracked name with a slash at its end. One call: each costs a start of git."""
    names: list[bytes] = []
    inner: list[bytes] = []
    for line in asked.end(cancel).split(b"\0")[:-1]:
        tag, _, rest = line.partition(b" ")
        if tag == b"?":
            (inner if rest.endswith(b"/") else names).append(rest.rstrip(b"/"))
        else:
            entry, _, name = rest.partition(b"\t")
            (inner if entry.startswith(b"160000 ") else names).append(name)
    git.check_names(b"".join(name + b"\0" for name in (*names, *inner)), asked.repository)
    return [os.fsdecode(name) for name in names], [os.fsdecode(name) for name in inner]


def _ignored(repository: git.Repository, root: str, prefix: str, cancel: int) -> list[str]:
    listing = start_git_in(repository, root, prefix, git.IGNORED).end(cancel)
    git.check_names(listing, repository)
    return [os.fsdecode(name.rstrip(b"/")) for name in listing.split(b"\0")[:-1]]


def _read_error(error: git.RepositoryError | OSError) -> EnvtoolError:
    if isinstance(error, git.GitStoppedError):
        return Interrupted()
    if isinstance(error, DirectoryReplacedError):
        return EnvtoolError(f"{error.strerror}: {error.filename}", code="project-replaced", hint="run it again")
    return EnvtoolError(f"the project cannot be read: {error}", code="project-git")


def _has_no_links(top: int, directory: str, known: dict[str, bool]) -> bool:
    """Whether no link is on the way to a directory."""
    if directory not in known:
        here = stat.S_ISLNK(_mode(top, directory) or 0)
        known[directory] = not here and _has_no_links(top, os.path.dirname(directory), known)
    return known[directory]


def all_files(top: int, below: str = "") -> list[str]:
    """The files of a project in no repository, in any order; of a directory `below` all, whatever tool made them.
    Raises EnvtoolError (code project-git)."""
    try:
        return walk.walk_files(top, below, everything=bool(below))[0]
    except OSError as error:
        raise _read_error(error) from error


def _mode(top: int, path: str) -> int | None:
    try:
        return os.stat(path, dir_fd=top, follow_symlinks=False).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


# ---- the files that a layer depends on ------------------------------------------------------------------------------


def normalize_pattern(pattern: str) -> str:
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if pattern.startswith("/") or ".." in parts:
        raise UsageError(
            f"input `{pattern}` leaves the project", code="input-outside", hint="paths are relative to the project"
        )
    return "/".join(parts)


def mode_in_project(root: str, path: str) -> int | None:
    """Type and permissions of a file, directory or link of the project, None where there is nothing. Raises UsageError
    where a link on the way leads out of the project."""
    try:
        with host_access.EntryOpener(root) as entries:
            descriptor = entries.open(path)
    except OSError as error:
        if error.errno == ESCAPES:
            raise OutsideProjectError(path) from None
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return None
        raise UsageError(f"input `{path}` cannot be read: {error.strerror}", code="input-missing") from error
    try:
        return os.fstat(descriptor).st_mode
    finally:
        os.close(descriptor)


class OutsideProjectError(UsageError):
    """A path of the project whose way leads out of it by a link."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"input `{path}` leaves the project through a symlink",
            code="input-outside",
            hint="copy it into the project",
        )


def files_below(directory: str) -> Iterator[str]:
    """Files and links in a directory out of the project, relative to it; what is git's own, or tools make, is left out.
    Raises OSError."""
    top = open_top(directory)
    try:
        yield from walk.walk_files(top)[0]
    finally:
        os.close(top)


class Hasher:
    """Hashes files one after the other, as long as there is room: holes cost a disk nothing, but us."""

    def __init__(self, check: Callable[[], None] | None) -> None:
        self._check = check
        self._room = MAX_INPUTS_SIZE

    def hash(self, path: str, file: BinaryIO) -> str:
        """Raises UsageError (code input-large), and what `check` raises."""
        size = os.fstat(file.fileno()).st_size
        self._room -= size
        if self._room < 0:
            raise UsageError(
                f"`{path}`: {format_size(size)}, with which the inputs are larger than"
                f" {format_limit(MAX_INPUTS_SIZE)} together",
                code="input-large",
                hint="name fewer, or let git ignore it",
            )
        return hashing.sha256_of_file(file, self._check)


def read_input(entries: host_access.EntryOpener, path: str, hasher: Hasher, *, content: bool) -> InputFile:
    if not content:
        return InputFile(path=path, sha256=hashlib.sha256().hexdigest(), content=False)
    try:
        descriptor = entries.open(path)
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISLNK(mode):
            target = os.readlink("", dir_fd=descriptor)
            os.close(descriptor)
            return InputFile(path=path, sha256=hashlib.sha256(os.fsencode(target)).hexdigest(), link=target)
        with host_access.open_regular(descriptor, path, 1 << 62) as file:  # the hasher knows how much there may be
            digest = hasher.hash(path, file)
    except UsageError as error:
        code = "input-large" if error.code == "input-large" else "input-kind"
        raise UsageError(f"input {error.message}", code=code, hint=error.hint) from None
    except OSError as error:
        if error.errno == ESCAPES:
            raise OutsideProjectError(path) from None
        raise UsageError(f"input `{path}` cannot be read: {error.strerror}", code="input-missing") from error
    return InputFile(path=path, sha256=digest, executable=bool(mode & 0o100))


# ---- what pure steps read -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPath:
    """A path that was looked at, and how it stood: `state` is empty when it was not there. A plan made from it holds
    while `signature(path)` is the same."""

    path: str  # absolute
    state: tuple[int, ...]


def stat_signature(path: str) -> tuple[int, ...]:
    """Device, inode, mode, size, mtime and ctime (ns) of what a path leads to; empty when there is nothing."""
    try:
        info = os.stat(path)
    except OSError:
        return ()
    return (info.st_dev, info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


class ProjectFiles:
    """`api.Project` over a directory. Keeps a record of all that was read, or looked for and not there."""

    def __init__(self, root: str, door: host_access.HostAccess | None = None, cancel: int = -1) -> None:
        """Where git is asked, it is given up as soon as the descriptor `cancel` is readable."""
        self._root = real_path(root)
        self._gate = door or host_access.HostAccess(root)
        self._cancel = cancel
        self._seen: dict[str, tuple[int, ...]] = {}
        self._listed: list[str] | None = None
        self._found: dict[str, list[str]] = {}  # by pattern

    @property
    def allowed(self) -> host_access.HostPermissions:
        """What the caller lets the project have."""
        return self._gate.allowed

    def read(self, path: str) -> str | None:
        """See api.Project. Raises UsageError for a path that leaves the project, and for text that is none."""
        content = self.read_bytes(path)
        try:
            return content if content is None else content.decode().replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is not UTF-8: byte {error.start}", code="project-file") from error

    def read_bytes(self, path: str) -> bytes | None:
        """See api.Project. Raises UsageError for a path that leaves the project."""
        relative = normalize_pattern(path)
        self._note(os.path.join(self._root, relative))
        try:
            with self._gate.open(relative, limit=MAX_READ_SIZE) as file:
                return b"".join(host_access.read_chunks(file))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}", code="project-file") from error

    def glob(self, pattern: str) -> list[str]:
        """See api.Project."""
        if pattern not in self._found:
            expression = globs.matcher((normalize_pattern(pattern),))
            self._found[pattern] = [path for path in self.listed() if expression.fullmatch(path)]
        return [*self._found[pattern]]

    def listed(self) -> list[str]:
        """What the function `listed` says of the project, asked once. Raises as it does."""
        if self._listed is None:
            self._listed = list_files(self._root, self._cancel)
            self._note_directories(self._listed)
        return self._listed

    def _note_directories(self, paths: Iterable[str]) -> None:
        """Names come and go with the directories' times; what is ignored with these files."""
        directories = {""}
        for directory in {path.rpartition("/")[0] for path in paths}:
            while directory not in directories:
                directories.add(directory)
                directory = directory.rpartition("/")[0]  # noqa: PLW2901 - up to one that is known
        for directory in directories:
            place = os.path.join(self._root, directory) if directory else self._root
            self._note(place)
            self._note(os.path.join(place, ".gitignore"))
        self._note(os.path.join(self._root, ".git", "info", "exclude"))
        self._note(os.path.join(self._root, ".git", "index"))

    def around(self, name: str) -> dict[str, bytes]:
        """See api.Project. Raises EnvtoolError (code project-git)."""
        try:
            repository = git.find_repository(self._root)
        except git.RepositoryError as error:
            raise _read_error(error) from error
        return neighbours.find_neighbours(repository.top, self._root, name, self._note) if repository else {}

    def seen(self) -> tuple[SeenPath, ...]:
        """Everything that was looked at so far."""
        return tuple(SeenPath(path=path, state=state) for path, state in sorted(self._seen.items()))

    def _note(self, place: str) -> None:
        if place not in self._seen:
            self._seen[place] = stat_signature(place)
