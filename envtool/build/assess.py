"""Reads what is known of the nodes of a graph (their pins, keys and diff IDs, and where their layers are), and plans
what a run does for each.

This is the only reader: `plan`, `why`, `fetch`, `--locked`, `--expect-cached`, the result cache, the collector's spare
set and the scheduler differ only in the sources that they let it use. It builds nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from envtool.api import Request
from envtool.build import node_checks, resolution
from envtool.build.context import Context
from envtool.build.resolution import Resolution
from envtool.build.stack import KnownLayer, ResolvedNode, StoredLayer, UnstoredLayer
from envtool.errors import EnvtoolError, MakeError, SpecError
from envtool.model import Json
from envtool.plan.graph import Graph, Node, expand_parts, is_composite
from envtool.plan.plan import Action, Location, PlannedNode
from envtool.store import answer_cache, layers
from envtool.store.layers import Layer

LOOKUP_THREADS = 8  # questions to the team cache at one time
CHECKED_EVERY = 100  # nodes between two looks whether the run was cancelled; one takes some microseconds to read

_ACTIONS: Mapping[Location, Action] = {"stored": "reuse", "team": "pull", "image": "unpack"}
_REASONS: Mapping[Location, str] = {
    "stored": "it is in the store",
    "team": "the team cache has it",
    "image": "an archive of its image",
    "answered": "it is gone from the store",
    "absent": "the store has no layer of this key",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the reader may use beside the spec, the project's files and the lock."""

    store: bool = True  # the answer cache, the layers and their recorded diff IDs
    machine: bool = (
        False  # kinds that pin this machine itself look at it again, where their cached answer no longer fits
    )
    team: bool = False  # the team cache is asked for layers that the store does not have
    assume: bool = False  # pins of nodes whose parents have no diff IDs yet: those that the lock has
    checks: bool = False  # the project's files are checked for nodes whose state cannot be told


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """What is known of one node.

    `waits` are the ids of the nodes whose diff IDs it needs and that are not known; while there are some, nothing else
    is known, except `request` and `resolved` where pins were assumed, which then has no key. `resolved` is None where
    `resolve` has to be asked, `output` where the diff ID is not known.
    """

    node: Node
    in_stack: (
        bool  # an env's stack has the node: its layer has to be in the store. Of other nodes the diff ID is enough
    )
    waits: tuple[str, ...] = ()
    request: Request | None = None
    answer: Resolution | None = None
    resolved: ResolvedNode | None = None
    output: KnownLayer | None = None

    @property
    def pins(self) -> Json:
        """The pins, None while they are not known."""
        return self.resolved.pins if self.resolved else None

    @property
    def key(self) -> str:
        """The key, empty while it is not known."""
        return self.resolved.key if self.resolved and not self.waits else ""

    @property
    def where(self) -> Location:
        """Where the layer is."""
        return self.output.where if self.output else "absent"

    @property
    def layer(self) -> Layer | None:
        """The layer in the store."""
        return self.output.layer if self.output else None

    @property
    def is_cached(self) -> bool:
        """Whether nothing has to be done for the node."""
        return self.layer is not None or (self.output is not None and not self.in_stack)


