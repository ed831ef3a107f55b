"""Selects what to verify, by the names on the command line. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from envtool.errors import UsageError, closest_name
from envtool.fs import globs
from envtool.model import Env, Spec, Task
from envtool.plan.graph import Graph
from envtool.verify.layers import VerifyTarget


def select_layers(spec: Spec, graph: Graph, names: Sequence[str]) -> tuple[VerifyTarget, ...]:
    """Returns the nodes whose layer, base or env is named, each once, bottom first; without names all. Raises
    UsageError."""
    owner: dict[str, str] = {}  # node -> the first env that uses it
    known: dict[str, set[str]] = {}
    for env in spec.envs:
        for node_id in graph.stacks[env.name]:
            node = graph.nodes[node_id]
            for member in (node_id, *graph.parts.get(node_id, ())):  # sublayers are built too, also of other stages
                owner.setdefault(member, env.name)
                names_of = (
                    graph.nodes[member].spec.name,
                    graph.nodes[member].of or node.spec.name,
                    env.name,
                    env.group,
                )
                known.setdefault(member, set()).update(names_of)
    patterns = [globs.name_pattern(name) for name in names]
    _check_names(names, {name for member in known.values() for name in member})
    count = Counter(node.spec.name for node in graph.nodes.values())
    return tuple(
        VerifyTarget(
            node=node,
            name=node.spec.name if count[node.spec.name] == 1 else f"{node.spec.name} in {owner[node.id]}",
            env=owner[node.id],
        )
        for node in graph.nodes.values()
        if not patterns or any(expression.fullmatch(name) for expression in patterns for name in known[node.id])
    )


def select_tasks(spec: Spec, names: Sequence[str]) -> tuple[tuple[Env, Task], ...]:
    """Returns the tasks `build` of the named envs; without names of all. Raises UsageError."""
    patterns = [globs.name_pattern(name) for name in names]
    _check_names(names, {name for env in spec.envs for name in (env.name, env.group)})
    tasks = [
        (env, task)
        for env in spec.envs
        for task in env.tasks
        if task.name == "build"
        and (
            not patterns or any(expression.fullmatch(name) for expression in patterns for name in (env.name, env.group))
        )
    ]
    if not tasks:
        raise UsageError("no env has a task `build`", code="no-task", hint="`envtool list` shows envs and their tasks")
    return tuple(tasks)


def _check_names(names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if not any(globs.name_pattern(name).fullmatch(candidate) for candidate in known):
            near = closest_name(name, sorted(known))
            hint = f"did you mean `{near}`?" if near else f"there are {', '.join(sorted(known)[:12])}"
            raise UsageError(f"no base, layer or env `{name}`", code="no-layer", hint=hint)
