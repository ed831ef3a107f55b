"""The git directory of a task, for a project that has no `.git` directory of its own: a worktree, a submodule, or a
project below the top of its repository.

The task sees a copy of the small files (HEAD, refs, configuration, index), which is thrown away after it. In that, `git
describe`, `log` and `status` work as they do on the host. The objects are large: they are mounted read-only. Nothing is
visible that does not belong to the repository by git's own rules: a worktree's directory has to lie in that
repository's `worktrees/` and to name this project, a submodule's configuration has to name it, and a repository above
has to belong to the project's owner, to the caller or to root (project/repository.py). A link in place of a directory
is not followed.

If the project lies below the top of its repository, the work tree in the container contains nothing but the project.
The index then marks every other file as unchanged (`git update-index --assume-unchanged`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator

from envtool.api import PROJECT
from envtool.build.context import Context
from envtool.container.program import BindMount, PeekMount
from envtool.errors import EnvtoolError
from envtool.fs.beneath import Descent, open_beneath, real_path
from envtool.lazy_dataclass import dataclass
from envtool.project import git, source_files
from envtool.project.source_files import Repositories
from envtool.store import layers

TOP = "/run/envtool/repository"  # the work tree of a project below the top of its repository
NOT_COPIED = frozenset(["objects", "worktrees", "modules", "lfs", "annex"])  # content by its hash; other work trees
# Each worktree has its own, not its repository's: git's contrib/workdir and gitrepository-layout(5)
_PER_WORKTREE = frozenset(
    ["HEAD", "index", "config.worktree", "ORIG_HEAD", "FETCH_HEAD", "COMMIT_EDITMSG", "logs/HEAD"]
)
_NOT_VISIBLE = frozenset(
    ["commondir", "gitdir", "locked"]
)  # the paths of a worktree on the host: in the container it is elsewhere
_OBJECTS = "repository-objects"
_CE_VALID = 0x80  # in the first byte of an entry's flags: gitformat-index(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskGitSource:
    """The repository that a task sees a copy of."""

    repository: git.Repository
    prefix: str  # path of the project in it: empty at its top, else with a slash at its end

    @property
    def sources(self) -> tuple[str, ...]:
        """The directories that are copied, one over the other."""
        repository = self.repository
        return (
            (repository.directory,)
            if repository.directory == repository.common
            else (repository.common, repository.directory)
        )

    def counts(self, source: str, path: str) -> bool:
        """Returns whether the task sees a file of a source, given by its path in it."""
        if path.endswith(".lock") or path in _NOT_VISIBLE:
            return False
        return source == self.repository.directory or path not in _PER_WORKTREE


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskGit:
    """What a container needs for the copy; empty if there is none."""

    binds: tuple[BindMount, ...] = ()
    hidden: tuple[str, ...] = ()
    peeks: tuple[PeekMount, ...] = ()


def find_git_source(context: Context, found: Repositories | None = None) -> TaskGitSource | None:
    """Returns the repository of which the project's tasks see a copy; None if the project has its own, or if there is
    no repository that they may see. `found` are the project's repositories if they were listed just now. Raises
    EnvtoolError (code project-git)."""
    root = real_path(context.root)
    if found is None:
        found = source_files.list_repositories(root, context.cancel.reader)
    repository = next((candidate for prefix, candidate in found if not prefix), None)
    try:
        if repository is None or not git.has_external_git(repository, root):
            return None
    except git.RepositoryError as error:
        raise EnvtoolError(f"the project cannot be read: {error}", code="project-git") from error
    relative = os.path.relpath(root, repository.top)
    return TaskGitSource(repository=repository, prefix="" if relative == "." else f"{relative}/")


@contextlib.contextmanager
def provide_git(context: Context, found: Repositories | None = None) -> Iterator[TaskGit]:
    """Makes the copy, and removes it when the task has ended. `found`: see `find_git_source`. Raises EnvtoolError."""
    source = find_git_source(context, found)
    if source is None:
        yield TaskGit()
        return
    with layers.temp_directory(context.store, remove=context.runner.remove) as top:
        try:
            _make(source, f"{top}/git")
            objects = f"{source.repository.common}/objects"
            with _opened(objects) as descriptor:
                info = os.fstat(descriptor)
        except (git.RepositoryError, OSError, ValueError) as error:
            raise EnvtoolError(f"the project cannot be read: {error}", code="project-git") from error
        identity = (info.st_dev, info.st_ino)
        work_tree = f"{TOP}/{source.prefix}".rstrip("/")
        yield TaskGit(
            binds=(
                BindMount(source=f"{top}/git", target=f"{PROJECT}/.git", readonly=False),
                BindMount(source=objects, target=f"{PROJECT}/.git/{_OBJECTS}", mapped=True, identity=identity),
            ),
            hidden=() if source.prefix else (".git",),
            peeks=(PeekMount(tree=PROJECT, path=".", target=work_tree),) if source.prefix else (),
        )


@contextlib.contextmanager
def _opened(directory: str) -> Iterator[int]:
    """Opens a git directory, or a directory in one, through no link. Raises OSError."""
    descriptor = open_beneath("/", directory.lstrip("/"), os.O_RDONLY | os.O_DIRECTORY, follow=False)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _make(git_source: TaskGitSource, target: str) -> None:
    os.mkdir(target, 0o755)
    for source in git_source.sources:
        for path, directory, name in list_git_files(
            git_source.repository, shared=source == git_source.repository.common
        ):
            if git_source.counts(source, path) and path not in ("config", "config.worktree", "index"):
                _copy(directory, name, f"{target}/{path}")
    for name in ("refs", f"{_OBJECTS}", "objects/info"):
        os.makedirs(f"{target}/{name}", exist_ok=True)
    _write(f"{target}/objects/info/alternates", f"../{_OBJECTS}\n".encode())
    core_section = f"\n[core]\n\tbare = false\n\tworktree = {TOP if git_source.prefix else PROJECT}\n".encode()
    repository = git_source.repository
    for shared, name in ((True, "config"), (False, "config.worktree")):
        with contextlib.suppress(FileNotFoundError):
            _write(f"{target}/{name}", repository.read(name, shared=shared) + core_section)
    index = git.read_index(repository)
    if index:
        _write(
            f"{target}/index", assume_unchanged(index, os.fsencode(git_source.prefix)) if git_source.prefix else index
        )


def list_git_files(repository: git.Repository, *, shared: bool) -> Iterator[tuple[str, int, str]]:
    """Yields (path in it, descriptor of its directory, name) of each file and link in a git directory."""
    top = repository.enter(shared=shared)
    try:
        pending = [""]
        with Descent(top) as directories:
            while pending:
                directory = pending.pop()
                prefix = f"{directory}/" if directory else ""
                try:
                    descriptor = directories.open(directory)
                except OSError:  # gone meanwhile, or replaced
                    continue
                with os.scandir(descriptor) as entries:
                    kinds = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
                for name, is_directory in kinds.items():
                    if not is_directory:
                        yield f"{prefix}{name}", descriptor, name
                    elif prefix or name not in NOT_COPIED:
                        pending.append(f"{prefix}{name}")
    finally:
        os.close(top)


def _copy(directory: int, name: str, target: str) -> None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except OSError:  # a link, or gone
        return
    try:
        info = os.fstat(descriptor)
        if stat.S_ISREG(info.st_mode) and info.st_size <= git.MAX_INDEX_SIZE:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(descriptor, "rb", closefd=False) as file:
                _write(target, file.read(git.MAX_INDEX_SIZE), 0o755 if info.st_mode & 0o100 else 0o644)
    finally:
        os.close(descriptor)


def _write(target: str, text: bytes, mode: int = 0o644) -> None:
    with open(target, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)


def assume_unchanged(index: bytes, prefix: bytes) -> bytes:
    """Returns an index in which every file that is not below `prefix` is marked as unchanged. Raises ValueError for a
    damaged index, and for a split index, which is only a part."""
    hash_sizes = [size for size in (20, 32) if _sum(index[:-size], size) == index[-size:]]
    if not hash_sizes and any(index[-20:]):  # git writes zeros in place of the hash if index.skipHash is set
        raise ValueError("its index has not the sum that it says")
    text, size = bytearray(index), hash_sizes[0] if hash_sizes else 20
    version, count = int.from_bytes(index[4:8], "big"), int.from_bytes(index[8:12], "big")
    entry, name = 12, b""
    for _ in range(count):
        flags = entry + 40 + size
        position = flags + (4 if version > 2 and text[flags] & 0x40 else 2)
        if version == 4:
            strip, position = _read_varint(index, position)
            end = index.index(b"\0", position)
            name = name[: len(name) - strip] + index[position:end]
            next_entry = end + 1
        else:
            end = index.index(b"\0", position)
            name = index[position:end]
            next_entry = entry + ((end - entry) // 8 + 1) * 8
        if not name.startswith(prefix):
            text[flags] |= _CE_VALID
        entry = next_entry
    if index[entry : entry + 4] == b"link":
        raise ValueError("its index is a split one, which a project below its top cannot be shown")
    body = bytes(text[:-size])
    return body + (_sum(body, size) if hash_sizes else bytes(size))


def _sum(body: bytes, size: int) -> bytes:
    return (hashlib.sha1(body, usedforsecurity=False) if size == 20 else hashlib.sha256(body)).digest()


def _read_varint(text: bytes, at: int) -> tuple[int, int]:
    """Returns a number of variable length, as packs and indexes of version 4 encode it, and the position after it."""
    value = text[at] & 127
    while text[at] & 128:
        at += 1
        value = ((value + 1) << 7) | (text[at] & 127)
    return value, at + 1
