"""Finds the repository of a project as git finds it, and reads small files of it.

A stranger may have written a git directory, and its links may lead anywhere. So it is opened once and read
by that descriptor, no link in it is followed, only regular files of a bounded size are read, and a git directory
outside of the checkout counts only if it is the project's. See docs/decisions/0098 and 0114. Imports next to nothing: a
warm command starts git.
"""

from __future__ import annotations

import os

from envtool.fs.beneath import open_beneath, read_link
from envtool.project.discovery import is_trusted_owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_SMALL_FILE = 1 << 20  # bytes of a file that is read here, unless the caller allows more

_REGULAR, _DIRECTORY, _LINK, _KIND = 0o100000, 0o040000, 0o120000, 0o170000
_HANDLE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTRY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOP = 40  # ELOOP
_gits: dict[tuple[str, str], tuple[str, str]] = {}


class RepositoryError(Exception):
    """git failed, or a repository cannot be used; the text says what is wrong, and where."""


class SymlinkError(RepositoryError):
    """A link is in the place of a file of git's."""


# ---- finding a repository --------------------------------------------------------------------------------------------


class Repository:
    """A work tree, and the path of its git directory, whose content has not been read.

    Its files are read through the directory that was opened when it was found: another directory that has taken its
    place is an error. No link in it is followed, since its author may not be allowed to read what the caller can.
    """

    __slots__ = ("_identities", "caller", "common", "directory", "owner", "top")

    def __init__(self, top: str, directory: str, common: str, known: dict[str, tuple[int, int]], owner: int) -> None:
        self.top = top  # of the work tree; absolute
        self.directory = directory  # it has HEAD and index
        self.common = common  # it has objects and refs: another directory if this is one of several worktrees
        self.owner = owner  # user id of the directory's owner
        self._identities = known  # device and inode of both directories
        self.caller: CallerGit

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of its git directory."""
        return self._identities[self.directory]

    def enter(self, *, shared: bool = False) -> int:
        """Returns a descriptor (O_PATH) of its git directory, or of the one that worktrees share. Raises
        RepositoryError, OSError."""
        path = self.common if shared else self.directory
        descriptor = os.open(path, _HANDLE)
        if _identity(os.fstat(descriptor)) != self._identities[path]:
            os.close(descriptor)
            raise RepositoryError(f"{path} is another directory than a moment ago")
        return descriptor

    def open(self, name: str, most: int = MAX_SMALL_FILE, *, shared: bool = False) -> int:
        """Returns a descriptor of a file in it. Raises RepositoryError if it is not a regular file, or larger than
        `most` bytes; OSError."""
        directory = self.enter(shared=shared)
        try:
            descriptor = open_beneath(directory, name, os.O_PATH, follow=False)
        except OSError as error:
            if error.errno == _LOOP:
                raise SymlinkError(
                    f"{self.common if shared else self.directory}/{name} is reached through a link"
                ) from None
            raise
        finally:
            os.close(directory)
        return _open_regular(descriptor, f"{self.common if shared else self.directory}/{name}", most)

    def read(self, name: str, most: int = MAX_SMALL_FILE, *, shared: bool = False) -> bytes:
        """Returns the content of such a file. Raises as `open`."""
        descriptor = self.open(name, most, shared=shared)
        try:
            return os.read(descriptor, most)
        finally:
            os.close(descriptor)

    def target(self, name: str) -> str:
        """Returns the target of a link in it; empty if it is not a link. Raises RepositoryError, OSError."""
        directory = self.enter()
        try:
            return read_link(directory, name)
        finally:
            os.close(directory)


def find_repository(root: str) -> Repository | None:
    """Returns the repository that the directory `root` is in, as git finds it; None if there is none, or no git.

    A repository above the project counts if it is on the same file system and belongs to the owner of the project, to
    the caller or to root: in a directory such as /tmp anybody can make one. Raises RepositoryError, also for a git
    directory outside of the checkout that is not the project's (see _check_owner).
    """
    top = os.path.realpath(root)
    project: os.stat_result | None = None
    while True:
        if os.path.lexists(_join(top, ".git")):
            if project and not is_trusted_owner(os.lstat(_join(top, ".git")).st_uid, project):
                return None
            if repository := _open_repository(top, project):
                if project and not is_trusted_owner(repository.owner, project):
                    return None
                repository.caller = CallerGit(top, root)
                return repository if repository.caller.program else None
        project = project or os.stat(top)
        parent = os.path.dirname(top)
        if parent == top or os.stat(parent).st_dev != project.st_dev:
            return None
        top = parent


def find_nested_repository(outer: Repository, top: str) -> Repository | None:
    """Returns the repository that begins at the directory `top`, in the work tree of `outer`; None if its `.git` is not
    a repository. Raises RepositoryError."""
    if repository := _open_repository(top, None, outer.top):
        repository.caller = outer.caller
    return repository


def _open_repository(top: str, project: os.stat_result | None, checkout: str = "") -> Repository | None:
    """Returns the repository whose work tree is `top`; None if `.git` is not a repository. `project` are the stats of
    the project's directory, if that is not `top`; `checkout` is the path of the outermost work tree, if that is not
    `top`."""
    dot_git = directory = _join(top, ".git")
    try:
        dot_git_info = os.lstat(dot_git)
        if dot_git_info.st_mode & _KIND != _DIRECTORY:
            directory = _real_path(
                os.path.join(top, _gitdir_target(dot_git, dot_git_info))
            )  # a worktree, or a submodule
            if not directory:
                return None
        descriptor = os.open(directory, _HANDLE)
        try:
            common = directory
            if (common_target := _commondir(descriptor, directory)) and not (
                common := _real_path(os.path.join(directory, common_target))
            ):
                return None
            info = os.fstat(descriptor)
            known = {directory: _identity(info), common: _identity(os.stat(common))}
            is_repository = _exists_at("HEAD", descriptor) and all(
                os.path.isdir(f"{common}/{path}") for path in ("objects", "refs")
            )
        finally:
            os.close(descriptor)
        if not is_repository:
            return None
        for path in {directory, common} - {dot_git}:
            if not f"{path}/".startswith(f"{checkout or top}/".replace("//", "/")):
                _check_owner(top, directory, common, path, (project or os.stat(top)).st_uid)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a zero byte in a path
        return None
    except OSError as error:
        raise RepositoryError(f"{dot_git}: {error.strerror}") from error
    return Repository(top, directory, common, known, info.st_uid)


def _gitdir_target(path: str, info: os.stat_result) -> str:
    """Returns where a `.git` that is not a directory says the git directory is. Raises RepositoryError, OSError."""
    if info.st_mode & _KIND == _LINK:
        return os.readlink(path)
    content = read_small_file(path)
    if not content.startswith(b"gitdir: "):
        raise RepositoryError(f"{path} is a file that does not say `gitdir: ` and where the git directory is")
    return os.fsdecode(content[8:].rstrip(b"\r\n"))


def _commondir(directory: int, path: str) -> str:
    """Returns what a git directory says of the one that it shares; empty if it shares none. Raises RepositoryError,
    OSError."""
    try:
        entry = os.open("commondir", _ENTRY, dir_fd=directory)
    except FileNotFoundError:
        return ""
    descriptor = _open_regular(entry, f"{path}/commondir", MAX_SMALL_FILE)
    try:
        return os.fsdecode(os.read(descriptor, MAX_SMALL_FILE).rstrip(b"\r\n"))
    finally:
        os.close(descriptor)


def _check_owner(top: str, directory: str, common: str, path: str, owner: int) -> None:
    """Raises RepositoryError for a git directory outside of the checkout that is not the project's. The author of
    `.git` may not be allowed to read what it leads to, and its commits, tags and names go into evidence, keys and
    containers. The git directory has to belong to the project's owner; or to the caller or root, and then it has to
    name this work tree itself."""
    uid = os.stat(path).st_uid
    if uid == owner or (uid in (os.geteuid(), 0) and _names_work_tree(top, directory, common)):
        return
    raise RepositoryError(
        f"{_join(top, '.git')} leads to {path}, which belongs to user {uid} and not to the project's owner"
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
    """Returns whether a task of the project at `root` sees a git directory: its own, or a copy. Raises
    RepositoryError."""
    return repository is not None and (_is_directory(f"{root}/.git") or has_external_git(repository, root))


def has_external_git(repository: Repository, root: str) -> bool:
    """Returns whether the git directory of the project at `root` is elsewhere, and the project's by git's own rules: a
    worktree is one of that repository's worktrees and names itself, a submodule's configuration names it, and of a
    repository above the project `find_repository` has checked the owner. Raises RepositoryError."""
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
        return directory == common == _join(top, ".git")
    return _names_work_tree(top, directory, common)


def _names_work_tree(top: str, directory: str, common: str) -> bool:
    """Returns whether a git directory itself names `top` as its work tree: as one of several worktrees, or in its
    configuration, as a submodule does."""
    if directory != common:
        if os.path.dirname(directory) != f"{common}/worktrees":
            return False
        named = _resolve_named_path(directory, os.fsdecode(_read_or_empty(f"{directory}/gitdir")))
    else:
        named = _resolve_named_path(directory, f"{_configured_work_tree(_read_or_empty(f'{common}/config'))}/.git")
    return named == _join(top, ".git")


def _resolve_named_path(directory: str, named: str) -> str:
    """Returns the path that a file of a git directory names; its last component may be a link."""
    path = os.path.join(directory, named.strip("\r\n"))
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _read_or_empty(path: str) -> bytes:
    try:
        return read_small_file(path)
    except (OSError, SymlinkError):
        return b""


def _configured_work_tree(config: bytes) -> str:
    """Returns core.worktree, as `git submodule` writes it."""
    in_core, work_tree = False, ""
    for row in os.fsdecode(config).split("\n"):
        line = row.strip()
        if line.startswith("["):
            in_core = line.lower() == "[core]"
        name, equals, value = line.partition("=")
        if in_core and equals and name.strip().lower() == "worktree":
            work_tree = value.strip().strip('"')
    return work_tree


def _is_directory(path: str) -> bool:
    try:
        return os.lstat(path).st_mode & _KIND == _DIRECTORY
    except OSError:
        return False


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory != "/" else f"/{name}"


# ---- small files -----------------------------------------------------------------------------------------------------


def read_small_file(path: str, most: int = MAX_SMALL_FILE) -> bytes:
    """Returns the content of a file of at most `most` bytes. Raises RepositoryError if it is not a regular file,
    SymlinkError for a link, OSError."""
    descriptor = _open_regular(os.open(path, _ENTRY), path, most)
    try:
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)


def _open_regular(entry: int, path: str, most: int) -> int:
    """Opens for reading the file of an O_PATH descriptor, and closes that: a regular file of at most `most` bytes.
    Nothing else is ever opened: a fifo would block, and opening some devices has effects. Raises RepositoryError,
    OSError."""
    try:
        info = os.fstat(entry)
        if info.st_mode & _KIND != _REGULAR:
            kind = SymlinkError if info.st_mode & _KIND == _LINK else RepositoryError
            raise kind(f"{path} is not a regular file, as git's own are")
        if info.st_size > most:
            raise RepositoryError(f"{path} is larger than {most >> 20} MiB")
        return os.open(f"/proc/self/fd/{entry}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(entry)


# ---- the caller's git ------------------------------------------------------------------------------------------------


class CallerGit:
    """The caller's git program and its environment. Nothing of it comes from the checkout, which is the work tree from
    its `top` on, or only the project if a whole home directory is a repository."""

    __slots__ = ("environ", "program")

    def __init__(self, top: str, root: str) -> None:
        """`program` is git's absolute path, empty if there is none; `environ` is its environment."""
        home = os.environ.get("HOME", "")
        checkout = _checkout_directory(top, root)
        path, self.program = _find_git(os.environ.get("PATH", os.defpath), checkout)
        # git starts nothing, but git may be a script of the caller's
        own = home if _is_outside(home, (checkout,)) else os.devnull
        self.environ = {"PATH": path, "HOME": own, "LC_ALL": "C"}
        if _is_outside(config := os.environ.get("XDG_CONFIG_HOME", ""), (checkout,)):
            self.environ["XDG_CONFIG_HOME"] = config


