"""Gathers what `envtool why TASK` is told from: the task as it stands, and what is remembered of it in the store."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from envtool import keys
from envtool.build.assess import NodeState, known_layers
from envtool.build.context import Context
from envtool.build.explain import as_parent, find_past_parents, name_past_parents
from envtool.build.source_lines import find_in_spec
from envtool.build.stack import KnownStack
from envtool.errors import EnvtoolError
from envtool.model import Env, Json, Task
from envtool.plan import why_task
from envtool.plan.change_values import LocationLookup, Parent
from envtool.plan.graph import Graph
from envtool.plan.why import Explanation
from envtool.project import snapshot_diff
from envtool.project.snapshot import Snapshot, SnapshotError
from envtool.run import host_inputs, result_cache, task_container
from envtool.store import results, snapshots


def explain_tasks(
    tasks: Sequence[tuple[Env, Task]], graph: Graph, states: Mapping[str, NodeState], setting: Context
) -> tuple[Explanation, ...]:
    """Why tasks would be run, or told as unchanged."""
    if not tasks:
        return ()
    view = result_cache.snapshot_or_reason(setting)
    return tuple(_explain(env, task, graph, states, setting, view) for env, task in tasks)


def _explain(
    env: Env, task: Task, graph: Graph, states: Mapping[str, NodeState], setting: Context, view: Snapshot | str
) -> Explanation:
    stack = [states[node_id] for node_id in graph.stacks[env.name]]
    waits = tuple(one.node.spec.name for one in stack if one.layer is None and one.request is not None)
    here = tuple(as_parent(one.output) for one in stack if one.output is not None)
    never = "it has the network, and is run every time" if env.network else view if isinstance(view, str) else ""
    document: Mapping[str, Json] | None = None
    if isinstance(view, Snapshot) and not waits and not never:
        asked = result_cache.TaskRequest(
            env=env, task=task, setting=setting, log="", host=task_container.select_passed(env, os.environ)
        )
        found = KnownStack(made=tuple(known_layers(graph.stacks[env.name], states)))
        try:
            never = host_inputs.unseen_reason(found)
            document = None if never else result_cache.make_result_document(asked, found, view.digest)
        except EnvtoolError as error:
            never = error.message
    owner = result_cache.result_owner(setting.root, env.name, task.name)
    kept = results.results_of_owner(setting.store, owner)
    runs = [
        why_task.PastRun(key=each.key, document=_with_git(each), time=each.run.started, host=each.run.host)
        for each in kept
    ]
    key = keys.digest({**document}) if document else ""
    if document and (moved := _changed_git_state(key, kept, setting)):
        document, key = {**document, "history": moved}, ""
    earlier = find_past_parents([_diff_ids(run.document) for run in runs], setting)

    def ground(old: Mapping[str, Json]) -> tuple[Parent, ...]:
        return name_past_parents(_diff_ids(old), here, earlier)

    return why_task.explain_task(
        why_task.CurrentTask(
            env=env.name,
            name=task.name,
            where=task.where,
            project=setting.root,
            document=document,
            key=key,
            below=here,
            waits=waits,
            never=never,
        ),
        runs,
        view=lambda digest: snapshots.get(setting.store, digest),
        now=_files(view),
        ground=ground,
        places=LocationLookup(option=lambda text: find_in_spec(setting.root, task.where, text)),
    )


def _with_git(found: results.StoredResult) -> Mapping[str, Json]:
    """A run's document, with what it saw of git where it opened its files."""
    return {**found.document, "history": found.run.git} if found.run.git else found.document


def _changed_git_state(key: str, kept: Sequence[results.StoredResult], setting: Context) -> str:
    """How git's directories stand now, where that is not what the result of a key saw of them; else empty."""
    saw = next((each.run.git for each in kept if each.key == key), "")
    try:
        now = host_inputs.read_git_history(setting).digest if saw else ""
    except EnvtoolError:
        return "unknown"
    return now if now != saw else ""


def _files(view: Snapshot | str) -> why_task.View | None:
    try:
        return snapshots.parse_rows(snapshot_diff.snapshot_manifest(view)) if isinstance(view, Snapshot) else None
    except SnapshotError:
        return None


def _diff_ids(document: Mapping[str, Json]) -> list[Json]:
    rows = document.get("stack")
    return [row[0] for row in rows if isinstance(row, list) and row] if isinstance(rows, list) else []
