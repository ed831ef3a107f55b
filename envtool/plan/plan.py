"""What a run does for each base and layer, and why: the scheduler carries it out, and `envtool plan` shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from envtool.model import Env, Spec, Where
from envtool.plan.graph import Graph, Node, is_composite
from envtool.plan.output_clashes import find_output_clashes
from envtool.spec.select_envs import all_services, stack_names

# Where the layer of a node is. stored: in the store. answered: gone from it, but its diff ID is recorded. team: in the
# team cache. image: it is the archive of an image, whose config has the diff ID. absent: nothing is known of it.
Location: TypeAlias = Literal["stored", "answered", "team", "image", "absent"]
# reuse: nothing is done. pull: from the team cache. unpack: an image's archive is fetched and unpacked. resolve: its
# pins are asked for, then it is built. build: its recipe runs.
Action: TypeAlias = Literal["reuse", "pull", "unpack", "resolve", "build"]
State: TypeAlias = Literal["cached", "build", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedNode:
    """What a run does for one node. `key` is empty while it is not known: `waits` are then the nodes (ids) whose diff
    IDs it needs; the node is planned again once those are known, and may be in the store after all."""

    action: Action
    reason: str = ""
    key: str = ""
    summary: str = ""
    waits: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """What people are shown first."""
        return "cached" if self.action == "reuse" else "build" if self.key else "unknown"


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
    on: str = ""  # shown beside the name where several nodes have the same one
    action: Action = "build"
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedEnv:
    """One env: its stack, bottom first, with what its base's sublayers need beside them, and the tasks that would run.
    `rounds` is 2 where the pins of the base decide
    which layers it has, and are not known yet: what stands on it is planned again then."""

    name: str
    tasks: tuple[str, ...]
    steps: tuple[PlannedStep, ...]
    rounds: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All selected envs in the order of the spec, then the services that they use."""

    envs: tuple[PlannedEnv, ...]
    services: tuple[PlannedEnv, ...] = ()  # `service:NAME`, without tasks
    notes: tuple[str, ...] = ()  # what is allowed, but probably a mistake
    team_cache: bool = False  # a run asks one for layers, and a plan does not


def make_plan(spec: Spec, graph: Graph, nodes: Mapping[str, PlannedNode], verb: str = "") -> Plan:
    """Returns the plan of all envs and services. With a verb only envs that have that task are in it, and services
    that run beside it."""
    envs = [env for env in spec.envs if not verb or any(task.name == verb for task in env.tasks)]
    tasks = [(env, task) for env in envs for task in env.tasks if not verb or task.name == verb]
    stacks = {name for pair in tasks for name in stack_names(*pair)}
    services = [service.env for service in all_services(spec) if not verb or service.env.name in stacks]
    return Plan(
        envs=tuple(_plan_env(env, graph, nodes, verb) for env in envs),
        services=tuple(_plan_env(env, graph, nodes, verb) for env in services),
        notes=find_output_clashes(tasks),
        team_cache=spec.cache is not None,
    )


def _plan_env(env: Env, graph: Graph, nodes: Mapping[str, PlannedNode], verb: str) -> PlannedEnv:
    tasks = tuple(task.name for task in env.tasks if not verb or task.name == verb)
    stack = graph.stacks[env.name]
    ids = dict.fromkeys((stack[0], *graph.parts.get(stack[0], ()), *stack[1:]))
    steps = tuple(_plan_step(graph.nodes[node_id], graph, nodes) for node_id in ids)
    lacks_parts = is_composite(graph.nodes[stack[0]].kind) and stack[0] not in graph.parts
    return PlannedEnv(name=env.name, tasks=tasks, steps=steps, rounds=2 if lacks_parts else 1)


def _plan_step(node: Node, graph: Graph, nodes: Mapping[str, PlannedNode]) -> PlannedStep:
    planned = nodes.get(node.id, PlannedNode(action="build"))
    return PlannedStep(
        name=node.spec.name,
        kind=node.spec.kind,
        subject=node.subject,
        state=planned.state,
        key=planned.key,
        summary=planned.summary,
        pinned=node.is_pinned,
        where=node.spec.where,
        node=node.id,
        on=node.on,
        action=planned.action,
        reason=planned.reason or _wait_reason(planned, graph, nodes),
    )


def _wait_reason(planned: PlannedNode, graph: Graph, nodes: Mapping[str, PlannedNode]) -> str:
    """Names the nodes that a node waits for: those that wait for no other come first, and are enough."""
    first = [node_id for node_id in planned.waits if node_id in nodes and not nodes[node_id].waits]
    names = dict.fromkeys(f"`{graph.nodes[node_id].spec.name}`" for node_id in first or planned.waits)
    return f"its key depends on what {', '.join(names)} comes out as" if names else ""
