"""What the words of `envtool why` mean."""

import pytest

from envtool.api import Base
from envtool.errors import UsageError
from envtool.model import BaseSpec, Command, Env, LayerSpec, Spec, Task, Where
from envtool.plan.graph import build_graph
from envtool.plan.selection import envs_of, select_subjects
from envtool.plugins import PluginRegistry

HERE = Where(file="envtool.yaml", line=1, column=1)


class Box(Base):
    name = "box"
    schema = {}


def layer(name):
    return LayerSpec(name=name, kind="box", options=name, where=HERE)


def env(name, group, base, *layers, tasks=("test",)):
    return Env(
        name=name,
        group=group,
        base=BaseSpec(name=base, kind="box", options=base, where=HERE),
        layers=layers,
        tasks=tuple(Task(name=task, commands=(Command(shell="true"),), where=HERE) for task in tasks),
        where=HERE,
    )


ENVS = (
    env("unit[a]", "unit", "one", layer("tools"), layer("deps")),
    env("unit[b]", "unit", "two", layer("tools"), layer("deps")),
    env("docs", "docs", "one", layer("sphinx"), tasks=("html", "docs")),
)
SPEC = Spec(file="envtool.yaml", root="/p", envs=ENVS, bases={}, layers={}, read=())
GRAPH = build_graph(SPEC, PluginRegistry(bases={"box": Box()}, layers={"box": Box()}))


def chosen(*names):
    found = select_subjects(SPEC, GRAPH, names)
    envs = envs_of(GRAPH)
    nodes = [GRAPH.nodes[node_id].spec.name + "@" + "+".join(envs[node_id]) for node_id in found.nodes]
    return nodes, [f"{env.name}:{task.name}" for env, task in found.tasks]


UNIT = ["one@unit[a]+docs", "tools@unit[a]", "deps@unit[a]", "two@unit[b]", "tools@unit[b]", "deps@unit[b]"]


@pytest.mark.parametrize(
    ("names", "nodes", "tasks"),
    [
        ((), [*UNIT, "sphinx@docs"], []),
        (("deps",), ["deps@unit[a]", "deps@unit[b]"], []),
        (("one",), ["one@unit[a]+docs"], []),
        (("t*",), ["tools@unit[a]", "two@unit[b]", "tools@unit[b]"], []),
        (("unit",), UNIT, []),
        (("unit[b]",), UNIT[3:], []),
        (("docs",), ["one@unit[a]+docs", "sphinx@docs"], []),  # the env; the task is docs:docs
        (("docs:docs",), ["one@unit[a]+docs", "sphinx@docs"], ["docs:docs"]),
        (("html",), ["one@unit[a]+docs", "sphinx@docs"], ["docs:html"]),
        (("test",), UNIT, ["unit[a]:test", "unit[b]:test"]),
        (("unit[a]:*",), UNIT[:3], ["unit[a]:test"]),
        (("sphinx", "deps"), ["deps@unit[a]", "deps@unit[b]", "sphinx@docs"], []),
    ],
)
def test_names_mean(names, nodes, tasks):
    assert chosen(*names) == (nodes, tasks)


def test_an_unknown_name_suggests_the_near_one():
    for name, hint in (("dpes", "deps"), ("unit[a]:tset", "unit[a]:test"), ("htlm", "html")):
        with pytest.raises(UsageError) as caught:
            chosen(name)
        assert caught.value.hint == f"did you mean `{hint}`?"
    with pytest.raises(UsageError) as caught:
        chosen("zzzzzz")
    assert "envtool list" in caught.value.hint
