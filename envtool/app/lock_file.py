"""Writes and checks the lock, and fetches the files that it pins: `lock`, `fetch`, `vendor`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from envtool.app import all_problems, output_files
from envtool.app.command_request import CommandRequest
from envtool.app.open_project import emit_warnings, open_for_building, open_project, without_lock_check
from envtool.build import locking
from envtool.build.context import Cancel
from envtool.build.fetch_all import GatheredFiles, fetch_all_files
from envtool.build.lock_platforms import PlatformLock, machines_of, platform_of
from envtool.build.scheduler import Scheduler
from envtool.build.upgrading import with_upgrades
from envtool.build.vendor import INDEX, VendorReport, is_archive, write_archive, write_folder
from envtool.errors import EnvtoolError, Problem, SpecError, UsageError
from envtool.events import Emit
from envtool.lazy_dataclass import dataclass
from envtool.lock import file as lock_file
from envtool.lock.diff import LockChange, diff_locks
from envtool.lock.lock import merge_locks
from envtool.model import Env, Where
from envtool.project.source_files import VENDOR
from envtool.spec.select_envs import stack_envs

if TYPE_CHECKING:
    from envtool.build.context import Context
    from envtool.lock.lock import Lock
    from envtool.plan.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class LockResult:
    """What `lock` did: `changes` to the lock, the number of its `entries`, and whether it was `written`. `behind` are
    values of `--platform`: the lock has entries of these architectures, which no longer fit."""

    file: str
    changes: tuple[LockChange, ...]
    entries: int
    written: bool
    behind: tuple[str, ...] = ()


def lock(
    request: CommandRequest,
    upgrade: tuple[str, ...] | None,
    emit: Emit,
    cancel: Cancel,
    *,
    platforms: tuple[str, ...] = (),
) -> LockResult:
    """Resolve and build every env and service, and write the lock. `upgrade`: None keeps each locked version that still
    fits, () upgrades all, names upgrade the bases, layers and packages of these names. `platforms` (`linux/arm64`) are
    locked beside this machine's, without a build. Raises SpecError, UsageError, MakeError, Interrupted."""
    machines = machines_of(platforms)
    unchecked = replace(without_lock_check(request), refresh=upgrade == ())
    with (
        open_for_building(
            unchecked, emit, cancel, parts=False
        ) as project,  # sublayers depend on pins, which may change
        ThreadPoolExecutor(request.jobs or len(os.sched_getaffinity(0)), thread_name_prefix="env") as pool,
    ):
        old, graph = project.context.lock, project.graph
        context = with_upgrades(project.context, graph, upgrade) if upgrade else project.context
        scheduler = Scheduler(graph, context)
        envs = stack_envs(project.spec)
        emit_warnings(envs, emit)
        try:
            scheduler.check(env.name for env in envs)
            others = [PlatformLock(graph, context, machine) for machine in machines if machine != context.arch]
            for other in others:
                other.resolve_without_stacks()
            [*pool.map(lambda env: scheduler.stack(env.name, env.set), envs)]
            entries = [entry for other in others for entry in other.entries(scheduler)]
        except EnvtoolError as error:
            raise all_problems.complete_error(error, envs, scheduler, project.context) from error
    entries += locking.lock_entries(scheduler.graph(), scheduler.finished_layers())
    names = frozenset((entry.question.subject, entry.question.name) for entry in entries) if request.envs else None
    new = merge_locks(old, entries, platforms=frozenset(entry.question.platform for entry in entries), names=names)
    written = lock_file.write_lock(project.spec.root, project.spec.file, new)
    name = lock_file.lock_file_name(project.spec.file)
    kept = _architectures(new) - {context.arch, *machines}
    behind = tuple(
        platform_of(machine) or machine for machine in sorted(kept) if not _fits(graph, new, context, machine)
    )
    return LockResult(file=name, changes=diff_locks(old, new), entries=len(new.entries), written=written, behind=behind)


def _architectures(lock: Lock) -> set[str]:
    """Returns those that the lock has entries of. Entries on one machine's own system, which have the system's name
    behind it, do not count: others need not have them."""
    return {entry.question.platform for entry in lock.entries if " " not in entry.question.platform}


