"""Collects what `envtool why TASK` compares: the task as it is now, and its stored results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

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
from envtool.run.needed_tasks import NeededTask
from envtool.run.prepared_task import TaskCall
from envtool.run.result_cache import NotCacheable
from envtool.run.task_services import ServiceStacks
from envtool.spec.select_envs import stack_names, used_services
from envtool.store import results, snapshots

if TYPE_CHECKING:
    from envtool.plan.task_graph import TaskId


def explain_tasks(
    tasks: Sequence[tuple[Env, Task]],
    envs: Mapping[str, Env],
    graph: Graph,
    states: Mapping[str, NodeState],
    context: Context,
) -> tuple[Explanation, ...]:
    """Returns, for each task, why it would run or why its cached result is used. `envs` are those of all tasks that
    they need, by name."""
    if not tasks:
        return ()
    project: Snapshot | None = None
    refusal = ""
    try:
        project = prepared_task.take_snapshot(context)
    except NotCacheable as error:
        refusal = error.reason
    known = KnownTasks(envs, graph, states, context, project)
    return tuple(_explain(env, task, known, refusal) for env, task in tasks)


class KnownTasks:
    """What is known of the requests of tasks, and of the results of those that others need."""

    def __init__(
        self,
        envs: Mapping[str, Env],
        graph: Graph,
        states: Mapping[str, NodeState],
        context: Context,
        project: Snapshot | None,
    ) -> None:
        self.envs, self.graph, self.states, self.context = envs, graph, states, context
        self.project = project
        self._needed: dict[TaskId, NeededTask | None] = {}

    def waits(self, env: Env, task: Task) -> tuple[str, ...]:
        """Returns the names of what decides the request of a task and is not known yet: layers, or, if all of those
        are, needed tasks."""
        stack = [self.states[node_id] for name in stack_names(env, task) for node_id in self.graph.stacks[name]]
        layers = tuple(state.node.spec.name for state in stack if state.output is None and state.request is not None)
        return layers or tuple(f"{name}@{of}" for of, name in task.needs if self._find_needed((of, name)) is None)

    def document(self, env: Env, task: Task) -> Mapping[str, Json]:
        """Returns the document of the request of a task that waits for nothing. Raises NotCacheable."""
        assert self.project is not None
        needs = tuple(need for task_id in task.needs if (need := self._find_needed(task_id)))
        host = host_access.select_variables(env.passed, os.environ)
        call = TaskCall(env=env, task=task, context=self.context, log="", host=host, needs=needs)
        stack = _known_stack(env.name, self.graph, self.states)
        used = used_services(env, task)
        stacks = tuple(_known_stack(service.env.name, self.graph, self.states) for service in used)
        services = ServiceStacks(used, stacks)
        prepared_task.check_cacheable(env, stack, services, task)
        return prepared_task.cacheable_request(call, stack, self.project, services).document()

    def _find_needed(self, task_id: TaskId) -> NeededTask | None:
        """Returns a needed task whose result is remembered; None if it is not."""
        if task_id not in self._needed:
            from envtool.plan.task_graph import find_task

            env = self.envs[task_id[0]]
            task = find_task(self.envs, task_id)
            if task.plain_commands is not None:
                task = replace(task, commands=task.plain_commands)
            self._needed[task_id] = None
            if self.project is None or env.has_outside or self.waits(env, task):
                return None
            try:
                document = self.document(env, task)
                stored = results.find(self.context.store, keys.digest({**document}))
                if stored is None:
                    stored = _find_observed(task, document, (), self.project, self.context)
            except NotCacheable:
                return None
            if stored is not None:
                from envtool.run import artefacts  # few tasks need others

                files = artefacts.stored_artefacts(stored.outputs)
                self._needed[task_id] = NeededTask(env.name, task, files)
        return self._needed[task_id]


def _explain(env: Env, task: Task, known: KnownTasks, refusal: str) -> Explanation:
    graph, states, context, project = known.graph, known.states, known.context, known.project
    waits = known.waits(env, task)
    never = "it has the network, and is run every time" if env.has_outside else refusal
    document: Mapping[str, Json] | None = None
    if project and not waits and not never:
        try:
            document = known.document(env, task)
        except NotCacheable as error:
            never = error.reason
    owner = result_cache.result_owner(context.root, env.name, task.name)
    stored = results.results_of_owner(context.store, owner)
    key = keys.digest({**document}) if document else ""
    if document and project and (observed := _find_observed(task, document, stored, project, context)):
        key = observed.key
        if all(result.key != key for result in stored):
            stored.append(observed)
    runs = [
        why_task.PastRun(key=result.key, document=_with_git(result), time=result.run.started, host=result.run.host)
        for result in stored
    ]
    if document and (moved := _changed_git_state(key, stored, context)):
        document, key = {**document, "history": moved}, ""
    named = _name_layers(env, task, graph, states, [run.document for run in runs], context)
    lines = {service.host: f"{service.where.file}:{service.where.line}" for service in env.services}
    explanation = why_task.explain_task(
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
    return _add_reads(explanation, task, stored, context)


def _find_observed(
    task: Task,
    document: Mapping[str, Json],
    stored: Sequence[results.StoredResult],
    project: Snapshot,
    context: Context,
) -> results.StoredResult | None:
    """Returns the result that holds for other files of the project, if none is for just these."""
    key = keys.digest({**document})
    if task.inputs != "observed" or any(result.key == key for result in stored):
        return None
    from envtool.run import observed_reads  # few tasks are observed

    return observed_reads.find_result(document, project, context, result_cache.LocalCache(context, ()).find_key)


def _add_reads(
    explanation: Explanation, task: Task, stored: Sequence[results.StoredResult], context: Context
) -> Explanation:
    """Returns an explanation with what the task read when it passed; under `inputs: observed` without the files that it
    did not read and whose content alone changed."""
    since = explanation.since.key if explanation.since is not None else ""
    run = next((result for result in stored if result.key == since), None)
    if run is None:
        return explanation
    from envtool.run import observed_reads

    changes = explanation.changes
    if task.inputs == "observed":
        changes = tuple(
            change
            for change in changes
            if not (change.part == "file" and change.note == "content" and observed_reads.is_unread(change.name, run))
        )
    return replace(explanation, changes=changes, reads=observed_reads.reads_of(run, context))


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
