"""Which repository a project is in, found as git finds it; and the small files of one that we read ourselves.

A git directory was written by whoever made the checkout, and may lead anywhere. So it is opened once and read by that
descriptor, no link in it is followed, only regular files of a bounded size are read, and one outside of the checkout
counts only if it is the project's. See docs/decisions/0098 and 0114. Imports next to nothing: a warm command asks git.
"""

from __future__ import annotations

import os

from envtool.fs.beneath import open_beneath
from envtool.project.discovery import is_trusted_owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_SMALL_FILE = 1 << 20  # bytes of a file that is read here, unless its reader says otherwise

_REGULAR, _DIRECTORY, _LINK, _KIND = 0o100000, 0o040000, 0o120000, 0o170000
_HANDLE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTRY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOP = 40  # ELOOP
_gits: dict[tuple[str, str], tuple[str, str]] = {}


class RepositoryError(Exception):
    """git was not able to answer; the text says what is wrong, and where."""


class SymlinkError(RepositoryError):
    """What should be a file of git's is a link."""


# ---- which repository ------------------------------------------------------------------------------------------------


class Repository:
    """A work tree, and where its git directory is. What stands in there has not been looked at.

    It is read by what was opened when it was found: a directory that has taken its place since is an error, and no link
    in it is followed, since whoever wrote it may not read what we may.
    """

    __slots__ = ("_known", "caller", "common", "directory", "owner", "top")

    def __init__(self, top: str, directory: str, common: str, known: dict[str, tuple[int, int]], owner: int) -> None:
        self.top = top  # of the work tree; absolute
        self.directory = directory  # HEAD and index are here
        self.common = common  # objects and refs are: another one where this is one of several worktrees
        self.owner = owner  # a user id: whose its directory is
        self._known = known  # device and inode of both
        self.caller: CallerGit

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of its directory."""
        return self._known[self.directory]

    def enter(self, *, shared: bool = False) -> int:
        """A descriptor (O_PATH) of its directory, or of the one that worktrees share. Raises Failure, OSError."""
        path = self.common if shared else self.directory
        descriptor = os.open(path, _HANDLE)
        if _identity(os.fstat(descriptor)) != self._known[path]:
            os.close(descriptor)
            raise RepositoryError(f"{path} is another directory than a moment ago")
        return descriptor

    def open(self, name: str, most: int = MAX_SMALL_FILE, *, shared: bool = False) -> int:
        """A descriptor of a file in it. Raises Failure for all that is none, or is larger; OSError."""
        directory = self.enter(shared=shared)
        try:
            found = open_beneath(directory, name, os.O_PATH, follow=False)
        except OSError as error:
            if error.errno == _LOOP:
                raise SymlinkError(
                    f"{self.common if shared else self.directory}/{name} is reached through a link"
                ) from None
            raise
        finally:
            os.close(directory)
        return _regular(found, f"{self.common if shared else self.directory}/{name}", most)

    def read(self, name: str, most: int = MAX_SMALL_FILE, *, shared: bool = False) -> bytes:
        """What is in such a file. Raises as `open`."""
        descriptor = self.open(name, most, shared=shared)
        try:
            return os.read(descriptor, most)
        finally:
            os.close(descriptor)

    def target(self, name: str) -> str:
        """Where a link in it leads; empty for all that is none. Raises Failure, OSError."""
        directory = self.enter()
        try:
            return os.readlink(name, dir_fd=directory)
        except OSError:
            return ""
        finally:
            os.close(directory)


def find_repository(root: str) -> Repository | None:
    """The repository that the directory `root` is in, as git finds it; None where there is none, or no git.

    One above the project counts if it is on the same file system and belongs to the owner of the project, to us or to
    root: in a directory such as /tmp anybody can make one. Raises Failure, also for a git directory outside of the
    checkout that is not the project's (see _check).
    """
    top = os.path.realpath(root)
    project: os.stat_result | None = None
    while True:
        if os.path.lexists(_inside(top, ".git")):
            if project and not is_trusted_owner(os.lstat(_inside(top, ".git")).st_uid, project):
                return None
            if found := _open_repository(top, project):
                if project and not is_trusted_owner(found.owner, project):
                    return None
                found.caller = CallerGit(top, root)
                return found if found.caller.program else None
        project = project or os.stat(top)
        above = os.path.dirname(top)
        if above == top or os.stat(above).st_dev != project.st_dev:
            return None
        top = above


def find_nested_repository(outer: Repository, top: str) -> Repository | None:
    """The repository that begins at the directory `top`, in the work tree of another one; None where what is called
    `.git` there is none. Raises Failure."""
    if found := _open_repository(top, None, outer.top):
        found.caller = outer.caller
    return found


def _open_repository(top: str, project: os.stat_result | None, checkout: str = "") -> Repository | None:
    """The repository whose work tree is `top`, of whose owner `project` is, unless that is the owner of `top`; None
    where `.git` is no repository. `checkout` is what has come with it, unless that is `top`."""
    place = directory = _inside(top, ".git")
    try:
        state = os.lstat(place)
        if state.st_mode & _KIND != _DIRECTORY:
            directory = _real(os.path.join(top, _gitdir_target(place, state)))  # of a worktree, or a submodule
            if not directory:
                return None
        at = os.open(directory, _HANDLE)
        try:
            common = directory
            if (said := _commondir(at, directory)) and not (common := _real(os.path.join(directory, said))):
                return None
            found = os.fstat(at)
            known = {directory: _identity(found), common: _identity(os.stat(common))}
            there = _exists_at("HEAD", at) and all(os.path.isdir(f"{common}/{each}") for each in ("objects", "refs"))
        finally:
            os.close(at)
        if not there:
            return None
        for each in {directory, common} - {place}:
            if not f"{each}/".startswith(f"{checkout or top}/".replace("//", "/")):
                _check(top, directory, common, each, (project or os.stat(top)).st_uid)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a zero in a path
        return None
    except OSError as error:
        raise RepositoryError(f"{place}: {error.strerror}") from error
    return Repository(top, directory, common, known, found.st_uid)


def _gitdir_target(place: str, state: os.stat_result) -> str:
    """Where a `.git` that is no directory says that it is. Raises Failure, OSError."""
    if state.st_mode & _KIND == _LINK:
        return os.readlink(place)
    said = read_small_file(place)
    if not said.startswith(b"gitdir: "):
        raise RepositoryError(f"{place} is a file that does not say `gitdir: ` and where the git directory is")
    return os.fsdecode(said[8:].rstrip(b"\r\n"))


def _commondir(directory: int, path: str) -> str:
    """What a git directory says of the one that it shares; empty where it is that itself. Raises Failure, OSError."""
    try:
        found = os.open("commondir", _ENTRY, dir_fd=directory)
    except FileNotFoundError:
        return ""
    descriptor = _regular(found, f"{path}/commondir", MAX_SMALL_FILE)
    try:
        return os.fsdecode(os.read(descriptor, MAX_SMALL_FILE).rstrip(b"\r\n"))
    finally:
        os.close(descriptor)


def _check(top: str, directory: str, common: str, which: str, owner: int) -> None:
    """Raise Failure for a git directory outside of the checkout that is not the project's: whoever wrote `.git` may not
    be who can read what it leads to, and commits, tags and names of it come into evidence, keys and containers. It has
    to belong to the project's owner; or to us or root, and then to say itself that this is its work tree."""
    found = os.stat(which).st_uid
    if found == owner or (found in (os.geteuid(), 0) and _names_work_tree(top, directory, common)):
        return
    raise RepositoryError(
        f"{_inside(top, '.git')} leads to {which}, which belongs to user {found} and not to the project's owner"
        f" ({owner}), and does not say that this is its work tree (`git worktree repair` there makes it say so)"
    )


