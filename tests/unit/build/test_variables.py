"""How variables of layers and envs go together: who comes first, what hides nothing, and what is taken away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool import api
from envtool.build.stack import (
    PATH_LISTS,
    KnownStack,
    ResolvedNode,
    UnstoredLayer,
    apply_variables,
    check_variables,
    join_path_lists,
    overlay_variables,
)
from envtool.errors import BuildError
from envtool.model import BaseSpec, LayerSpec, Where
from envtool.plan.graph import Node

JOIN = [
    "PATH", "CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH", "PKG_CONFIG_PATH", "LD_LIBRARY_PATH", "CLASSPATH", "PYTHONPATH",
    "NODE_PATH", "GEM_PATH", "MANPATH", "XDG_DATA_DIRS", "CMAKE_PREFIX_PATH", "PERL5LIB", "RUBYLIB",
]  # fmt: skip


def laid(*each):
    found = {}
    for one in each:
        overlay_variables(found, one)
    return found


@pytest.mark.parametrize("name", JOIN)
def test_who_stands_above_comes_first_and_hides_nothing(name):
    value = laid({name: "/a:/b"}, {name: "/c"}, {name: "/d:/a"})[name]
    assert value.split(":")[:4] == ["/d", "/a", "/c", "/b"], "each place once, where it came first"


@pytest.mark.parametrize(
    ("name", "alone"),
    [
        ("GEM_PATH", "/x:"),  # RubyGems reads what an empty place at the end means
        ("MANPATH", "/x:"),
        ("XDG_DATA_DIRS", "/x:/usr/local/share:/usr/share"),
        ("XDG_CONFIG_DIRS", "/x:/etc/xdg"),
        ("CPATH", "/x"),  # these add to the system's own places anyway, and an empty one is the current directory
        ("LD_LIBRARY_PATH", "/x"),
        ("PYTHONPATH", "/x"),
        ("CLASSPATH", "/x"),
    ],
)
def test_the_systems_own_places_stay(name, alone):
    assert laid({name: "/x"})[name] == alone
    assert laid({name: "/y"}, {name: "/x"})[name] == join_path_lists("/x:/y", alone)


@pytest.mark.parametrize("name", ["CC", "LANG", "PKG_CONFIG_LIBDIR", "LD_PRELOAD", "GEM_HOME", "VIRTUAL_ENV", "PATHX"])
def test_everything_else_replaces(name):
    assert laid({name: "1:2"}, {name: "3"}) == {name: "3"}


def test_none_takes_away_and_what_comes_later_begins_anew():
    assert laid({"X": "1", "CPATH": "/a"}, {"X": None, "CPATH": None}) == {"X": None, "CPATH": None}
    assert laid({"GEM_PATH": "/a"}, {"GEM_PATH": None}, {"GEM_PATH": "/b"}) == {"GEM_PATH": "/b"}
    assert laid({"X": None}, {"X": "2"}) == {"X": "2"}


def test_an_empty_list_adds_nothing():
    assert laid({"CPATH": "/a"}, {"CPATH": ""}) == {"CPATH": "/a"}
    assert laid({"CPATH": ""}) == {"CPATH": ""}


def test_a_container_has_its_own_path_and_what_is_not_taken_away():
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}
    found = apply_variables(environment, {"PATH": "/opt/x:/bin", "LANG": None, "CPATH": "/a", "NONE": None})
    assert found == {"PATH": "/opt/x:/bin:/usr/bin", "TZ": "UTC", "CPATH": "/a"}
    assert environment["LANG"] == "C.UTF-8"


places = st.lists(st.sampled_from(["", "/a", "/b", "/c", "/d"]), min_size=1, max_size=5).map(":".join)


@given(st.sampled_from(sorted(PATH_LISTS)), st.lists(places, min_size=1, max_size=4))
def test_no_place_is_lost_or_twice_and_the_order_of_the_newest_holds(name, values):
    value = laid(*({name: each} for each in values))[name]
    found = value.split(":") if value else []
    wanted = {place for each in values for place in each.split(":")}
    assert wanted - {""} <= {*found}
    if len([each for each in values if each]) > 1:
        assert len({*found}) == len(found)
        assert "" not in found[:-1]
    newest = next((each for each in reversed(values) if each), "")
    own = [place for place in dict.fromkeys(newest.split(":")) if place]
    assert [place for place in dict.fromkeys(found) if place in own] == own


HERE = Where(file="envtool.yaml", line=3, column=1)


class Setting(api.Kind):
    schema = True

    def __init__(self, name, variables):
        self.name, self._variables = name, variables

    def variables(self, request, pins):
        return self._variables


def stack_of(*layers):
    """A base, and on it layers of (kind, variables, names below, `set`)."""
    base = Node(id="base", subject="base", spec=BaseSpec(name="b", kind="b", options=None, where=HERE),
                kind=Setting("b", {"CC": "of the base"}), below=())  # fmt: skip
    nodes = [base]
    for number, (kind, variables, below, own) in enumerate(layers, 1):
        spec = LayerSpec(name=f"l{number}", kind=kind, options=None, where=HERE, set=own)
        nodes.append(
            Node(id=spec.name, subject="layer", spec=spec, kind=Setting(kind, variables), below=("base", *below))
        )
    return KnownStack(layers=tuple(
        UnstoredLayer(resolved=ResolvedNode(node, None, None, (), {}, node.id, 0), diff_id="", where="absent")
        for node in nodes
    ))  # fmt: skip


def test_two_kinds_that_set_one_variable_differently_are_an_error_that_says_what_to_write():
    stack = stack_of(
        ("a", {"CC": "x", "PATH": "/a", "SAME": "1"}, (), {}), ("b", {"CC": "y", "PATH": "/b", "SAME": "1"}, (), {})
    )
    with pytest.raises(BuildError) as raised:
        check_variables(stack, {})
    assert str(raised.value).startswith(
        "layers `l1` and `l2` both set `CC`, differently, and neither is below the other"
    )
    assert raised.value.code == "variable-conflict"
    assert raised.value.hint == "the env's own value outweighs both: `set: {CC: …}`"
    assert raised.value.output == "l1: CC=x\nl2: CC=y"
    check_variables(stack, {"CC": "z"})


@pytest.mark.parametrize(
    "layers",
    [
        [("a", {"CC": "x"}, (), {}), ("b", {"CC": "y"}, ("l1",), {})],  # the upper one saw the lower one
        [("a", {"CC": "x"}, (), {}), ("a", {"CC": "y"}, (), {})],  # as two virtual environments
        [("a", {"CC": "x"}, (), {}), ("b", {"CC": "y"}, (), {}), ("run", {}, (), {"CC": "mine"})],
        [("a", {"CC": None}, (), {}), ("b", {"CC": None}, (), {})],
    ],
)
def test_what_is_decided_is_no_error(layers):
    check_variables(stack_of(*layers), {})
