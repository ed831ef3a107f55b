"""Measures, checks, cleans and removes the store: `gc` and `store`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from envtool.app.command_request import CommandRequest
from envtool.app.open_project import open_project, without_lock_check
from envtool.build.assess import assess_nodes
from envtool.build.context import Cancel
from envtool.container import userns
from envtool.errors import SpecError, UsageError
from envtool.events import Emit, Progress
from envtool.inspect import remove_store, store_check
from envtool.inspect.costs import Cost, EnvLayers, compute_costs, list_env_layers
from envtool.lazy_dataclass import dataclass
from envtool.spec.select_envs import stack_envs
from envtool.store import cache_generations, disk_limits, inventory, store, temp_dirs
from envtool.store.collect import GcPolicy, GcResult, remove_items
from envtool.store.gc import gc as collect
from envtool.tracking import track_work


@dataclass(frozen=True, slots=True, kw_only=True)
class GcReport:
    """What `gc` did, or would do. Sizes are bytes on the disk; `free` and `disk` are those of the file system."""

    store: str
    dry_run: bool
    size: int  # of the store before the collection
    collected: GcResult
    envs: tuple[Cost, ...]
    free: int
    disk: int
    stuck: tuple[str, ...] = ()  # paths of trees that only root can delete
    removing: int = 0  # bytes that another process is removing now


def _progress_callbacks(other: str, emit: Emit, cancel: Cancel) -> tuple[Callable[[int], None], Callable[[str], None]]:
    """Two callbacks: one takes the number of bytes that were removed or checked, the other the process that holds the
    store, which is another `other`."""
    done = 0

    def progress(size: int) -> None:
        nonlocal done
        done += size
        emit(Progress(id="store", done=done))
        cancel.check()

    def waiting(holder: str) -> None:
        emit(Progress(id="store", note=f"waiting for another {other} ({holder})"))

    return progress, waiting


def gc(
    request: CommandRequest,
    *,
    keep_size: int | None,
    older_than: float | None,
    dry_run: bool,
    emit: Emit,
    cancel: Cancel,
) -> GcReport:
    """Remove what nothing needs. Works outside of projects too, and with a spec that is wrong. Raises StoreError,
    Interrupted."""
    opened = store.open_store(idmap=userns.describe_ids())
    project_envs = _project_env_layers(request)
    limit = disk_limits.size_limit(os.environ) if keep_size is None else keep_size
    now = time.time()

    def policy(measured: inventory.Inventory) -> GcPolicy:
        return GcPolicy(
            now=now, older_than=older_than, keep_size=limit, named=inventory.digests_in_locks(measured.projects)
        )

    progress, waiting = _progress_callbacks("gc", emit, cancel)
    with track_work(emit, "store", "store", "gc") as work:
        unfinished = inventory.measure_unfinished(opened, userns.run_as_root)
        measured, collected = collect(
            opened,
            policy,
            inside=userns.run_as_root,
            remove=userns.remove_as_root,
            dry_run=dry_run,
            progress=progress,
            waiting=waiting,
            cancelled=cancel.is_set,
        )
        work.outcome = "done"
    free, disk = disk_limits.free_space(opened)
    litter = collected.litter + (unfinished.stopped if dry_run else 0)  # else `collect` counted it while removing it
    collected = replace(collected, litter=litter, litter_size=collected.litter_size + unfinished.left)
    return GcReport(
        store=opened.root,
        dry_run=dry_run,
        size=measured.size + unfinished.size,
        removing=unfinished.going,
        collected=collected,
        envs=compute_costs(measured, list_env_layers(measured, project_envs), collected.gone),
        free=free,
        disk=disk,
        stuck=_undeletable_paths(measured),
    )


def _project_env_layers(request: CommandRequest) -> tuple[EnvLayers, ...]:
    """The envs and services of the current project with their layers; none if there is no project, or its spec is
    wrong."""
    try:
        project = open_project(without_lock_check(request))
        assessments = assess_nodes(project.graph, project.context)
    except (SpecError, UsageError):
        return ()
    return tuple(
        EnvLayers(
            project=project.spec.root,
            env=env.name,
            layers=frozenset(
                layer.key
                for node_id in project.graph.stacks[env.name]
                if (layer := assessments[node_id].layer) is not None
            ),
        )
        for env in stack_envs(project.spec)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSizes:
    """The sizes of the store, in bytes. `sorts` maps a sort of item to (count, bytes). `free` and `disk` are those of
    the file system. `others`: (bytes, id maps) of the layers that belong to other id maps, which containers here cannot
    use. `unfinished` is being built or removed now, and is counted in `size`. `stuck`: paths that only root can measure
    or delete."""

    store: str
    sorts: Mapping[str, tuple[int, int]]
    size: int
    free: int
    disk: int
    others: tuple[int, tuple[str, ...]]
    unfinished: inventory.UnfinishedWork
    stuck: tuple[str, ...]


def store_size() -> StoreSizes:
    """Measure the store. Raises StoreError."""
    opened = store.open_store(idmap=userns.describe_ids())
    measured = inventory.take_inventory(opened, userns.run_as_root)
    sorts: dict[str, tuple[int, int]] = {}
    for item in measured.items:
        count, size = sorts.get(item.sort, (0, 0))
        sorts[item.sort] = (count + 1, size + item.size)
    free, disk = disk_limits.free_space(opened)
    foreign_size = sum(item.size for item in measured.items if item.other)
    stuck_ids = {other.ids for other in measured.stuck}
    others = (
        foreign_size,
        tuple(other.idmap for other in store.other_idmap_stores(opened) if other.ids not in stuck_ids),
    )
    unfinished = inventory.measure_unfinished(opened, userns.run_as_root)
    return StoreSizes(
        store=opened.root, sorts=sorts, size=measured.size + unfinished.size, free=free, disk=disk, others=others,
        unfinished=unfinished, stuck=_undeletable_paths(measured),
    )  # fmt: skip


def _undeletable_paths(measured: inventory.Inventory) -> tuple[str, ...]:
    return tuple(path for stuck in measured.stuck for path in inventory.undeletable_paths(stuck))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCache:
    """A directory that tasks keep from run to run. `project` is the git directory that its checkouts share, or the
    project's own directory, and `below` the way from there to the spec; `used` is the time of its last use."""

    name: str
    env: str
    path: str
    project: str
    below: str
    user: str
    size: int
    used: float


