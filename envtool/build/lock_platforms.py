"""`lock --platform`: locks the bases and layers of a spec for another architecture, without running anything of it.

A kind that chooses its pins from indexes alone does that for any architecture. Some kinds ask programs of the stack
below. Where such a kind says so (`Kind.stands_in`), this machine's own stack answers in its place: the same layers, as
this machine has built them. Any other kind that asks programs is refused by name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from envtool.api import StandIn, StandInLayer, ToolchainKind
from envtool.api.toolchains import earlier_version
from envtool.build import resolution
from envtool.build.locking import entry_of
from envtool.build.scheduler import resolve
from envtool.errors import MakeError, Problem, SpecError, UsageError
from envtool.events import Noted
from envtool.lock.lock import parents_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envtool.api import Request
    from envtool.build.context import Context
    from envtool.build.resolution import Resolution
    from envtool.build.scheduler import Scheduler
    from envtool.build.stack import KnownLayer, ResolvedNode
    from envtool.lock.lock import LockEntry
    from envtool.model import Json
    from envtool.plan.graph import Graph, Node

PLATFORMS = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}  # as OCI has them -> as `uname -m` prints them
REFUSED = "other-platform"  # code of an error by which a kind says that it cannot answer for another architecture


def machines_of(platforms: Sequence[str]) -> tuple[str, ...]:
    """Returns the machines of the values of `--platform`, each once. Raises UsageError."""
    for platform in platforms:
        if platform not in PLATFORMS:
            message = f"`--platform {platform}` is none that a lock can have"
            raise UsageError(message, code="lock-platform", hint=f"there are {' and '.join(PLATFORMS)}")
    return tuple(dict.fromkeys(PLATFORMS[platform] for platform in platforms))


def platform_of(machine: str) -> str:
    """Returns the value of `--platform` for a machine, or "" for one that has none."""
    return next((platform for platform, name in PLATFORMS.items() if name == machine), "")


class PlatformLock:
    """The entries of a spec for another machine, in two steps: first what needs no container, before anything is
    built; then the rest, with this machine's stacks, which are built by then."""

    def __init__(self, graph: Graph, context: Context, machine: str) -> None:
        self._graph = graph
        self._here = context.arch
        self._context = replace(context, arch=machine)
        self._known: dict[str, ResolvedNode] = {}
        self._problems: dict[Problem, None] = {}

    def resolve_without_stacks(self) -> None:
        """Resolves what needs no stack. Raises SpecError with all that cannot be locked without such a machine,
        MakeError, Interrupted."""
        for node in self._ready():
            answer = self._answer(node)
            if answer.known or not node.kind.stands_in:
                self._resolve(node, answer)
        self._problems |= dict.fromkeys(_on_this_machine(self._graph, self._context.arch))
        self._raise_problems()

    def entries(self, scheduler: Scheduler) -> tuple[LockEntry, ...]:
        """Resolves the rest on the stacks of this machine, which are built where they are missing. Returns all entries;
        they have no hash of a built layer. Raises as `resolve_without_stacks`."""
        expanded = scheduler.graph() if any(node.kind.stands_in for node in self._ready()) else self._graph
        for node in self._ready():
            own: Sequence[KnownLayer] = ()
            answer = self._answer(node)
            if node.kind.stands_in and not answer.known:
                own = scheduler.parents_of(expanded.nodes[node.id]).below
                answer = answer._replace(request=self._standing_in(node, answer, own, scheduler))
            self._resolve(node, answer, own)
        self._raise_problems()
        entries = (
            entry_of(node, self._known[node.id], self._below(node))
            for node in self._graph.nodes.values()
            if node.id in self._known
        )
        return tuple(entry for entry in entries if entry is not None)

    def _ready(self) -> Iterator[Node]:
        """Yields the nodes that are not resolved yet, and whose parents are when their turn comes."""
        for node in self._graph.nodes.values():
            self._context.cancel.check()
            if node.is_pinned and node.id not in self._known and all(parent in self._known for parent in node.below):
                yield node

    def _below(self, node: Node) -> list[ResolvedNode]:
        return [self._known[parent] for parent in node.below]

    def _answer(self, node: Node) -> Resolution:
        below, context = self._below(node), self._context
        request = resolution.request_from_resolved(node, below, (), context)
        return resolution.find_resolution(node, request, below, context, use_cache=False)

    def _resolve(self, node: Node, answer: Resolution, own: Sequence[KnownLayer] = ()) -> None:
        """Resolves a node unless its answer is known, on this machine's `own` stack. Notes a refusal."""
        try:
            if not answer.known:
                answer = resolve(node, answer, own, self._context)
        except MakeError as error:
            if error.code not in ("no-stack", REFUSED):
                error.message = f"{error.message} (for {platform_of(self._context.arch)})"
                error.args = (error.message,)
                raise
            reason = f"kind `{node.kind.name}` asks programs of its own base, which do not run here"
            if error.code == REFUSED:
                reason = error.message.partition(f"`{node.spec.name}`: ")[2]
            self._problems[_refusal(node, self._context.arch, reason, error.hint)] = None
            return
        if answer.request.keep is not None and isinstance(node.kind, ToolchainKind):
            self._note_version(node, answer.pins, answer.request.keep)
        request = replace(answer.request, stand_in=None)
        self._known[node.id] = resolution.apply_pins(node, request, answer.pins, keyed=False)

    def _note_version(self, node: Node, pins: Json, own_pins: Json) -> None:
        """Tells of a toolchain whose version differs: not every release is there for every architecture."""
        there, here = earlier_version(pins), earlier_version(own_pins)
        if there != here:
            text = f"{node.spec.name} is {there} on {platform_of(self._context.arch)} and {here} here"
            self._context.emit(Noted(text=f"{text}: its source has no {here} for it"))

    def _standing_in(self, node: Node, answer: Resolution, own: Sequence[KnownLayer], scheduler: Scheduler) -> Request:
        """Returns the request of a node on this machine's `own` stack. The diff IDs of the other stack are unknown: in
        their place stands all that decides the answer, so that no remembered one is for other parents."""
        layers = tuple(
            StandInLayer(
                kind=self._graph.nodes[parent].kind.name,
                pins=self._known[parent].pins,
                own_pins=scheduler.pins(parent),
            )
            for parent in node.below
        )
        below: tuple[str, ...] = ()
        if layers:
            below = (parents_digest([[layer.pins, layer.own_pins] for layer in layers]), *(it.diff_id for it in own))
        own_pins = scheduler.pins(node.id)
        return replace(answer.request, below=below, keep=own_pins, stand_in=StandIn(arch=self._here, layers=layers))

    def _raise_problems(self) -> None:
        if self._problems:
            raise SpecError(tuple(sorted(self._problems, key=lambda problem: (problem.where, problem.message))))


def _on_this_machine(graph: Graph, machine: str) -> list[Problem]:
    """Returns a problem for each layer with pins whose base is this machine's own system."""
    return [
        _refusal(node, machine, "its base is this machine's own system")
        for node in graph.nodes.values()
        if node.below and not graph.nodes[node.below[0]].is_pinned and resolution.needs_resolution(node.kind)
    ]


def _refusal(node: Node, machine: str, reason: str, hint: str = "") -> Problem:
    return Problem(
        where=node.spec.where,
        message=f"{node.subject} `{node.spec.name}` cannot be locked for {platform_of(machine) or machine}: {reason}",
        code="lock-platform",
        hint=hint
        or "`envtool lock` on such a machine adds its entries, and keeps the others; `-e ENV` locks some envs alone",
        width=0,
    )
