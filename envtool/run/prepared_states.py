"""Explains the prepared state of services, for `plan`, `why` and `--expect-cached`: reused or made, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envtool.build.assess import NodeState, known_layers
from envtool.build.context import Context
from envtool.build.explain import as_parent, find_past_builds, find_past_parents, name_past_parents
from envtool.build.stack import KnownStack
from envtool.model import Env, Json, Service
from envtool.plan import why_state
from envtool.plan.change_values import LocationLookup, Parent
from envtool.plan.graph import Graph
from envtool.plan.why import Explanation, NodeContents, PastBuild
from envtool.plan.why_state import CurrentState
from envtool.run.task_services import ServiceStacks
from envtool.services import state_plan
from envtool.services.state_plan import StatePlan, find_state


def explain_states(
    envs: Iterable[Env], graph: Graph, states: Mapping[str, NodeState], context: Context
) -> tuple[Explanation, ...]:
    """Returns why the prepared state of each service of these envs is reused or made; each state once.
    Raises SpecError."""
    found: dict[tuple[str, str], CurrentState] = {}
    services: dict[str, Service] = {}
    for env in envs:
        for current in find_states(env, graph, states, context):
            found[current.stack, current.key] = current
        services |= {service.host: service for service in env.services}
    if not found:
        return ()
    builds = find_past_builds([state_plan.KIND], context)
    past = {key: why_state.select_past(current, builds) for key, current in found.items()}
    missing = [build for key, build in past.items() if build is not None and found[key].content is None]
    ids = [stack for build in missing for stack in _service_diff_ids(build.document).values()]
    earlier = find_past_parents(ids, context)
    beside = {name: _parents(service, graph, states) for name, service in services.items()}
    lines = {name: f"{service.where.file}:{service.where.line}" for name, service in services.items()}
    places = LocationLookup(service=lambda name: lines.get(name, ""))
    return tuple(
        why_state.explain_state(current, build, (_past_stacks(build, beside, earlier), beside), places)
        for (key, current), build in zip(found.items(), past.values(), strict=True)
    )


def find_states(env: Env, graph: Graph, states: Mapping[str, NodeState], context: Context) -> list[CurrentState]:
    """Returns the states of an env's services, as far as they are known: a service waits for the bases and layers, its
    own and those of all that it needs, that are not known yet."""
    waits: dict[str, tuple[str, ...]] = {}
    for service in env.services:  # needed ones first
        stack = [states[node_id] for node_id in graph.stacks[service.env.name]]
        own = [state.node.spec.name for state in stack if state.output is None]
        waits[service.name] = tuple(dict.fromkeys([*own, *(name for need in service.needs for name in waits[need])]))
    known = tuple(service for service in env.services if not waits[service.name])
    stacks = tuple(KnownStack(layers=tuple(known_layers(graph.stacks[service.env.name], states))) for service in known)
    plans = ServiceStacks(known, stacks).state_plans(context)
    return [
        _current(service, plans.get(service.name), waits[service.name], context)
        for service in env.services
        if service.prepare is not None
    ]


def _current(service: Service, plan: StatePlan | None, waits: tuple[str, ...], context: Context) -> CurrentState:
    assert service.prepare is not None
    commands = (*service.prepare.run, *service.prepare.before)
    current = CurrentState(
        service=service.host or service.name,
        where=service.prepare.where,
        stack=service.env.name,
        project=context.root,
        waits=waits,
        summary=commands[0].typed().splitlines()[0] if commands else ", ".join(service.prepare.data),
    )
    if plan is None:
        return current
    layer = find_state(context, plan.key)
    content = None
    if layer is not None:
        content = NodeContents(
            diff_id=layer.diff_id,
            size=layer.size,
            entries=layer.entries,
            arch="",
            epoch=0,
            pins=(),
            inputs=tuple(item.path for item in plan.files),
            variables={},
            below=(("the stack of service", current.service),),
        )
    return current._replace(document=plan.document, key=plan.key, content=content)


def _parents(service: Service, graph: Graph, states: Mapping[str, NodeState]) -> tuple[Parent, ...]:
    return tuple(as_parent(layer) for layer in known_layers(graph.stacks[service.env.name], states))


def _past_stacks(
    build: PastBuild | None, beside: Mapping[str, tuple[Parent, ...]], earlier: dict[str, list[PastBuild]]
) -> dict[str, tuple[Parent, ...]]:
    rows = _service_diff_ids(build.document) if build else {}
    return {name: name_past_parents(ids, beside.get(name, ()), earlier) for name, ids in rows.items()}


def _service_diff_ids(document: Mapping[str, Json]) -> dict[str, list[Json]]:
    """Returns the diff IDs of the services in a document of prepared state, by their names."""
    needs = document.get("needs")
    services = [document.get("service"), *(needs if isinstance(needs, list) else ())]
    return {
        str(service.get("name")): [row[0] for row in stack if isinstance(row, list) and row]
        for service in services
        if isinstance(service, dict) and isinstance(stack := service.get("stack"), list)
    }
