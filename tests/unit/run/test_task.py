"""A task without a kernel: which container its request becomes, and what its end means."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from envtool.errors import SandboxError, StoreError
from envtool.events import Finished, Output, Started
from envtool.model import Command, Looked
from envtool.run import machine_watches
from envtool.run.host_inputs import HostInputs
from envtool.run.prepared_task import PreparedTask
from envtool.run.task import run_task
from envtool.run.task_container import make_request
from envtool.testing import FakeRunner
from tests.unit.run.fakes import ENV, TASK, World, layer, stack_of


class Place:
    """A task in a project, on two layers that are in the store."""

    def __init__(self, top):
        self.world = World(top)
        self.runner = FakeRunner()
        self.world.context = replace(self.world.context, runner=self.runner)
        self.world.put_layers()

    def prepare(self, *, env=ENV, task=TASK):
        stack = stack_of()
        call = self.world.call(env=env, task=task)
        request = make_request(env, stack, {}, arch="x", task=task)
        return PreparedTask(call=call, stack=stack, request=request)

    def run(self, *, env=ENV, reach=None, **task):
        self.task = self.prepare(env=env, task=replace(TASK, **task))
        return run_task(self.task, reach)

    def log(self):
        with open(self.task.call.log, "rb") as file:
            return file.read()


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    yield made
    made.world.cancel.close()
    assert not os.listdir(made.world.store.path("tmp")), "a directory is left"
    assert not made.runner.running


def test_a_task_that_passes(place):
    place.runner.on("true", output="said\n")
    result = place.run()
    assert (result.outcome, result.status, result.message) == ("passed", 0, "")
    assert place.log() == b"said\n"
    assert [type(event) for event in place.world.events] == [Started, Output, Finished]
    assert {event.id for event in place.world.events} == {"task:unit:test"}


def test_its_container(place):
    (place.world.root / ".gitignore").write_text("out/\n")
    (place.world.root / "out").mkdir()
    place.run(env=replace(ENV, workdir="sub", network=False, set={"A": "1"}), timeout=3.0, user="root")
    (program,) = place.runner.programs
    assert program.root.lowers == ("/tree", "/tree")
    assert program.root.scratch == program.root.upper == ""
    assert (program.user, program.timeout, program.network) == ("root", 3.0, False)
    assert program.project.source == str(place.world.root)
    assert "out" in program.project.hidden
    (step,) = program.steps
    assert (step.argv, step.cwd) == (("/bin/sh", "-ec", "true"), "/project/sub")
    assert program.env["A"] == "1"
    assert program.env["ENVTOOL_ENV"] == "unit"


def test_commands_are_steps_of_one_container(place):
    place.run(commands=(Command(argv=("one",)), Command(shell="two")))
    (program,) = place.runner.programs
    assert [step.argv for step in program.steps] == [("one",), ("/bin/sh", "-ec", "two")]


def test_scratch_on_disk_is_there_meanwhile_and_gone_then(place):
    seen = []
    place.runner.on("true", lambda container: seen.append(os.path.isdir(container.program.root.scratch)))
    place.run(env=replace(ENV, scratch="disk"))
    assert seen == [True]
    assert not os.path.exists(place.runner.programs[0].root.scratch)


def test_a_task_that_fails(place):
    place.runner.on("true", output="oh\n", status=7)
    result = place.run()
    assert (result.outcome, result.status, result.message) == ("failed", 7, "exit 7")


def test_a_command_that_is_not_there_has_a_hint(place):
    place.runner.on("true", output="/bin/sh: 1: pytst: not found\n", status=127)
    assert place.run().message.startswith("exit 127\n")


def test_outputs(place):
    place.runner.on("true", outputs={"dist/a.whl": b"wheel"})
    result = place.run(outputs=("dist/*",))
    assert (result.outcome, result.outputs) == ("passed", ("dist/a.whl",))
    assert (place.world.root / "dist" / "a.whl").read_bytes() == b"wheel"


def test_outputs_that_are_refused_are_named(place, monkeypatch):
    """Also where nothing is left to be copied."""
    run = place.runner.run

    def run_with_notes(*arguments, **options):
        ended = run(*arguments, **options)
        ended.notes = ("a.yaml: a link out of the project, not copied",)
        return ended

    monkeypatch.setattr(place.runner, "run", run_with_notes)
    result = place.run(outputs=("*.yaml",))
    message = "wrote none of its outputs (*.yaml); a.yaml: a link out of the project, not copied"
    assert (result.outcome, result.message) == ("failed", message)


def test_outputs_that_it_did_not_make(place):
    result = place.run(outputs=("dist/*", "more"))
    assert (result.outcome, result.message) == ("failed", "wrote none of its outputs (dist/*, more)")


@pytest.mark.parametrize(
    ("end", "outcome", "message"),
    [
        ({"timed_out": True, "status": 124}, "timeout", "timed out after 3s"),
        ({"interrupted": True, "status": 130}, "interrupted", ""),
        ({"lost": "out: no space", "outputs": ("x",)}, "failed", "out: no space"),
        ({"notes": ("a is a device",), "outputs": ("x",)}, "passed", "a is a device"),
        ({"status": 1, "notes": ("n",)}, "failed", "exit 1; n"),
        ({"timed_out": True, "status": 124, "lost": "l", "notes": ("n",)}, "timeout", "timed out after 3s; l; n"),
    ],
)
def test_what_its_end_means(place, end, outcome, message):
    def do(container):
        for name, value in end.items():
            setattr(container.exit, name, value)

    place.runner.on("true", do)
    result = place.run(timeout=3.0, outputs=("x",) if "outputs" in end else ())
    assert (result.outcome, result.message) == (outcome, message)


def test_a_cancel_ends_it(place):
    def stuck(container):
        place.world.cancel.set()
        container.wait()

    place.runner.on("true", stuck)
    assert place.run().outcome == "interrupted"
    assert place.world.events[-1].outcome == "interrupted"


def test_no_container_at_all(place):
    place.runner.on("true", error=SandboxError("user namespaces are refused", code="userns"))
    with pytest.raises(SandboxError):
        place.run()
    assert place.world.events[-1].detail == "user namespaces are refused"
    assert place.world.events[-1].outcome == "error"


def test_a_layer_that_is_gone(place):
    os.unlink(place.world.store.path("layers", "k1", "layer.json"))
    with pytest.raises(StoreError) as found:
        place.run()
    assert found.value.code == "layer-gone"
    assert not place.runner.programs


def test_a_log_that_cannot_be_written(place):
    task = place.prepare()
    os.mkdir(task.call.log)
    with pytest.raises(StoreError) as found:
        run_task(task)
    assert found.value.code == "evidence-write"
    assert not place.runner.programs


def test_a_file_of_the_spec_is_no_output(place):
    seen = []
    place.world.context = replace(place.world.context, files=("envtool.yaml",))
    place.runner.on("true", lambda container: seen.append(container.protected))
    place.run()
    assert seen == [("envtool.yaml",)]


def on_host(tree):
    """A stack that shows a directory of this machine."""
    return replace(stack_of(), layers=(layer("d1", "k1", looked=Looked(states={}, trees=(tree,))),))


def test_what_it_opened_is_known_afterwards(place, tmp_path):
    gone = str(tmp_path / "gone")

    def opens(container):
        assert gone in container.program.watch  # it cannot be watched from outside
        container.exit.opened = ("/usr/bin/cc",)

    place.runner.on("true", opens)
    reach = HostInputs(on_host(gone), place.world.context)
    place.run(reach=reach)
    assert reach.opened == ("/usr/bin/cc",)


def test_this_machine_is_watched_from_outside(place, tmp_path):
    """By one watch for all tasks; each gets what was opened while it ran."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("a", "b"):
        (tree / name).write_text("")

    def opens(container):
        assert str(tree) not in container.program.watch
        (tree / "b").read_text()

    place.runner.on("true", opens)
    (tree / "a").read_text()
    for _ in range(2):
        reach = HostInputs(on_host(str(tree)), place.world.context)
        place.run(reach=reach)
        assert reach.opened == (str(tree / "b"),)
    watch = machine_watches.find_watch((str(tree),), place.world.context.shared)
    assert watch is machine_watches.find_watch((str(tree),), place.world.context.shared)
    machine_watches.close_watches(place.world.context.shared)
    assert machine_watches.find_watch((str(tree),), place.world.context.shared) is None
