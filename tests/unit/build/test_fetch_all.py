"""What has to be built for the pins to be known, and what `fetch` counts."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

from envtool.api import Fetch, Kind
from envtool.build import fetch_all
from envtool.model import BaseSpec, LayerSpec, Where
from envtool.plan.graph import Graph, Node
from envtool.store import blobs
from envtool.store.store import open_store

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


class _Scheduler:
    def __init__(self, graph, context):
        self._graph = graph

    def check(self, envs):
        pass

    def graph(self):
        return self._graph


def test_files_that_building_a_base_fetched_count_as_fetched(tmp_path, monkeypatch):
    """Versions are resolved on a base, which is built for it: its files are fetched before all are known."""
    store = open_store(environ={"ENVTOOL_STORE": str(tmp_path / "store")})
    contents = [b"before", b"of the base", b"of the layer"]
    fetches = [
        Fetch(name=f"{n}", sha256=hashlib.sha256(text).hexdigest(), size=len(text)) for n, text in enumerate(contents)
    ]
    blobs.put_content(store, [contents[0]])
    node = SimpleNamespace(subject="layer", spec=SimpleNamespace(name="x"))
    gathered = SimpleNamespace(layer=SimpleNamespace(resolved=SimpleNamespace(node=node, fetches=fetches)))

    def resolve(*_):
        blobs.put_content(store, [contents[1]])
        return [gathered]

    monkeypatch.setattr(fetch_all, "Scheduler", _Scheduler)
    monkeypatch.setattr(fetch_all, "_resolve_all", resolve)
    monkeypatch.setattr(fetch_all, "lease_blobs", lambda *_: None)
    monkeypatch.setattr(fetch_all, "_fetch_node_files", lambda *_: blobs.put_content(store, [contents[2]]))
    result = fetch_all.fetch_all_files(SimpleNamespace(stacks={}), SimpleNamespace(store=store))
    assert (len(result.files), result.fetched) == (3, 2)
    assert result.fetched_bytes == len(contents[1]) + len(contents[2])
