"""What is pinned: the lock is written, and what it pins is fetched or laid beside the spec."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from envtool.app import all_problems
from envtool.app.command_request import CommandRequest
from envtool.app.open_project import open_for_building, without_lock_check
from envtool.build import locking
from envtool.build.context import Cancel
from envtool.build.fetch_all import GatheredFiles, fetch_all_files
from envtool.build.scheduler import Scheduler
from envtool.build.upgrading import with_upgrades
from envtool.build.vendor import VendorReport, is_archive, write_archive, write_folder
from envtool.errors import UsageError
from envtool.events import Emit
from envtool.lock import file as lock_file
from envtool.lock.diff import LockChange, diff_locks
from envtool.lock.lock import merge_locks
from envtool.project.source_files import VENDOR


@dataclass(frozen=True, slots=True, kw_only=True)
class LockResult:
    """What `lock` did."""

    file: str
    changes: tuple[LockChange, ...]
    entries: int
    written: bool


def lock(request: CommandRequest, upgrade: tuple[str, ...] | None, emit: Emit, cancel: Cancel) -> LockResult:
    """Settle everything that floats, make it, and write the lock. `upgrade`: None keeps what still fits, () moves all,
    names move what they name. Raises SpecError, UsageError, MakeError, Interrupted."""
    asked = replace(without_lock_check(request), refresh=upgrade == ())
    with (
        open_for_building(asked, emit, cancel, parts=False) as at,  # pins may move
        ThreadPoolExecutor(request.jobs or os.cpu_count() or 1, thread_name_prefix="env") as pool,
    ):
        old, nodes = at.setting.lock, at.nodes
        stacks = Scheduler(nodes, with_upgrades(at.setting, nodes, upgrade) if upgrade else at.setting)
        with all_problems.report_all_problems(at.spec.envs, stacks, at.setting):
            stacks.check(env.name for env in at.spec.envs)
            [*pool.map(lambda env: stacks.stack(env.name), at.spec.envs)]
    found = locking.lock_entries(stacks.graph(), stacks.made())
    names = frozenset((entry.question.subject, entry.question.name) for entry in found) if request.envs else None
    new = merge_locks(old, found, platforms=frozenset(entry.question.platform for entry in found), names=names)
    written = lock_file.write_lock(at.spec.root, at.spec.file, new)
    name = lock_file.lock_file_name(at.spec.file)
    return LockResult(file=name, changes=diff_locks(old, new), entries=len(new.entries), written=written)


def fetch(request: CommandRequest, emit: Emit, cancel: Cancel) -> GatheredFiles:
    """Bring every pinned file of the selected envs into the store. Raises SpecError, UsageError, MakeError."""
    with open_for_building(request, emit, cancel) as at:
        return fetch_all_files(at.nodes, at.setting, jobs=request.jobs)


def vendor(request: CommandRequest, target: str, emit: Emit, cancel: Cancel, *, prune: bool) -> VendorReport:
    """Write every pinned file of the spec to a folder (empty: the one beside the spec) or an archive. Raises as `fetch`
    does, and StoreError where it cannot be written."""
    path = os.path.join(os.path.abspath(request.directory), target) if target else ""
    if prune and is_archive(path):
        raise UsageError("`--prune` is for folders: an archive is written anew", code="vendor-prune")
    with open_for_building(request, emit, cancel) as at:
        pinned = fetch_all_files(at.nodes, at.setting, jobs=request.jobs).files
    if is_archive(path):
        return write_archive(pinned, at.setting.store, path, check=cancel.check, project=at.spec.root)
    path = path or os.path.join(at.spec.root, VENDOR)
    return write_folder(pinned, at.setting.store, path, prune=prune, check=cancel.check, project=at.spec.root)
