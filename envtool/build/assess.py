"""What can be said of every base and layer without asking the network and without building: what `envtool plan` and
`envtool why` show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from envtool.api import Request
from envtool.build import node_checks, resolution
from envtool.build.context import Context
from envtool.build.resolution import MadeLayer, Resolution, ResolvedNode
from envtool.errors import EnvtoolError
from envtool.plan.graph import Graph, Node, is_composite
from envtool.plan.plan import NodeSummary
from envtool.store import answer_cache, layers
from envtool.store.layers import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """One node. `request` is None where something below it is not made; then and while `resolve` has to be asked
    `settled` is None; `layer` is None where it is not in the store."""

    node: Node
    request: Request | None = None
    settled: ResolvedNode | None = None
    layer: Layer | None = None


def assess_nodes(graph: Graph, setting: Context) -> dict[str, Assessment]:
    """All nodes by id, each after what it stands on. Of parts that no env stands on it is enough to know what they came
    out as: their `layer` may have no tree. Raises SpecError for inputs that are not there."""
    looks: dict[str, Assessment] = {}
    stood_on = {node_id for stack in graph.stacks.values() for node_id in stack}
    for node in graph.nodes.values():
        below, beside = (
            stored_layers(node.below, looks),
            {name: stored_layers(stack, looks) for name, stack in node.beside.items()},
        )
        if any(looks[each].layer is None for each in node.needs):
            node_checks.check_nodes([node], setting)
            looks[node.id] = Assessment(node=node)
            continue
        request = resolution.request_for(node, below, setting, beside)
        wanted = _offline_resolution(node, request, below, setting)
        request = wanted.request
        if not wanted.known or (node.subject == "base" and is_composite(node.kind) and node.id not in graph.parts):
            node_checks.check_nodes([node], setting)  # of parts that could not be told: why
        settled = resolution.settled(node, request, wanted.pins) if wanted.known else None
        layer = layers.find(setting.store, settled.key) if settled else None
        if settled and layer is None and node.of and node.id not in stood_on:
            layer = layers.find_known_output(setting.store, settled.key, settled.document)
        looks[node.id] = Assessment(node=node, request=request, settled=settled, layer=layer)
    return looks


def summarize_nodes(graph: Graph, setting: Context) -> dict[str, NodeSummary]:
    """The same in the few words of a plan."""
    return {node_id: _summarize_node(one) for node_id, one in assess_nodes(graph, setting).items()}


def stored_layers(ids: Sequence[str], looks: Mapping[str, Assessment]) -> list[MadeLayer]:
    """Those of some nodes that stand in the store."""
    found = [looks[node_id] for node_id in ids]
    return [MadeLayer(settled=one.settled, layer=one.layer) for one in found if one.settled and one.layer]


def _summarize_node(one: Assessment) -> NodeSummary:
    if one.settled is None:
        return NodeSummary(state="unknown", summary="not resolved yet" if one.request else "")
    summary = one.node.kind.summary(one.settled.request, one.settled.pins)
    return NodeSummary(state="cached" if one.layer else "build", key=one.settled.key, summary=summary)


def _offline_resolution(node: Node, request: Request, below: Sequence[MadeLayer], setting: Context) -> Resolution:
    wanted = resolution.find_resolution(node, request, below, setting)
    if wanted.known or answer_cache.get(setting.store, resolution.pins_question(node, wanted.request)) is None:
        return wanted
    # What is remembered does not fit this machine any more. Kinds that pin the machine itself look at it alone.
    try:
        return replace(wanted, known=True, pins=node.kind.resolve(wanted.request, node_checks.NoNetworkSite(setting)))
    except EnvtoolError:
        return wanted
