"""Which notes of a last run begin something (run/early_start.py)."""

from __future__ import annotations

import os

import pytest

from envtool.cli import fastpath
from envtool.fs import store_files
from envtool.run import early_start, fast_exec


@pytest.fixture(params=["services", "alone"])
def noted(request, tmp_path, monkeypatch):
    """A store with the note of a task, beside services or alone; `begun` has what began."""
    (tmp_path / "plans").mkdir()
    (tmp_path / "lock").touch()
    spec = tmp_path / "envtool.yaml"
    spec.write_text("services: {}\n")
    begun = []
    for name, expected in (("_begin", "services"), ("_begin_task", "alone")):
        starts = (
            (lambda store, plan, running, locks: begun.append((plan, locks))) if request.param == expected else None
        )
        monkeypatch.setattr(early_start, name, starts)
    plan = {
        "version": early_start.plan_version(),
        "spec": str(spec),
        "task": "test",
        "envs": ("unit",),
        "watch": [(str(spec), fast_exec.stat_signature(str(spec)))],
        "locks": (str(tmp_path / "lock"),),
        "sees_project": False,
        "services": ["web"] if request.param == "services" else [],
    }
    write(tmp_path, plan)
    yield tmp_path, plan, begun
    for _, locks in begun:
        for descriptor in locks:
            os.close(descriptor)


def write(store, plan, data=b""):
    path = early_start.plan_path(str(store), str(store / "envtool.yaml"), "test", ("unit",))
    store_files.replace_if_possible(path, data or store_files.encode_with_checksum(plan))


def start(store, task="test", envs=("unit",)):
    early_start.start(str(store), str(store / "envtool.yaml"), task, envs)


def test_a_note_begins_with_its_layers_locked(noted):
    store, plan, begun = noted
    start(store)
    [(found, locks)] = begun
    assert found == plan
    assert len(locks) == 1


def test_beside_a_report_only_services_begin(noted):
    """It may be in the project, and is hidden from the task then."""
    store, plan, begun = noted
    early_start.start(str(store), plan["spec"], "test", ("unit",), alone=False)
    assert len(begun) == bool(plan["services"])


@pytest.mark.parametrize("change", ["spec", "version", "task", "envs", "kernel", "no spec"])
def test_another_one_begins_nothing(noted, change, monkeypatch):
    store, plan, begun = noted
    match change:
        case "spec":
            (store / "envtool.yaml").write_text("services: {a: b}\n")
        case "no spec":
            (store / "envtool.yaml").unlink()
        case "version":
            write(store, plan | {"version": (0,)})
        case "kernel":
            monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "x", "0.0", "x", "x")))
        case "task":
            write(store, plan | {"task": "other"})
        case "envs":
            start(store, envs=())
            return
    start(store)
    assert begun == []


@pytest.mark.parametrize("data", [b"", b"junk", b"envtool\n" + bytes(30)])
def test_a_damaged_note_begins_nothing(noted, data):
    store, _, begun = noted
    write(store, None, data or b"\0")
    start(store)
    assert begun == []


@pytest.mark.parametrize("missing", ["version", "watch", "locks", "sees_project", "services"])
def test_a_note_that_lacks_something_begins_nothing(noted, missing):
    store, plan, begun = noted
    write(store, {name: value for name, value in plan.items() if name != missing})
    start(store)
    assert begun == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["test"], ("test", (), True)),
        (["test", "--again", "-e", "unit", "-q"], ("test", ("unit",), True)),
        (["run", "load", "--json", "-x"], ("load", (), True)),
        (["build", "-j4", "--junit", "x.xml"], ("build", (), False)),
        (["test", "--", "-k", "slow"], None),
        (["test", "--allow-pass", "HOME"], None),
        (["test", "--refresh"], None),
        (["test", "--limit", "memory=1GB"], None),
        (["test", "--report", "markdown=x"], None),
        (["test", "-f", "other.yaml"], None),
        (["test", "more"], None),
        (["exec", "unit", "--", "true"], None),
        (["list"], None),
        ([], None),
    ],
)
def test_which_command_lines_begin_something(words, expected, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(
        early_start, "start", lambda _store, _spec, task, envs, *, alone: begun.append((task, envs, alone))
    )
    monkeypatch.setenv("ENVTOOL_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("_ENVTOOL_COMPLETE", raising=False)
    (tmp_path / "envtool.yaml").write_text("services: {}\n")
    monkeypatch.chdir(tmp_path)
    fastpath.start_services(words)
    assert begun == ([expected] if expected else [])


def test_a_program_gets_the_values_of_its_run():
    address = early_start.ADDRESS
    program = {
        "operations": (("hosts", "/etc/hosts", f"{address} db-1\n".encode()), ("bind", "/x", early_start.PLACE, True)),
        "hidden": ("old",),
        "steps": (),
    }
    filled = early_start._fill_in(program, "10.64.0.2", "/store/tmp/a", ("new",))
    assert filled["operations"] == (("hosts", "/etc/hosts", b"10.64.0.2 db-1\n"), ("bind", "/x", "/store/tmp/a", True))
    assert filled["hidden"] == ("new",)
    assert early_start._fill_in(program | {"hidden": ()}, "10.64.0.2", "", ("new",))["hidden"] == ()
