"""What a run will do, as a value for `envtool plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from envtool.model import Env, Spec, Where
from envtool.plan.graph import Graph, Node
from envtool.plan.output_clashes import find_output_clashes

State = Literal["cached", "build", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSummary:
    """What is known of a node before anything is built. `key` is empty while its parents are unknown."""

    state: State
    key: str = ""
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One base or layer of an env's stack."""

    name: str
    kind: str
    subject: Literal["base", "layer"]
    state: State
    key: str
    summary: str
    pinned: bool
    where: Where | None
    node: str = ""  # its id in the graph: several envs may share it, and several nodes may have its name


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedEnv:
    """One env: its stack, bottom first, and the tasks that would run."""

    name: str
    tasks: tuple[str, ...]
    steps: tuple[PlannedStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All selected envs in the order of the spec."""

    envs: tuple[PlannedEnv, ...]
    notes: tuple[str, ...] = ()  # what is allowed, but probably a mistake


def make_plan(spec: Spec, graph: Graph, known: Mapping[str, NodeSummary], verb: str = "") -> Plan:
    """Returns the plan of all envs. With a verb only envs that have that task are in it."""
    envs = [env for env in spec.envs if not verb or any(task.name == verb for task in env.tasks)]
    tasks = [(env, task) for env in envs for task in env.tasks if not verb or task.name == verb]
    return Plan(envs=tuple(_plan_env(env, graph, known, verb) for env in envs), notes=find_output_clashes(tasks))


def _plan_env(env: Env, graph: Graph, known: Mapping[str, NodeSummary], verb: str) -> PlannedEnv:
    tasks = tuple(task.name for task in env.tasks if not verb or task.name == verb)
    steps = tuple(_plan_step(graph.nodes[node_id], known) for node_id in graph.stacks[env.name])
    return PlannedEnv(name=env.name, tasks=tasks, steps=steps)


def _plan_step(node: Node, known: Mapping[str, NodeSummary]) -> PlannedStep:
    state = known.get(node.id, NodeSummary(state="unknown"))
    return PlannedStep(
        name=node.spec.name,
        kind=node.spec.kind,
        subject=node.subject,
        state=state.state,
        key=state.key,
        summary=state.summary,
        pinned=node.kind.pinned,
        where=node.spec.where,
        node=node.id,
    )
