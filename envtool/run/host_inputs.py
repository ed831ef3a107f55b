"""What a task can reach besides its stack and the project's files: this machine's own system, and git's directories.

Both are too large to be in the digest of every task, and most tasks read little of them. So the kernel reports which of
their files a task opened (container/opened_files.py): a cached result is valid as long as the opened files did not
change. If the opened files are not known, all files count.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from envtool.api import PROJECT
from envtool.build.context import Context
from envtool.build.stack import KnownStack, merge_host_files, opened_files_question, shown_host_files
from envtool.errors import EnvtoolError
from envtool.fs.beneath import real_path
from envtool.lazy_dataclass import dataclass
from envtool.model import Json, Looked
from envtool.project import git, snapshot, source_files
from envtool.run import host_state, task_git
from envtool.store import answer_cache

if TYPE_CHECKING:
    from envtool.container.messages import Exit
    from envtool.container.opened_files import OpenedWindow, SharedWatch

INDEX = ("ls-files", "-s", "-t", "-z", "--", ".")
MAX_HASHED = 1 << 20  # bytes of a file of git's that is hashed: of a larger file, size and times count
_EXCLUDED = task_git.NOT_COPIED - {"modules"}  # the project's submodules have their git directories in `modules`


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHistory:
    """The state of git's directories, as far as a task can see them."""

    digest: str  # lower-case hex
    newest: int  # ctime (ns) of the file that changed last
    paths: tuple[str, ...]  # paths of this machine: while their stats are the same, so is the digest


class GitLook(NamedTuple):
    """What git says of the project, read before tasks that share it (project_look.py)."""

    began: int  # nanoseconds since the epoch
    repositories: source_files.Repositories
    directories: frozenset[str]  # of git's, as a task sees them
    hidden: tuple[str, ...]  # see source_files.list_hidden


