"""What a run does for each base and layer, and why: the scheduler carries it out, and `envtool plan` shows it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from envtool.model import Env, Service, Spec, Task, Where
from envtool.plan.graph import Graph, Node, is_composite
from envtool.plan.output_clashes import find_output_clashes
from envtool.spec.select_envs import all_services, layer_notes, layer_warnings, stack_names

if TYPE_CHECKING:
    from envtool.plan.task_graph import TaskId
    from envtool.plan.why import Explanation

# Where the layer of a node is. stored: in the store. answered: gone from it, but its diff ID is recorded. team: in the
# team cache. image: it is the archive of an image, whose config has the diff ID. absent: nothing is known of it.
Location: TypeAlias = Literal["stored", "answered", "team", "image", "absent"]
# reuse: nothing is done. pull: from the team cache. unpack: an image's archive is fetched and unpacked. resolve: its
# pins are asked for, then it is built. build: its recipe runs.
Action: TypeAlias = Literal["reuse", "pull", "unpack", "resolve", "build"]
State: TypeAlias = Literal["cached", "build", "unknown"]


# Named tuples, here and in what plans: a frozen dataclass takes twice the time for each value, and 0.3 ms to define.


class PlannedNode(NamedTuple):
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


class PlannedStep(NamedTuple):
    """One base or layer of a stack, or the prepared state of a service, above its stack."""

    name: str
    kind: str
    subject: Literal["base", "layer", "state"]
    state: State
    key: str
    summary: str
    pinned: bool
    where: Where | None
    node: str = ""  # its id in the graph: several envs may share it, and several nodes may have its name
    on: str = ""  # shown beside the name where several nodes have the same one
    action: Action = "build"
    reason: str = ""


class PlannedEnv(NamedTuple):
    """One env: its stack, bottom first, with what its base's sublayers need beside them, and the tasks that would run.
    `rounds` is 2 where the pins of the base decide
    which layers it has, and are not known yet: what stands on it is planned again then."""

    name: str
    tasks: tuple[str, ...]
    steps: tuple[PlannedStep, ...]
    rounds: int = 1
    specs: tuple[Task, ...] = ()  # these tasks, as the spec has them


class Plan(NamedTuple):
    """All selected envs in the order of the spec, then the services that they use."""

    envs: tuple[PlannedEnv, ...]
    services: tuple[PlannedEnv, ...] = ()  # `service:NAME`, without tasks
    notes: tuple[str, ...] = ()  # what is allowed, but probably a mistake
    team_cache: bool = False  # a run asks one for layers, and a plan does not


def make_plan(
    spec: Spec,
    graph: Graph,
    nodes: Mapping[str, PlannedNode],
    verb: str = "",
    prepared: Sequence[Explanation] = (),
) -> Plan:
    """Returns the plan of all envs and services. With a verb only envs that have that task are in it, with the tasks
    that it needs, and services that run beside one of these. `prepared` are the explanations of the prepared state of
    services (plan.why_state)."""
    if verb:
        from envtool.plan.task_graph import make_task_graph

        tasks = [(node.env, node.task) for node in make_task_graph(spec, (verb,)).nodes.values()]
    else:
        tasks = [(env, task) for env in spec.envs for task in env.tasks if env.is_selected]
    ids = {(env.name, task.name) for env, task in tasks}
    names = {env for env, _ in ids}
    envs = [env for env in spec.envs if env.name in names or (env.is_selected and not verb)]
    stacks = {name for pair in tasks for name in stack_names(*pair)}
    services = [service for service in all_services(spec) if not verb or service.env.name in stacks]
    stacks_of_plan = (*envs, *(service.env for service in services))
    return Plan(
        envs=tuple(_plan_env(env, graph, nodes, ids) for env in envs),
        services=tuple(
            _add_prepared(_plan_env(service.env, graph, nodes, ids), service, prepared) for service in services
        ),
        notes=(*find_output_clashes(tasks), *layer_warnings(stacks_of_plan), *layer_notes(envs)),
        team_cache=spec.cache is not None,
    )


def _plan_env(env: Env, graph: Graph, nodes: Mapping[str, PlannedNode], ids: Collection[TaskId]) -> PlannedEnv:
    tasks = [task for task in env.tasks if (env.name, task.name) in ids]
    stack = graph.stacks[env.name]
    node_ids = dict.fromkeys((stack[0], *graph.parts.get(stack[0], ()), *stack[1:]))
    steps = tuple(_plan_step(graph.nodes[node_id], graph, nodes) for node_id in node_ids)
    lacks_parts = is_composite(graph.nodes[stack[0]].kind) and stack[0] not in graph.parts
    return PlannedEnv(
        name=env.name,
        tasks=tuple(task.name for task in tasks),
        steps=steps,
        rounds=2 if lacks_parts else 1,
        specs=tuple(tasks),
    )


def _add_prepared(planned: PlannedEnv, service: Service, prepared: Sequence[Explanation]) -> PlannedEnv:
    """Returns the plan of a service with its prepared state last."""
    own = [state for state in prepared if service.env.name in state.envs]
    return planned._replace(steps=(*planned.steps, *(_plan_prepared(state) for state in own)))


def _plan_prepared(explanation: Explanation) -> PlannedStep:
    from envtool.plan.why_state import NAME, describe_reason

    is_cached = explanation.state == "cached"
    return PlannedStep(
        name=explanation.name.removeprefix(NAME),
        kind=explanation.kind,
        subject="state",
        state="cached" if is_cached else "build" if explanation.key else "unknown",
        key=explanation.key,
        summary=explanation.summary,
        pinned=True,
        where=explanation.where,
        node=f"prepare:{explanation.key or explanation.name}",
        action="reuse" if is_cached else "build",
        reason=describe_reason(explanation),
    )


def _plan_step(node: Node, graph: Graph, nodes: Mapping[str, PlannedNode]) -> PlannedStep:
    planned = nodes.get(node.id, _UNPLANNED)
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


_UNPLANNED = PlannedNode(action="build")


def _wait_reason(planned: PlannedNode, graph: Graph, nodes: Mapping[str, PlannedNode]) -> str:
    """Names the nodes that a node waits for: those that wait for no other come first, and are enough."""
    if not planned.waits:
        return ""
    first = [node_id for node_id in planned.waits if node_id in nodes and not nodes[node_id].waits]
    names = dict.fromkeys([f"`{graph.nodes[node_id].spec.name}`" for node_id in first or planned.waits])
    return f"its key depends on what {', '.join(names)} comes out as"
