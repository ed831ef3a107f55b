"""One look at the project before tasks, which serves all tasks of a run that begin within a second of it.

A snapshot, the project's repositories and what git ignores take three calls of git: a quarter of the time of a short
task. A look that is taken earlier than a task needs it is as good for recording that task: what is the same in it and
in a look after the task (record_queue.py) was the same while the task ran. What it must not be used for is to find a
result, for files that a later edit has changed: so only tasks that run in any case share looks (decision 0188).

Before each use everything is compared that stat(2) tells of what decided the look. git is asked again at least each
second, for the rest: rules of git outside of the project, and files in directories without a file that counts.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from envtool.errors import EnvtoolError
from envtool.fs import changes
from envtool.fs.beneath import real_path
from envtool.project import git, snapshot_diff, source_files
from envtool.project.snapshot import CLOCK_GRAIN, SnapshotError
from envtool.run import host_inputs
from envtool.run.prepared_task import ProjectLook, take_snapshot

if TYPE_CHECKING:
    from envtool.build.context import Context
    from envtool.project.source_files import Repositories

SECONDS = 1.0  # as long as the longest pause between two looks after tasks
_FILES = ("HEAD", "index", "config", "config.worktree", "info/exclude")  # of the git directory


class _Shared(NamedTuple):
    taken: float  # on the monotonic clock
    states: tuple[tuple[int, ...], ...]  # stats of git's directory and of _FILES
    look: ProjectLook


class ProjectLooks:
    """The looks of one run. For any number of threads."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._last: _Shared | None = None
        self._pause = 0.0  # until then no look is tried, on the monotonic clock

    def find(self) -> ProjectLook | None:
        """Returns a look at the project as it is now; None where each task has to take its own: nothing but a plain
        repository at the project's top is compared, and no files that changed just now. Raises NotCacheable,
        Interrupted."""
        with self._lock:
            if self._last is not None and not _holds(self._last):
                self._last = None
            if self._last is None and time.monotonic() >= self._pause:
                try:
                    self._last = self._take()
                except (EnvtoolError, OSError, SnapshotError, git.RepositoryError):  # which the task then reports
                    self._context.cancel.check()
                if self._last is None:
                    self._pause = time.monotonic() + SECONDS
            return self._last.look if self._last is not None else None

    def _take(self) -> _Shared | None:
        context, taken, began = self._context, time.monotonic(), time.time_ns()
        before = take_snapshot(context)
        if before.hashes or context.logs:
            return None
        directories = snapshot_diff.directory_states(before)
        manifest = snapshot_diff.snapshot_manifest(before)
        found = source_files.list_repositories(context.root, context.cancel.reader)
        if not _is_plain(context.root, found):
            return None
        states = _git_states(context.root)
        if max(state[-1] for state in states) > began - CLOCK_GRAIN:
            return None
        git_look = host_inputs.GitLook(
            began=began,
            repositories=found,
            directories=host_inputs.watched_git_directories(context, found),
            hidden=source_files.list_hidden(context.root, context.cancel.reader, found),
        )
        sees_git = source_files.sees_git(context.root)
        return _Shared(taken, states, ProjectLook(before, directories, manifest, git_look, sees_git))


def _is_plain(root: str, found: Repositories) -> bool:
    """Whether a project is one repository, whose git directory is in it, without others in it."""
    if [prefix for prefix, _ in found] != [""]:
        return False
    repository, top = found[0][1], real_path(root)
    return repository.top == top and repository.directory == repository.common == os.path.join(top, ".git")


def _holds(shared: _Shared) -> bool:
    """Returns whether nothing that stat(2) tells of has changed since a look, and it is not too old."""
    if time.monotonic() - shared.taken > SECONDS:
        return False
    look = shared.look
    try:
        return (
            snapshot_diff.has_same_stats(look.snapshot)
            and not snapshot_diff.changed_directory(look.directories, look.snapshot)
            and _git_states(look.snapshot.root) == shared.states
        )
    except OSError:
        return False


def _git_states(root: str) -> tuple[tuple[int, ...], ...]:
    """Returns the states of git's directory and its files; nothing for a file that is missing. Raises OSError."""
    top = os.path.join(root, ".git")
    states: list[tuple[int, ...]] = [changes.directory_state(os.lstat(top))]
    for name in _FILES:
        try:
            info = os.lstat(f"{top}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            states.append((0,))
            continue
        states.append((info.st_dev, info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns))
    return tuple(states)
