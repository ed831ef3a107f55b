"""Selects what to verify, by the names on the command line. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from envtool.errors import UsageError, near_name_hint
from envtool.fs.globs import matches_name
from envtool.model import Env, Spec, Task
from envtool.plan.graph import Graph
from envtool.spec.select_envs import meaning_hint, select_envs, stack_envs
from envtool.verify.layers import VerifyTarget


def select_layers(spec: Spec, graph: Graph, names: Sequence[str]) -> tuple[VerifyTarget, ...]:
    """Returns the nodes whose layer, base, env or service (service:NAME) is named, each once, bottom first; without
    names all. Raises UsageError."""
    owner: dict[str, str] = {}  # node -> the first env that uses it
    known: dict[str, set[str]] = {}
    for env in stack_envs(spec):
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
    for name in names:
        if not any(matches_name(name, *names_of) for names_of in known.values()):
            everything = sorted({name for names_of in known.values() for name in names_of})
            hint = meaning_hint(spec, name) or near_name_hint(name, everything)
            raise UsageError(f"no base, layer or env `{name}`", code="no-layer", hint=hint)
    count = Counter(node.spec.name for node in graph.nodes.values())
    return tuple(
        VerifyTarget(
            node=node,
            name=node.spec.name if count[node.spec.name] == 1 else f"{node.spec.name} in {owner[node.id]}",
            env=owner[node.id],
        )
        for node in graph.nodes.values()
        if not names or any(matches_name(name, *known[node.id]) for name in names)
    )


def select_tasks(spec: Spec, names: Sequence[str]) -> tuple[tuple[Env, Task], ...]:
    """Returns the tasks `build` of the named envs; without names of all. Raises UsageError."""
    envs = select_envs(spec, names).envs
    tasks = tuple((env, task) for env in envs for task in env.tasks if task.name == "build")
    if not tasks:
        raise UsageError("no env has a task `build`", code="no-task", hint="`envtool list` shows envs and their tasks")
    return tasks
