"""A graph whose bases turn out to be made of several layers."""

from __future__ import annotations

import pytest

from envtool import api
from envtool.model import BaseSpec, Env, LayerSpec, Spec, Where
from envtool.plan.graph import build_graph, expand_parts, is_composite
from envtool.plugins import PluginRegistry

HERE = Where(file="envtool.yaml", line=1, column=1)


class Box(api.Kind):
    name = "box"
    schema = True


class Image(api.Base):
    name = "image"
    schema = True

    def parts(self, request, pins):
        return ()


def part(name, below=(), shown=True, beside=None, options=None):
    return api.Part(
        name=name, kind=Box(), options=options or name, where=HERE, below=below, shown=shown, beside=beside or {}
    )


@pytest.fixture
def whole():
    def env(name, base, layers):
        return Env(
            name=name, group=name, base=base, layers=layers, tasks=(), where=HERE,
        )  # fmt: skip

    def layer(name, **more):
        return LayerSpec(name=name, kind="box", options=name, where=HERE, **more)

    one = BaseSpec(name="one", kind="image", options="one", where=HERE)
    two = BaseSpec(name="two", kind="image", options="two", where=HERE)
    envs = (
        env("a", one, (layer("x"), layer("y"), layer("z", needs=()))),
        env("b", two, (layer("x"),)),
        env("c", one, ()),
    )
    spec = Spec(file="envtool.yaml", root="/p", envs=envs, bases={}, layers={}, read=())
    kinds = PluginRegistry(bases={"image": Image()}, layers={"box": Box()})
    return build_graph(spec, kinds)


def names(graph, ids):
    return [graph.nodes[node_id].spec.name for node_id in ids]


def test_parts_lie_between_a_base_and_what_stands_on_it(whole):
    one = whole.stacks["a"][0]
    made = expand_parts(
        whole, one, [part("p"), part("hidden", shown=False), part("q", below=(0, 1), beside={"s": (2,)})]
    )
    assert names(made, made.stacks["a"]) == ["one", "p", "q", "x", "y", "z"]
    assert names(made, made.stacks["c"]) == ["one", "p", "q"]
    assert made.stacks["b"] == whole.stacks["b"]
    by_name = {names(made, [node_id])[0]: made.nodes[node_id] for node_id in made.stacks["a"]}
    assert names(made, by_name["x"].below) == ["one", "p", "q"]
    assert names(made, by_name["z"].below) == ["one", "p", "q"]
    assert names(made, by_name["q"].below) == ["one", "p"]
    assert names(made, by_name["q"].needs) == ["one", "p", "hidden"]
    assert by_name["q"].of == "one"
    assert not by_name["x"].of
    assert [node.spec.name for node in made.nodes.values()].index("hidden") < 4
    assert names(made, made.parts[one]) == ["p", "hidden", "q"]


def test_every_node_comes_after_what_it_needs(whole):
    one, two = whole.stacks["a"][0], whole.stacks["b"][0]
    made = expand_parts(expand_parts(whole, one, [part("p"), part("q", below=(1,))]), two, [part("r"), part("p")])
    seen = set()
    for node in made.nodes.values():
        assert seen.issuperset(node.needs), node.spec.name
        seen.add(node.id)


def test_the_same_part_of_two_bases_is_one_node(whole):
    one, two = whole.stacks["a"][0], whole.stacks["b"][0]
    made = expand_parts(expand_parts(whole, one, [part("p")]), two, [part("p")])
    assert made.stacks["a"][1] == made.stacks["b"][1]
    standing = expand_parts(expand_parts(whole, one, [part("p", below=(0,))]), two, [part("p", below=(0,))])
    assert standing.stacks["a"][1] != standing.stacks["b"][1]


def test_an_image_of_one_layer_is_only_its_own(whole):
    made = expand_parts(whole, whole.stacks["a"][0], [])
    assert made.stacks == whole.stacks
    assert dict(made.nodes) == dict(whole.nodes)
    assert is_composite(Image())
    assert not is_composite(Box())