class StateReader:
    """Reads the states of nodes, each once, from any thread. A reader that is given another one (`local`) takes those
    states from it that are in the store: no other source can say more of them."""

    def __init__(self, context: Context, sources: Sources, local: StateReader | None = None) -> None:
        self._context = context
        self._sources = sources
        self._local = local
        self._states: dict[str, NodeState] = {}
        self._stacked: tuple[Graph | None, frozenset[str]] = (None, frozenset())
        self._lock = threading.Lock()

    def read(self, graph: Graph, ids: Iterable[str] | None = None) -> dict[str, NodeState]:
        """Returns the states of some nodes (of all), each after the nodes that it needs. Raises SpecError for inputs
        that do not exist, StoreError, Interrupted."""
        wanted = [*graph.nodes] if ids is None else [*ids]
        with self._lock:
            order = self._unread(graph, wanted)
            if self._sources.team:
                self._read_levels(graph, order)
            else:
                for number, node_id in enumerate(order):
                    if number % CHECKED_EVERY == 0:
                        self._context.cancel.check()
                    self._states[node_id] = self._assess(graph, node_id)
            return {node_id: self._states[node_id] for node_id in wanted}

    def known(self, node_id: str) -> NodeState | None:
        """Returns a state that was read before."""
        return self._states.get(node_id)

    def forget_unknown(self) -> None:
        """Forgets the nodes without a diff ID: they are read again, since their parents may be known by then."""
        with self._lock:
            self._states = {node_id: state for node_id, state in self._states.items() if state.output is not None}

    def _unread(self, graph: Graph, wanted: Iterable[str]) -> list[str]:
        """Returns the nodes that have not been read of all that some need, each after the nodes that it needs.
        Node.needs lists all ancestors, bottom first, so that the recursion is shallow."""
        order: dict[str, None] = {}

        def visit(node_id: str) -> None:
            if node_id not in order and node_id not in self._states:
                for needed in graph.nodes[node_id].needs:
                    visit(needed)
                order[node_id] = None

        for node_id in wanted:
            visit(node_id)
        if self._local is not None and order:
            stored = self._local.read(graph, order)
            self._states |= {node_id: state for node_id, state in stored.items() if state.layer is not None}
        return [node_id for node_id in order if node_id not in self._states]

    def _read_levels(self, graph: Graph, order: Iterable[str]) -> None:
        """Reads nodes level by level: the nodes of one level need only those of earlier ones, and are asked for at one
        time."""
        from concurrent.futures import ThreadPoolExecutor

        heights: dict[str, int] = {}
        levels: list[list[str]] = []
        for node_id in order:
            needs = graph.nodes[node_id].needs
            height = heights[node_id] = max((heights[needed] + 1 for needed in needs if needed in heights), default=0)
            levels += [[]] if height == len(levels) else []
            levels[height].append(node_id)
        for level in levels:
            self._context.cancel.check()
            with ThreadPoolExecutor(min(LOOKUP_THREADS, len(level)), thread_name_prefix="ask") as pool:
                states = [*pool.map(lambda node_id: self._assess(graph, node_id), level)]
            self._states |= dict(zip(level, states, strict=True))

    def _assess(self, graph: Graph, node_id: str) -> NodeState:
        if self._stacked[0] is not graph:
            self._stacked = graph, frozenset(each for stack in graph.stacks.values() for each in stack)
        node = graph.nodes[node_id]
        state = assess_node(node, self._states, self._context, self._sources, in_stack=node_id in self._stacked[1])
        if self._sources.checks and (state.waits or state.resolved is None or _lacks_parts(node, graph)):
            node_checks.check_nodes([node], self._context)
        return state


def _lacks_parts(node: Node, graph: Graph) -> bool:
    return node.subject == "base" and is_composite(node.kind) and node.id not in graph.parts


def known_parts(graph: Graph, context: Context) -> Graph:
    """Returns the graph with the sublayers of those bases whose pins are locked or cached; asks nobody. A base that is
    wrong keeps no sublayers here: the envs on it report the error."""
    for node in [*graph.nodes.values()]:
        if node.subject == "base" and is_composite(node.kind) and node.id not in graph.parts:
            try:
                wanted = resolution.find_resolution(node, resolution.request_for(node, (), context), (), context)
                parts = node.base_kind.parts(wanted.request, wanted.pins) if wanted.known else ()
            except (SpecError, MakeError):
                continue
            if wanted.known:
                graph = expand_parts(graph, node.id, parts)
    return graph


def assess_nodes(graph: Graph, context: Context, *, assume: bool = False) -> dict[str, NodeState]:
    """Returns the states of all nodes by id, each after its parents, for what is shown to people: the project's files
    are checked, and nobody is asked. Raises SpecError for inputs that do not exist."""
    return StateReader(context, Sources(machine=True, checks=True, assume=assume)).read(graph)


