"""The builder without a kernel: which container a recipe becomes, what is captured of it, and what a failure says."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from envtool import api
from envtool.build import builder
from envtool.build.context import base_environment
from envtool.errors import BuildError, Interrupted, SandboxError, StoreError
from envtool.events import Output, Progress
from envtool.model import Command
from envtool.store import layers
from envtool.testing import describe_step
from tests.unit.build.fakes import Fake, World, builds, content


def unpack(names, count):
    """Runs in no test."""


RECIPES = {
    "plain": api.Recipe(steps=(api.Run(command=Command(argv=("make", "it")), env={"A": "1"}, cwd="/opt"),)),
    "bare": api.Recipe(steps=(api.Run(command=Command(argv=("make", "it")), env={"A": "1"}, bare=True),)),
    "files": api.Recipe(
        steps=(
            api.Unpack(name="file", target="/opt", strip=1),
            api.Place(source=f"{api.BLOBS}/file", target="/x"),
            api.Call(function=unpack, arguments=(["a", "b"],), counts=2, phase="unpacking"),
        )
    ),
    "nothing": api.Recipe(steps=()),
    "network": api.Recipe(steps=(api.Run(command=Command(argv=("make", "it"))),), network=True),
    "drops": api.Recipe(steps=(api.Run(command=Command(argv=("make", "it"))),), drop=("/var/log/**",)),
    "project": api.Recipe(steps=(api.Run(command=Command(argv=("make", "it"))),), project_directory=True),
    "keeps tmp": api.Recipe(steps=(api.Run(command=Command(argv=("make", "it"))),), keeps_tmp=True),
}


class Chosen(Fake):
    """Its recipe is that of its name."""

    def build(self, request, pins):
        return RECIPES.get(request.options["name"]) or super().build(request, pins)

    def hint(self, request, pins, output, site):
        return "ask the kind" if "ask" in output else ""


@pytest.fixture
def build(tmp_path):
    """Builds a layer of one of the recipes on a base; `world` is what it was built in."""
    worlds = []

    def make(name, **more):
        fetch = (name,) if name == "files" else ()
        worlds.append(World(tmp_path / str(len(worlds)), {"e": ("base", ((name, None),))}, fetch=fetch, layers=Chosen))
        make.world = worlds[-1]
        make.world.again(**more)
        make.world.runner.on("make base", files={"/usr/bin/x": "x"})
        if make.prepare:
            make.prepare(make.world)
        base, layer = make.world.scheduler.stack("e").layers
        return base.layer, layer.layer

    make.prepare = None
    yield make
    for world in worlds:
        world.close()


def captured(layer):
    return sorted(os.fsdecode(path) for path, fields in layers.read_records(layer) if fields[:1] == b"f")


def test_the_container_of_a_layer(build):
    base, _ = build("plain")
    program = build.world.runner.programs[-1]
    assert program.root.lowers == (base.tree,)
    assert program.root.upper.endswith("/tree")
    assert os.path.dirname(program.root.work) == os.path.dirname(program.root.upper)
    assert (program.user, program.network, program.sync, program.grace) == ("root", False, False, 0.0)
    (step,) = program.steps
    assert (step.argv, dict(step.env), step.cwd) == (("make", "it"), {"A": "1"}, "/opt")
    assert program.env["HOME"] == "/root"
    assert set(base_environment(1)) <= set(program.env)
    assert program.binds == ()
    assert program.project is None


def test_a_recipe_that_writes_into_the_project_gets_an_empty_directory_for_it(build):
    seen = []

    def look(container):
        project = container.program.project
        seen.append((project.target, os.listdir(project.source), stat.S_IMODE(os.stat(project.source).st_mode)))
        with open(f"{project.source}/package.json", "w") as file:
            file.write("{}")

    build.prepare = lambda world: world.runner.on("make it", look)
    _, layer = build("project")
    assert seen == [(api.PROJECT, [], 0o755)]
    assert captured(layer) == []


def test_a_base_has_no_layers_below_and_so_no_overlay(build):
    build("plain")
    root = build.world.runner.programs[0].root
    assert root.lowers == ()
    assert root.work == ""


def test_a_bare_step_has_its_own_variables_and_the_epoch(build):
    build("bare")
    (step,) = build.world.runner.programs[-1].steps
    assert dict(step.env) == {"SOURCE_DATE_EPOCH": build.world.runner.programs[-1].env["SOURCE_DATE_EPOCH"], "A": "1"}


def test_fetched_files_and_functions(build):
    seen = {}

    def look(container):
        (blobs,) = [bind for bind in container.program.binds if bind.target == api.BLOBS][:1]
        with open(f"{blobs.source}/file", "rb") as file:
            seen["file"] = file.read()

    build.prepare = lambda world: world.runner.on("container_steps:unpack", look)
    build("files")
    assert seen == {"file": content("files")}
    texts = [describe_step(step) for step in build.world.runner.programs[-1].steps]
    assert texts == [
        "envtool.build.container_steps:unpack /run/envtool/blobs/file /opt 1 False",
        "envtool.build.container_steps:copy_to /run/envtool/blobs/file /x None",
        f"{__name__}:unpack ['a', 'b']",
    ]
    assert (
        Progress(id=f"layer:{next(reversed(build.world.graph.nodes))}", phase="unpacking", of=2) in build.world.events
    )


def test_a_recipe_without_steps_runs_nothing_and_makes_an_empty_layer(build):
    _, layer = build("nothing")
    assert len(build.world.runner.programs) == 1
    assert layer.entries == 0


WRITTEN = {"/usr/a": "a", "/tmp/t": "t", "/run/r": "r", "/dev/d": "d", "/var/log/l": "l"}


@pytest.mark.parametrize(
    ("name", "kept"),
    [("plain", ["usr/a", "var/log/l"]), ("drops", ["usr/a"]), ("keeps tmp", ["run/r", "tmp/t", "usr/a", "var/log/l"])],
)
def test_what_is_captured(build, name, kept):
    build.prepare = lambda world: world.runner.on("make it", files=WRITTEN)
    _, layer = build(name)
    assert captured(layer) == kept
    assert not os.path.exists(os.path.join(os.path.dirname(layer.tree), "work"))


def test_no_file_is_newer_than_the_epoch(build):
    build.prepare = lambda world: world.runner.on("make it", files={"/a": "a"})
    _, layer = build("plain")
    epoch = int(build.world.runner.programs[-1].env["SOURCE_DATE_EPOCH"])
    assert os.stat(f"{layer.tree}/a").st_mtime == epoch


def failed(build, name="plain", **more):
    with pytest.raises((BuildError, SandboxError, StoreError, Interrupted)) as found:
        build(name, **more)
    build.world.context.leases.close()
    assert not os.listdir(build.world.context.store.path("tmp"))
    return found.value


def test_a_command_that_fails(build):
    build.prepare = lambda world: world.runner.on("make it", output="one\ntwo\n", status=3)
    error = failed(build)
    assert error.message == "envtool.yaml:3:1: layer `plain` could not be built: exit 3"
    assert error.output == "one\ntwo"
    assert "".join(event.text for event in build.world.events if isinstance(event, Output)) == "one\ntwo\n"


def test_the_kind_may_say_what_to_do(build):
    build.prepare = lambda world: world.runner.on("make it", output="ask", status=1)
    assert failed(build).hint == "ask the kind"


@pytest.mark.parametrize("code", ["cwd", "container-mounts", "userns"])
def test_a_container_that_cannot_be_made(build, code):
    build.prepare = lambda world: world.runner.on("make it", error=SandboxError("it is not there", code=code))
    blamed = "" if code == "userns" else "envtool.yaml:3:1: layer `plain`: "  # else this machine is at fault
    assert failed(build).message == f"{blamed}it is not there"


def test_no_network_when_offline(build):
    _, layer = build("network")
    assert build.world.runner.programs[-1].network
    build.world.context.leases.close()
    os.rename(os.path.dirname(layer.tree), build.world.top / "gone")
    with pytest.raises(BuildError) as found:
        build.world.again(offline=True).stack("e")
    assert found.value.code == "offline"
    assert len(build.world.runner.programs) == 2


def test_an_interrupt_ends_it(build):
    def stop(container):
        build.world.cancel.set()
        container.wait()

    build.prepare = lambda world: world.runner.on("make it", stop)
    assert isinstance(failed(build), Interrupted)


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_tried_once_more_when_something_could_be_removed(build, monkeypatch):
    rooms, tries = [], []

    def make_room(context, *, full=False):
        rooms.append(full)
        return full

    def do(container):
        tries.append(container)
        if len(tries) == 1:
            full()
        builds(container)

    monkeypatch.setattr(builder.Context, "make_room", make_room)
    build.prepare = lambda world: world.runner.on("make it", do)
    _, layer = build("plain")
    assert captured(layer) == ["it"]
    assert len(tries) == 2
    assert rooms[-1] is True


def test_a_full_disk_where_nothing_can_be_removed(build, monkeypatch):
    monkeypatch.setattr(builder.Context, "make_room", lambda context, full=False: False)
    build.prepare = lambda world: world.runner.on("make it", full)
    error = failed(build)
    assert error.code.startswith("store")
    assert "layer `plain`" in error.message
