"""What a task can reach beside its stack and the project's files: this machine's own system, and git's directories.

Both are too large to be in the digest of every task, and most tasks look at little of them. So it is told, by the
kernel, which of their files a task opened (container/opened_files.py): a result counts as long as what was opened
stands as it did. Where that is not known, all of it counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from envtool.api import PROJECT, Looked
from envtool.build.context import Context
from envtool.build.parents import opened_files_question, shown_host_files
from envtool.build.stack import KnownStack
from envtool.errors import EnvtoolError
from envtool.fs.beneath import real_path
from envtool.model import Json
from envtool.project import git, snapshot, source_files
from envtool.run import host_state, task_git
from envtool.store import answer_cache

INDEX = ("ls-files", "-s", "-t", "-z", "--", ".")
MAX_HASHED = 1 << 20  # bytes of a file of git's that is read: of a larger one times and size count
_EXCLUDED = task_git.NOT_COPIED - {"modules"}  # submodules of the project are in it


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHistory:
    """How git's directories stand, as far as a task can see them."""

    digest: str  # lower-case hex
    newest: int  # ctime (ns) of what changed last
    paths: tuple[str, ...]  # of the host: while their stats are the same, so is the digest


class HostInputs:
    """What one task can reach, looked at before it starts; `opened` is set when it has ended."""

    __slots__ = ("_began", "_directories", "_machine", "opened")

    def __init__(self, stack: KnownStack, setting: Context) -> None:
        """Raises EnvtoolError where git cannot be asked."""
        self._machine = shown_host_files(stack.made)
        self._directories = {place for top in _visible_git_directories(setting) for place, _ in _directories(top)}
        self._began = time.time_ns()
        self.opened: tuple[str, ...] | None = None

    @property
    def watch(self) -> tuple[str, ...]:
        """Directories of the container, of which it has to be told what was opened in them."""
        return (*(self._machine.trees if self._machine else ()), *self._directories)

    def git(self, setting: Context) -> str:
        """The digest of git's directories where the task opened something in them, else empty. Raises EnvtoolError,
        also where they changed meanwhile."""
        if not self._directories or (
            self.opened is not None
            and not any(path in self._directories or os.path.dirname(path) in self._directories for path in self.opened)
        ):
            return ""
        found = read_git_history(setting)
        if found.newest > self._began - snapshot.CLOCK_GRAIN:
            raise EnvtoolError("git's own files changed while it ran, or just before", code="project-git")
        return found.digest

    def is_unchanged(self) -> bool:
        """Whether what was opened of the machine still stands as it did."""
        return self._machine is None or host_state.is_unchanged(
            *host_state.pack(_decisive_state(self._machine, [self.opened]))
        )

    def note(self, key: str, setting: Context) -> None:
        """Remember what of the machine was opened for the result of this key."""
        if self._machine is not None:
            trees = {*self._machine.trees}
            here: Json = None
            if self.opened is not None:
                here = [path for path in self.opened if os.path.dirname(path) in trees]
            answer_cache.put(setting.store, opened_files_question("result", key), here)


def unseen_reason(stack: KnownStack) -> str:
    """Why not all that a stack shows of the machine could be looked at; empty where it could."""
    shown = shown_host_files(stack.made)
    return shown.unseen if shown else ""


def result_host_state(stack: KnownStack, key: str, setting: Context) -> dict[str, int]:
    """What of the machine decided the result of a key and the layers below it: ctimes (ns) by path."""
    shown = shown_host_files(stack.made)
    if shown is None:
        return {}
    questions = [opened_files_question("layer", made.settled.key) for made in (*stack.made, *stack.aside)[1:]]
    return _decisive_state(
        shown, [answer_cache.get(setting.store, each) for each in (*questions, opened_files_question("result", key))]
    )


def _decisive_state(shown: Looked, told: Sequence[Iterable[str] | None]) -> dict[str, int]:
    known = [each for each in told if each is not None]
    together = frozenset(path for each in known for path in each) if len(known) == len(told) else None
    return host_state.decisive_states(shown.states, shown.trees, together)


