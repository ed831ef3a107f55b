"""The plan of a run that was told: whatever decided it and is not as it was sends the long way."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from envtool.api import Base, Looked
from envtool.app import tasks
from envtool.app.command_request import CommandRequest
from envtool.build.scheduler import Stack
from envtool.build.stack import opened_files_question
from envtool.cli import fastpath
from envtool.fs import store_files
from envtool.model import BaseSpec, Env, LayerSpec, Spec, Where
from envtool.plugins import discover
from envtool.project import snapshot
from envtool.project.host_access import HostPermissions
from envtool.run import fast_plan, fast_test
from envtool.run.cached_task import CachedResult
from envtool.store import answer_cache, results

HERE = Where(file="envtool.yaml", line=1, column=1)


@pytest.fixture
def run(tmp_path, store, monkeypatch):
    """A project, a result in the store, and `write()`, which keeps a plan of it and says whether it did."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "envtool.yaml").write_text("version: 1\n")
    result = tmp_path / "store-result"
    result.mkdir()
    for name in ("log", "result.json"):
        (result / name).write_text("said\n")
    monkeypatch.setenv("MY_TOKEN", "1")
    monkeypatch.setattr(fastpath, "store_directory", lambda: store.root)
    monkeypatch.setattr(fast_plan, "CLOCK_MARGIN", -(10**10))  # what was just made may be read
    monkeypatch.setattr(fast_plan, "_program_paths", lambda spec: iter([str(root / "envtool.yaml")]))
    monkeypatch.setattr(fast_plan, "_stack_paths", lambda stack, setting: iter([]))
    monkeypatch.setattr(snapshot, "CLOCK_GRAIN", -(10**10))
    base = BaseSpec(name="host", kind="host", options=None, where=HERE)
    env = Env(name="unit", group="unit", base=base, layers=(), tasks=(), where=HERE, passed=("MY_*",))
    found = results.StoredResult(
        key="k",
        directory=str(result),
        document={},
        run=results.StoredRun(env="unit", task="test", started=time.time(), seconds=1.0, host=""),
        outputs=(),
    )
    looked: list[Looked | None] = [None]
    kind = type("Machine", (Base,), {"looked": lambda self, pins: looked[0]})()
    resolved = SimpleNamespace(node=SimpleNamespace(kind=kind, base_kind=kind), pins=None)
    made = SimpleNamespace(layer=SimpleNamespace(tree="/somewhere", key="k"), resolved=resolved)
    view = snapshot.take_snapshot(str(root), snapshot.cache_path(store.root, str(root)))
    trace = CachedResult(env=env, task="test", stack=Stack(layers=(made,)), view=view.digest, stored=found)
    spec = Spec(file="envtool.yaml", root=str(root), envs=(env,), bases={}, layers={}, read=())
    files = SimpleNamespace(seen=list)
    setting = SimpleNamespace(
        store=store, root=str(root), allowed=HostPermissions(), cancel=SimpleNamespace(reader=-1), logs=()
    )

    def write(*, selected=(), began=None, warning="", **changes):
        layer = LayerSpec(name="deps", kind="pip", options={}, where=HERE, warning=warning)
        project = replace(spec, envs=(replace(env, layers=(layer,)),))
        merged = {name: getattr(trace, name) for name in ("env", "task", "stack", "view", "stored")} | changes
        began = time.time_ns() if began is None else began
        fast_plan.write_test_plan(
            [CachedResult(**merged)], project, files, setting, plugins=discover(), selected=selected, began=began
        )
        return fast_test.read_plan(store.root, f"{root}/envtool.yaml", "test", selected) is not None

    write.root, write.found, write.made, write.result, write.store = root, found, made, result, store
    write.looked, write.setting = looked, setting
    return write


def short(run, *words):
    return fastpath.try_task(["-C", str(run.root), "test", *words])


def test_an_unchanged_run_is_told(run, capsys):
    assert run()
    assert short(run) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(" = unit           test    unchanged since ")
    assert "── 1 unchanged in 0." in said.err
    assert (run.root / ".envtool/last/unit.test.log").read_text() == "said\n"
    assert short(run, "-q") == 0
    assert capsys.readouterr().err.startswith("── 1 unchanged in 0.")
    assert short(run, "-e", "unit") is None
    assert run(selected=("unit",))
    assert short(run, "-e", "unit") == 0
    capsys.readouterr()
    assert short(run, "--color", "always") == 0
    assert capsys.readouterr().err.startswith(" \x1b[")
    assert short(run, "--color=never") == 0
    assert "\x1b[" not in capsys.readouterr().err
    for word in ("-v", "-vvv", "--verbose", "-x", "--fail-fast", "-xv", "--offline"):
        assert short(run, word) == 0
        assert capsys.readouterr().err.startswith(" = unit           test    unchanged since ")
    assert fastpath.try_task(["-C", str(run.root), "run", "test", "-q"]) == 0
    assert fastpath.try_task(["run", "lint", "-C", str(run.root)]) is None


