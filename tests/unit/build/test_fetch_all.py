from __future__ import annotations

from envtool.api import Kind
from envtool.build import fetch_all
from envtool.model import BaseSpec, LayerSpec, Where
from envtool.plan.graph import Graph, Node

HERE = Where(file="envtool.yaml", line=1, column=1)


class Still(Kind):
    name = "still"


class Asking(Kind):
    name = "asking"

    def resolve(self, request, site):
        return {}


def graph(*rows):
    """Rows of (id, kind, ids below)."""
    nodes = {}
    for name, kind, below in rows:
        made = LayerSpec if below else BaseSpec
        spec = made(name=name, kind=kind.name, options=None, where=HERE)
        nodes[name] = Node(id=name, subject="layer" if below else "base", spec=spec, kind=kind, below=below)
    return Graph(nodes=nodes, stacks={})


def test_what_must_stand_is_what_is_asked_upon():
    base, still, asking = ("base", Asking(), ()), Still(), Asking()
    one = graph(base, ("run", still, ("base",)), ("file", still, ("base", "run")))
    assert fetch_all.nodes_to_build(one, {}) == frozenset()
    two = graph(base, ("apt", asking, ("base",)), ("run", still, ("base", "apt")), ("pip", asking, ("base", "apt")))
    assert fetch_all.nodes_to_build(two, {}) == {"base", "apt"}
    assert fetch_all.nodes_to_build(two, {"base": None, "apt": None}) == {"base", "apt"}
    assert fetch_all.nodes_to_build(two, {"base": None, "apt": None, "pip": None}) == frozenset()
