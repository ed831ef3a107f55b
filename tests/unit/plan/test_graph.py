from hypothesis import given
from hypothesis import strategies as st

from envtool import keys
from envtool.api import Base, Kind
from envtool.model import BaseSpec, Env, LayerSpec, Spec, Where
from envtool.plan.graph import build_graph
from envtool.plan.plan import PlannedNode, make_plan
from envtool.plugins import PluginRegistry

HERE = Where(file="envtool.yaml", line=1, column=1)


class Box(Base):
    name = "box"
    schema = {}


class Run(Kind):
    name = "run"
    schema = {}


class Venv(Kind):
    name = "venv"
    schema = {}
    needs_only = True


REGISTRY = PluginRegistry(bases={"box": Box()}, layers={"run": Run(), "venv": Venv()})


def layer(name, kind="run", needs=None, options=None):
    return LayerSpec(name=name, kind=kind, options=options or name, where=HERE, needs=needs)


def env(name, *layers, base="one"):
    base = BaseSpec(name=base, kind="box", options=base, where=HERE)
    return Env(name=name, group=name, base=base, layers=layers, tasks=(), where=HERE)


def spec(*envs):
    return Spec(file="envtool.yaml", root="/p", envs=envs, bases={}, layers={}, read=())


def below(made, env_name, layer_name):
    by_id = {node.id: node for node in made.nodes.values()}
    node = next(by_id[i] for i in made.stacks[env_name] if by_id[i].spec.name == layer_name)
    return [by_id[i].spec.name for i in node.below]


def test_layers_are_a_chain_in_the_order_written():
    made = build_graph(spec(env("e", layer("a"), layer("b"), layer("c"))), REGISTRY)
    assert below(made, "e", "c") == ["one", "a", "b"]
    assert [made.nodes[i].spec.name for i in made.stacks["e"]] == ["one", "a", "b", "c"]


def test_needs_cut_the_chain_and_bring_what_they_stand_on():
    made = build_graph(
        spec(env("e", layer("a"), layer("b", needs=()), layer("c", needs=("b",)), layer("d", needs=("a",)))), REGISTRY
    )
    assert below(made, "e", "b") == ["one"]
    assert below(made, "e", "c") == ["one", "b"]
    assert below(made, "e", "d") == ["one", "a"]


def test_what_owns_its_directory_does_not_stand_on_its_like():
    made = build_graph(spec(env("e", layer("apt"), layer("py", "venv"), layer("js", "venv"), layer("last"))), REGISTRY)
    assert below(made, "e", "py") == ["one", "apt"]
    assert below(made, "e", "js") == ["one", "apt"]  # changing requirements does not rebuild node_modules
    assert below(made, "e", "last") == ["one", "apt", "py", "js"]


def test_envs_share_what_is_the_same_on_the_same():
    made = build_graph(spec(env("x", layer("a"), layer("b")), env("y", layer("a"), layer("c"))), REGISTRY)
    assert made.stacks["x"][:2] == made.stacks["y"][:2]
    assert made.stacks["x"][2] != made.stacks["y"][2]
    assert len(made.nodes) == 4


def test_another_base_makes_every_layer_another():
    made = build_graph(spec(env("x", layer("a")), env("y", layer("a"), base="two")), REGISTRY)
    assert not set(made.stacks["x"]) & set(made.stacks["y"])


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=8, unique_by=lambda pair: pair[0]))
def test_every_node_comes_after_what_it_stands_on(drawn):
    layers = [layer(name, "venv" if owns else "run") for name, owns in drawn]
    made = build_graph(spec(env("e", *layers)), REGISTRY)
    seen = set()
    for node in made.nodes.values():
        assert set(node.below) <= seen
        seen.add(node.id)
    stack = made.stacks["e"]
    for node_id in stack:
        order = [stack.index(lower) for lower in made.nodes[node_id].below]
        assert order == sorted(order)


def test_the_plan_says_what_is_known_and_what_is_not():
    wanted = spec(env("e", layer("a"), layer("b")))
    made = build_graph(wanted, REGISTRY)
    base, first, second = made.stacks["e"]
    known = {
        base: PlannedNode(action="reuse", reason="it is in the store", key="k1"),
        first: PlannedNode(action="resolve", reason="no pins", summary="2 things"),
        second: PlannedNode(action="build", waits=(first,)),
    }
    shown = make_plan(wanted, made, known)
    assert [(step.name, step.state, step.action, step.key, step.reason) for step in shown.envs[0].steps] == [
        ("one", "cached", "reuse", "k1", "it is in the store"),
        ("a", "unknown", "resolve", "", "no pins"),
        ("b", "unknown", "build", "", "its key depends on what `a` comes out as"),
    ]
    known[first] = PlannedNode(action="build", reason="it is gone from the store", key="k2")
    assert [step.state for step in make_plan(wanted, made, known).envs[0].steps] == ["cached", "build", "unknown"]
    assert make_plan(wanted, made, known, "test").envs == ()  # no env has that task


def on(made):
    return sorted((node.subject, node.spec.name, node.on) for node in made.nodes.values())


def test_names_that_are_not_unique_say_what_they_are_on():
    made = build_graph(
        spec(env("a", layer("python"), base="bookworm"), env("b", layer("python"), base="trixie")), REGISTRY
    )
    assert on(made) == [
        ("base", "bookworm", ""),
        ("base", "trixie", ""),
        ("layer", "python", "bookworm"),
        ("layer", "python", "trixie"),
    ]
    shared = build_graph(spec(env("a", layer("python")), env("b", layer("python"))), REGISTRY)
    assert on(shared) == [("base", "one", ""), ("layer", "python", "")]


def test_on_one_base_the_env_tells_them_apart():
    envs = [env(f"unit[{n}]", layer("deps", options=n), layer("same", needs=())) for n in ("x", "y")]
    assert on(build_graph(spec(*envs), REGISTRY)) == [
        ("base", "one", ""),
        ("layer", "deps", "unit[x]"),
        ("layer", "deps", "unit[y]"),
        ("layer", "same", ""),
    ]


def test_a_base_that_is_written_in_place_is_told_by_what_stands_there():
    made = build_graph(
        spec(env("a", layer("l"), base="box:bookworm"), env("b", layer("l"), base="box:trixie")), REGISTRY
    )
    assert [row for row in on(made) if row[0] == "layer"] == [("layer", "l", "bookworm"), ("layer", "l", "trixie")]


@given(st.lists(st.text("0123456789abcdef", min_size=64, max_size=64), max_size=4))
def test_a_list_of_digests_has_the_digest_of_its_json(digests):
    assert keys.digest_of_digests(digests) == keys.digest([*digests])
