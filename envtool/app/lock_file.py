"""Writes the lock, and fetches the files that it pins: `lock`, `fetch`, `vendor`."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from envtool.app import all_problems, output_files
from envtool.app.command_request import CommandRequest
from envtool.app.open_project import open_for_building, without_lock_check
from envtool.build import locking
from envtool.build.context import Cancel
from envtool.build.fetch_all import GatheredFiles, fetch_all_files
from envtool.build.scheduler import Scheduler
from envtool.build.upgrading import with_upgrades
from envtool.build.vendor import INDEX, VendorReport, is_archive, write_archive, write_folder
from envtool.errors import EnvtoolError, UsageError
from envtool.events import Emit
from envtool.lazy_dataclass import dataclass
from envtool.lock import file as lock_file
from envtool.lock.diff import LockChange, diff_locks
from envtool.lock.lock import merge_locks
from envtool.project.source_files import VENDOR
from envtool.spec.select_envs import stack_envs


@dataclass(frozen=True, slots=True, kw_only=True)
class LockResult:
    """What `lock` did: `changes` to the lock, the number of its `entries`, and whether it was `written`."""

    file: str
    changes: tuple[LockChange, ...]
    entries: int
    written: bool


def lock(request: CommandRequest, upgrade: tuple[str, ...] | None, emit: Emit, cancel: Cancel) -> LockResult:
    """Resolve and build every env and service, and write the lock. `upgrade`: None keeps each locked version that still
    fits, () upgrades all, names upgrade the bases, layers and packages of these names. Raises SpecError, UsageError,
    MakeError, Interrupted."""
    unchecked = replace(without_lock_check(request), refresh=upgrade == ())
    with (
        open_for_building(
            unchecked, emit, cancel, parts=False
        ) as project,  # sublayers depend on pins, which may change
        ThreadPoolExecutor(request.jobs or os.cpu_count() or 1, thread_name_prefix="env") as pool,
    ):
        old, graph = project.context.lock, project.graph
        scheduler = Scheduler(graph, with_upgrades(project.context, graph, upgrade) if upgrade else project.context)
        envs = stack_envs(project.spec)
        try:
            scheduler.check(env.name for env in envs)
            [*pool.map(lambda env: scheduler.stack(env.name), envs)]
        except EnvtoolError as error:
            raise all_problems.complete_error(error, envs, scheduler, project.context) from error
    entries = locking.lock_entries(scheduler.graph(), scheduler.finished_layers())
    names = frozenset((entry.question.subject, entry.question.name) for entry in entries) if request.envs else None
    new = merge_locks(old, entries, platforms=frozenset(entry.question.platform for entry in entries), names=names)
    written = lock_file.write_lock(project.spec.root, project.spec.file, new)
    name = lock_file.lock_file_name(project.spec.file)
    return LockResult(file=name, changes=diff_locks(old, new), entries=len(new.entries), written=written)


def fetch(request: CommandRequest, emit: Emit, cancel: Cancel) -> GatheredFiles:
    """Fetch every pinned file of the selected envs into the store. Raises SpecError, UsageError, MakeError."""
    with open_for_building(request, emit, cancel) as project:
        return fetch_all_files(project.graph, project.context, jobs=request.jobs)


def vendor(request: CommandRequest, target: str, emit: Emit, cancel: Cancel, *, prune: bool) -> VendorReport:
    """Write every pinned file of the spec to a folder (empty: the one beside the spec) or an archive. Raises as `fetch`
    does, and StoreError where the folder or archive cannot be written."""
    path = os.path.join(os.path.abspath(request.directory), target) if target else ""
    if prune and is_archive(path):
        raise UsageError("`--prune` is for folders: an archive is written anew", code="vendor-prune")
    with open_for_building(request, emit, cancel) as project:
        folder = path or os.path.join(project.spec.root, VENDOR)
        output_files.check([path if is_archive(path) else os.path.join(folder, INDEX)], project.spec.root)
        pinned = fetch_all_files(project.graph, project.context, jobs=request.jobs).files
    if is_archive(path):
        return write_archive(pinned, project.context.store, path, check=cancel.check, project=project.spec.root)
    return write_folder(
        pinned, project.context.store, folder, prune=prune, check=cancel.check, project=project.spec.root
    )