def task_caches(names: Sequence[str], *, remove: bool) -> tuple[StoredCache, ...]:
    """Returns the caches of tasks, those unused for longest first: of these envs, paths or keys (of all, without any).
    With `remove` also removes them, but for those in use, which are not returned. Raises StoreError, UsageError."""
    opened = store.open_store(idmap=userns.describe_ids())
    measured = inventory.take_inventory(opened, userns.run_as_root)
    chosen: dict[str, tuple[inventory.StoredItem, StoredCache]] = {}
    for item in sorted(measured.items, key=lambda item: item.used):
        key = item.name.partition("/")[0]
        label = cache_generations.read_label(opened, key) if item.sort == "cache" and not item.other else {}
        if label and (not names or {key, label["env"], label["path"]} & {*names}):
            fields = {name: label[name] for name in ("env", "path", "project", "below", "user")}
            chosen[item.name] = (item, StoredCache(name=key, size=item.size, used=item.used, **fields))
    known = {text for _, cache in chosen.values() for text in (cache.name, cache.env, cache.path)}
    if missing := [name for name in names if name not in known]:
        hint = "`envtool store caches` lists them: name an env, a path in the container, or a key"
        raise UsageError(f"there is no cache of `{missing[0]}`", code="no-cache", hint=hint)
    if remove:
        doomed = [item for item, _ in chosen.values()]
        gone, _ = remove_items(opened, doomed, remove=userns.remove_as_root)
        return tuple(chosen[item.name][1] for item in gone)
    return tuple(cache for _, cache in chosen.values())


def store_path() -> str:
    """The directory of the store, whether it exists or not. Raises StoreError."""
    return store.store_directory()


def store_verify(*, repair: bool, jobs: int, emit: Emit, cancel: Cancel) -> store_check.StoreCheck:
    """Check every item of the store, and with `repair` remove the damaged ones. Raises StoreError, Interrupted."""
    opened = store.open_store(idmap=userns.describe_ids())
    total = store_check.bytes_to_check(opened)
    done = 0

    def progress(size: int) -> None:
        nonlocal done
        done += size
        emit(Progress(id="store", done=done, total=total))
        cancel.check()

    with track_work(emit, "store", "store", "verify", total=total) as work:
        checked = store_check.check_store(opened, jobs=jobs, progress=progress)
        if repair:
            checked = store_check.repair(opened, checked)
            temp_dirs.sweep(opened, remove=userns.remove_as_root)
        work.outcome = "differs" if checked.left else "done"
        work.detail = f"{len(checked.damages)} damaged" if checked.damages else ""
    return checked


def store_remove(*, emit: Emit, cancel: Cancel) -> remove_store.StoreRemoval | None:
    """Remove the store once no process uses it; None if there is no store. Raises StoreError, Interrupted."""
    existing = store.find_store(userns.describe_ids())
    if existing is None:
        return None
    progress, waiting = _progress_callbacks("envtool", emit, cancel)
    with track_work(emit, "store", "store", "remove") as work:
        removal = remove_store.remove(existing, progress=progress, waiting=waiting, cancelled=cancel.is_set)
        work.outcome = "done"
    return removal
