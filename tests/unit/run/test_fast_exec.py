import fcntl
import os
import subprocess

import pytest

from envtool.fs import store_files
from envtool.project import host_access
from envtool.run import fast_exec


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "store/plans").mkdir(parents=True)
    spec = tmp_path / "envtool.yaml"
    spec.write_text("version: 1\n")
    store = str(tmp_path / "store")
    made = {
        "version": fast_exec.plan_version(),
        "spec": str(spec),
        "env": "unit",
        "locks": (),
        "passed": (),
        "allowed": (),
        "watch": [(str(spec), fast_exec.stat_signature(str(spec))), (str(tmp_path / "absent"), ())],
    }

    def write(**changes):
        with open(fast_exec.plan_path(store, str(spec), "unit"), "wb") as file:
            file.write(store_files.encode_with_checksum({**made, **changes}))
        return fast_exec.read_plan(store, str(spec), "unit")

    write.spec, write.store, write.top = spec, store, tmp_path
    return write


def test_an_unchanged_project_is_ready(plan):
    assert plan()["env"] == "unit"


def test_any_change_sends_the_long_way(plan):
    assert plan(version=("older",)) is None
    assert plan(spec="/other") is None  # two names with one short hash
    assert plan(env="other") is None
    plan()
    plan.spec.write_text("version: 1 \n")
    assert fast_exec.read_plan(plan.store, str(plan.spec), "unit") is None


def test_what_was_not_there_counts_when_it_comes(plan):
    plan()
    (plan.top / "absent").write_text("")
    assert fast_exec.read_plan(plan.store, str(plan.spec), "unit") is None


@pytest.mark.parametrize(
    "content", [b"", b"junk", store_files.encode_with_checksum([1]), store_files.encode_with_checksum({"version": 1})]
)
def test_a_damaged_plan_is_no_plan(plan, content):
    plan()
    with open(fast_exec.plan_path(plan.store, str(plan.spec), "unit"), "wb") as file:
        file.write(content)
    assert fast_exec.read_plan(plan.store, str(plan.spec), "unit") is None


def test_what_git_ignores_is_asked_anew(tmp_path):
    from envtool.project import git, source_files

    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("*.o\nout/\n")
    (tmp_path / "a.o").write_text("")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x").write_text("")
    described = {
        "repositories": tuple(source_files.repositories(str(tmp_path))),
        "project": str(tmp_path),
        "hidden": (source_files.OWN,),
    }
    assert (
        fast_exec.list_hidden(described, fast_exec.start_gits(described))
        == source_files.list_hidden(str(tmp_path))
        == (".envtool", "a.o", "out")
    )
    (tmp_path / ".git/index").write_bytes(b"DIRC\0\0\0\2" + b"x" * 40)
    with pytest.raises(git.RepositoryError, match="git cannot read"):
        fast_exec.list_hidden(described, fast_exec.start_gits(described))
    (tmp_path / ".git/HEAD").unlink()
    with pytest.raises(git.RepositoryError, match="no git repository"):
        fast_exec.start_gits(described)


def test_only_what_is_passed_reaches_a_command(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "1")
    monkeypatch.setenv("OTHER", "2")
    made = {"environment": {"PATH": "/bin", "TERM": "dumb"}, "let": {"MY_TOKEN": "1"}}
    assert fast_exec.environment(made, terminal=False) == {"PATH": "/bin", "TERM": "dumb", "MY_TOKEN": "1"}
    assert fast_exec.select_passed({"passed": ("MY_*",), "allowed": ("MY_*",)}) == {"MY_TOKEN": "1"}
    assert fast_exec.select_passed({"passed": (), "allowed": ()}) == {}


def test_a_variable_that_came_after_the_plan_and_is_not_allowed_sends_the_long_way(plan, monkeypatch):
    monkeypatch.setenv("MY_MODE", "1")
    pattern = {"passed": ("MY_*",), "allowed": ("MY_MODE",)}
    assert plan(**pattern)["let"] == {"MY_MODE": "1"}
    monkeypatch.setenv("MY_TOKEN", "secret")
    assert fast_exec.read_plan(plan.store, str(plan.spec), "unit") is None


def test_the_key_that_signs_is_never_passed(monkeypatch):
    monkeypatch.setenv("ENVTOOL_CACHE_KEY", "k")
    assert "ENVTOOL_CACHE_KEY" not in fast_exec.select_passed({"passed": ("*",), "allowed": ("*",)})
    assert fast_exec.SIGNING_KEY == host_access.SIGNING_KEY


def test_another_home_has_no_part_in_a_plan(plan, monkeypatch):
    plan()
    monkeypatch.setenv("XDG_CONFIG_HOME", "/elsewhere")
    assert fast_exec.read_plan(plan.store, str(plan.spec), "unit") is None


def test_the_layers_of_a_plan_are_held_and_it_is_used(plan):
    """Before it is looked whether they are there: gc cannot take them between the two."""
    lock = plan.top / "layer"
    os.makedirs(plan.top / "store/plans", exist_ok=True)
    place = fast_exec.plan_path(plan.store, str(plan.spec), "unit")

    def busy():
        with open(lock) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    made = plan(locks=(str(lock),))
    assert busy()
    fast_exec.release(made)
    assert not busy()
    os.utime(place, (1, 1))
    plan.spec.write_text("version: 1 \n")
    assert fast_exec.read_plan(plan.store, str(plan.spec), "unit") is None
    assert not busy()
    assert os.stat(place).st_mtime == 1
    made = plan(locks=(str(lock),), watch=[])
    os.utime(place, (1, 1))
    fast_exec.release(fast_exec.read_plan(plan.store, str(plan.spec), "unit"))
    assert os.stat(place).st_mtime > 1