def test_a_layer_with_a_warning_takes_the_long_way_which_prints_it(run):
    assert not run(warning="uv.lock does not satisfy `attrs<24`")
    assert run()


@pytest.mark.parametrize(
    "words",
    [["-v", "-q"], ["-v", "--json"], ["--again"], ["-xx=1"], ["--fail-fast=1"], ["--offline=1"], ["--refresh"], ["--locked"], ["--", "a"], ["-j", "0"], ["-e"], ["-C", "-q"],
     ["test"], ["x"], ["--color", "blue"], ["--junit", "."], ["-f", "envtool.yaml"]],
)  # fmt: skip
def test_only_the_plainest_words_are_understood(run, words):
    assert run()
    assert short(run, *words) is None


def test_whatever_decided_it_counts(run, monkeypatch, tmp_path):
    assert run()

    def differs(patch):
        with monkeypatch.context() as changed:
            patch(changed)
            assert short(run) is None
        assert short(run) == 0

    differs(lambda m: m.setenv("MY_TOKEN", "2"))
    differs(lambda m: m.delenv("MY_TOKEN"))
    differs(lambda m: m.setenv("MY_OTHER", ""))
    differs(lambda m: m.setenv("ENVTOOL_DEBIAN_MIRROR", "http://mirror.example"))
    differs(lambda m: m.setenv("CI", "1"))
    differs(lambda m: m.syspath_prepend(str(tmp_path)))
    differs(lambda m: m.setattr("envtool.run.fast_exec.__version__", "99"))
    differs(lambda m: m.setattr(os, "geteuid", lambda: 4711))
    (run.root / "new").write_text("")
    assert short(run) is None
    (run.root / "new").unlink()
    assert short(run) == 0
    (run.root / "envtool.yaml").write_text("version: 1 \n")
    assert short(run) is None


@pytest.mark.parametrize("name", ["log", "result.json"])
def test_without_its_result_it_is_the_long_ways_matter(run, name):
    assert run()
    (run.result / name).write_text("")
    assert short(run) is None
    (run.result / name).unlink()
    assert short(run) is None


def test_what_is_not_plain_gets_no_plan(run):
    def with_run(**changes):
        values = {"env": "unit", "task": "test", "started": 1.0, "seconds": 1.0, "host": "", **changes}
        return results.StoredResult(
            key="k", directory=run.found.directory, document={}, run=results.StoredRun(**values), outputs=()
        )

    assert not run(stored=with_run(message="x: nothing matches"))
    outputs = (results.StoredOutput(path="a"),)
    kept = {"key": "k", "directory": run.found.directory, "document": {}, "run": run.found.run}
    assert not run(stored=results.StoredResult(**kept, outputs=outputs))
    gone = SimpleNamespace(layer=None)
    assert not run(stack=Stack(layers=(gone,)))
    env = Env(name="ünit", group="u", base=None, layers=(), tasks=(), where=HERE)
    assert not run(env=env)


def test_what_changed_while_it_was_read_gets_no_plan(run, monkeypatch):
    monkeypatch.setattr(fast_plan, "CLOCK_MARGIN", 0)
    assert not run(began=os.stat(run.root / "envtool.yaml").st_ctime_ns - 1)
    assert run(began=time.time_ns() + 10**9)


@pytest.mark.parametrize(
    "content", [b"", b"junk", store_files.encode_with_checksum([1]), store_files.encode_with_checksum({"version": 1})]
)
def test_a_damaged_plan_is_no_plan(run, content):
    assert run()
    with open(fast_test.plan_path(run.store.root, f"{run.root}/envtool.yaml", "test", ()), "wb") as file:
        file.write(content)
    assert short(run) is None


def test_a_spec_that_links_elsewhere_is_each_projects_own(run):
    assert run()
    other = run.root.parent / "other"
    other.mkdir()
    os.symlink(run.root / "envtool.yaml", other / "envtool.yaml")
    assert fastpath.try_task(["-C", str(other), "test"]) is None


