"""Lists the project's files as pure steps and containers need them: what git lists, what it hides, and what a layer
depends on.

git runs on an empty git directory of envtool's own (git.py), and its rules are never imitated. Without git or a
repository, all files belong to the project but `.envtool/` and the directories that tools make (project/walk.py).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import BinaryIO, TypeAlias, TypeVar

from envtool import project
from envtool.errors import EnvtoolError, Interrupted, UsageError
from envtool.fs import globs, hashing
from envtool.fs.beneath import ESCAPES, DirectoryReplacedError, open_top, real_path
from envtool.fs.sizes import format_limit, format_size
from envtool.lazy_dataclass import dataclass
from envtool.model import InputFile
from envtool.project import OWN as OWN  # noqa: PLC0414 - other packages import them from here
from envtool.project import VENDOR as VENDOR  # noqa: PLC0414
from envtool.project import git, host_access, listing, neighbours, refs, walk

T = TypeVar("T")
Repositories: TypeAlias = list[tuple[str, git.Repository]]  # the prefix of each in the project

MAX_READ_SIZE = 8 << 20
MAX_INPUTS_SIZE = 4 << 30  # bytes of all inputs of one layer; the limit of new files in a snapshot is the same


# ---- lists and repositories ------------------------------------------------------------------------------------------


def list_files(root: str, cancel: int = -1) -> list[str]:
    """Returns the project-relative paths of all files that are tracked, or untracked and not ignored; sorted. Symlinks
    count as files. Deleted tracked files are left out, and so are names that lead through a symlink. Raises
    EnvtoolError (code project-git), and Interrupted as soon as the descriptor `cancel` is readable."""
    with _open_project(root):
        return sorted(map(os.fsdecode, listing.list_files(root, cancel)))


def list_hidden(root: str, cancel: int = -1, found: Repositories | None = None) -> tuple[str, ...]:
    """Returns the project-relative entries that a container must not see: what git ignores (whole directories as one
    entry, without a slash at the end), or without git what tools make, and `.envtool`; sorted. `found` are the
    repositories if they were listed just now. Raises EnvtoolError (code project-git), Interrupted."""
    hidden = {OWN}  # even if it does not exist: the run may create it later
    if os.path.isdir(os.path.join(root, VENDOR)):
        hidden.add(VENDOR)
    repositories_found = list_repositories(root, cancel) if found is None else found
    with _open_project(root) as top:
        if repositories_found:
            hidden |= git.read_ignored(git.start_all(top, root, repositories_found, git.IGNORED), cancel)
        else:
            hidden.update(walk.walk_files(top, lenient=True)[1])
    return tuple(sorted(path for path in hidden if path in (OWN, VENDOR) or not is_own_path(path)))


def repositories(root: str, cancel: int = -1) -> list[tuple[str, str]]:
    """Returns (prefix, directory) of every repository that `list_hidden` lists; none outside git. Raises as
    `list_hidden`."""
    return [(prefix, os.path.join(root, prefix.rstrip("/"))) for prefix, _ in list_repositories(root, cancel)]


def list_repositories(root: str, cancel: int = -1) -> Repositories:
    """Returns (prefix, repository) of the project and of every repository in it; none outside git. Raises as
    `list_hidden`."""
    real = real_path(root)
    prefixes: list[str] = []

    def read(prefix: bytes, output: bytes) -> list[bytes]:
        prefixes.append(os.fsdecode(prefix))
        nested = [prefix + name for name in _parse_nested(output, query.gits[prefixes[-1]].repository)]
        paths = {name: os.path.join(real, os.fsdecode(name)) for name in sorted(nested)}
        return [name for name, path in paths.items() if os.path.realpath(path) == path]

    with _open_project(root):
        query = listing.start(root, arguments=git.STAGED)
        try:
            outputs = listing.end_gits(query, cancel)
            if listing.is_in_repository(query, outputs):
                listing.read_all(query, outputs, git.STAGED, read, cancel)
        finally:
            query.cancel()
    return [(prefix, query.gits[prefix].repository) for prefix in prefixes]


def _parse_nested(output: bytes, repository: git.Repository) -> list[bytes]:
    """Returns the repositories in one repository: a submodule is an index entry of mode 160000, an embedded one an
    untracked name with a slash at its end. Raises RepositoryError for names that git would not write."""
    names: list[bytes] = []
    nested: list[bytes] = []
    for line in git.split_names(b"", output):
        tag, _, remainder = line.partition(b" ")
        if tag == b"?":
            (nested if remainder.endswith(b"/") else names).append(remainder.rstrip(b"/"))
        else:
            entry, _, name = remainder.partition(b"\t")
            (nested if entry.startswith(b"160000 ") else names).append(name)
    git.check_names(b"".join(name + b"\0" for name in (*names, *nested)), repository)
    return nested


def sees_git(root: str) -> bool:
    """Returns whether a task sees a git directory. Raises EnvtoolError (code project-git)."""
    try:
        return git.is_git_visible(_find_repository(root), root)
    except git.RepositoryError as error:
        raise _read_error(error) from error


def git_history_digest(root: str) -> str:
    """Returns one digest of the parts of git's history that versions are made from: the commit and the tags. Empty
    without a repository. Raises EnvtoolError (code project-git)."""
    try:
        repository = _find_repository(root)
        if not repository:
            return ""
        head = refs.head_commit(repository)
        tags = "".join(f"{value} {name}\n" for name, value in refs.read_tags(repository))
    except git.RepositoryError as error:
        raise _read_error(error) from error
    head_line = f"{head}\n" if head else ""
    return hashlib.sha256(f"{head_line}\0{tags}".encode("utf-8", "surrogateescape")).hexdigest()


def list_tags(root: str, below: str = "") -> tuple[str, ...]:
    """Returns the names of the tags of the repository that the project, or its directory `below`, is in. Raises
    EnvtoolError (code project-git)."""
    return _query_repository(
        root,
        below,
        lambda repository: tuple(name.removeprefix("refs/tags/") for name, _ in refs.read_tags(repository)),
        (),
    )


def nearest_tag(root: str, below: str, names: Collection[str]) -> str:
    """Returns the one of these tags that `git describe --tags` names there; empty if it names none of them. Raises
    EnvtoolError (code project-git)."""
    return _query_repository(root, below, lambda repository: refs.nearest_tag(repository, names), "")


def _query_repository(root: str, below: str, query: Callable[[git.Repository], T], default: T) -> T:
    top = real_path(root)
    directory = os.path.realpath(os.path.join(top, below))
    if not host_access.is_at_or_below(directory, top) or not os.path.isdir(directory):
        return default
    try:
        _find_repository(root)
        repository = git.find_repository(directory)
        return query(repository) if repository else default
    except git.RepositoryError as error:
        raise _read_error(error) from error


def is_own_path(path: str) -> bool:
    """Returns whether a path of the project is envtool's own."""
    return project.is_own_path(os.fsencode(path))


