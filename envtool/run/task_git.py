"""The git directory that a task sees where the project's own `.git` is none: of a worktree, a submodule, or a project
below the top of its repository.

It is a copy of what is small (HEAD, refs, configuration, index), thrown away with the task, in which `git describe`,
`log` and `status` work as they do on the host; the objects, which are not small, are shown read-only. Nothing is shown
that is not the repository's own by git's own rules: a worktree's directory has to lie in that repository's
`worktrees/` and to name this project, a submodule's configuration has to name it, and a repository above has to belong
to the project's owner, to the caller or to root (git.around). A link in place of a directory is not followed.

Where the project lies below the top, the work tree is another place in which the project is all there is: the index
then says of every other file that it is to be taken as unchanged (`git update-index --assume-unchanged`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from envtool.api import PROJECT
from envtool.build.context import Context
from envtool.container import userns
from envtool.container.program import BindMount, PeekMount
from envtool.errors import EnvtoolError
from envtool.fs.beneath import open_beneath, real_path
from envtool.project import git, source_files
from envtool.store import layers

TOP = "/run/envtool/repository"  # the work tree of a project below the top of its repository
NOT_COPIED = frozenset(["objects", "worktrees", "modules", "lfs", "annex"])  # what commits name; what belongs to others
# Of a worktree's own, not of its repository: git's contrib/workdir and gitrepository-layout(5)
_PER_WORKTREE = frozenset(
    ["HEAD", "index", "config.worktree", "ORIG_HEAD", "FETCH_HEAD", "COMMIT_EDITMSG", "logs/HEAD"]
)
_NOT_VISIBLE = frozenset(
    ["commondir", "gitdir", "locked"]
)  # of a worktree: where it is, which is not where the task sees it
_OBJECTS = "repository-objects"
_CE_VALID = 0x80  # of the first byte of an entry's flags: CE_VALID, gitformat-index(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskGitSource:
    """What is to be shown."""

    repository: git.Repository
    prefix: str  # of the project in it: empty at its top, else with a slash at its end

    @property
    def sources(self) -> tuple[str, ...]:
        """Directories that are copied, one over the other."""
        found = self.repository
        return (found.directory,) if found.directory == found.common else (found.common, found.directory)

    def counts(self, source: str, path: str) -> bool:
        """Whether a file of a source, by its path in it, is the task's to see."""
        if path.endswith(".lock") or path in _NOT_VISIBLE:
            return False
        return source == self.repository.directory or path not in _PER_WORKTREE


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskGit:
    """What a container has to be given for it; nothing where nothing is shown."""

    binds: tuple[BindMount, ...] = ()
    hidden: tuple[str, ...] = ()
    peeks: tuple[PeekMount, ...] = ()


def find_git_source(setting: Context) -> TaskGitSource | None:
    """What of a repository is to be shown to the project's tasks; None where the project has its own, or there is none
    that may be. Raises EnvtoolError (code project-git)."""
    root = real_path(setting.root)
    found = next(
        (each for prefix, each in source_files.list_repositories(root, setting.cancel.reader) if not prefix), None
    )
    try:
        if found is None or not git.has_external_git(found, root):
            return None
    except git.RepositoryError as error:
        raise EnvtoolError(f"the project cannot be read: {error}", code="project-git") from error
    below = os.path.relpath(root, found.top)
    return TaskGitSource(repository=found, prefix="" if below == "." else f"{below}/")


@contextlib.contextmanager
def provide_git(setting: Context) -> Iterator[TaskGit]:
    """A stand-in for the time of a task. Raises EnvtoolError."""
    found = find_git_source(setting)
    if found is None:
        yield TaskGit()
        return
    with layers.temp_directory(setting.store, remove=userns.remove_as_root) as top:
        try:
            _make(found, f"{top}/git")
            objects = f"{found.repository.common}/objects"
            with _opened(objects) as descriptor:
                state = os.fstat(descriptor)
        except (git.RepositoryError, OSError, ValueError) as error:
            raise EnvtoolError(f"the project cannot be read: {error}", code="project-git") from error
        own = (state.st_dev, state.st_ino)
        work = f"{TOP}/{found.prefix}".rstrip("/")
        yield TaskGit(
            binds=(
                BindMount(source=f"{top}/git", target=f"{PROJECT}/.git", readonly=False),
                BindMount(source=objects, target=f"{PROJECT}/.git/{_OBJECTS}", mapped=True, identity=own),
            ),
            hidden=() if found.prefix else (".git",),
            peeks=(PeekMount(tree=PROJECT, path=".", target=work),) if found.prefix else (),
        )


