"""Finds the bases, layers and tasks that the words of `envtool why` name. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from envtool.errors import UsageError, near_name_hint
from envtool.fs.globs import matches_name
from envtool.lazy_dataclass import dataclass
from envtool.model import Env, Spec, Task
from envtool.plan.graph import Graph
from envtool.spec.select_envs import env_names, matching_envs, matching_stacks, stack_envs


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedNodes:
    """Node ids, each after its parents, and tasks with their envs, in the order of the spec."""

    nodes: tuple[str, ...]
    named: frozenset[str] = frozenset()  # those that are selected themselves, not as parents of a task
    tasks: tuple[tuple[Env, Task], ...] = ()
    stacks: tuple[str, ...] = ()  # of envs and services that are named themselves


def select_subjects(spec: Spec, graph: Graph, names: Sequence[str]) -> SelectedNodes:
    """Returns what names mean: layers, bases and envs (`*` and `?` are wildcards, a group means all its envs), a
    service as service:NAME, a task as ENV:TASK, or as TASK where nothing else has the name. Without names: all nodes.
    Raises UsageError."""
    if not names:
        return SelectedNodes(nodes=tuple(graph.nodes))
    nodes: set[str] = set()
    tasks: dict[tuple[str, str], tuple[Env, Task]] = {}
    for name in names:
        matching_nodes, matching_tasks = _select_by_name(spec, graph, name)
        if not matching_nodes and not matching_tasks:
            raise _unknown_name_error(spec, graph, name)
        nodes |= matching_nodes
        for env, task in matching_tasks:
            tasks[env.name, task.name] = (env, task)
    named = frozenset(nodes)
    for env, _ in tasks.values():
        nodes.update(graph.stacks[env.name])
    return SelectedNodes(
        nodes=tuple(node_id for node_id in graph.nodes if node_id in nodes),
        named=named,
        tasks=tuple(tasks.values()),
        stacks=tuple(dict.fromkeys(env.name for name in names for env in matching_stacks(spec, name))),
    )


def envs_of(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Returns the envs whose stack a node is in, by its id."""
    envs_by_node: dict[str, list[str]] = {node_id: [] for node_id in graph.nodes}
    for env, stack in graph.stacks.items():
        for node_id in stack:
            envs_by_node[node_id].append(env)
    return {node_id: tuple(envs) for node_id, envs in envs_by_node.items()}


def _select_by_name(spec: Spec, graph: Graph, name: str) -> tuple[set[str], list[tuple[Env, Task]]]:
    env_name, colon, task_name = name.rpartition(":")
    stacks = {node_id for env in matching_stacks(spec, name) for node_id in graph.stacks[env.name]}
    if colon:
        envs = matching_envs(spec, env_name)
        return stacks, [(env, task) for env in envs for task in env.tasks if matches_name(task_name, task.name)]
    nodes = {node.id for node in graph.nodes.values() if matches_name(name, node.spec.name, node.of)}
    nodes |= stacks
    if nodes:
        return nodes, []
    return set(), [(env, task) for env in spec.envs for task in env.tasks if matches_name(name, task.name)]


def _unknown_name_error(spec: Spec, graph: Graph, name: str) -> UsageError:
    names = {node.spec.name for node in graph.nodes.values()} | {*env_names(stack_envs(spec))}
    names |= {f"{env.name}:{task.name}" for env in spec.envs for task in env.tasks}
    names |= {task.name for env in spec.envs for task in env.tasks}
    hint = near_name_hint(name, sorted(names), "`envtool list` shows envs, layers and tasks")
    return UsageError(f"no base, layer, env or task `{name}`", code="why-name", hint=hint)
