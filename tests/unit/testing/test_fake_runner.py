"""A FakeRunner answers as a test tells it to, and a layer of a plugin's kind is built by it without a container."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envtool import api, testing
from envtool.build.context import Cancel
from envtool.container.program import ContainerStep, Program, Root
from envtool.container.runner import LocalRunner, Runner
from envtool.errors import BuildError, MakeError, SandboxError

TRUE = ContainerStep(argv=("true", "it"))
TUTORIAL = Path(__file__).parents[3] / "docs" / "plugins.md"


def program(*steps, **more):
    return Program(root=Root(**more), steps=steps or (TRUE,))


def go(runner, what=None, **more):
    """Runs a program; returns how it ended and what it printed."""
    out = os.memfd_create("out")
    try:
        ended = runner.run(what or program(), stdout=out, stderr=out, **more)
        return ended, os.pread(out, 1 << 16, 0)
    finally:
        os.close(out)


def test_both_runners_have_what_a_runner_has():
    names = {name for name in vars(Runner) if not name.startswith("_")}
    assert names == {
        "single_id", "run", "start", "pod", "confirm_task", "as_root", "remove", "give_to_root", "expect", "close",
    }  # fmt: skip
    for kind in (LocalRunner, testing.FakeRunner):
        assert all(hasattr(kind(), name) for name in names)


def test_what_no_rule_matches_succeeds():
    runner = testing.FakeRunner()
    ended, output = go(runner)
    assert (ended.status, output, ended.outputs) == (0, b"", ())
    assert runner.programs == [program()]


def test_the_last_rule_that_matches_counts():
    runner = testing.FakeRunner()
    runner.on("true", output="one", status=1)
    runner.on("other", output="two", status=2)
    assert go(runner)[0].status == 1
    runner.on(lambda program: program.user == "user", output=b"three", status=3)
    ended, output = go(runner)
    assert (ended.status, output) == (3, b"three")


def test_a_step_is_found_by_its_function_and_arguments():
    step = ContainerStep(call="package.module:function package 1.0", arguments=("x", 1))
    assert testing.describe_step(step) == "package.module:function x 1"
    runner = testing.FakeRunner()
    runner.on("module:function x", status=4)
    assert go(runner, program(TRUE, step))[0].status == 4


def test_files_outputs_and_a_function(tmp_path):
    upper, project = tmp_path / "upper", tmp_path / "project"
    upper.mkdir()
    runner = testing.FakeRunner()

    def do(container):
        container.write("/bin/x", b"x", 0o755)
        container.print("said")
        return 5

    runner.on("true", do, files={"/etc/a": "a"}, outputs={"dist/b": "b"}, status=9)
    ended, output = go(runner, program(upper=str(upper)), outputs_to=str(project))
    assert (ended.status, ended.outputs, output) == (5, ("dist/b",), b"said")
    assert (upper / "etc/a").read_text() == "a"
    assert os.stat(upper / "bin/x").st_mode & 0o777 == 0o755
    assert (project / "dist/b").read_text() == "b"
    with pytest.raises(AssertionError, match="keeps nothing"):
        go(runner)
    assert not runner.running


def test_errors_are_raised():
    runner = testing.FakeRunner()
    runner.on("true", error=SandboxError("no", code="userns"))
    with pytest.raises(SandboxError):
        go(runner)
    assert not runner.running
    assert len(runner.programs) == 1


def test_it_waits_until_it_is_told_or_cancelled():
    runner, go_on, cancel = testing.FakeRunner(), threading.Event(), Cancel.make()
    runner.on("true", lambda container: container.wait(go_on))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(go, runner, cancel=cancel.reader)
        while not runner.running:
            pass
        go_on.set()
        assert running.result(10)[0].status == 0
        go_on.clear()
        running = pool.submit(go, runner, cancel=cancel.reader)
        cancel.set()
        ended = running.result(10)[0]
    assert (ended.interrupted, ended.status) == (True, 130)
    cancel.close()


def test_a_container_that_could_not_travel_is_found():
    with pytest.raises(AssertionError):
        go(testing.FakeRunner(), program(ContainerStep(call="m:f", arguments=(("a", "tuple"),))))
    with pytest.raises(TypeError):
        go(testing.FakeRunner(), program(ContainerStep(call="m:f", arguments=(object(),))))


def test_functions_are_called_in_their_directory(tmp_path):
    runner, before = testing.FakeRunner(), os.getcwd()
    with ThreadPoolExecutor(4) as pool:
        tops = [tmp_path / str(number) for number in range(8)]
        for top in tops:
            top.mkdir()
        assert [*pool.map(lambda top: runner.as_root(os.getcwd, at=str(top)), tops)] == [str(top) for top in tops]
    with pytest.raises(ZeroDivisionError):
        runner.as_root(divmod, 1, 0, at=str(tmp_path))
    assert os.getcwd() == before
    assert runner.called == ["getcwd"] * 8 + ["divmod"]
    runner.remove(str(tops[0]))
    runner.remove(str(tops[0]))
    assert not tops[0].exists()


class Tool(api.Kind):
    """Asks a command for its version, and fetches a file of the project."""

    name, schema = "tool", {"type": "string"}

    def resolve(self, request, site):
        done = site.run(api.Command(argv=("tool", "--version")))
        if done.status:
            raise api.ResolveError("tool does not run", code="tool")
        with site.open("tool.tar") as file:
            return {"version": done.stdout.decode().strip(), "sha256": hashlib.sha256(file.read()).hexdigest()}

    def fetches(self, request, pins):
        return (api.Fetch(sha256=pins["sha256"], name="tool.tar"),)

    def locate(self, request, pins, fetches, site):
        return [api.Fetch(sha256=pins["sha256"], name="tool.tar", url=site.url("tool.tar"))]

    def build(self, request, pins):
        return api.Recipe(
            steps=(
                api.Unpack(name="tool.tar", target="/opt/tool"),
                api.Run(command=api.Command(argv=("setup", pins["version"], request.options))),
            )
        )


def test_a_layer_of_a_kind(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "tool.tar").write_bytes(b"tar")
    runner = testing.FakeRunner()
    runner.on("tool --version", output="7.1\n")
    runner.on("setup 7.1 fast", files={"/opt/tool/done": "7.1"})
    assert testing.build_layer(Tool(), "fast", runner, tmp_path) == {"/opt/tool/done": b"7.1"}
    steps = [testing.describe_step(step) for step in runner.programs[-1].steps]
    assert steps == [
        "envtool.build.container_steps:unpack /run/envtool/blobs/tool.tar /opt/tool 0 False",
        "setup 7.1 fast",
    ]
    assert not os.listdir(tmp_path / "store" / "tmp")


def test_a_layer_that_fails(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "tool.tar").write_bytes(b"tar")
    runner = testing.FakeRunner()
    runner.on("tool --version", status=1)
    with pytest.raises(MakeError, match="tool does not run"):
        testing.build_layer(Tool(), "fast", runner, tmp_path)
    runner.on("tool --version", output="7.1\n")
    runner.on("setup", output="out of date\n", status=2)
    with pytest.raises(BuildError) as found:
        testing.build_layer(Tool(), "fast", runner, tmp_path)
    assert found.value.output == "out of date"


def test_what_the_page_shows(tmp_path):
    """The example of docs/plugins.md, with the plugin that the page makes."""
    blocks = TUTORIAL.read_text().split("```python\n")[1:]
    texts = [block.split("```\n")[0] for block in blocks]
    (kind,) = [text for text in texts if "class Motd" in text]
    (example,) = [text for text in texts if "FakeRunner" in text]
    names = {}
    exec(compile(kind, "motd.py", "exec"), names)
    exec(compile(example.replace("from envtool_motd import Motd\n", ""), "example.py", "exec"), names)
    names["test_the_layer"](tmp_path)
