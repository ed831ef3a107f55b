"""What a layer is made on, and a task runs on: the made layers of a stack, and what they show in a container."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from envtool.api import PROJECT, Looked
from envtool.build.resolution import MadeLayer, ResolvedNode
from envtool.container.program import BindMount
from envtool.errors import MakeError
from envtool.model import Json
from envtool.plan.graph import Node
from envtool.store import layers

WHOLE = "."  # the place in the project that is all of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Parents:
    """What a layer is made on: what it stands on, bottom first, and other stacks that its build sees, by name."""

    below: tuple[MadeLayer, ...] = ()
    beside: Mapping[str, tuple[MadeLayer, ...]] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[layers.Layer, ...]:
        """All of it."""
        return tuple(made.layer for stack in (self.below, *self.beside.values()) for made in stack)


def not_cached(node: Node) -> MakeError:
    """What is said where nothing may be built."""
    return MakeError(f"{node.subject} `{node.spec.name}` is not cached", code="not-cached")


def joins(stack: Sequence[ResolvedNode]) -> tuple[tuple[str, str], ...]:
    """What layers of a stack show inside the project: (directory in the container, place in the project)."""
    return tuple(
        (source, posixpath.normpath(posixpath.join(PROJECT, place)))
        for settled in stack
        for place, source in sorted(settled.node.kind.in_project(settled.request, settled.pins).items())
        if posixpath.normpath(place) != WHOLE
    )


def lies_over(settled: ResolvedNode) -> bool:
    """Whether what a layer has at PROJECT lies over the project itself."""
    return WHOLE in map(posixpath.normpath, settled.node.kind.in_project(settled.request, settled.pins))


class ProjectOverlay(TypedDict):
    """What a Program says of layers that lie over the project."""

    laid: tuple[int, ...]
    inputs: tuple[str, ...]


def laid(stack: Sequence[MadeLayer]) -> ProjectOverlay:
    """Which layers of a stack (bottom first) lie over the project, and what of its own they were made from. Where one
    does, all others do with what they have there: it was built on that."""
    lying = [made.settled for made in stack if lies_over(made.settled)]
    inputs = {item.path for settled in lying for item in settled.inputs}
    return ProjectOverlay(laid=(*range(len(stack)),) if lying else (), inputs=(*sorted(inputs),))


def copies(stack: Sequence[ResolvedNode]) -> tuple[tuple[str, str], ...]:
    """What layers of a stack generated beside the sources: (file or tree in the container, place in the project)."""
    return tuple(
        (source, posixpath.normpath(posixpath.join(PROJECT, place)))
        for settled in stack
        for place, source in sorted(settled.node.kind.generated(settled.request, settled.pins).items())
    )


def stack_binds(stack: Sequence[MadeLayer]) -> tuple[BindMount, ...]:
    """What a base shows of the host in every container on it (kind `host`: its system directories)."""
    if not stack:
        return ()
    base = stack[0].settled
    recipe = base.node.kind.build(base.request, base.pins)
    return tuple(BindMount(source=bind.source, target=bind.target) for bind in recipe.mounts)


def looked(stack: Sequence[MadeLayer]) -> Looked | None:
    """How what a base shows of the host stood when it was settled; None where it shows nothing."""
    base = stack[0].settled if stack else None
    return base.node.kind.looked(base.pins) if base else None


def opened(what: str, key: str) -> dict[str, Json]:
    """The question under which the store remembers what of the host was opened for a layer or a result."""
    return {"format": 1, "opened": what, "of": key}