def assess_node(
    node: Node,
    states: Mapping[str, NodeState],
    context: Context,
    sources: Sources,
    *,
    in_stack: bool,
    answer: Resolution | None = None,
) -> NodeState:
    """Returns the state of one node, from the states of the nodes that it needs. `answer` are its pins, where they are
    known already. Raises SpecError for inputs that do not exist, StoreError, Interrupted (from reading inputs)."""
    waits = tuple(needed for needed in node.needs if states[needed].output is None)
    below = [resolved for needed in node.below if (resolved := states[needed].resolved) is not None]
    if waits and not (sources.assume and len(below) == len(node.below)):
        return NodeState(node=node, in_stack=in_stack, waits=waits)
    request = _request(node, states, below, context, waits=bool(waits))
    if answer is None:
        use_cache = sources.store and not waits
        answer = resolution.find_resolution(node, request, below, context, use_cache=use_cache)
        if sources.machine and use_cache and not answer.known:
            answer = _look_at_machine(node, answer, context)
    resolved = output = None
    if answer.known:
        resolved = resolution.apply_pins(node, answer.request, answer.pins, file=answer.file, keyed=not waits)
    if resolved is not None and sources.store and not waits:
        output = _find_output(resolved, below, context, sources, in_stack=in_stack)
    return NodeState(
        node=node,
        in_stack=in_stack,
        waits=waits,
        request=answer.request,
        answer=answer,
        resolved=resolved,
        output=output,
    )


def known_layers(ids: Iterable[str], states: Mapping[str, NodeState]) -> list[KnownLayer]:
    """Returns the layers of those nodes whose diff IDs are known."""
    return [output for node_id in ids if (output := states[node_id].output) is not None]


def _request(
    node: Node, states: Mapping[str, NodeState], below: list[ResolvedNode], context: Context, *, waits: bool
) -> Request:
    if waits:
        return resolution.request_from_resolved(node, below, (), context)
    beside = {name: known_layers(stack, states) for name, stack in node.beside.items()}
    return resolution.request_for(node, known_layers(node.below, states), context, beside)


def _look_at_machine(node: Node, answer: Resolution, context: Context) -> Resolution:
    """The cached answer no longer fits this machine. Kinds that pin the machine itself ask nobody else."""
    if answer_cache.get(context.store, resolution.pins_question(node, answer.request)) is None:
        return answer
    try:
        pins = node.kind.resolve(answer.request, node_checks.NoNetworkSite(context))
    except EnvtoolError:
        return answer
    return replace(answer, known=True, pins=pins)


def _find_output(
    resolved: ResolvedNode, below: list[ResolvedNode], context: Context, sources: Sources, *, in_stack: bool
) -> KnownLayer | None:
    """Returns the layer, or what says its diff ID. Of a node in a stack the layer itself is needed: the team cache is
    asked before the record of a layer that is gone."""
    layer = layers.find(context.store, resolved.key)
    if layer is not None:
        return StoredLayer(resolved=resolved, layer=layer, diff_id=layer.diff_id)
    node = resolved.node
    if (node.of or node.subject == "base") and (diff_id := resolution.image_diff_id(resolved)):
        return UnstoredLayer(resolved=resolved, diff_id=diff_id, where="image")
    recorded = layers.find_known_output(context.store, resolved.key)
    if sources.team and (in_stack or not recorded):
        diff_id = _ask_team(resolved, below[0] if below else resolved, context)
        if diff_id:
            return UnstoredLayer(resolved=resolved, diff_id=diff_id, where="team")
    return UnstoredLayer(resolved=resolved, diff_id=recorded, where="answered") if recorded else None


def _ask_team(resolved: ResolvedNode, base: ResolvedNode, context: Context) -> str:
    """Returns the diff ID of a layer that the team cache has, else an empty text."""
    from envtool.build import shared_layers  # knows of registries, which other verbs do not import

    statement = None
    if shared_layers.is_shareable(resolved, base, context):
        statement = shared_layers.find_statement(resolved, context)
    if statement is None:
        return ""
    with suppress(OSError):  # the next run need not ask
        layers.store_known_output(context.store, resolved.key, statement.diff_id)
    return statement.diff_id


# ---- what is done --------------------------------------------------------------------------------------------------


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
