"""`lock --platform`: what is locked for a machine of another architecture, and what this machine's own stack answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envtool import api
from envtool.app import lock_file
from envtool.build import lock_platforms, locking
from envtool.cli.tables import format_lock, lock_json
from envtool.errors import SpecError
from envtool.events import Noted
from envtool.lock.lock import lock_of, merge_locks
from tests.unit.build.fakes import Fake, World

ENVS = {"e": ("base", (("one", None), ("two", ("one",))))}


@pytest.fixture
def world_of(tmp_path):
    """A function that returns a world with layers of a kind."""
    worlds = []

    def make(layers=Fake, **more):
        world = World(tmp_path / str(len(worlds)), ENVS, layers=layers, **more)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.close()


def own_lock(world):
    """The lock of this machine's architecture; builds everything."""
    world.scheduler.stack("e")
    return lock_of(locking.lock_entries(world.scheduler.graph(), world.scheduler.finished_layers()))


def other_entries(world, lock=None, arch="aarch64"):
    """What `lock --platform` adds, and the lock with it."""
    lock = lock or own_lock(world)
    other = lock_platforms.PlatformLock(world.graph, replace(world.context, lock=lock), arch)
    other.resolve_without_stacks()
    entries = other.entries(world.scheduler)
    return entries, merge_locks(lock, entries, platforms=frozenset({arch}))


def faults(world, lock, arch="x86_64"):
    context = replace(world.context, lock=lock, arch=arch)
    return [fault.state for fault in locking.find_lock_faults(world.graph, lock, context, "envtool.lock")]


def test_another_architecture_is_locked_without_a_build(world_of):
    world = world_of()
    lock = own_lock(world)
    containers = len(world.runner.programs)
    entries, whole = other_entries(world, lock)
    assert len(world.runner.programs) == containers, "nothing ran"
    assert [(entry.question.name, entry.question.platform) for entry in entries] == [
        ("base", "aarch64"), ("one", "aarch64"), ("two", "aarch64")
    ]  # fmt: skip
    assert not any(entry.key or entry.diff_id for entry in entries)
    assert [*lock.entries] == [entry for entry in whole.entries if entry.question.platform == "x86_64"], "as before"
    assert faults(world, whole) == faults(world, whole, arch="aarch64") == []


def test_what_is_locked_for_the_other_architecture_stays(world_of):
    world = world_of()
    _, whole = other_entries(world)
    old = [
        replace(entry, pins={"resolved": "earlier"})
        if (entry.question.name, entry.question.platform) == ("two", "aarch64")
        else entry
        for entry in whole.entries
    ]
    entries, _ = other_entries(world, lock_of(old))
    assert entries[-1].pins == {"resolved": "earlier"}


class Asking(Fake):
    """Its layer `one` asks a program of the stack, which prints its answer, and pins that with the architecture."""

    requests: list[api.Request] = []

    def resolve(self, request, site):
        if request.options["name"] != "one":
            return super().resolve(request, site)
        self.requests.append(request)
        completed = site.run(api.Command(argv=("ask", site.arch)))
        return {"resolved": completed.stdout.decode().strip(), "arch": request.arch}


class StandingIn(Asking):
    """The same, of a kind that this machine's stack may answer."""

    stands_in = True
    requests: list[api.Request] = []


def answering(world):
    """Programs `ask` print a version."""
    world.runner.on("ask ", output="1.0\n")
    return world


def test_a_kind_that_asks_its_own_base_is_refused_by_name_and_what_stands_on_it_is_not(world_of):
    world = answering(world_of(Asking))
    lock = own_lock(world)
    with pytest.raises(SpecError) as refused:
        other_entries(world, lock)
    (problem,) = refused.value.problems
    assert problem.message == (
        "layer `one` cannot be locked for linux/arm64: kind `fake` asks programs of its own base, which do not run here"
    )


def test_a_refusal_comes_before_anything_is_built(world_of):
    world = answering(world_of(Asking))
    with pytest.raises(SpecError):
        lock_platforms.PlatformLock(world.graph, world.context, "aarch64").resolve_without_stacks()
    assert world.runner.programs == []


def test_this_machines_own_stack_stands_in(world_of):
    world = answering(world_of(StandingIn))
    StandingIn.requests.clear()
    lock = own_lock(world)
    entries, whole = other_entries(world, lock)
    own, other = StandingIn.requests
    assert (own.arch, own.stand_in, own.keep) == ("x86_64", None, None)
    assert other.arch == "aarch64"
    assert other.keep == {"resolved": "1.0", "arch": "x86_64"}, "as near to this machine's as possible"
    assert other.stand_in is not None
    assert other.stand_in.arch == "x86_64"
    assert [(layer.kind, layer.pins, layer.own_pins) for layer in other.stand_in.layers] == [
        ("fake", {"resolved": "base"}, {"resolved": "base"})
    ]
    program = world.runner.programs[-1]
    assert program.steps[0].argv == ("ask", "aarch64")
    assert program.root.lowers, "it has the layers of this machine"
    assert [entry.pins for entry in entries][1:] == [{"resolved": "1.0", "arch": "aarch64"}, {"resolved": "two"}]
    assert faults(world, whole) == faults(world, whole, arch="aarch64") == []


