"""The words of `envtool why` -> the bases, layers and tasks that they mean. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from envtool.errors import UsageError, closest_name
from envtool.fs import globs
from envtool.model import Env, Spec, Task
from envtool.plan.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedNodes:
    """Node ids, each after what it stands on, and tasks with their envs, in the order of the spec."""

    nodes: tuple[str, ...]
    named: frozenset[str] = frozenset()  # those of them that are not only what a task stands on
    tasks: tuple[tuple[Env, Task], ...] = ()


def select_subjects(spec: Spec, graph: Graph, names: Sequence[str]) -> SelectedNodes:
    """What names mean: layers, bases and envs (`*` and `?` are wild, a group means all its envs), a task as ENV:TASK,
    or where there is nothing else of the name as TASK. None: all nodes. Raises UsageError."""
    if not names:
        return SelectedNodes(nodes=tuple(graph.nodes))
    nodes: set[str] = set()
    tasks: dict[tuple[str, str], tuple[Env, Task]] = {}
    for name in names:
        found, some = _select_one(spec, graph, name)
        if not found and not some:
            raise _unknown(spec, graph, name)
        nodes |= found
        for env, task in some:
            tasks[env.name, task.name] = (env, task)
    named = frozenset(nodes)
    for env, _ in tasks.values():
        nodes.update(graph.stacks[env.name])
    return SelectedNodes(
        nodes=tuple(one for one in graph.nodes if one in nodes), named=named, tasks=tuple(tasks.values())
    )


def envs_of(graph: Graph) -> dict[str, tuple[str, ...]]:
    """The envs whose stack a node is in, by its id."""
    found: dict[str, list[str]] = {node_id: [] for node_id in graph.nodes}
    for env, stack in graph.stacks.items():
        for node_id in stack:
            found[node_id].append(env)
    return {node_id: tuple(envs) for node_id, envs in found.items()}


def _select_one(spec: Spec, graph: Graph, name: str) -> tuple[set[str], list[tuple[Env, Task]]]:
    env_name, colon, task_name = name.rpartition(":")
    if colon:
        envs = [env for env in spec.envs if _name_matcher(env_name, env.name, env.group)]
        return set(), [(env, task) for env in envs for task in env.tasks if _name_matcher(task_name, task.name)]
    nodes = {node.id for node in graph.nodes.values() if _name_matcher(name, node.spec.name, node.of)}
    for env in spec.envs:
        if _name_matcher(name, env.name, env.group):
            nodes.update(graph.stacks[env.name])
    if nodes:
        return nodes, []
    return set(), [(env, task) for env in spec.envs for task in env.tasks if _name_matcher(name, task.name)]


def _name_matcher(pattern: str, *names: str) -> bool:
    wild = globs.name_pattern(pattern).fullmatch
    return any(wild(name) for name in names)


def _unknown(spec: Spec, graph: Graph, name: str) -> UsageError:
    names = {node.spec.name for node in graph.nodes.values()}
    names |= {word for env in spec.envs for word in (env.name, env.group)}
    names |= {f"{env.name}:{task.name}" for env in spec.envs for task in env.tasks}
    names |= {task.name for env in spec.envs for task in env.tasks}
    near = closest_name(name, sorted(names))
    hint = f"did you mean `{near}`?" if near else "`envtool list` shows envs, layers and tasks"
    return UsageError(f"no base, layer, env or task `{name}`", code="why-name", hint=hint)
