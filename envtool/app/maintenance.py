"""The verbs that look after the store and into it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from envtool.app.command_request import CommandRequest
from envtool.app.open_project import open_project, without_lock_check
from envtool.build.assess import assess_nodes
from envtool.build.context import Cancel
from envtool.container import userns
from envtool.errors import Interrupted, SpecError, UsageError
from envtool.events import Emit, Finished, Outcome, Progress, Started
from envtool.inspect import remove_store, store_check
from envtool.inspect.costs import Cost, EnvLayers, compute_costs, list_env_layers
from envtool.store import disk_limits, inventory, store, temp_dirs
from envtool.store.collect import GcPolicy, GcResult
from envtool.store.gc import gc as collect


@dataclass(frozen=True, slots=True, kw_only=True)
class GcReport:
    """What `gc` did, or would do. Sizes are bytes on the disk, `free` and `disk` of the file system."""

    store: str
    dry_run: bool
    size: int  # of the store before
    collected: GcResult
    envs: tuple[Cost, ...]
    free: int
    disk: int
    stuck: tuple[str, ...] = ()  # places of trees that only root can delete
    removing: int = 0  # bytes that another is taking away meanwhile


def _progress_callbacks(other: str, emit: Emit, cancel: Cancel) -> tuple[Callable[[int], None], Callable[[str], None]]:
    """What to call with bytes that are gone, and with who is waited for: another one of what is called so."""
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
    """Remove what nothing needs. Works outside of projects, and where a spec is wrong. Raises StoreError,
    Interrupted."""
    place = store.open_store(idmap=userns.describe_ids())
    here = _project_env_layers(request)
    limit = disk_limits.size_limit(os.environ) if keep_size is None else keep_size
    now = time.time()

    def policy(found: inventory.Inventory) -> GcPolicy:
        return GcPolicy(
            now=now, older_than=older_than, keep_size=limit, named=inventory.digests_in_locks(found.projects)
        )

    progress, waiting = _progress_callbacks("gc", emit, cancel)
    outcome: Outcome = "error"
    emit(Started(id="store", subject="store", name="gc", time=now))
    try:
        rest = inventory.measure_unfinished(place, userns.run_as_root)
        found, collected = collect(
            place,
            policy,
            inside=userns.run_as_root,
            remove=userns.remove_as_root,
            dry_run=dry_run,
            progress=progress,
            waiting=waiting,
            cancelled=cancel.is_set,
        )
        outcome = "done"
    except (Interrupted, KeyboardInterrupt):
        outcome = "interrupted"
        raise
    finally:
        end = time.time()
        emit(Finished(id="store", subject="store", name="gc", outcome=outcome, time=end, seconds=end - now))
    available, disk = disk_limits.free_space(place)
    litter = collected.litter + (rest.stopped if dry_run else 0)  # else it was counted as it went
    collected = replace(collected, litter=litter, litter_size=collected.litter_size + rest.left)
    return GcReport(
        store=place.root,
        dry_run=dry_run,
        size=found.size + rest.size,
        removing=rest.going,
        collected=collected,
        envs=compute_costs(found, list_env_layers(found, here), collected.gone),
        free=available,
        disk=disk,
        stuck=_undeletable_paths(found),
    )


def _project_env_layers(request: CommandRequest) -> tuple[EnvLayers, ...]:
    """The envs of the project here, as it is now; none where there is no project, or one that cannot be read."""
    try:
        at = open_project(without_lock_check(request))
        looks = assess_nodes(at.nodes, at.setting)
    except (SpecError, UsageError):
        return ()
    return tuple(
        EnvLayers(
            project=at.spec.root,
            env=env.name,
            layers=frozenset(
                layer.key for node_id in at.nodes.stacks[env.name] if (layer := looks[node_id].layer) is not None
            ),
        )
        for env in at.spec.envs
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSizes:
    """What the store takes, by sort of thing: (how many, bytes). `free` and `disk` are of the file system. `others` is
    what of it containers here cannot use, since it belongs to other ids: (bytes, which). `unfinished` is what is being
    made or taken away; `size` has it too. `stuck` are paths of what only root can delete, or measure."""

    store: str
    sorts: Mapping[str, tuple[int, int]]
    size: int
    free: int
    disk: int
    others: tuple[int, tuple[str, ...]]
    unfinished: inventory.UnfinishedWork
    stuck: tuple[str, ...]


def store_size() -> StoreSizes:
    """Raises StoreError."""
    place = store.open_store(idmap=userns.describe_ids())
    found = inventory.take_inventory(place, userns.run_as_root)
    sorts: dict[str, tuple[int, int]] = {}
    for item in found.items:
        count, size = sorts.get(item.sort, (0, 0))
        sorts[item.sort] = (count + 1, size + item.size)
    available, disk = disk_limits.free_space(place)
    foreign = sum(item.size for item in found.items if item.other)
    lost = {each.ids for each in found.stuck}
    others = (foreign, tuple(each.idmap for each in store.other_idmap_stores(place) if each.ids not in lost))
    rest = inventory.measure_unfinished(place, userns.run_as_root)
    return StoreSizes(
        store=place.root, sorts=sorts, size=found.size + rest.size, free=available, disk=disk, others=others,
        unfinished=rest, stuck=_undeletable_paths(found),
    )  # fmt: skip


def _undeletable_paths(found: inventory.Inventory) -> tuple[str, ...]:
    return tuple(path for each in found.stuck for path in inventory.undeletable_paths(each))


def store_path() -> str:
    """Where the store is, there or not. Raises StoreError."""
    return store.store_directory()


def store_verify(*, repair: bool, jobs: int, emit: Emit, cancel: Cancel) -> store_check.StoreCheck:
    """Look at everything in the store, and with `repair` remove what is damaged. Raises StoreError, Interrupted."""
    place = store.open_store(idmap=userns.describe_ids())
    began = time.time()
    total = store_check.bytes_to_check(place)
    emit(Started(id="store", subject="store", name="verify", time=began, total=total))
    done = 0

    def progress(size: int) -> None:
        nonlocal done
        done += size
        emit(Progress(id="store", done=done, total=total))
        cancel.check()

    outcome: Outcome = "error"
    detail = ""
    try:
        found = store_check.check_store(place, jobs=jobs, progress=progress)
        if repair:
            found = store_check.repair(place, found)
            temp_dirs.sweep(place, remove=userns.remove_as_root)
        outcome = "differs" if found.left else "done"
        detail = f"{len(found.damages)} damaged" if found.damages else ""
    except (Interrupted, KeyboardInterrupt):
        outcome = "interrupted"
        raise
    finally:
        end = time.time()
        emit(
            Finished(
                id="store",
                subject="store",
                name="verify",
                outcome=outcome,
                time=end,
                seconds=end - began,
                detail=detail,
            )
        )
    return found


def store_remove(*, emit: Emit, cancel: Cancel) -> remove_store.StoreRemoval | None:
    """Remove the store, once nobody uses it; None where there is none. Raises StoreError, Interrupted."""
    place = store.find_store(userns.describe_ids())
    if place is None:
        return None
    began = time.time()
    emit(Started(id="store", subject="store", name="remove", time=began))
    progress, waiting = _progress_callbacks("envtool", emit, cancel)
    outcome: Outcome = "error"
    try:
        found = remove_store.remove(place, progress=progress, waiting=waiting, cancelled=cancel.is_set)
        outcome = "done"
    except (Interrupted, KeyboardInterrupt):
        outcome = "interrupted"
        raise
    finally:
        end = time.time()
        emit(Finished(id="store", subject="store", name="remove", outcome=outcome, time=end, seconds=end - began))
    return found