def test_an_answer_for_other_parents_is_not_remembered_for_these(world_of):
    """The diff IDs of the other architecture are not known, so the pins below decide whether an answer is the same."""
    world = answering(world_of(StandingIn))
    lock = own_lock(world)
    StandingIn.requests.clear()
    for name in ("base", "another", "base"):
        changed = [
            replace(entry, pins={"resolved": name}) if entry.question.name == "base" else entry
            for entry in lock.entries
        ]  # fmt: skip
        aarch64 = [
            replace(entry, question=replace(entry.question, platform="aarch64"))
            for entry in changed
            if entry.question.name == "base"
        ]
        entries, _ = other_entries(world, lock_of([*lock.entries, *aarch64]))
        assert entries[0].pins == {"resolved": name}
    assert len({request.below for request in StandingIn.requests}) == len(StandingIn.requests) == 2
    base = world.scheduler.node(world.graph.stacks["e"][0])
    assert {request.below[1:] for request in StandingIn.requests} == {(base.diff_id,)}, "what programs see counts, too"


def test_a_base_gets_this_machines_pins_without_a_build(world_of):
    """As images do: those of all architectures are then of one build. Sublayers need not be known for that."""
    world = World(world_of().top / "image", {"e": ("base", (("one", None),))}, images=("base",))
    kind = world.graph.nodes[world.graph.stacks["e"][0]].kind
    requests = []

    def resolve(request, site):
        requests.append(request)
        return {"resolved": request.arch}

    type(kind).stands_in, kind.resolve = True, resolve
    try:
        other = lock_platforms.PlatformLock(world.graph, world.context, "aarch64")
        other.resolve_without_stacks()
        assert requests == [], "this machine's pins come first"
        entries = other.entries(world.scheduler)
    finally:
        type(kind).stands_in = False
        world.close()
    assert [(request.arch, request.keep, request.below) for request in requests] == [
        ("x86_64", None, ()), ("aarch64", {"resolved": "x86_64"}, ()),
    ]  # fmt: skip
    assert requests[1].stand_in == api.StandIn(arch="x86_64", layers=())
    assert entries[0].pins == {"resolved": "aarch64"}
    assert world.runner.programs == []


def test_a_kind_may_refuse_by_itself(world_of):
    class Refusing(StandingIn):
        def resolve(self, request, site):
            if request.stand_in is not None and request.options["name"] == "one":
                raise api.ResolveError("`one`: it compiles", code="other-platform", hint="compile it there")
            return super().resolve(request, site)

    world = answering(world_of(Refusing))
    with pytest.raises(SpecError) as refused:
        other_entries(world)
    (problem,) = refused.value.problems
    assert problem.message == "layer `one` cannot be locked for linux/arm64: `one`: it compiles"
    assert problem.hint == "compile it there"


def test_other_errors_of_a_kind_are_its_own_and_name_the_platform(world_of):
    class Failing(Fake):
        def resolve(self, request, site):
            if request.arch == "aarch64":
                raise api.ResolveError("there is no such version", code="version")
            return super().resolve(request, site)

    world = world_of(Failing)
    expected = r"envtool\.yaml:3:\d+: layer `one`: there is no such version \(for linux/arm64\)"
    with pytest.raises(api.ResolveError, match=expected):
        other_entries(world)


class Tool(Fake, api.ToolchainKind):
    """A toolchain whose source has another newest version for aarch64."""

    tool, title = "tool", "Tool"
    newest = {"x86_64": "2.1", "aarch64": "2.0"}

    def resolve(self, request, site):
        row = {"name": "t", "version": self.newest[request.arch], "path": "t", "file": "t-2.tgz"}
        return {"source": "s", "archives": [{**row, "sha256": "0" * 64, "size": 1}]}

    def summary(self, request, pins):
        return pins["archives"][0]["version"]


@pytest.mark.parametrize(("newest", "notes"), [("2.0", 2), ("2.1", 0)])
def test_a_toolchain_of_another_version_is_noted(world_of, monkeypatch, newest, notes):
    monkeypatch.setitem(Tool.newest, "aarch64", newest)
    world = world_of(Tool)
    _, whole = other_entries(world)
    texts = [event.text for event in world.events if isinstance(event, Noted)]
    assert texts == [
        f"{name} is 2.0 on linux/arm64 and 2.1 here: its source has no 2.1 for it" for name in ("one", "two")[:notes]
    ]  # fmt: skip
    world.events.clear()
    other_entries(world, whole)
    assert not [event for event in world.events if isinstance(event, Noted)], "what is locked is not told again"


def test_entries_that_stay_behind_are_told(world_of):
    """`envtool lock` writes those of this machine and of `--platform`; the others may no longer fit."""
    world = world_of()
    lock = own_lock(world)
    _, whole = other_entries(world, lock)
    assert lock_file._architectures(whole) == {"x86_64", "aarch64"}
    assert lock_file._fits(world.graph, whole, replace(world.context, refresh=True), "aarch64")
    assert not lock_file._fits(world.graph, lock, world.context, "aarch64")
    on_host = replace(lock.entries[-1], question=replace(lock.entries[-1].question, platform="aarch64 debian 12"))
    assert lock_file._architectures(lock_of([*lock.entries, on_host])) == {"x86_64"}
    result = lock_file.LockResult(file="envtool.lock", changes=(), entries=6, written=False, behind=("linux/arm64",))
    assert format_lock(result).splitlines() == [
        "envtool.lock: 6 bases and layers locked, unchanged",
        "no longer fitting: linux/arm64 (`envtool lock --platform linux/arm64`)",
    ]
    assert lock_json(result)["behind"] == ["linux/arm64"]
    assert len(format_lock(replace(result, behind=())).splitlines()) == 1
