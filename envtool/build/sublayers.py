"""The parts of bases that are known without asking anybody."""

from __future__ import annotations

from envtool.build import resolution
from envtool.build.context import Context
from envtool.errors import MakeError, SpecError
from envtool.plan.graph import Graph, expand_parts, is_composite


def known_parts(graph: Graph, setting: Context) -> Graph:
    """The graph with the parts of those bases whose pins are locked or remembered: nobody is asked. What is wrong with
    one of them is for those envs to say that stand on it."""
    for node in [*graph.nodes.values()]:
        if node.subject == "base" and is_composite(node.kind) and node.id not in graph.parts:
            try:
                wanted = resolution.find_resolution(node, resolution.request_for(node, (), setting), (), setting)
                parts = node.kind.parts(wanted.request, wanted.pins) if wanted.known else ()
            except (SpecError, MakeError):
                continue
            if wanted.known:
                graph = expand_parts(graph, node.id, parts)
    return graph
