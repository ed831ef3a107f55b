"""The layers of one env, or below a layer that is built: as they are known before a build, as they are in the store
after it, and what they mount in a container."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from envtool.api import PROJECT, Base, Looked
from envtool.build import resolution
from envtool.build.context import Context
from envtool.build.resolution import KnownLayer, ResolvedNode, StoredLayer
from envtool.build.variables import stack_variables
from envtool.container.program import BindMount
from envtool.errors import BuildError, MakeError
from envtool.model import Json
from envtool.plan.graph import Node
from envtool.store import answer_cache, canonical, layers

MAX_CLASHES = 10  # paths that an error lists
WHOLE = "."  # the path of the project itself


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownStack:
    """The layers of one env, bottom first, with their diff IDs; some may not be in the store."""

    layers: tuple[KnownLayer, ...]
    other_stages: tuple[KnownLayer, ...] = ()  # sublayers that only other sublayers read, as of a Dockerfile

    @property
    def epoch(self) -> int:
        """SOURCE_DATE_EPOCH of the base, seconds."""
        return self.layers[0].resolved.epoch

    @property
    def variables(self) -> dict[str, str | None]:
        """The variables that the layers set, bottom first."""
        return stack_variables([layer.resolved for layer in self.layers])

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The diff IDs, bottom first."""
        return resolution.stack_diff_ids(self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack(KnownStack):
    """The layers of one env, bottom first, all in the store."""

    layers: tuple[StoredLayer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parents:
    """The layers that a layer is built on: `below`, bottom first, and other stacks that its build sees, by name."""

    below: tuple[StoredLayer, ...] = ()
    beside: Mapping[str, tuple[StoredLayer, ...]] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[layers.Layer, ...]:
        """The layers of all stacks."""
        return tuple(made.layer for stack in (self.below, *self.beside.values()) for made in stack)


def check_conflicts(stack: Stack, context: Context) -> None:
    """Raises BuildError where two layers, neither of which stands on the other, wrote one path differently."""
    for lower, upper in _independent_pairs(stack):
        question: Mapping[str, str] = {"conflicts": lower.layer.key, "with": upper.layer.key}
        answer = answer_cache.get(context.store, dict(question))
        if not isinstance(answer, dict) or not isinstance(answer.get("paths"), list):
            clash = canonical.find_conflicts(layers.read_records(lower.layer), layers.read_records(upper.layer))
            answer = {"paths": [*clash[:MAX_CLASHES]]}
            answer_cache.put(context.store, dict(question), answer)
        paths = answer["paths"]
        if paths:
            raise BuildError(
                f"layers `{lower.resolved.node.spec.name}` and `{upper.resolved.node.spec.name}` both write"
                f" /{paths[0].lstrip('/')}, differently, and neither is below the other",
                code="layer-conflict",
                hint=f"say which comes first: give `{upper.resolved.node.spec.name}` a `needs:` with the other in it",
                output="\n".join(paths),
            )


def _independent_pairs(stack: Stack) -> Iterator[tuple[StoredLayer, StoredLayer]]:
    of_base = sum(layer.resolved.node.subject == "base" or bool(layer.resolved.node.of) for layer in stack.layers)
    # a base's own layers cover each other on purpose
    for index, upper in enumerate(stack.layers[of_base:], of_base):
        parents = {*upper.resolved.node.below}
        yield from ((lower, upper) for lower in stack.layers[:index] if lower.resolved.node.id not in parents)


def not_cached_error(node: Node) -> MakeError:
    """Returns the error for a node that may not be built."""
    return MakeError(f"{node.subject} `{node.spec.name}` is not cached", code="not-cached")


class ProjectMounts(TypedDict):
    """What the layers of a stack put into the project, as arguments of a Program."""

    joins: tuple[tuple[str, str], ...]
    covering: tuple[int, ...]
    inputs: tuple[str, ...]
    copies: tuple[tuple[str, str], ...]


def project_mounts(stack: Sequence[ResolvedNode]) -> ProjectMounts:
    """Returns what a stack (bottom first) puts into the project: the directories that it shows there and the files or
    trees that it generated for it, each as (path in the container, path in the project); which layers lie over the
    project, and the inputs that those were built from. Where one lies over it, all others do, too: it was built on
    their files there."""
    joins: list[tuple[str, str]] = []
    copies: list[tuple[str, str]] = []
    inputs: set[str] = set()
    is_covered = False
    for resolved in stack:
        kind = resolved.node.kind
        shown, generated = (hook(resolved.request, resolved.pins) for hook in (kind.in_project, kind.generated))
        joins += [(shown[path], _in_project(path)) for path in sorted(shown) if posixpath.normpath(path) != WHOLE]
        copies += [(generated[path], _in_project(path)) for path in sorted(generated)]
        if WHOLE in map(posixpath.normpath, shown):
            is_covered = True
            inputs.update(item.path for item in resolved.inputs)
    covering = (*range(len(stack)),) if is_covered else ()
    return ProjectMounts(joins=(*joins,), covering=covering, inputs=(*sorted(inputs),), copies=(*copies,))


def _in_project(path: str) -> str:
    return posixpath.normpath(posixpath.join(PROJECT, path))


def overlays_project(resolved: ResolvedNode) -> bool:
    """Whether a layer has files at PROJECT that lie over the project itself."""
    return WHOLE in map(posixpath.normpath, resolved.node.kind.in_project(resolved.request, resolved.pins))


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