def _exists_at(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def is_git_visible(repository: Repository | None, root: str) -> bool:
    """Whether a task of the project at `root` sees a git directory: its own, or a stand-in. Raises Failure."""
    return repository is not None and (_is_directory(f"{root}/.git") or has_external_git(repository, root))


def has_external_git(repository: Repository, root: str) -> bool:
    """Whether the git directory of the project at `root` is another place's, and the project's by git's own rules: a
    worktree is one of that repository's worktrees and says so itself, a submodule's configuration names it, and of a
    repository above the project `around` has looked at the owner. Raises Failure."""
    if _is_directory(f"{root}/.git"):
        return False
    top = repository.top
    directory, common = os.path.realpath(repository.directory), os.path.realpath(repository.common)
    if os.path.realpath(f"{common}/objects") != f"{common}/objects":
        return False
    try:
        if os.stat(common).st_uid not in (os.stat(root).st_uid, os.geteuid(), 0):
            return False
    except OSError:
        return False
    if _is_directory(f"{top}/.git"):
        return directory == common == _inside(top, ".git")
    return _names_work_tree(top, directory, common)


def _names_work_tree(top: str, directory: str, common: str) -> bool:
    """Whether a git directory says itself which work tree is its own, and that is `top`: as one of several worktrees,
    or by its configuration, as a submodule's does."""
    if directory != common:
        if os.path.dirname(directory) != f"{common}/worktrees":
            return False
        named = _path(directory, os.fsdecode(_read(f"{directory}/gitdir")))
    else:
        named = _path(directory, f"{_worktree(_read(f'{common}/config'))}/.git")
    return named == _inside(top, ".git")


def _path(directory: str, said: str) -> str:
    """Where a path leads that a file of a git directory says; its last component may be a link's name."""
    place = os.path.join(directory, said.strip("\r\n"))
    return os.path.join(os.path.realpath(os.path.dirname(place)), os.path.basename(place))


def _read(path: str) -> bytes:
    try:
        return read_small_file(path)
    except (OSError, SymlinkError):
        return b""


def _worktree(config: bytes) -> str:
    """core.worktree, as `git submodule` writes it."""
    here, found = False, ""
    for row in os.fsdecode(config).split("\n"):
        line = row.strip()
        if line.startswith("["):
            here = line.lower() == "[core]"
        name, equals, value = line.partition("=")
        if here and equals and name.strip().lower() == "worktree":
            found = value.strip().strip('"')
    return found


def _is_directory(path: str) -> bool:
    try:
        return os.lstat(path).st_mode & _KIND == _DIRECTORY
    except OSError:
        return False


def _inside(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory != "/" else f"/{name}"


# ---- what is read here, not by git -----------------------------------------------------------------------------------


def read_small_file(path: str, most: int = MAX_SMALL_FILE) -> bytes:
    """A file of at most so many bytes. Raises Failure for all that is none, Linked for a link, OSError."""
    descriptor = _regular(os.open(path, _ENTRY), path, most)
    try:
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)


def _regular(found: int, path: str, most: int) -> int:
    """A descriptor to read what one of O_PATH stands for, which is closed: a file of at most so many bytes. Nothing
    else is ever opened: a fifo would make us wait, and with some devices opening is doing. Raises Failure, OSError."""
    try:
        state = os.fstat(found)
        if state.st_mode & _KIND != _REGULAR:
            kind = SymlinkError if state.st_mode & _KIND == _LINK else RepositoryError
            raise kind(f"{path} is not a regular file, as git's own are")
        if state.st_size > most:
            raise RepositoryError(f"{path} is larger than {most >> 20} MiB")
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(found)


# ---- which git, and what it sees of ours -----------------------------------------------------------------------------


class CallerGit:
    """What is the caller's choice: which git, and its configuration. Nothing of it is taken from the checkout, which
    is the repository from its `top` on, or only the project where a whole home directory is a repository."""

    __slots__ = ("environ", "program")

    def __init__(self, top: str, root: str) -> None:
        """`program` is git's absolute path, empty where there is none; `environ` is its environment."""
        home = os.environ.get("HOME", "")
        checkout = _checkout(top, root)
        path, self.program = _git(os.environ.get("PATH", os.defpath), checkout)
        # git starts nothing, but git may be a script of the caller's
        own = home if _outside(home, (checkout,)) else os.devnull
        self.environ = {"PATH": path, "HOME": own, "LC_ALL": "C"}
        if _outside(config := os.environ.get("XDG_CONFIG_HOME", ""), (checkout,)):
            self.environ["XDG_CONFIG_HOME"] = config


def _git(path: str, checkout: str) -> tuple[str, str]:
    """PATH without what is not searched, and git's absolute path. Looked for once: of a caller who asks for a hundred
    containers, PATH does not change meanwhile."""
    if (path, checkout) not in _gits:
        places = safe_path_directories(path, (checkout,))
        found = (f"{each}/git" for each in places)
        program = next((each for each in found if os.access(each, os.X_OK) and os.path.isfile(each)), "")
        _gits[path, checkout] = (":".join(places), program)
    return _gits[path, checkout]


def checkout_root(root: str) -> str:
    """The real path of all that came with the project at `root`."""
    try:
        repository = find_repository(root)
    except RepositoryError:
        repository = None
    return _checkout(repository.top, root) if repository else os.path.realpath(root)


def _checkout(top: str, root: str) -> str:
    whole = top == "/" or os.path.realpath(os.environ.get("HOME", "")) == top
    return os.path.realpath(root) if whole else top


def safe_path_directories(path: str, checkouts: Iterable[str]) -> list[str]:
    """The directories of PATH in which a program may be looked for: absolute ones that lie in no checkout."""
    return [each for each in path.split(":") if _outside(each, checkouts)]


def _outside(path: str, checkouts: Iterable[str]) -> bool:
    if not os.path.isabs(path) or not (real := _real(path)):
        return False
    return not any(f"{real}/".startswith(f"{top}/".replace("//", "/")) for top in checkouts)


def _real(path: str) -> str:
    """Where a path leads, empty where that is nowhere: what os.path.realpath says, in three system calls."""
    try:
        found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return ""
    try:
        return os.readlink(f"/proc/self/fd/{found}")
    finally:
        os.close(found)
