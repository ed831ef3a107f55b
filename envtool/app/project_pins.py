"""The pins of an env's base and layers, for verbs of plugins. Resolves and builds nothing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from envtool import keys
from envtool.api.verbs import LayerPins
from envtool.app.command_request import CommandRequest
from envtool.app.open_project import OpenProject, open_project, without_lock_check
from envtool.build import resolution
from envtool.build.assess import NodeState, assess_nodes
from envtool.errors import SpecError, UsageError
from envtool.spec.select_envs import find_env

if TYPE_CHECKING:
    from envtool.model import Json


class ProjectPins:
    """The project of a request: api.PinnedProject."""

    def __init__(self, request: CommandRequest) -> None:
        self._request = replace(without_lock_check(request), envs=())

    def pinned(self, env: str) -> tuple[LayerPins, ...]:
        """The base of an env and its layers, bottom first, with the pins that a run would use. Raises UsageError,
        SpecError, StoreError."""
        project = open_project(self._request, parts=False, only=env)
        selected = find_env(project.spec, env)
        ids = project.graph.stacks[selected.name]
        states = assess_nodes(project.graph, project.context, assume=True)
        pins = {node_id: _pins(states[node_id], project) for node_id in ids}
        unknown = [
            f"`{states[node_id].node.spec.name}`"
            for node_id in ids
            if pins[node_id] is None
            and states[node_id].node.is_pinned
            and resolution.needs_resolution(states[node_id].node.kind)
        ]
        if unknown:
            raise UsageError(
                f"env `{selected.name}` is not resolved yet: {', '.join(unknown)}",
                code="not-resolved",
                hint="`envtool lock` resolves everything",
            )
        return tuple(
            LayerPins(
                subject=state.node.subject,
                name=state.node.spec.name,
                kind=state.node.kind.name,
                options=state.node.spec.options,
                pins=pins[state.node.id],
            )
            for state in (states[node_id] for node_id in ids)
        )


def _pins(state: NodeState, project: OpenProject) -> Json:
    """The pins of a node; None if they are not known. For a layer on this machine's own system, which was never
    resolved here, those that the lock has for the same options: they are another machine's."""
    node = state.node
    if state.resolved is not None or not node.below or project.graph.nodes[node.below[0]].is_pinned:
        return state.pins
    with suppress(SpecError):  # an input is missing, which `test` reports
        request = resolution.request_from_resolved(node, (), (), project.context)
        asked = keys.digest(node.kind.question(request))
        found = [
            entry.pins
            for entry in project.context.lock.entries
            if entry.question.kind == node.kind.name and keys.digest(entry.question.asked) == asked
        ]
        if found and all(pins == found[0] for pins in found):
            return found[0]
    return None
