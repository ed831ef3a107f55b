"""The scheduler without a kernel: what it makes, in which order, and what it says of what fails."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from envtool.errors import BuildError, FetchError, Interrupted, MakeError, PluginError, ResolveError, SandboxError
from envtool.store import layers
from tests.unit.build.fakes import FakeShare, World, builds, has_blob


@pytest.fixture
def world(tmp_path):
    made = []

    def make(envs, **more):
        made.append(World(tmp_path / str(len(made)), envs, **more))
        made[-1].runner.on("make", builds)
        return made[-1]

    yield make
    for each in made:
        each.close()


CHAIN = {"e": ("base", (("one", None), ("two", None)))}


def test_bottom_up_and_each_once(world):
    one = world(CHAIN | {"f": ("base", (("one", None), ("three", None)))})
    stack = one.scheduler.stack("e")
    assert [made.resolved.node.spec.name for made in stack.layers] == ["base", "one", "two"]
    assert one.made() == ["base", "one", "two"]
    one.scheduler.stack("f")
    assert one.made() == ["base", "one", "two", "three"]
    assert set(one.outcomes().values()) == {"built"}
    lowers = [program.root.lowers for program in one.runner.programs]
    trees = [made.layer.tree for made in stack.layers]
    assert lowers[:3] == [(), (trees[0],), (trees[1], trees[0])]
    assert os.listdir(trees[1]) == ["one"]


def test_what_is_stored_is_not_made_again(world):
    one = world(CHAIN)
    first = one.scheduler.stack("e")
    again = one.again()
    assert again.find_known_stack("e").diff_ids == first.diff_ids
    assert [made.layer for made in again.stack("e").layers] == [made.layer for made in first.layers]
    assert one.made() == ["base", "one", "two"]
    assert not one.events


def test_a_layer_that_is_gone_is_made_again_and_what_stands_on_it_stays(world):
    one = world(CHAIN)
    _, gone, top = one.scheduler.stack("e").layers
    one.context.leases.close()
    os.rename(os.path.dirname(gone.layer.tree), one.top / "gone")
    one.again().stack("e")
    assert one.made() == ["base", "one", "two", "one"]
    assert one.outcomes() == {("layer", "one"): "built"}
    assert layers.find(one.context.store, top.layer.key) == top.layer


def test_nothing_is_made_where_only_what_is_cached_may_be_used(world):
    one = world(CHAIN)
    with pytest.raises(MakeError) as found:
        one.again(cached_only=True).stack("e")
    assert found.value.code == "not-cached"
    assert not one.made()
    one.again(cached_only=False).stack("e")
    assert one.again(cached_only=True).stack("e")


def fails_at(step, name, error):
    def fails(at, of, site):
        if (at, of) == (step, name):
            raise error

    return fails


def test_a_failed_resolve_is_told_once_and_nothing_above_is_made(world):
    one = world(CHAIN, fails=fails_at("resolve", "one", ResolveError("no such version")))
    for _ in range(2):
        with pytest.raises(ResolveError, match="no such version"):
            one.scheduler.stack("e")
    assert one.made() == ["base"]
    assert one.outcomes() == {("base", "base"): "built", ("layer", "one"): "error"}


def test_a_crash_of_a_plugin_names_it_and_the_layer(world):
    one = world(CHAIN, fails=fails_at("resolve", "two", KeyError("oh")))
    with pytest.raises(PluginError) as found:
        one.scheduler.stack("e")
    assert found.value.owner == "the plugin `fake` 1.0"
    assert "layer `two`" in found.value.message


def test_a_file_that_is_not_there(world):
    one = world(CHAIN, fetch=("one", "two"), missing=("two",))
    with pytest.raises(FetchError):
        one.scheduler.stack("e")
    assert has_blob(one, "one")
    assert one.made() == ["base", "one"]


def test_a_failed_build_leaves_nothing_and_is_tried_in_the_next_run(world):
    one = world(CHAIN)
    one.runner.on("make two", output="oh no\n", status=3)
    with pytest.raises(BuildError) as found:
        one.scheduler.stack("e")
    assert "exit 3" in found.value.message
    assert found.value.output == "oh no"
    assert one.outcomes()["layer", "two"] == "failed"
    one.context.leases.close()
    assert not os.listdir(one.context.store.path("tmp"))
    one.runner.on("make two", builds)
    one.again().stack("e")
    assert one.made() == ["base", "one", "two", "two"]


def test_a_machine_that_refuses_containers(world):
    one = world(CHAIN)
    one.runner.on("make base", error=SandboxError("no namespaces", code="no-userns"))
    with pytest.raises(SandboxError):
        one.scheduler.stack("e")
    assert one.outcomes() == {("base", "base"): "error"}


def test_a_base_of_sublayers_is_planned_in_two_rounds(world):
    one = world({"e": ("img", (("one", None),))}, images=("img",))
    assert list(one.scheduler.known.parts) == []
    stack = one.scheduler.stack("e")
    assert [made.resolved.node.spec.name for made in stack.layers] == ["img", "img-top", "one"]
    assert [made.resolved.node.spec.name for made in stack.other_stages] == ["img-stage"]
    assert sorted(one.made()) == ["img", "img-stage", "img-top", "one"]
    top = next(program for program in one.runner.programs if program.steps[0].argv[1] == "img-top")
    assert [tree.target for tree in top.extra_trees] == ["/dev/envtool/beside/stage"]
    assert one.outcomes()["resolve", "img"] == "done"


def test_no_more_sublayers_are_made_at_one_time_than_processors(world):
    one = world({f"e{n}": (f"img{n}", ()) for n in range(3)}, images=tuple(f"img{n}" for n in range(3)))
    one.again(turns=threading.BoundedSemaphore(2))
    running, most = threading.BoundedSemaphore(2), []

    def watch(container):
        assert running.acquire(blocking=False), "three at once"
        most.append(container)
        container.wait(seconds=0.02)
        builds(container)
        running.release()

    one.runner.on(lambda program: "-" in program.steps[0].argv[1], watch)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(one.scheduler.stack, one.graph.stacks))
    assert len(most) == 6
    for _ in range(2):
        one.context.turns.acquire(blocking=False)
    assert not one.context.turns.acquire(blocking=False), "each turn was given back, once"


def test_threads_that_want_one_node_wait_for_the_first(world):
    one = world({f"e{n}": ("base", (("one", None), (f"own{n}", None))) for n in range(4)})
    begun, go = threading.Event(), threading.Event()

    def slow(container):
        begun.set()
        container.wait(go)
        builds(container)

    one.runner.on("make one", slow)
    with ThreadPoolExecutor(4) as pool:
        stacks = [pool.submit(one.scheduler.stack, env) for env in one.graph.stacks]
        assert begun.wait(10)
        go.set()
        made = [stack.result(10).layers[1] for stack in stacks]
    assert all(layer is made[0] for layer in made)
    assert sorted(one.made()) == ["base", "one", "own0", "own1", "own2", "own3"]


def test_a_cancelled_build_ends_and_nobody_waits_for_it(world):
    one = world(CHAIN | {"f": ("base", (("one", None),))})

    def stuck(container):
        one.cancel.set()
        container.wait()

    one.runner.on("make one", stuck)
    with ThreadPoolExecutor(2) as pool:
        for stack in [pool.submit(one.scheduler.stack, env) for env in ("e", "f")]:
            with pytest.raises(Interrupted):
                stack.result(10)
    assert one.outcomes()["layer", "one"] == "interrupted"
    one.context.leases.close()
    assert not os.listdir(one.context.store.path("tmp"))


def test_what_the_team_has_is_pulled_and_its_parents_are_not_built(world):
    far = world(CHAIN)
    far.scheduler.stack("e")
    stored = [layers.find(far.context.store, made.layer.key) for made in far.scheduler.finished_layers()]
    here = world(CHAIN)
    share = FakeShare(stored)
    here.again(share=share).stack("e")
    assert not here.made()
    assert set(here.outcomes().values()) == {"pulled"}
    assert sorted(share.hits) == sorted(layer.key for layer in stored)


@pytest.mark.parametrize("fault", ["lost", "damaged"])
def test_what_cannot_be_pulled_is_built(world, fault):
    far = world(CHAIN)
    base, one, two = (made.layer for made in far.scheduler.stack("e").layers)
    here = world(CHAIN)
    share = FakeShare([base, one, two], **{fault: (one.key,)})
    made = here.again(share=share).stack("e").layers
    assert here.made() == ["one"]
    assert [layer.layer.diff_id for layer in made] == [base.diff_id, one.diff_id, two.diff_id]
    assert share.refused == ([one.key] if fault == "damaged" else [])
    assert share.offered == [one.key]


def test_two_layers_that_write_one_file(world):
    one = world({"e": ("base", (("one", ()), ("two", ())))})
    one.runner.on("make one", files={"/same": "1"})
    one.runner.on("make two", files={"/same": "2"})
    with pytest.raises(BuildError) as found:
        one.scheduler.stack("e")
    assert found.value.code == "layer-conflict"
