"""Stores what a run has started (early_note.py), so that the next one can start it at once (early_start.py)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from envtool.container import userns
from envtool.fs import store_files
from envtool.fs.beneath import real_path
from envtool.project import source_files
from envtool.run import early_start, fast_exec, fast_plan
from envtool.store import layers, locks

if TYPE_CHECKING:
    from envtool.build.context import Context
    from envtool.model import Spec
    from envtool.project.source_files import ProjectFiles
    from envtool.run.early_note import EarlyNote


def write(
    note: EarlyNote, spec: Spec, files: ProjectFiles, context: Context, task: str, selected: tuple[str, ...]
) -> None:
    """Stores what the only task of a run note. `selected` are the envs as the command line names them. Raises
    EnvtoolError where git fails."""
    repositories = source_files.list_repositories(context.root, context.cancel.reader)
    plan = note.plan | {
        "version": early_start.plan_version(),
        "spec": fast_plan.plan_spec_path(spec),
        "task": task,
        "envs": selected,
        "watch": _facts(note, spec, files, context),
        "locks": _lock_paths(note, context),
        "project": context.root,
        "repositories": tuple((prefix, os.path.join(context.root, prefix.rstrip("/"))) for prefix, _ in repositories),
        "git": repositories[0][1].directory if repositories else "",
        "hidden": (source_files.OWN,),
    }
    programs = [program for service in plan["services"] for _, program in service["members"]]
    plan["sees_project"] = any(program["hidden"] for program in (*programs, plan["program"] or {"hidden": ()}))
    path = early_start.plan_path(context.store.root, plan["spec"], task, selected)
    store_files.replace_if_possible(path, store_files.encode_with_checksum(plan))


def remove(spec: Spec, context: Context, task: str, selected: tuple[str, ...]) -> None:
    """Removes what is noted of a run."""
    path = early_start.plan_path(context.store.root, fast_plan.plan_spec_path(spec), task, selected)
    store_files.replace_if_possible(path, b"")


def _facts(note: EarlyNote, spec: Spec, files: ProjectFiles, context: Context) -> list[tuple[str, tuple[int, ...]]]:
    """Returns signatures of what a change of which makes another program, as far as a look is quick: what else decides
    one is compared when the run has made its own."""
    watched = {file.path: tuple(file.state) for file in files.seen()}
    decided = [path for stack in note.stacks for path in fast_plan.decisive_paths(stack, spec, context)]
    git = [] if source_files.sees_git(context.root) else [os.path.join(real_path(context.root), ".git")]
    for path in (*decided, *git, fast_exec.permissions_path(), *userns.MAP_FILES, context.store.path("store.json")):
        watched.setdefault(path, fast_exec.stat_signature(path))
    return sorted(watched.items())


def _lock_paths(note: EarlyNote, context: Context) -> tuple[str, ...]:
    keys = dict.fromkeys([made.layer.key for stack in note.stacks for made in stack.layers] + [*note.states])
    return tuple(locks.lock_path(context.store, layers.layer_lock_name(key)) for key in keys)