def _find_repository(root: str) -> git.Repository | None:
    """Returns the repository that a project is in. Raises EnvtoolError (code project-git), git.RepositoryError."""
    with _open_project(root):
        repository = git.find_repository(root)
    with _open_project(root):  # raises if another directory took the project's place meanwhile
        return repository


@contextlib.contextmanager
def _open_project(root: str) -> Iterator[int]:
    """Yields a descriptor of the project, and reports what goes wrong in it. Raises EnvtoolError (codes project-git,
    project-replaced), Interrupted."""
    try:
        top = open_top(root)
        try:
            yield top
        finally:
            os.close(top)
    except (git.RepositoryError, OSError) as error:
        raise _read_error(error) from error


def start_git_in(repository: git.Repository | None, root: str, prefix: str, arguments: Sequence[str]) -> git.Git:
    """Starts git in the project, or in a repository in it that is reached through no link. Raises EnvtoolError (code
    project-git), git.RepositoryError."""
    try:
        return git.start_all(root, root, [(prefix, repository)], arguments)[prefix]
    except OSError as error:
        raise _read_error(error) from error


def _read_error(error: git.RepositoryError | OSError) -> EnvtoolError:
    if isinstance(error, git.GitStoppedError):
        return Interrupted()
    if isinstance(error, DirectoryReplacedError):
        return EnvtoolError(f"{error.strerror}: {error.filename}", code="project-replaced", hint="run it again")
    hint = "`rm -rf` removes it" if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG else ""
    return EnvtoolError(f"the project cannot be read: {error}", code="project-git", hint=hint)


def all_files(top: int, below: str = "") -> list[str]:
    """Returns the files of a project that is in no repository, unordered; of a directory `below` all files, whatever
    tool made them. Raises EnvtoolError (code project-git)."""
    try:
        return walk.walk_files(top, below, everything=bool(below))[0]
    except OSError as error:
        raise _read_error(error) from error


# ---- the files that a layer depends on ------------------------------------------------------------------------------


def normalize_pattern(pattern: str) -> str:
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if pattern.startswith("/") or ".." in parts:
        hint = "paths are relative to the project"
        if pattern.startswith("/"):
            hint += "; what a layer has at an absolute path is no file of the project: a command reads it there"
        raise UsageError(f"input `{pattern}` leaves the project", code="input-outside", hint=hint)
    return "/".join(parts)


