"""Collects what `envtool why TASK` compares: the task as it is now, and its stored results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

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
from envtool.plan.why import Explanation, PastBuild
from envtool.project import host_access, snapshot_diff
from envtool.project.snapshot import Snapshot, SnapshotError
from envtool.run import host_inputs, prepared_task, result_cache
from envtool.run.prepared_task import TaskCall
from envtool.run.result_cache import NotCacheable
from envtool.run.task_services import ServiceStacks
from envtool.spec.select_envs import stack_names, used_services
from envtool.store import results, snapshots


def explain_tasks(
    tasks: Sequence[tuple[Env, Task]], graph: Graph, states: Mapping[str, NodeState], context: Context
) -> tuple[Explanation, ...]:
    """Returns, for each task, why it would run or why its cached result is used."""
    if not tasks:
        return ()
    project: Snapshot | None = None
    refusal = ""
    try:
        project = prepared_task.take_snapshot(context)
    except NotCacheable as error:
        refusal = error.reason
    return tuple(_explain(env, task, graph, states, context, project, refusal) for env, task in tasks)


def _explain(
    env: Env,
    task: Task,
    graph: Graph,
    states: Mapping[str, NodeState],
    context: Context,
    project: Snapshot | None,
    refusal: str,
) -> Explanation:
    stack = [states[node_id] for name in stack_names(env, task) for node_id in graph.stacks[name]]
    waits = tuple(state.node.spec.name for state in stack if state.output is None and state.request is not None)
    never = "it has the network, and is run every time" if env.has_outside else refusal
    document: Mapping[str, Json] | None = None
    if project and not waits and not never:
        call = TaskCall(
            env=env, task=task, context=context, log="", host=host_access.select_variables(env.passed, os.environ)
        )
        known_stack = _known_stack(env.name, graph, states)
        used = used_services(env, task)
        services = ServiceStacks(used, tuple(_known_stack(service.env.name, graph, states) for service in used))
        try:
            prepared_task.check_cacheable(env, known_stack, services, task)
            document = prepared_task.cacheable_request(call, known_stack, project, services).document()
        except NotCacheable as error:
            never = error.reason
    owner = result_cache.result_owner(context.root, env.name, task.name)
    stored = results.results_of_owner(context.store, owner)
    runs = [
        why_task.PastRun(key=result.key, document=_with_git(result), time=result.run.started, host=result.run.host)
        for result in stored
    ]
    key = keys.digest({**document}) if document else ""
    if document and (moved := _changed_git_state(key, stored, context)):
        document, key = {**document, "history": moved}, ""
    named = _name_layers(env, task, graph, states, [run.document for run in runs], context)
    lines = {service.host: f"{service.where.file}:{service.where.line}" for service in env.services}
    return why_task.explain_task(
        why_task.CurrentTask(
            env=env.name,
            name=task.name,
            where=task.where,
            project=context.root,
            document=document,
            key=key,
            below=named.below,
            beside=named.beside,
            waits=waits,
            never=never,
        ),
        runs,
        view=lambda digest: snapshots.get(context.store, digest),
        now=_files(project),
        ground=named.past_parents,
        beside=named.past_services,
        places=LocationLookup(
            option=lambda text: find_in_spec(context.root, task.where, text), service=lambda name: lines.get(name, "")
        ),
    )


class _NamedLayers(NamedTuple):
    """The layers of a task's stack, and of the services beside it, now; `builds` are earlier ones by diff ID."""

    below: tuple[Parent, ...]
    beside: Mapping[str, tuple[Parent, ...]]
    builds: dict[str, list[PastBuild]]

    def past_parents(self, document: Mapping[str, Json]) -> tuple[Parent, ...]:
        """Returns the layers of the stack in an earlier document."""
        return name_past_parents(_diff_ids(document), self.below, self.builds)

    def past_services(self, document: Mapping[str, Json]) -> dict[str, tuple[Parent, ...]]:
        """Returns the layers of each service in an earlier document."""
        return {
            name: name_past_parents(ids, self.beside.get(name, ()), self.builds)
            for name, ids in _service_diff_ids(document).items()
        }


def _name_layers(
    env: Env,
    task: Task,
    graph: Graph,
    states: Mapping[str, NodeState],
    documents: Sequence[Mapping[str, Json]],
    context: Context,
) -> _NamedLayers:
    def parents(stack: str) -> tuple[Parent, ...]:
        return tuple(as_parent(layer) for layer in known_layers(graph.stacks[stack], states))

    ids = [stack for document in documents for stack in (_diff_ids(document), *_service_diff_ids(document).values())]
    beside = {service.host: parents(service.env.name) for service in used_services(env, task)}
    return _NamedLayers(parents(env.name), beside, find_past_parents(ids, context))


def _known_stack(name: str, graph: Graph, states: Mapping[str, NodeState]) -> KnownStack:
    return KnownStack(layers=tuple(known_layers(graph.stacks[name], states)))


def _with_git(result: results.StoredResult) -> Mapping[str, Json]:
    """Returns a run's document, with the digest of git's directories if the task opened files in them."""
    return {**result.document, "history": result.run.git} if result.run.git else result.document


def _changed_git_state(key: str, stored: Sequence[results.StoredResult], context: Context) -> str:
    """Returns the digest of git's directories now if it is not the one that the result of a key depends on; else ""."""
    before = next((result.run.git for result in stored if result.key == key), "")
    try:
        now = host_inputs.read_git_history(context).digest if before else ""
    except EnvtoolError:
        return "unknown"
    return now if now != before else ""


def _files(project: Snapshot | None) -> why_task.View | None:
    try:
        return snapshots.parse_rows(snapshot_diff.snapshot_manifest(project)) if project else None
    except SnapshotError:
        return None


def _diff_ids(document: Mapping[str, Json]) -> list[Json]:
    rows = document.get("stack")
    return [row[0] for row in rows if isinstance(row, list) and row] if isinstance(rows, list) else []


def _service_diff_ids(document: Mapping[str, Json]) -> dict[str, list[Json]]:
    """Returns the diff IDs of the services in a result document, by their names."""
    services = document.get("services")
    rows = [service for service in services if isinstance(service, dict)] if isinstance(services, list) else []
    return {str(service.get("name")): _diff_ids(service) for service in rows}
