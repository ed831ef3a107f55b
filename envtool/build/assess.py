"""Tells what is known of every base and layer without a network and without a build, for `envtool plan` and `envtool
why`."""

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
    """What is known of one node. `request` is None where a parent is not built; `settled` is None then, and where
    `resolve` has to be asked; `layer` is None where it is not in the store."""

    node: Node
    request: Request | None = None
    settled: ResolvedNode | None = None
    layer: Layer | None = None


def assess_nodes(graph: Graph, context: Context) -> dict[str, Assessment]:
    """Returns the assessments of all nodes by id, each after its parents. For sublayers that no env stands on the
    recorded output is enough: their `layer` may have no tree. Raises SpecError for inputs that do not exist."""
    looks: dict[str, Assessment] = {}
    stood_on = {node_id for stack in graph.stacks.values() for node_id in stack}
    for node in graph.nodes.values():
        below, beside = (
            stored_layers(node.below, looks),
            {name: stored_layers(stack, looks) for name, stack in node.beside.items()},
        )
        if any(looks[each].layer is None for each in node.needs):
            node_checks.check_nodes([node], context)
            looks[node.id] = Assessment(node=node)
            continue
        request = resolution.request_for(node, below, context, beside)
        wanted = _offline_resolution(node, request, below, context)
        request = wanted.request
        if not wanted.known or (node.subject == "base" and is_composite(node.kind) and node.id not in graph.parts):
            node_checks.check_nodes([node], context)  # raises the reason why its sublayers are not known
        settled = resolution.apply_pins(node, request, wanted.pins) if wanted.known else None
        layer = layers.find(context.store, settled.key) if settled else None
        if settled and layer is None and node.of and node.id not in stood_on:
            layer = layers.find_known_output(context.store, settled.key, settled.document)
        looks[node.id] = Assessment(node=node, request=request, settled=settled, layer=layer)
    return looks


def summarize_nodes(graph: Graph, context: Context) -> dict[str, NodeSummary]:
    """Returns the summaries of all nodes for a plan."""
    return {node_id: _summarize_node(assessment) for node_id, assessment in assess_nodes(graph, context).items()}


def stored_layers(ids: Sequence[str], looks: Mapping[str, Assessment]) -> list[MadeLayer]:
    """Returns the layers of those nodes that are in the store."""
    assessments = [looks[node_id] for node_id in ids]
    return [MadeLayer(settled=each.settled, layer=each.layer) for each in assessments if each.settled and each.layer]


def _summarize_node(assessment: Assessment) -> NodeSummary:
    if assessment.settled is None:
        return NodeSummary(state="unknown", summary="not resolved yet" if assessment.request else "")
    summary = assessment.node.kind.summary(assessment.settled.request, assessment.settled.pins)
    return NodeSummary(state="cached" if assessment.layer else "build", key=assessment.settled.key, summary=summary)


def _offline_resolution(node: Node, request: Request, below: Sequence[MadeLayer], context: Context) -> Resolution:
    wanted = resolution.find_resolution(node, request, below, context)
    if wanted.known or answer_cache.get(context.store, resolution.pins_question(node, wanted.request)) is None:
        return wanted
    # The cached answer no longer fits this machine. Kinds that pin the machine itself ask nobody else.
    try:
        return replace(wanted, known=True, pins=node.kind.resolve(wanted.request, node_checks.NoNetworkSite(context)))
    except EnvtoolError:
        return wanted