def mode_in_project(entries: host_access.EntryOpener, path: str) -> int | None:
    """Returns type and permissions of a file, directory or link of the project; None if nothing is there. Raises
    OutsideProjectError if a link on the way leads out of the project, UsageError."""
    try:
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
    """A path of the project that leads out of it through a link."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"input `{path}` leaves the project through a symlink",
            code="input-outside",
            hint="copy it into the project",
        )


def files_below(directory: str) -> Iterator[str]:
    """Yields files and links in a directory outside of the project, relative to it, without git's own files and those
    that tools make. Raises OSError."""
    top = open_top(directory)
    try:
        yield from walk.walk_files(top)[0]
    finally:
        os.close(top)


class Hasher:
    """Hashes files one after the other, up to a total size: a sparse file costs a disk nothing, but takes long to
    hash."""

    def __init__(self, check: Callable[[], None] | None) -> None:
        self._check = check
        self._remaining = MAX_INPUTS_SIZE

    def hash(self, path: str, file: BinaryIO) -> str:
        """Returns the sha256 of a file. Raises UsageError (code input-large), and what `check` raises."""
        size = os.fstat(file.fileno()).st_size
        self._remaining -= size
        if self._remaining < 0:
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
        with host_access.open_regular(descriptor, path, 1 << 62) as file:  # the hasher has the limit
            digest = hasher.hash(path, file)
    except UsageError as error:
        code = "input-large" if error.code == "input-large" else "input-kind"
        raise UsageError(f"input {error.message}", code=code, hint=error.hint) from None
    except OSError as error:
        if error.errno == ESCAPES:
            raise OutsideProjectError(path) from None
        raise UsageError(f"input `{path}` cannot be read: {error.strerror}", code="input-missing") from error
    return InputFile(path=path, sha256=digest, executable=bool(mode & 0o100))


# ---- files that pure steps read --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPath:
    """A path that was read, or that did not exist, with its stat signature then (empty if it did not exist). A plan
    made from it is valid while `stat_signature(path)` is the same."""

    path: str  # absolute
    state: tuple[int, ...]


def stat_signature(path: str) -> tuple[int, ...]:
    """Returns device, inode, mode, size, mtime and ctime (ns) of the target of a path; empty if nothing is there."""
    try:
        info = os.stat(path)
    except OSError:
        return ()
    return (info.st_dev, info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


class ProjectFiles:
    """`api.Project` over a directory. Records every path that was read, or that did not exist."""

    def __init__(self, root: str, access: host_access.HostAccess | None = None, cancel: int = -1) -> None:
        """`cancel` is a descriptor: as soon as it is readable, git is stopped."""
        self._root = real_path(root)
        self._access = access or host_access.HostAccess(root)
        self._cancel = cancel
        self._seen: dict[str, tuple[int, ...]] = {}
        self._listed: list[str] | None = None
        self._matches: dict[str, list[str]] = {}  # by pattern

    @property
    def root(self) -> str:
        """The project's directory, without links."""
        return self._root

    @property
    def is_listed(self) -> bool:
        """Whether the names of the project's files were asked for."""
        return self._listed is not None

    @property
    def allowed(self) -> host_access.HostPermissions:
        """What the caller permits the project."""
        return self._access.allowed

    def read(self, path: str) -> str | None:
        """See api.Project. Raises UsageError for a path that leaves the project, and for a file that is not UTF-8."""
        content = self.read_bytes(path)
        if content is None:
            return None
        try:
            return content.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is not UTF-8: byte {error.start}", code="project-file") from error

    def read_bytes(self, path: str) -> bytes | None:
        """See api.Project. Raises UsageError for a path that leaves the project."""
        relative = normalize_pattern(path)
        self._note(os.path.join(self._root, relative))
        try:
            with self._access.open(relative, limit=MAX_READ_SIZE) as file:
                return b"".join(host_access.read_chunks(file))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}", code="project-file") from error

    def glob(self, pattern: str) -> list[str]:
        """See api.Project."""
        if pattern not in self._matches:
            self._matches[pattern] = globs.select(normalize_pattern(pattern), self.listed())
        return [*self._matches[pattern]]

    def listed(self) -> list[str]:
        """Returns what `list_files` returns for the project; it is called once. Raises as `list_files`."""
        if self._listed is None:
            self._listed = list_files(self._root, self._cancel)
            self._note_directories(self._listed)
        return self._listed

    def _note_directories(self, paths: Iterable[str]) -> None:
        """Records the directories, whose times change with their entries, and the files that decide what git
        ignores."""
        directories = {""}
        for directory in {path.rpartition("/")[0] for path in paths}:
            while directory not in directories:
                directories.add(directory)
                directory = directory.rpartition("/")[0]  # noqa: PLW2901 - up to one that is recorded already
        for directory in directories:
            full_path = os.path.join(self._root, directory) if directory else self._root
            self._note(full_path)
            self._note(os.path.join(full_path, ".gitignore"))
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
        """Returns all recorded paths."""
        return tuple(SeenPath(path=path, state=state) for path, state in sorted(self._seen.items()))

    def _note(self, path: str) -> None:
        if path not in self._seen:
            self._seen[path] = stat_signature(path)
