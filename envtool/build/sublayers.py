"""Adds the sublayers of bases to the graph where their pins are known."""

from __future__ import annotations

from envtool.build import resolution
from envtool.build.context import Context
from envtool.errors import MakeError, SpecError
from envtool.plan.graph import Graph, expand_parts, is_composite


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
