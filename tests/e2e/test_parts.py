"""A base of several layers, some of which are only looked at by others: made with the real thing, in this process."""

from __future__ import annotations

import os

import pytest

from envtool import api
from envtool.container import ids
from envtool.events import Finished
from envtool.model import BaseSpec, Env, LayerSpec, Spec, Where
from envtool.plan.graph import graph
from envtool.realise.setting import Cancel, Setting
from envtool.realise.stacks import Stacks, known_parts
from envtool.registry import Registry
from envtool.store import layers, store

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


class Image(api.Kind):
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
                "assert os.listdir('/run/envtool/beside/stage/s') == ['kept']",
                "open('/base/kept', 'w').write(open('/run/envtool/beside/stage/s/kept').read())",
                "import errno\ntry:\n open('/run/envtool/beside/stage/no', 'w')\nexcept OSError as e:\n assert e.errno == 30",
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
    place = store.locate(idmap=ids.describe())
    setting = Setting(store=place, root=spec.root, arch=os.uname().machine, emit=events.append, cancel=cancel)
    yield graph(spec, Registry(bases={"image": Image()}, layers={"lines": LINES})), setting, events
    cancel.close()
    for name in os.listdir(place.path("layers")):
        ids.remove(place.path("layers", name))


def finished(events):
    return {event.name: event.outcome for event in events if isinstance(event, Finished)}


def test_parts_are_made_and_stood_on(world):
    nodes, setting, events = world
    made = Stacks(known_parts(nodes, setting), setting).stack("e").made
    assert [each.settled.node.spec.name for each in made] == ["img", "one", "copied", "top"]
    assert finished(events) == dict.fromkeys(("img", "one", "stage", "more", "copied", "top"), "built")
    with open(f"{made[2].layer.tree}/base/kept") as file:
        assert file.read() == "k"
    assert made[1].settled.request.variables == {}
    assert made[3].settled.request.variables == {"OF": "the whole image"}
    [beside] = made[2].layer.document["beside"].values()
    assert beside == [layers.find(setting.store, each.key).diff_id for each in hidden(setting, made)]

    events.clear()
    again = Stacks(known_parts(nodes, setting), setting)
    assert again.recalled("e").made == again.stack("e").made
    assert [each.layer for each in again.stack("e").made] == [each.layer for each in made]
    assert not events


def hidden(setting, made):
    shown = {each.layer.key for each in made}
    rest = [layers.find(setting.store, key) for key in os.listdir(setting.store.path("layers")) if key not in shown]
    return sorted(rest, key=lambda layer: len(layer.document["below"]))
