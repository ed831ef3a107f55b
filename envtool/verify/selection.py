"""What is to be verified, by the names that were given. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from envtool.errors import UsageError, closest_name
from envtool.fs import globs
from envtool.model import Env, Spec, Task
from envtool.plan.graph import Graph
from envtool.verify.layers import VerifyTarget


def select_layers(spec: Spec, graph: Graph, names: Sequence[str]) -> tuple[VerifyTarget, ...]:
    """The nodes whose layer, base or env is named, each once, bottom first; without names all. Raises UsageError."""
    owner: dict[str, str] = {}  # node -> the first env that stands on it
    known: dict[str, set[str]] = {}
    for env in spec.envs:
        for node_id in graph.stacks[env.name]:
            node = graph.nodes[node_id]
            for each in (node_id, *graph.parts.get(node_id, ())):  # parts that only others look at are made too
                owner.setdefault(each, env.name)
                names_of = (graph.nodes[each].spec.name, graph.nodes[each].of or node.spec.name, env.name, env.group)
                known.setdefault(each, set()).update(names_of)
    wanted = [globs.name_pattern(name) for name in names]
    _check_names(names, {name for each in known.values() for name in each})
    count = Counter(node.spec.name for node in graph.nodes.values())
    return tuple(
        VerifyTarget(
            node=node,
            name=node.spec.name if count[node.spec.name] == 1 else f"{node.spec.name} in {owner[node.id]}",
            env=owner[node.id],
        )
        for node in graph.nodes.values()
        if not wanted or any(expression.fullmatch(name) for expression in wanted for name in known[node.id])
    )


def select_tasks(spec: Spec, names: Sequence[str]) -> tuple[tuple[Env, Task], ...]:
    """The envs (of those that are named) with a task `build`. Raises UsageError."""
    wanted = [globs.name_pattern(name) for name in names]
    _check_names(names, {name for env in spec.envs for name in (env.name, env.group)})
    found = [
        (env, task)
        for env in spec.envs
        for task in env.tasks
        if task.name == "build"
        and (not wanted or any(expression.fullmatch(name) for expression in wanted for name in (env.name, env.group)))
    ]
    if not found:
        raise UsageError("no env has a task `build`", code="no-task", hint="`envtool list` shows envs and their tasks")
    return tuple(found)


def _check_names(names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if not any(globs.name_pattern(name).fullmatch(each) for each in known):
            near = closest_name(name, sorted(known))
            hint = f"did you mean `{near}`?" if near else f"there are {', '.join(sorted(known)[:12])}"
            raise UsageError(f"no base, layer or env `{name}`", code="no-layer", hint=hint)
