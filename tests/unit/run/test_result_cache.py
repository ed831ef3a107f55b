"""What decides a result, and what of it does not."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest

from envtool import keys
from envtool.build.scheduler import Stack
from envtool.model import BaseSpec, Command, Env, Task, Where
from envtool.run import result_cache
from envtool.store import record_results, results

HERE = Where(file="envtool.yaml", line=1, column=1)
BASE = BaseSpec(name="base", kind="tarball", options=None, where=HERE)
TASK = Task(name="test", commands=(Command(shell="true"),), where=HERE)
ENV = Env(name="unit", group="unit", base=BASE, layers=(), tasks=(TASK,), where=HERE, passed=("MY_*",))


def made(diff_id, key, mounts=()):
    kind = SimpleNamespace(
        build=lambda request, pins: SimpleNamespace(mounts=mounts), variables=lambda request, pins: {}
    )
    node = SimpleNamespace(kind=kind, spec=BASE, subject="base")
    settled = SimpleNamespace(node=node, request=None, pins=None, epoch=0, key=key)
    return SimpleNamespace(settled=settled, diff_id=diff_id)


def key(tmp_path, *, env=ENV, task=TASK, host=None, stack=(("d1", "k1"), ("d2", "k2")), mounts=(), arch="x", view="v"):
    setting = SimpleNamespace(root=str(tmp_path), arch=arch)
    asked = result_cache.TaskRequest(env=env, task=task, context=setting, log="", host=host or {"MY_A": "1", "B": "2"})
    return keys.digest(
        result_cache.make_result_document(asked, Stack(made=tuple(made(*each, mounts) for each in stack)), view)
    )


def test_what_decides_a_result(tmp_path):
    mount = (SimpleNamespace(source="/usr", target="/usr"),)
    each = [
        key(tmp_path),
        key(tmp_path, view="w"),
        key(tmp_path, arch="y"),
        key(tmp_path, stack=(("d1", "k1"), ("d3", "k2"))),
        key(tmp_path, stack=(("d2", "k2"), ("d1", "k1"))),
        key(tmp_path, stack=(("d1", "k1"),)),
        key(tmp_path, mounts=mount),
        key(tmp_path, mounts=mount, stack=(("d1", "k3"), ("d2", "k2"))),
        key(tmp_path, host={"MY_A": "2"}),
        key(tmp_path, host={"MY_A": "1", "MY_B": ""}),
        key(tmp_path, env=replace(ENV, set={"A": "b"})),
        key(tmp_path, env=replace(ENV, name="other")),
        key(tmp_path, env=replace(ENV, workdir="sub")),
        key(tmp_path, env=replace(ENV, network=True)),
        key(tmp_path, task=replace(TASK, commands=(Command(shell="false"),))),
        key(tmp_path, task=replace(TASK, commands=(Command(argv=("true",)),))),
        key(tmp_path, task=replace(TASK, commands=TASK.commands * 2)),
        key(tmp_path, task=replace(TASK, user="root")),
        key(tmp_path, task=replace(TASK, outputs=("dist",))),
    ]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    each.append(key(tmp_path))  # a task may ask whether there is a repository, and open nothing
    assert len(set(each)) == len(each)


def test_what_does_not(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    same = key(tmp_path)
    assert key(tmp_path / "elsewhere") == same
    assert key(tmp_path, stack=(("d1", "rebuilt"), ("d2", "and came out the same"))) == same
    assert key(tmp_path, task=replace(TASK, timeout=5.0, name="other")) == same
    assert key(tmp_path, env=replace(ENV, scratch="disk")) == same


def test_a_secret_is_not_written_down(tmp_path):
    setting = SimpleNamespace(root=str(tmp_path), arch="x")
    asked = result_cache.TaskRequest(env=ENV, task=TASK, context=setting, log="", host={"MY_TOKEN": "hunter2"})
    document = result_cache.make_result_document(asked, Stack(made=(made("d", "k"),)), "v")
    assert b"hunter2" not in keys.canonical_json(document)
    assert [*document["passed"]] == ["MY_TOKEN"]


@pytest.mark.parametrize("wrong", ["missing", "content", "mode", "link", "directory"])
def test_what_is_missing_or_different_is_put_back(tmp_path, store, wrong):
    root = tmp_path / "project"
    (root / "dist").mkdir(parents=True)
    app, link, log = root / "dist/app", root / "dist/link", tmp_path / "log"
    app.write_text("one")
    app.chmod(0o755)
    os.symlink("app", link)
    log.write_text("")
    document = {"a": 1}
    run = results.StoredRun(env="unit", task="build", started=1.0, seconds=1.0, host="")
    record_results.store_result(
        store, [document], run, owner="o", log=str(log), root=str(root), outputs=["dist/app", "dist/link"]
    )
    found = results.find(store, keys.digest(document))
    before = app.stat()
    assert result_cache._restore_outputs(found, str(root))
    assert app.stat().st_ino == before.st_ino
    if wrong == "mode":
        app.chmod(0o600)
    elif wrong == "content":
        app.write_text("two")
    elif wrong == "link":
        link.unlink()
        os.symlink("/etc/passwd", link)
    else:
        app.unlink()
        if wrong == "directory":
            (app / "x").mkdir(parents=True)
            assert not result_cache._restore_outputs(found, str(root)), "a directory in the way is nobody's to remove"
            return
    assert result_cache._restore_outputs(found, str(root))
    assert (app.read_text(), app.stat().st_mode, app.stat().st_mtime_ns) == ("one", before.st_mode, before.st_mtime_ns)
    assert os.readlink(link) == "app"
