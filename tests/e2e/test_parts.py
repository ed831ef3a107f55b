"""A base of several layers, some of which are only looked at by others: made with the real thing, in this process."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import replace

import pytest

from envtool import api
from envtool.build import builder
from envtool.build.assess import assess_nodes, known_parts
from envtool.build.context import Cancel, Context
from envtool.build.scheduler import Scheduler
from envtool.container import userns
from envtool.events import Finished
from envtool.model import BaseSpec, Env, LayerSpec, Spec, TeamCache, Where
from envtool.plan.graph import build_graph
from envtool.plugins import PluginRegistry
from envtool.store import layers, store
from envtool.teamcache import signatures
from envtool.teamcache.connect import make_client

HERE = Where(file="Imagefile", line=3, column=1)


pytestmark = pytest.mark.e2e


def perform(*lines):
    for line in lines:
        exec(line, {"os": os})


class Lines(api.Kind):
    name = "lines"
    schema = True

    def build(self, request, pins):
        return api.Recipe(steps=(api.Call(function=perform, arguments=tuple(request.options)),))


LINES = Lines()


def part(name, *lines, **more):
    return api.Part(name=name, kind=LINES, options=list(lines), where=HERE, **more)


class Image(api.Base):
    name = "image"
    schema = True

    def resolve(self, request, site):
        return {"settled": True}

    def build(self, request, pins):
        return api.Recipe(steps=(api.Call(function=perform, arguments=("os.mkdir('/base')",)),))

    def variables(self, request, pins):
        return {"OF": "the whole image"}

    def parts(self, request, pins):
        return (
            part("one", "open('/base/one', 'w').close()", below=(0,)),
            part("stage", "os.mkdir('/s')", "open('/s/gone', 'w').close()", shown=False),
            part("more", "os.unlink('/s/gone')", "open('/s/kept', 'w').write('k')", below=(2,), shown=False),
            part(
                "copied",
                "assert os.listdir('/dev/envtool/beside/stage/s') == ['kept']",
                "open('/base/kept', 'w').write(open('/dev/envtool/beside/stage/s/kept').read())",
                "import errno\ntry:\n open('/dev/envtool/beside/stage/no', 'w')\nexcept OSError as e:\n assert e.errno == 30",
                below=(0, 1),
                beside={"stage": (2, 3)},
            ),
        )


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVTOOL_STORE", str(tmp_path / "store"))
    (tmp_path / "project").mkdir()
    layer = LayerSpec(
        name="top", kind="lines", options=["open('/top', 'w').write(str(os.listdir('/base')))"], where=HERE
    )
    base = BaseSpec(name="img", kind="image", options={}, where=HERE)
    env = Env(name="e", group="e", base=base, layers=(layer,), tasks=(), where=HERE)
    spec = Spec(file="envtool.yaml", root=str(tmp_path / "project"), envs=(env,), bases={}, layers={}, read=())
    events = []
    cancel = Cancel.make()
    place = store.open_store(idmap=userns.describe_ids())
    setting = Context(store=place, root=spec.root, arch=os.uname().machine, emit=events.append, cancel=cancel)
    yield build_graph(spec, PluginRegistry(bases={"image": Image()}, layers={"lines": LINES})), setting, events
    cancel.close()
    for name in os.listdir(place.path("layers")):
        userns.remove_as_root(place.path("layers", name))


def finished(events):
    return {event.name: event.outcome for event in events if isinstance(event, Finished)}


def test_parts_are_made_and_stood_on(world):
    nodes, setting, events = world
    made = Scheduler(known_parts(nodes, setting), setting).stack("e").layers
    assert [each.resolved.node.spec.name for each in made] == ["img", "one", "copied", "top"]
    assert finished(events) == dict.fromkeys(("img", "one", "stage", "more", "copied", "top"), "built")
    with open(f"{made[2].layer.tree}/base/kept") as file:
        assert file.read() == "k"
    assert made[1].resolved.request.variables == {}
    assert made[3].resolved.request.variables == {"OF": "the whole image"}
    [beside] = made[2].layer.document["beside"].values()
    assert beside == [layers.find(setting.store, each.key).diff_id for each in hidden(setting, made)]

    events.clear()
    again = Scheduler(known_parts(nodes, setting), setting)
    assert again.find_known_stack("e").layers == again.stack("e").layers
    assert [each.layer for each in again.stack("e").layers] == [each.layer for each in made]
    assert not events


class Fetched(Lines):
    """A part with a file, which is only told where all of them are asked for."""

    name = "fetched"
    meeting = threading.Barrier(6)

    def fetches(self, request, pins):
        return (api.Fetch(sha256=hashlib.sha256(request.options[0].encode()).hexdigest(), name="file"),)

    def locate(self, request, pins, fetches, site):
        self.meeting.wait(20)
        path = site.keep([request.options[0].encode()])
        return [replace(fetches[0], url=path.as_uri())]


def test_parts_fetch_side_by_side_and_are_made_one_a_processor(world, monkeypatch):
    nodes, setting, _ = world
    there = []
    least = threading.Semaphore(1)
    setting = replace(setting, turns=least)
    real = builder._run_recipe

    def making(*words, **more):
        free = least.acquire(blocking=False)
        if free:  # as the base itself and the layer on top find it
            least.release()
        there.append(free)
        return real(*words, **more)

    monkeypatch.setattr(builder, "_run_recipe", making)
    kind = Fetched()
    parts = [api.Part(name=f"p{number}", kind=kind, options=[f"'{number}'"], where=HERE) for number in range(6)]
    monkeypatch.setattr(Image, "parts", lambda *_: parts)
    made = Scheduler(known_parts(nodes, setting), setting).stack("e").layers
    assert len(made) == 8
    assert there.count(False) >= 6  # each part had the only turn
    assert least.acquire(blocking=False)


def test_what_only_missing_layers_need_does_not_come_from_the_team(world, registry, tmp_path, monkeypatch):
    nodes, setting, events = world
    private, public = signatures.generate()
    monkeypatch.setenv("ENVTOOL_INSECURE_REGISTRIES", registry.host)
    monkeypatch.setenv("ENVTOOL_CACHE_KEY", private)
    team = TeamCache(registry=f"{registry.host}/team/parts", where=HERE, push="always", trust=(public,))

    def shared(at):
        about = {"project": at.root, "arch": at.arch, "emit": at.emit, "cancelled": at.cancel.is_set, "in_ci": False}
        return replace(at, share=make_client(team, at.store, **about))

    first = shared(setting)
    made = Scheduler(nodes, first).stack("e").layers
    first.share.close()
    assert events[-1].detail.startswith("6 pushed")
    events.clear()
    monkeypatch.setenv("ENVTOOL_STORE", str(tmp_path / "other"))
    other = shared(replace(setting, store=store.open_store(idmap=userns.describe_ids())))
    try:
        again = Scheduler(nodes, other).stack("e").layers
        assert [each.layer.diff_id for each in again] == [each.layer.diff_id for each in made]
        outcomes = {event.name: event.outcome for event in events if isinstance(event, Finished)}
        assert outcomes.pop("img") in ("pulled", "done")
        assert outcomes == dict.fromkeys(("one", "copied", "top"), "pulled"), "neither `stage` nor `more`"
        other.share.close()
        # what came out is known of those two all the same: nothing is missing, and nobody is asked again
        grown = known_parts(nodes, other)
        assert all(state.is_cached for state in assess_nodes(grown, other).values())
        events.clear()
        quiet = replace(shared(other), cached_only=True)
        later = Scheduler(grown, quiet)
        assert [each.resolved.node.spec.name for each in later.find_known_stack("e").other_stages] == ["stage", "more"]
        assert later.stack("e").diff_ids == tuple(each.layer.diff_id for each in made)
        assert {each.resolved.node.spec.name for each in later.finished_layers()} >= {"img", "stage", "more", "top"}
        quiet.share.close()
        assert not events
    finally:
        for name in os.listdir(other.store.path("layers")):
            userns.remove_as_root(other.store.path("layers", name))


def hidden(setting, made):
    shown = {each.layer.key for each in made}
    rest = [layers.find(setting.store, key) for key in os.listdir(setting.store.path("layers")) if key not in shown]
    return sorted(rest, key=lambda layer: len(layer.document["below"]))