class HostInputs:
    """What one task can reach, read before it starts. `opened` is set when it has ended: the files that it opened, None
    if that is not known."""

    __slots__ = (
        "_began", "_directories", "_machine", "_shared", "_states", "look", "opened", "repositories", "unread",
        "unread_reason",
    )  # fmt: skip

    def __init__(
        self,
        stack: KnownStack,
        context: Context,
        beside: Sequence[KnownStack] = (),
        states: Sequence[str] = (),
        look: GitLook | None = None,
    ) -> None:
        """`beside` are the stacks of services, `states` the keys of their prepared state. What `look` has is not read
        again. Raises EnvtoolError if git fails."""
        self._machine = merge_host_files([each.layers for each in (stack, *beside)])
        if self._machine is not None:
            host_state.index_ahead(self._machine.states, self._machine.trees)
        self._states = states
        self.look = look
        if look is not None:
            self.repositories, self._directories, self._began = look.repositories, look.directories, look.began
        else:
            self.repositories = source_files.list_repositories(context.root, context.cancel.reader)
            self._directories = watched_git_directories(context, self.repositories)
            self._began = time.time_ns()
        self.opened: tuple[str, ...] | None = None
        self.unread: tuple[str, ...] | None = None  # of the project (container/looked_up_names.py); None: not known
        self.unread_reason = "it did not run"  # why it is not known
        self._shared: tuple[SharedWatch, OpenedWindow] | None = None

    @property
    def trees(self) -> tuple[str, ...]:
        """Directories of this machine in which the kernel has to report what the task opens."""
        return (*self._machine.trees,) if self._machine else ()

    @property
    def watch(self) -> tuple[str, ...]:
        """Directories of the container in which the kernel has to report what the task opens."""
        return (*self.trees, *self._directories)

    @property
    def shared_trees(self) -> tuple[str, ...]:
        """Those of `trees` that the run watches itself, while a container runs: all of them, or none."""
        return self.trees if self._shared is not None else ()

    def newest_of_machine(self) -> int:
        """Returns a time, in nanoseconds since the epoch, after which nothing of this machine that counts has changed;
        0 where nothing counts. All of it counts, since what the task opens is not known yet."""
        changes = self._machine.states.values() if self._machine else ()
        return max(changes, default=-snapshot.CLOCK_GRAIN) + snapshot.CLOCK_GRAIN

    @contextlib.contextmanager
    def watching(self, context: Context) -> Iterator[tuple[str, ...]]:
        """For the time of one container: the run's own watch reports what is opened of this machine. Gives the
        directories that the container has to watch itself; all of them, if this machine's cannot be watched so."""
        from envtool.run import machine_watches

        shared = machine_watches.find_watch(self._machine.trees, context.shared) if self._machine else None
        if shared is None:
            yield self.watch
            return
        self._shared = shared, shared.begin()
        try:
            yield (*self._directories,)
        finally:
            shared.end(self._shared[1])
            self._shared = None

    def set_began(self, began: int) -> None:
        """Notes that the task may have begun earlier, in nanoseconds since the epoch: git's files must not have changed
        since."""
        self._began = min(self._began, began)

    def set_opened(self, opened: tuple[str, ...] | None) -> None:
        """Notes what was opened, once the container has ended: `opened` are the files in the directories that it
        watched itself, None if those are not known."""
        if self._shared is not None:
            watch, window = self._shared
            of_machine, of_git = watch.end(window), opened if self._directories else ()
            opened = None if of_machine is None or of_git is None else (*of_machine, *of_git)
        self.opened = opened

    def set_unread(self, ended: Exit, *, services: bool, caches: bool) -> None:
        """Notes what of the project was not read, once the container has ended; what `services` read is not known, nor
        what an earlier run read of which `caches` tell."""
        self.unread, self.unread_reason = ended.unread, ended.unread_reason
        if caches:
            self.unread, self.unread_reason = None, "its caches may tell it of files that earlier runs have read"
        if services:
            self.unread, self.unread_reason = None, "services run beside it, and what they read is not known"

    def add_opened(self, opened: tuple[str, ...] | None) -> None:
        """Adds what services opened; None: that is not known."""
        self.opened = None if self.opened is None or opened is None else (*self.opened, *opened)

    def git(self, context: Context) -> str:
        """Returns the digest of git's directories if the task opened a file in them, else "". Raises EnvtoolError if
        git fails, or if git's files changed while the task ran."""
        if not self._directories or (
            self.opened is not None
            and self._directories.isdisjoint(self.opened)
            and self._directories.isdisjoint(path.rpartition("/")[0] for path in self.opened)
        ):
            return ""
        history = read_git_history(context)
        if history.newest > self._began - snapshot.CLOCK_GRAIN:
            raise EnvtoolError("git's own files changed while it ran, or just before", code="project-git")
        return history.digest

    def is_unchanged(self, context: Context, compared: host_state.ComparedStates) -> bool:
        """Returns whether the files of this machine that the task opened, or what prepared its services, are unchanged
        since it began. `compared` compares after the task has ended."""
        if self._machine is None:
            return True
        prepared = [answer_cache.get(context.store, opened_files_question("layer", key)) for key in self._states]
        opened = _merge_opened([self.opened, *prepared])
        return compared.are_decisive_unchanged(self._machine.states, self._machine.trees, opened)

    def note(self, key: str, context: Context) -> None:
        """Stores which files of this machine were opened for the result of this key."""
        if self._machine is not None:
            trees = {*self._machine.trees}
            opened_paths: Json = None
            if self.opened is not None:
                opened_paths = [path for path in self.opened if path.rpartition("/")[0] in trees]
            question = opened_files_question("result", key)
            # often it has opened the same files before: to write, with fsync(2), takes five times as long as to read
            if opened_paths is None or answer_cache.get(context.store, question) != opened_paths:
                answer_cache.put(context.store, question, opened_paths)


def unseen_reason(stack: KnownStack) -> str:
    """Returns why not all files of this machine that a stack mounts could be read; empty if all could."""
    host = shown_host_files(stack.layers)
    return host.unseen if host else ""


def results_host_state(
    results: Iterable[tuple[Sequence[KnownStack], str, Sequence[str]]], context: Context
) -> dict[str, int]:
    """Returns the files of this machine that decided some results and the layers below them: ctimes (ns) by path. Each
    result is given by the stacks of its task and of the services of that, by its key, and by the keys of the prepared
    state of those services. The files are sorted out once for all results that stand on the same ones."""
    by_machine: dict[tuple[int, int], tuple[Looked, list[Iterable[str] | None]]] = {}
    asked: set[tuple[int, str]] = set()
    for stacks, key, states in results:
        shown = [stack for stack in stacks if shown_host_files(stack.layers) is not None]
        host = merge_host_files([stack.layers for stack in shown])
        if host is None:
            continue
        # what is stored under the ids keeps alive what has them
        _, answers = by_machine.setdefault((id(host.states), id(host.trees)), (host, []))
        answers.append(answer_cache.get(context.store, opened_files_question("result", key)))
        built = [made.resolved.key for stack in shown for made in (*stack.layers, *stack.other_stages)[1:]]
        for layer in (*built, *states):
            if (question := (id(host.states), layer)) not in asked:
                asked.add(question)
                answers.append(answer_cache.get(context.store, opened_files_question("layer", layer)))
    decisive: dict[str, int] = {}
    for host, answers in by_machine.values():
        decisive |= host_state.decisive_states(host.states, host.trees, _merge_opened(answers))
    return decisive