# ---- git -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _GitDirectory:
    """A git directory, or one of those that a stand-in is made of."""

    place: str  # in the container
    source: str  # here
    sight: task_git.TaskGitSource | None = None


def _visible_git_directories(setting: Context) -> list[_GitDirectory]:
    """All that a task of the project sees. Raises EnvtoolError."""
    found = []
    for prefix, _ in source_files.list_repositories(setting.root, setting.cancel.reader):
        source = os.path.join(setting.root, prefix, ".git")
        if os.path.isdir(source) and not os.path.islink(source):
            found.append(_GitDirectory(place=f"{PROJECT}/{prefix}.git", source=source))
    if sight := task_git.find_git_source(setting):
        found += [_GitDirectory(place=f"{PROJECT}/.git", source=source, sight=sight) for source in sight.sources]
    return found


def read_git_history(setting: Context) -> GitHistory:
    """How git's directories stand now: every file in them but objects, which commits name, and other work trees. Of an
    index it is what it says, not the times of files that it keeps. Raises EnvtoolError."""
    rows: list[str] = []
    paths: list[str] = []
    newest = 0
    try:
        for prefix, repository in source_files.list_repositories(setting.root, setting.cancel.reader):
            if prefix or repository.top == real_path(setting.root):
                listing = source_files.start_git_in(repository, setting.root, prefix, INDEX)
            else:  # a task sees all of a repository above the project
                listing = git.start_git(repository, repository.top, INDEX)
            rows.append(f"{prefix} {hashlib.sha256(listing.end(setting.cancel.reader)).hexdigest()}")
        for top in _visible_git_directories(setting):
            for place, source in _directories(top):
                paths.append(source)
                for path, state in _files(top, source):
                    paths.append(path)
                    newest = max(newest, state.st_ctime_ns)
                    if os.path.basename(path) != "index":
                        rows.append(f"{place}/{os.path.basename(path)} {state.st_mode} {_content(path, state)}")
    except git.RepositoryError as error:
        raise EnvtoolError(f"the project cannot be read: {error}", code="project-git") from error
    except OSError as error:
        raise EnvtoolError(f"git's directory cannot be read: {error}", code="project-git") from error
    text = "\n".join(sorted(rows)).encode("utf-8", "surrogateescape")
    return GitHistory(digest=hashlib.sha256(text).hexdigest(), newest=newest, paths=tuple(paths))


def _directories(top: _GitDirectory) -> Iterator[tuple[str, str]]:
    """(place in the container, path here) of a git directory and of those in it."""
    pending = [""]
    while pending:
        below = pending.pop()
        source = f"{top.source}{below}"
        yield f"{top.place}{below}", source
        names = [entry.name for entry in _entries(source) if entry.is_dir(follow_symlinks=False)]
        inner = os.path.lexists(f"{source}/HEAD") and os.path.lexists(f"{source}/objects")
        apart = task_git.NOT_COPIED if top.sight and not below else _EXCLUDED if inner else frozenset[str]()
        pending += [f"{below}/{name}" for name in names if name not in apart]
        if inner:  # alternates are named there
            yield f"{top.place}{below}/objects/info", f"{source}/objects/info"


def _files(top: _GitDirectory, source: str) -> Iterator[tuple[str, os.stat_result]]:
    for entry in _entries(source):
        state = entry.stat(follow_symlinks=False)
        counts = top.sight is None or top.sight.counts(top.source, entry.path[len(top.source) + 1 :])
        if counts and not stat.S_ISDIR(state.st_mode) and not entry.name.endswith(".lock"):
            yield entry.path, state


def _entries(place: str) -> list[os.DirEntry[str]]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(place) as entries:
        return list(entries)
    return []


def _content(path: str, state: os.stat_result) -> str:
    if stat.S_ISLNK(state.st_mode):
        return os.readlink(path)
    if not stat.S_ISREG(state.st_mode) or state.st_size > MAX_HASHED:
        return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"
    return hashlib.sha256(git.read_small_file(path)).hexdigest()
