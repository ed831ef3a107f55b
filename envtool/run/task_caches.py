"""The caches of a task: finds them, has them mounted with times of files that fit, publishes what the task wrote."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from envtool import keys
from envtool.container.program import FileTimes, Program, TaskCacheMount
from envtool.container.sync_disk import syncfs
from envtool.errors import EnvtoolError, Problem, SpecError
from envtool.events import Noted
from envtool.fs import beneath
from envtool.model import PROJECT, Json
from envtool.project import listing, snapshot_diff
from envtool.project.repository import RepositoryError, find_repository
from envtool.project.snapshot import Snapshot, SnapshotError
from envtool.run import cached_stack, prepared_task, shown_times
from envtool.run.result_cache import NotCacheable
from envtool.run.shown_times import CacheRecord, FileState
from envtool.store import cache_generations, layers
from envtool.store.cache_generations import Lease, Publication

if TYPE_CHECKING:
    from envtool.build.context import Context
    from envtool.container.messages import Exit
    from envtool.run.prepared_task import PreparedTask

_KILLED = range(129, 193)  # statuses of a command that a signal ended, as a shell shows them


class _StagedCache(NamedTuple):
    """One cache of a run. `is_warm`: the task sees what earlier runs left."""

    target: str
    lease: Lease
    draft: str
    is_warm: bool


class StagedCaches:
    """The caches of one run of a task. `artefact_times` are the times that it sees of what it needs of other tasks."""

    def __init__(self, task: PreparedTask, staged: list[_StagedCache], view: _ProjectView | None) -> None:
        self._task, self._staged, self._view = task, staged, view
        self._stack = cached_stack.StackState.of(task.built, task.request)
        self._times: dict[str, int] = {}
        self._stack_entries: list[tuple[str, int, int, int]] = []
        self.artefact_times: list[tuple[str, int]] = []
        self.published: list[str] = []  # keys
        self._decide()

    def _decide(self) -> None:
        """Decides the times of all files; a cache that was last used with quite another stack begins anew."""
        moment = time.time_ns()
        warm: list[tuple[CacheRecord, frozenset[str]]] = []
        newer: set[str] = set()
        for number, cache in enumerate(self._staged):
            if not cache.lease.chain:
                continue
            changed = self._stack.changed_paths(cache.lease.record)
            reason = "the stack is another one" if changed is None else "" if self._view else "the project is not known"
            if reason:
                self._note(f"the cache {cache.target} is not used: {reason}")
                continue
            assert changed is not None
            assert self._view is not None
            record = CacheRecord(cache.lease.record["used"], cache.lease.record["files"])
            moment = max(moment, record.used + 1)
            warm.append((record, shown_times.find_changed(self._view.files, record, self._view.read_link)))
            newer.update(changed)
            self._staged[number] = cache._replace(is_warm=True)
        if self._view is not None:
            self._times = shown_times.shown_times(self._view.files, warm, moment)
        self._stack_entries = [(path, moment, -1, -1) for path in sorted(newer)]

    def add_to(self, program: Program) -> Program:
        """Returns the container of the task with its caches, which are mounted before all else of `mounts`."""
        context = self._task.call.context
        caches = tuple(
            TaskCacheMount(
                target=cache.target,
                lowers=tuple(
                    cache_generations.tree_path(context.store, cache.lease.key, name) for name in cache.lease.chain
                )
                if cache.is_warm
                else (),
                draft=cache.draft,
            )
            for cache in self._staged
        )
        entries = (*self._stack_entries, *self._entries())
        times = (FileTimes(entries=entries),) if entries else ()
        return replace(program, mounts=(*caches, *program.mounts, *times))

    def _entries(self) -> list[tuple[str, int, int, int]]:
        """Returns the times to set, directories last: what is put into one changes its time."""
        if self._view is None:
            return []
        entries, directories = [], []
        for path, shown in self._times.items():
            state = self._view.files[path]
            if shown == state.mtime:
                continue
            if path in self._view.artefacts:
                continue
            inside = PROJECT if path == "." else f"{PROJECT}/{path}"
            if state.kind == "directory":
                directories.append((inside, shown, -1, -1))
            else:
                entries.append((inside, shown, state.size, state.mtime))
        return [*entries, *sorted(directories, reverse=True)]

    def set_artefact_times(self) -> None:
        """Decides the times of what the task needs of other tasks, which is put into the project by its first step."""
        if self._view is not None:
            self.artefact_times = [
                (path, self._times[path])
                for path in sorted(self._view.artefacts)
                if self._times[path] != self._view.files[path].mtime
            ]

    def publish(self, ended: Exit) -> None:
        """Makes what the task has written the last whole cache, also if it failed; not if it was ended or killed at any
        moment. An error of the disk leaves the cache as it was, and is a note."""
        if self._view is None:  # nobody could tell what the task compiled
            return
        if ended.interrupted or ended.timed_out or ended.exceeded or ended.error or ended.status in _KILLED:
            return
        context = self._task.call.context
        files = self._files_after()
        record = {"used": time.time_ns(), "files": files, **self._stack.to_record()}
        runner = context.runner
        means = Publication(runner.as_root, runner.remove, runner.give_to_root, syncfs)
        for cache in self._staged:
            try:
                fresh = not cache.is_warm
                cache_generations.publish_draft(context.store, cache.lease, cache.draft, record, means, fresh=fresh)
                self.published.append(cache.lease.key)
            except (OSError, RuntimeError, EnvtoolError) as error:
                text = getattr(error, "message", "") or getattr(error, "strerror", "") or str(error)
                self._note(f"the cache {cache.target} is as it was before: {text}")

    def _files_after(self) -> dict[str, tuple[bytes, int]]:
        """Returns what the record says of the project's files: those that nobody touched meanwhile. The others count as
        changed the next time: the task may have seen any of their contents."""
        view = self._view
        if view is None:
            return {}
        try:
            after = prepared_task.take_snapshot(self._task.call.context)
            touched = snapshot_diff.changed_paths(view.snapshot, after)
        except (NotCacheable, SnapshotError, OSError):
            return {}
        if "." in touched:
            return {}
        touched -= view.artefacts
        return {path: (view.files[path].digest, shown) for path, shown in self._times.items() if path not in touched}

    def _note(self, text: str) -> None:
        call = self._task.call
        call.context.emit(Noted(text=f"{call.env.name} {call.task.name}: {text}"))


class _ProjectView:
    """The files of the project as the task sees them: `files` by path, with those of tasks that it needs."""

    def __init__(self, task: PreparedTask, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._root = task.call.context.root
        self.files = _project_files(snapshot)
        self.artefacts: frozenset[str] = frozenset()
        self._add_artefacts(task)
        for directory, names in shown_times.directories_of([*self.files]).items():
            try:
                mtime = os.stat(os.path.join(self._root, directory), follow_symlinks=False).st_mtime_ns
            except OSError:  # of an artefact alone
                continue
            digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).digest()[:16]
            self.files[directory] = FileState(digest, 0, mtime, "directory")

    def _add_artefacts(self, task: PreparedTask) -> None:
        paths = set()
        for need in task.call.needs:
            for artefact in need.files:
                path = os.path.normpath(artefact.path)
                info = os.lstat(os.path.join(need.directory, artefact.path))
                text = f"{artefact.mode:o} {artefact.sha256} {artefact.link}"
                digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:16]
                kind = "link" if artefact.link else "file"
                self.files[path] = FileState(digest, info.st_size, info.st_mtime_ns, kind)
                paths.add(path)
        self.artefacts = frozenset(paths)

    def read_link(self, path: str) -> str:
        """Returns the target of a link of the project; empty if it is none any more."""
        return beneath.read_link(self._root, path)


def _project_files(snapshot: Snapshot) -> dict[str, FileState]:
    """Returns the files and links of a snapshot. Raises SnapshotError."""
    fields = snapshot_diff.snapshot_manifest(snapshot).split(b"\0")
    digests = {
        name: bytes.fromhex(digest.decode())[:16] + mode
        for name, mode, digest in zip(fields[:-1:3], fields[1::3], fields[2::3], strict=False)
    }
    rows = memoryview(snapshot.stats).cast("q")
    files = {}
    for number, name, mode in listing.counted(snapshot.names, snapshot.stats):
        size, mtime = rows[number * listing.FIELDS + 2], rows[number * listing.FIELDS + 3]
        kind = "link" if stat.S_ISLNK(mode) else "file"
        files[os.fsdecode(name)] = FileState(digests[name], size, mtime, kind)
    return files


@contextmanager
def stage_caches(task: PreparedTask) -> Iterator[StagedCaches]:
    """Yields the caches of a task, which nobody changes or removes meanwhile. Raises SpecError for a cache that would
    cover files of the project, OSError."""
    context = task.call.context
    view = _take_view(task)
    _check_covered(task, view)
    staged: list[_StagedCache] = []
    with ExitStack() as exits:
        top = exits.enter_context(layers.temp_directory(context.store, remove=context.runner.remove))
        for number, target in enumerate(task.request.caches):
            label = cache_label(context, task.request.env, target, task.request.user)
            key = keys.digest(label)[:32]
            lease = exits.enter_context(cache_generations.lease_cache(context.store, key, label))
            draft = cache_generations.make_draft(os.path.join(top, str(number)))
            staged.append(_StagedCache(target, lease, draft, is_warm=False))
        caches = StagedCaches(task, staged, view)
        caches.set_artefact_times()
        yield caches
    for key in caches.published:  # now that this run holds nothing any more
        with suppress(OSError):
            cache_generations.sweep_generations(context.store, key, context.runner.remove)


def cache_label(context: Context, env: str, target: str, user: str) -> dict[str, Json]:
    """Returns whose a cache is; its digest is the cache's key. All worktrees of a repository share their caches, other
    checkouts do not: what is in a cache is run by the next task."""
    project, below = os.path.realpath(context.root), ""
    try:
        repository = find_repository(context.root)
    except (RepositoryError, OSError):
        repository = None
    if repository is not None:
        below = os.path.relpath(project, os.path.realpath(repository.top))
        project = os.path.realpath(repository.common)
    return {"project": project, "below": below, "env": env, "path": target, "user": user, "arch": context.arch}


def _take_view(task: PreparedTask) -> _ProjectView | None:
    try:
        return _ProjectView(task, task.snapshot or prepared_task.take_snapshot(task.call.context))
    except (NotCacheable, SnapshotError):
        return None


def _check_covered(task: PreparedTask, view: _ProjectView | None) -> None:
    files: Mapping[str, Any] = view.files if view is not None else {}
    for use in task.call.task.caches:
        path = use.target.removeprefix(f"{PROJECT}/")
        if path == use.target:
            continue
        covered = next((name for name in files if name == path or name.startswith(f"{path}/")), "")
        if covered:
            hint = "remove the file, let git ignore it, or keep another directory"
            message = f"the cache `{path}` would cover `{covered}`, a file of the project"
            raise SpecError((Problem(where=use.where, message=message, code="cache-path", hint=hint),))