def _merge_opened(answers: Sequence[Iterable[str] | None]) -> frozenset[str] | None:
    """Returns all opened files; None if one of the answers is not known."""
    known = [paths for paths in answers if paths is not None]
    return frozenset(path for paths in known for path in paths) if len(known) == len(answers) else None


# ---- git -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _GitDirectory:
    """A git directory that a task sees, or one of those that its copy is made from."""

    target: str  # path in the container
    source: str  # path on this machine
    copied: task_git.TaskGitSource | None = None  # set if the task sees a copy


def watched_git_directories(context: Context, found: source_files.Repositories) -> frozenset[str]:
    """Returns the directories of git's that a task sees, as paths in the container. `found` are the project's
    repositories. Raises EnvtoolError."""
    visible = _visible_git_directories(context, found)
    return frozenset(directory for top in visible for directory, _ in _directories(top))


def _visible_git_directories(context: Context, found: source_files.Repositories) -> list[_GitDirectory]:
    """Returns all git directories that a task of the project sees; `found` are its repositories. Raises
    EnvtoolError."""
    directories = []
    for prefix, _ in found:
        source = os.path.join(context.root, prefix, ".git")
        if os.path.isdir(source) and not os.path.islink(source):
            directories.append(_GitDirectory(target=f"{PROJECT}/{prefix}.git", source=source))
    if copied := task_git.find_git_source(context, found):
        directories += [
            _GitDirectory(target=f"{PROJECT}/.git", source=source, copied=copied) for source in copied.sources
        ]
    return directories


def read_git_history(context: Context) -> GitHistory:
    """Returns the state of git's directories now: every file in them but objects, which commits name, and other work
    trees. Of an index its entries count, not the times that it stores. Raises EnvtoolError."""
    rows: list[str] = []
    paths: list[str] = []
    newest = 0
    try:
        found = source_files.list_repositories(context.root, context.cancel.reader)
        for prefix, repository in found:
            if prefix or repository.top == real_path(context.root):
                listing = source_files.start_git_in(repository, context.root, prefix, INDEX)
            else:  # a task sees all of a repository above the project
                listing = git.start_git(repository, repository.top, INDEX)
            rows.append(f"{prefix} {hashlib.sha256(listing.end(context.cancel.reader)).hexdigest()}")
        for top in _visible_git_directories(context, found):
            for target, source in _directories(top):
                paths.append(source)
                for path, info in _files(top, source):
                    paths.append(path)
                    newest = max(newest, info.st_ctime_ns)
                    if os.path.basename(path) != "index":
                        rows.append(f"{target}/{os.path.basename(path)} {info.st_mode} {_content(path, info)}")
    except git.RepositoryError as error:
        raise EnvtoolError(f"the project cannot be read: {error}", code="project-git") from error
    except OSError as error:
        raise EnvtoolError(f"git's directory cannot be read: {error}", code="project-git") from error
    text = "\n".join(sorted(rows)).encode("utf-8", "surrogateescape")
    return GitHistory(digest=hashlib.sha256(text).hexdigest(), newest=newest, paths=tuple(paths))


def _directories(top: _GitDirectory) -> Iterator[tuple[str, str]]:
    """Yields (path in the container, path on this machine) of a git directory and of those in it."""
    pending = [""]
    while pending:
        relative = pending.pop()
        source = f"{top.source}{relative}"
        yield f"{top.target}{relative}", source
        children = [entry.name for entry in _entries(source) if entry.is_dir(follow_symlinks=False)]
        inner = os.path.lexists(f"{source}/HEAD") and os.path.lexists(f"{source}/objects")
        excluded = task_git.NOT_COPIED if top.copied and not relative else _EXCLUDED if inner else frozenset[str]()
        pending += [f"{relative}/{name}" for name in children if name not in excluded]
        if inner:  # `alternates` is there
            yield f"{top.target}{relative}/objects/info", f"{source}/objects/info"


def _files(top: _GitDirectory, source: str) -> Iterator[tuple[str, os.stat_result]]:
    for entry in _entries(source):
        info = entry.stat(follow_symlinks=False)
        counts = top.copied is None or top.copied.counts(top.source, entry.path[len(top.source) + 1 :])
        if counts and not stat.S_ISDIR(info.st_mode) and not entry.name.endswith(".lock"):
            yield entry.path, info


def _entries(directory: str) -> list[os.DirEntry[str]]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as entries:
        return list(entries)
    return []


def _content(path: str, info: os.stat_result) -> str:
    if stat.S_ISLNK(info.st_mode):
        return os.readlink(path)
    if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_HASHED:
        return f"{info.st_size} {info.st_mtime_ns} {info.st_ctime_ns}"
    return hashlib.sha256(git.read_small_file(path)).hexdigest()
