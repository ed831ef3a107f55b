"""The layers that a layer or a task stands on, and what they mount in a container."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from envtool.api import PROJECT, Base, Looked
from envtool.build.resolution import KnownLayer, ResolvedNode, StoredLayer
from envtool.container.program import BindMount
from envtool.errors import MakeError
from envtool.model import Json
from envtool.plan.graph import Node
from envtool.store import layers

WHOLE = "."  # the path of the project itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Parents:
    """The layers that a layer is built on: `below`, bottom first, and other stacks that its build sees, by name."""

    below: tuple[StoredLayer, ...] = ()
    beside: Mapping[str, tuple[StoredLayer, ...]] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[layers.Layer, ...]:
        """The layers of all stacks."""
        return tuple(made.layer for stack in (self.below, *self.beside.values()) for made in stack)


def not_cached_error(node: Node) -> MakeError:
    """Returns the error for a node that may not be built."""
    return MakeError(f"{node.subject} `{node.spec.name}` is not cached", code="not-cached")


def joins(stack: Sequence[ResolvedNode]) -> tuple[tuple[str, str], ...]:
    """Returns the directories that layers of a stack show inside the project: (path in the container, path in the
    project)."""
    return tuple(
        (source, posixpath.normpath(posixpath.join(PROJECT, path)))
        for resolved in stack
        for path, source in sorted(resolved.node.kind.in_project(resolved.request, resolved.pins).items())
        if posixpath.normpath(path) != WHOLE
    )


def overlays_project(resolved: ResolvedNode) -> bool:
    """Whether a layer has files at PROJECT that lie over the project itself."""
    return WHOLE in map(posixpath.normpath, resolved.node.kind.in_project(resolved.request, resolved.pins))


class ProjectOverlay(TypedDict):
    """The arguments of a Program for layers that lie over the project."""

    covering: tuple[int, ...]
    inputs: tuple[str, ...]


def project_overlay(stack: Sequence[KnownLayer]) -> ProjectOverlay:
    """Returns which layers of a stack (bottom first) lie over the project, and the inputs that they were built from.
    Where one does, all others do, too: it was built on their files there."""
    overlaying = [layer.resolved for layer in stack if overlays_project(layer.resolved)]
    inputs = {item.path for resolved in overlaying for item in resolved.inputs}
    return ProjectOverlay(covering=(*range(len(stack)),) if overlaying else (), inputs=(*sorted(inputs),))


def copies(stack: Sequence[ResolvedNode]) -> tuple[tuple[str, str], ...]:
    """Returns what layers of a stack generated for the source tree: (file or tree in the container, path in the
    project)."""
    return tuple(
        (source, posixpath.normpath(posixpath.join(PROJECT, path)))
        for resolved in stack
        for path, source in sorted(resolved.node.kind.generated(resolved.request, resolved.pins).items())
    )


def stack_binds(stack: Sequence[KnownLayer]) -> tuple[BindMount, ...]:
    """Returns the directories of the host that a base binds in every container on it (kind `host`: the system
    directories)."""
    if not stack:
        return ()
    base = stack[0].resolved
    recipe = base.node.kind.build(base.request, base.pins)
    return tuple(BindMount(source=bind.source, target=bind.target) for bind in recipe.mounts)


def shown_host_files(stack: Sequence[KnownLayer]) -> Looked | None:
    """Returns the state of the host files that a base shows, from when it was resolved; None where it shows none."""
    base = stack[0].resolved if stack else None  # where sublayers stand alone, it is one of them
    return base.node.kind.looked(base.pins) if base and isinstance(base.node.kind, Base) else None


def opened_files_question(subject: str, key: str) -> dict[str, Json]:
    """Returns the question under which the store keeps the host files that a layer or result opened."""
    return {"format": 1, "opened": subject, "of": key}