@contextlib.contextmanager
def _opened(directory: str) -> Iterator[int]:
    """A git directory, or one in it, where no link is on the way. Raises OSError."""
    descriptor = open_beneath("/", directory.lstrip("/"), os.O_RDONLY | os.O_DIRECTORY, follow=False)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _make(found: TaskGitSource, target: str) -> None:
    os.mkdir(target, 0o755)
    for source in found.sources:
        for path, directory, name in list_git_files(found.repository, shared=source == found.repository.common):
            if found.counts(source, path) and path not in ("config", "config.worktree", "index"):
                _copy(directory, name, f"{target}/{path}")
    for name in ("refs", f"{_OBJECTS}", "objects/info"):
        os.makedirs(f"{target}/{name}", exist_ok=True)
    _write(f"{target}/objects/info/alternates", f"../{_OBJECTS}\n".encode())
    here = f"\n[core]\n\tbare = false\n\tworktree = {TOP if found.prefix else PROJECT}\n".encode()
    repository = found.repository
    for shared, name in ((True, "config"), (False, "config.worktree")):
        with contextlib.suppress(FileNotFoundError):
            _write(f"{target}/{name}", repository.read(name, shared=shared) + here)
    index = git.read_index(repository)
    if index:
        _write(f"{target}/index", assume_unchanged(index, os.fsencode(found.prefix)) if found.prefix else index)


def list_git_files(repository: git.Repository, *, shared: bool) -> Iterator[tuple[str, int, str]]:
    """(path in it, descriptor of its directory, name) of all that is no directory in a git directory."""
    top = repository.enter(shared=shared)
    try:
        for here, directories, names, descriptor in os.fwalk(".", dir_fd=top):
            below = "" if here == "." else f"{here[2:]}/"
            directories[:] = [name for name in directories if below or name not in NOT_COPIED]
            for name in names:
                yield f"{below}{name}", descriptor, name
    finally:
        os.close(top)


def _copy(directory: int, name: str, target: str) -> None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        reading = os.open(name, flags, dir_fd=directory)
    except OSError:  # a link, or gone
        return
    try:
        state = os.fstat(reading)
        if stat.S_ISREG(state.st_mode) and state.st_size <= git.MAX_INDEX_SIZE:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(reading, "rb", closefd=False) as file:
                _write(target, file.read(git.MAX_INDEX_SIZE), 0o755 if state.st_mode & 0o100 else 0o644)
    finally:
        os.close(reading)


def _write(target: str, text: bytes, mode: int = 0o644) -> None:
    with open(target, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)


def assume_unchanged(index: bytes, prefix: bytes) -> bytes:
    """An index that says of all that is not below `prefix` that it is to be taken as unchanged. Raises ValueError for
    one that is none, or stands on another (a split index)."""
    sized = [size for size in (20, 32) if _sum(index[:-size], size) == index[-size:]]
    if not sized and any(index[-20:]):  # zeros: index.skipHash
        raise ValueError("its index has not the sum that it says")
    text, size = bytearray(index), sized[0] if sized else 20
    version, count = int.from_bytes(index[4:8], "big"), int.from_bytes(index[8:12], "big")
    at, name = 12, b""
    for _ in range(count):
        flags = at + 40 + size
        after = flags + (4 if version > 2 and text[flags] & 0x40 else 2)
        if version == 4:
            strip, after = _read_varint(index, after)
            end = index.index(b"\0", after)
            name = name[: len(name) - strip] + index[after:end]
            following = end + 1
        else:
            end = index.index(b"\0", after)
            name = index[after:end]
            following = at + ((end - at) // 8 + 1) * 8
        if not name.startswith(prefix):
            text[flags] |= _CE_VALID
        at = following
    if index[at : at + 4] == b"link":
        raise ValueError("its index is a split one, which a project below its top cannot be shown")
    body = bytes(text[:-size])
    return body + (_sum(body, size) if sized else bytes(size))


def _sum(body: bytes, size: int) -> bytes:
    return (hashlib.sha1(body, usedforsecurity=False) if size == 20 else hashlib.sha256(body)).digest()


def _read_varint(text: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, as packs and indexes of version 4 have it, and where it ends."""
    value = text[at] & 127
    while text[at] & 128:
        at += 1
        value = ((value + 1) << 7) | (text[at] & 127)
    return value, at + 1
