"""What is done for a node follows from its state: one line for each state."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from envtool import api
from envtool.build.assess import NodeState, plan_node
from envtool.build.resolution import Resolution
from envtool.build.stack import StoredLayer, UnstoredLayer
from envtool.model import LayerSpec, Where
from envtool.plan.graph import Node

HERE = Where(file="envtool.yaml", line=1, column=1)


class Fixed(api.Base):
    name = "fixed"
    schema = True

    def summary(self, request, pins):
        return f"pins {pins}"


class Floating(Fixed):
    name = "floating"

    def resolve(self, request, site):
        return 1


def state(kind, *, where="absent", known=True, waits=(), in_stack=True, again=False):
    spec = LayerSpec(name="a", kind=kind.name, options=None, where=HERE)
    node = Node(id="n", subject="layer", spec=spec, kind=kind, below=waits)
    resolved = SimpleNamespace(node=node, request=None, pins=1, key="k" * 64) if known else None
    output = None
    if where == "stored":
        output = StoredLayer(resolved=resolved, layer=SimpleNamespace(diff_id="d"), diff_id="d")
    elif where != "absent":
        output = UnstoredLayer(resolved=resolved, diff_id="d", where=where)
    return NodeState(
        node=node,
        in_stack=in_stack,
        waits=waits,
        request=SimpleNamespace(),
        answer=Resolution(request=None, known=known, again=again),
        resolved=resolved,
        output=output,
    )


CASES = [
    ({"where": "stored"}, "reuse", "cached", "it is in the store"),
    ({"where": "team"}, "pull", "build", "the team cache has it"),
    ({"where": "image"}, "unpack", "build", "an archive of its image"),
    ({"where": "answered"}, "build", "build", "it is gone from the store"),
    (
        {"where": "answered", "in_stack": False},
        "reuse",
        "cached",
        "no env needs the layer itself, and its diff ID is known",
    ),
    ({}, "build", "build", "the store has no layer of this key"),
    ({"in_stack": False}, "build", "build", "the store has no layer of this key"),
    ({"known": False}, "resolve", "unknown", "its pins are neither locked nor known here"),
    ({"known": False, "again": True}, "resolve", "unknown", "its versions are looked up again"),
    ({"waits": ("b",)}, "build", "unknown", ""),
    ({"waits": ("b",), "known": False}, "resolve", "unknown", ""),
]


@pytest.mark.parametrize(("found", "action", "word", "reason"), CASES)
def test_what_is_done(found, action, word, reason):
    planned = plan_node(state(Floating(), **found))
    assert (planned.action, planned.state, planned.reason) == (action, word, reason)
    assert bool(planned.key) == (word != "unknown")


def test_what_has_no_pins_is_never_resolved():
    planned = plan_node(state(Fixed(), known=False, waits=("b",)))
    assert (planned.action, planned.summary) == ("build", "")


def test_pins_of_the_lock_are_told_while_a_node_waits():
    assert plan_node(state(Floating(), waits=("b",))).summary == "pins 1"
