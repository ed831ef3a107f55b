"""The pins of an env's base and layers, for verbs of plugins. Resolves and builds nothing."""

from __future__ import annotations

from dataclasses import replace

from envtool.api.verbs import LayerPins
from envtool.app.command_request import CommandRequest, find_env
from envtool.app.open_project import open_project, without_lock_check
from envtool.build import resolution
from envtool.build.assess import assess_nodes
from envtool.errors import UsageError


class ProjectPins:
    """The project of a request: api.PinnedProject."""

    def __init__(self, request: CommandRequest) -> None:
        self._request = replace(without_lock_check(request), envs=())

    def pinned(self, env: str) -> tuple[LayerPins, ...]:
        """The base of an env and its layers, bottom first, with the pins that a run would use. Raises UsageError,
        SpecError, StoreError."""
        project = open_project(self._request, parts=False)
        selected = find_env(project.spec, env)
        ids = project.graph.stacks[selected.name]
        states = assess_nodes(project.graph, project.context, assume=True)
        unknown = [
            states[node_id].node.spec.name
            for node_id in ids
            if resolution.needs_resolution(states[node_id].node.kind) and states[node_id].resolved is None
        ]
        if unknown:
            names = ", ".join(f"`{name}`" for name in unknown)
            raise UsageError(
                f"env `{selected.name}` is not resolved yet: {names}",
                code="not-resolved",
                hint="`envtool lock` resolves everything",
            )
        return tuple(
            LayerPins(
                subject=state.node.subject,
                name=state.node.spec.name,
                kind=state.node.kind.name,
                options=state.node.spec.options,
                pins=state.pins,
            )
            for state in (states[node_id] for node_id in ids)
        )