def test_without_a_record_nobody_knows_the_view(run):
    assert run()
    os.unlink(snapshot.cache_path(run.store.root, str(run.root)))
    assert short(run) is None


def test_this_machine_counts_as_far_as_it_was_opened(run, tmp_path, monkeypatch):
    """Of a tree all directories, and of its files those that the result and each layer opened; all if one is not
    known."""
    tree = tmp_path / "local"
    tree.mkdir()
    for name in ("by-task", "by-layer", "idle"):
        (tree / name).write_text("1")
    resolved = SimpleNamespace(**vars(run.made.resolved), key="l")
    base, layer = run.made, SimpleNamespace(layer=SimpleNamespace(tree="/x"), resolved=resolved)
    stack = Stack(layers=(base, layer))

    def host_state():
        paths = [tree, *tree.iterdir()]
        run.looked[0] = Looked(states={str(each): each.stat().st_ctime_ns for each in paths}, trees=(str(tree),))

    def told(name):
        host_state()
        assert run(stack=stack)
        assert short(run) == 0
        (tree / name).write_text("2")
        return short(run) == 0

    assert [told(name) for name in ("by-task", "by-layer", "idle")] == [False] * 3, "nothing is known yet"
    answer_cache.put(run.store, opened_files_question("result", "k"), [str(tree / "by-task")])
    assert [told(name) for name in ("by-task", "by-layer", "idle")] == [False] * 3, "nothing is known of the layer"
    answer_cache.put(run.store, opened_files_question("layer", "l"), [str(tree / "by-layer")])
    assert [told(name) for name in ("by-task", "by-layer", "idle")] == [False, False, True]
    assert not told("appears")
    host_state()
    assert run(stack=stack)
    os.replace(tree / "by-task", tree / "idle")
    assert short(run) is None
    answer_cache.put(run.store, opened_files_question("layer", "l"), None)  # its queue ran over
    assert not told("idle")


def test_what_prepared_a_service_opened_counts(run, tmp_path):
    """As what a layer opened: a state without a list opened anything."""
    tree = tmp_path / "local"
    tree.mkdir()
    for name in ("by-task", "by-prepare", "idle"):
        (tree / name).write_text("1")

    def told(name, *states):
        paths = [tree, *tree.iterdir()]
        run.looked[0] = Looked(states={str(each): each.stat().st_ctime_ns for each in paths}, trees=(str(tree),))
        assert run(states=states)
        assert short(run) == 0
        (tree / name).write_text("2")
        return short(run) == 0

    answer_cache.put(run.store, opened_files_question("result", "k"), [str(tree / "by-task")])
    assert told("by-prepare")
    assert [told(name, "s", "t") for name in ("by-task", "by-prepare", "idle")] == [False] * 3
    answer_cache.put(run.store, opened_files_question("layer", "s"), [])
    assert not told("idle", "s", "t"), "nothing is known of the other state"
    answer_cache.put(run.store, opened_files_question("layer", "t"), [str(tree / "by-prepare")])
    assert [told(name, "s", "t") for name in ("by-task", "by-prepare", "idle")] == [False, False, True]


def test_a_machine_that_changes_gets_no_plan(run, monkeypatch):
    monkeypatch.setattr(fast_plan, "CLOCK_MARGIN", 10**9)
    run.looked[0] = Looked(states={"/usr": time.time_ns()})
    assert not run(began=time.time_ns() + 10**8)


def test_another_kernel_counts(run, monkeypatch):
    assert run()
    before = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*before[:2], "99.1", *before[3:])))
    assert short(run) is None


def test_a_repository_that_comes_or_goes_counts(run):
    assert run()
    subprocess.run(["git", "init", "-q", str(run.root)], check=True)
    assert short(run) is None


@pytest.mark.parametrize(
    ("options", "written"),
    [({}, True), ({"locked": True}, True), ({"fail_fast": True}, True), ({"offline": True}, True),
     ({"locked": False}, False), ({"refresh": True}, False), ({"args": ("x",)}, False)],
)  # fmt: skip
def test_a_run_that_may_leave_the_lock_is_not_remembered(monkeypatch, options, written):
    """In CI, the next `test` would else not see that the lock does not fit the spec."""
    found = []
    monkeypatch.setattr(fast_plan, "write_test_plan", lambda *_, **__: found.append(1))
    project = SimpleNamespace(kinds=SimpleNamespace(hooks=lambda name: ()), spec=None, files=None, context=None)
    tasks._write_fast_plan(CommandRequest(directory=".", **options), project, [], 0)
    assert bool(found) == written