def _fits(graph: Graph, lock: Lock, context: Context, machine: str) -> bool:
    there = replace(context, arch=machine, lock=lock, refresh=False, upgrading={}, tried=set())
    try:
        faults = locking.find_lock_faults(graph, lock, there, "", whole=False)
    except SpecError:  # an entry that cannot be read
        return False
    return not faults


@dataclass(frozen=True, slots=True, kw_only=True)
class LockCheck:
    """What `lock --check` finds: all that `lock` would change, for each of the `platforms`. `entries` counts those of
    the lock. Without a lock, or with one that cannot be read, that is the only fault. `also` are
    values of `--platform`, with which `lock` mends the faults."""

    file: str
    entries: int = 0
    platforms: tuple[str, ...] = ()
    faults: tuple[locking.LockFault, ...] = ()
    also: tuple[str, ...] = ()


def check_lock(request: CommandRequest, platforms: tuple[str, ...] = ()) -> LockCheck:
    """Compares the lock with the spec, for this machine's architecture, for `platforms` and for each other one in the
    lock. Writes nothing, and asks nobody. Raises SpecError for a wrong spec, UsageError, StoreError."""
    machines = machines_of(platforms)
    try:
        project = open_project(replace(request, locked=False, refresh=False), parts=False)
    except SpecError as error:
        if any(not problem.code.startswith("lock-") for problem in error.problems):
            raise
        file = error.problems[0].where.file
        return LockCheck(file=file, faults=tuple(_whole_fault("broken", each) for each in error.problems))
    name, lock, arch = lock_file.lock_file_name(project.spec.file), project.context.lock, project.context.arch
    if project.files.read(name) is None:
        message = f"no {name} beside {project.spec.file}"
        problem = Problem(where=Where(file=name, line=1, column=1), message=message, code="no-lock", width=0)
        return LockCheck(file=name, faults=(_whole_fault("missing", problem),))
    others = sorted((_architectures(lock) | {*machines}) - {arch})
    faults: dict[locking.LockFault, None] = {}
    for platform in (arch, *others):
        context = replace(project.context, arch=platform)
        try:
            some = locking.find_lock_faults(project.graph, lock, context, name, whole=not request.envs)
        except SpecError as error:
            if any(problem.code != "lock-pins" for problem in error.problems):
                raise
            some = tuple(_whole_fault("broken", problem) for problem in error.problems)
        faults |= dict.fromkeys(some if platform == arch else (_of_platform(fault) for fault in some))
    faults |= dict.fromkeys(_project_faults(stack_envs(project.spec)))
    mended = {*filter(None, (platform_of(fault.platform) for fault in faults if fault.platform not in ("", arch)))}
    return LockCheck(
        file=name, entries=len(lock.entries), platforms=(arch, *others), faults=(*faults,), also=tuple(sorted(mended))
    )


def _project_faults(envs: Iterable[Env]) -> Iterator[locking.LockFault]:
    """Yields the warnings of layers, each once: a lock file of the project that does not fit its other files."""
    warnings = {layer.warning: layer for env in envs for layer in env.layers if layer.warning}
    for warning, layer in warnings.items():
        problem = Problem(where=layer.where, message=warning, code="project-lock", width=0)
        yield locking.LockFault("project", "layer", layer.name, "", problem)


def _of_platform(fault: locking.LockFault) -> locking.LockFault:
    """Returns a fault of another platform, which its message names."""
    name = platform_of(fault.platform) or fault.platform
    message = f"{fault.problem.message}, on {name}" if name else fault.problem.message
    hint = fault.problem.hint.replace(
        "`envtool lock`", f"`envtool lock --platform {name}`" if name else "`envtool lock`"
    )
    return fault._replace(problem=replace(fault.problem, message=message, hint=hint))


def _whole_fault(state: Literal["missing", "broken"], problem: Problem) -> locking.LockFault:
    return locking.LockFault(state, "lock", problem.where.file, "", problem)


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
