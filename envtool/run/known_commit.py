"""Describes the commit that tasks run at, and asks git once for all tasks of a run between which nothing changed.

Whether the project differs from its commit takes git three calls, a fifth of the time of a short task. What decides the
answer is the commit, the index, git's configuration, and the files: the answer of one task holds for the next one if
its commit is the same, and the stats of all of the others are, ctimes included.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from envtool.fs.beneath import real_path
from envtool.project import git, refs
from envtool.project.snapshot import CLOCK_GRAIN
from envtool.run import provenance

if TYPE_CHECKING:
    from envtool.build.context import Context
    from envtool.project.snapshot import Snapshot
    from envtool.project.source_files import Repositories

_GIT_FILES = ("index", "config", "config.worktree")


class _State(NamedTuple):
    """Everything that decides the description."""

    head: str
    git: tuple[tuple[int, ...], ...]  # stats of _GIT_FILES
    names: list[bytes]
    stats: bytes


class CommitDescription:
    """The description for one task: `describe` while its result is written, and `confirm` once there is a snapshot from
    later. If that shows that nothing changed meanwhile, other tasks may use the description."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._made: tuple[_State, str] | None = None

    def describe(self, before: Snapshot | None, found: Repositories | None) -> str:
        """Returns provenance.describe_commit for the project. `before` is the snapshot before the task, None if git has
        to be asked in any case; `found` are the project's repositories. Raises as describe_commit."""
        state = _read_state(self._context, before, found) if before and found else None
        if state is not None and (known := _of_run(self._context).find(state)) is not None:
            return known
        text = provenance.describe_commit(self._context.root, self._context.cancel.reader)
        if state is not None and text.removesuffix("-dirty") == state.head:
            self._made = state, text
        return text

    def confirm(self, after: Snapshot, found: Repositories) -> None:
        """Lets other tasks use the description if everything that decides it is unchanged in the snapshot `after`,
        which began after `describe`."""
        if self._made is not None and _read_state(self._context, after, found) == self._made[0]:
            _of_run(self._context).keep(*self._made)


class _KnownCommit:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[_State, str] | None = None

    def find(self, state: _State) -> str | None:
        with self._lock:
            return self._last[1] if self._last is not None and self._last[0] == state else None

    def keep(self, state: _State, text: str) -> None:
        with self._lock:
            self._last = state, text


def _of_run(context: Context) -> _KnownCommit:
    return context.shared.get("known commit", _KnownCommit)


def _read_state(context: Context, snapshot: Snapshot, found: Repositories) -> _State | None:
    """Returns what decides the description; None if a snapshot does not have all of it: of submodules, of a repository
    above the project or with several work trees, and of files that this run writes or that changed just now."""
    if [prefix for prefix, _ in found] != [""] or snapshot.hashes or context.logs:
        return None
    repository = found[0][1]
    if repository.top != real_path(context.root) or repository.directory != repository.common:
        return None
    try:
        states = tuple(_file_state(f"{repository.directory}/{name}") for name in _GIT_FILES)
        head = refs.head_commit(repository)
    except (git.RepositoryError, OSError):
        return None
    if max((state[-1] for state in states if state), default=0) > time.time_ns() - CLOCK_GRAIN:
        return None
    return _State(head, states, snapshot.names, snapshot.stats)


def _file_state(path: str) -> tuple[int, ...]:
    """Returns the stats of a file with its ctime last; empty if there is none. Raises OSError, also for what is no
    regular file."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return ()
    if not stat.S_ISREG(info.st_mode):
        raise OSError(f"{path} is not a regular file")
    return (info.st_dev, info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
