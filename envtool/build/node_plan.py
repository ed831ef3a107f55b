"""Plans what a run does for a node, from its state."""

from __future__ import annotations

from collections.abc import Mapping

from envtool.build import resolution
from envtool.build.assess import NodeState
from envtool.plan.graph import is_composite
from envtool.plan.plan import Action, Location, PlannedNode

_ACTIONS: Mapping[Location, Action] = {"stored": "reuse", "team": "pull", "image": "unpack"}
_REASONS: Mapping[Location, str] = {
    "stored": "it is in the store",
    "team": "the team cache has it",
    "image": "an archive of its image",
    "answered": "it is gone from the store",
    "absent": "the store has no layer of this key",
}


def choose_action(state: NodeState) -> Action:
    """Returns what is done for a node. One that waits for others is looked at again once those are there."""
    if state.is_cached:
        return "reuse"
    if state.resolved is None and resolution.needs_resolution(state.node.kind):
        return "resolve"
    return "build" if state.waits else _ACTIONS.get(state.where, "build")


def plan_node(state: NodeState) -> PlannedNode:
    """Returns what is done for a node, and why."""
    node, resolved = state.node, state.resolved
    action = choose_action(state)
    if resolved is not None:
        summary = node.kind.summary(resolved.request, resolved.pins)
    else:
        summary = "not resolved yet" if state.request is not None and not state.waits else ""
    return PlannedNode(action=action, reason=_reason(state, action), key=state.key, summary=summary, waits=state.waits)


def plan_nodes(states: Mapping[str, NodeState]) -> dict[str, PlannedNode]:
    """Returns what is done for all nodes, by id."""
    return {node_id: plan_node(state) for node_id, state in states.items()}


def _reason(state: NodeState, action: Action) -> str:
    if state.waits:
        return ""  # the plan names the nodes that it waits for
    if action == "resolve":
        again = state.answer is not None and state.answer.again
        reason = "its versions are looked up again" if again else "its pins are neither locked nor known here"
        parts = state.node.subject == "base" and is_composite(state.node.kind)
        return f"{reason}; they say which layers it has: what stands on it is planned again then" if parts else reason
    if action == "reuse" and state.layer is None:
        return "no env needs the layer itself, and its diff ID is known"
    return _REASONS[state.where]