def _find_git(path: str, checkout: str) -> tuple[str, str]:
    """Returns PATH without the directories that are not searched, and git's absolute path. Cached: PATH does not change
    while a caller starts a hundred containers."""
    if (path, checkout) not in _gits:
        directories = safe_path_directories(path, (checkout,))
        candidates = (f"{candidate}/git" for candidate in directories)
        program = next(
            (candidate for candidate in candidates if os.access(candidate, os.X_OK) and os.path.isfile(candidate)), ""
        )
        _gits[path, checkout] = (":".join(directories), program)
    return _gits[path, checkout]


def checkout_root(root: str) -> str:
    """Returns the real path of the checkout that the project at `root` is in."""
    try:
        repository = find_repository(root)
    except RepositoryError:
        repository = None
    return _checkout_directory(repository.top, root) if repository else os.path.realpath(root)


def _checkout_directory(top: str, root: str) -> str:
    is_home = top == "/" or os.path.realpath(os.environ.get("HOME", "")) == top
    return os.path.realpath(root) if is_home else top


def safe_path_directories(path: str, checkouts: Iterable[str]) -> list[str]:
    """Returns the directories of PATH in which a program may be searched: absolute ones that lie in no checkout."""
    return [directory for directory in path.split(":") if _is_outside(directory, checkouts)]


def _is_outside(path: str, checkouts: Iterable[str]) -> bool:
    if not os.path.isabs(path) or not (real := _real_path(path)):
        return False
    return not any(f"{real}/".startswith(f"{top}/".replace("//", "/")) for top in checkouts)


def _real_path(path: str) -> str:
    """Returns the real path, empty if nothing is there: as os.path.realpath, in three system calls."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return ""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
