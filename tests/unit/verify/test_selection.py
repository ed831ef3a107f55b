from __future__ import annotations

import os
import random

import pytest

from envtool.api import Base
from envtool.errors import UsageError
from envtool.model import BaseSpec, Command, Env, LayerSpec, Spec, Task, Where
from envtool.plan.graph import build_graph
from envtool.plugins import PluginRegistry
from envtool.verify import selection
from envtool.verify.outputs import copy_checkout
from envtool.verify.variations import FIRST, SECOND

HERE = Where(file="envtool.yaml", line=1, column=1)


class Box(Base):
    name = "box"
    schema = {}


def env(name, *layers, base="one", tasks=()):
    return Env(
        name=name,
        group=name.partition("[")[0],
        base=BaseSpec(name=base, kind="box", options=base, where=HERE),
        layers=tuple(LayerSpec(name=each, kind="box", options=each, where=HERE) for each in layers),
        tasks=tuple(Task(name=task, commands=(Command(shell="true"),), where=HERE) for task in tasks),
        where=HERE,
    )


def spec(*envs):
    return Spec(file="envtool.yaml", root="/", envs=envs, bases={}, layers={}, read=())


SPEC = spec(env("unit[a]", "python", "deps"), env("unit[b]", "python", base="two", tasks=("build",)), env("lint"))
GRAPH = build_graph(SPEC, PluginRegistry(bases={"box": Box()}, layers={"box": Box()}))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), ["one", "python in unit[a]", "deps", "two", "python in unit[b]"]),
        (("python",), ["python in unit[a]", "python in unit[b]"]),
        (("d*",), ["deps"]),
        (("two", "deps"), ["deps", "two"]),
        (("unit[b]",), ["two", "python in unit[b]"]),
        (("lint",), ["one"]),
        (("unit",), ["one", "python in unit[a]", "deps", "two", "python in unit[b]"]),
    ],
)
def test_names_of_bases_layers_and_envs(names, found):
    assert [target.name for target in selection.select_layers(SPEC, GRAPH, names)] == found


def test_an_unknown_name_is_told_the_near_one():
    with pytest.raises(UsageError) as caught:
        selection.select_layers(SPEC, GRAPH, ("pyton",))
    assert caught.value.hint == "did you mean `python`?"


def test_outputs_are_those_of_build():
    assert [(each.name, task.name) for each, task in selection.select_tasks(SPEC, ())] == [("unit[b]", "build")]
    with pytest.raises(UsageError):
        selection.select_tasks(SPEC, ("lint",))
    with pytest.raises(UsageError, match="no env `deps`"):
        selection.select_tasks(SPEC, ("deps",))


def test_the_two_sides_differ_in_all_that_may_not_matter(monkeypatch):
    monkeypatch.setenv("LC_TIME", "de_DE")
    monkeypatch.setenv("https_proxy", "http://proxy.invalid")
    one, two = (side.environment("/t") for side in (FIRST, SECOND))
    for name in ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "PYTHONHASHSEED"):
        assert one[name] != two[name]
    assert "LC_TIME" not in one
    assert one["https_proxy"] == two["https_proxy"]
    assert FIRST.umask != SECOND.umask
    assert {FIRST.container.order, SECOND.container.order} == {"forward", "backward"}
    assert FIRST.variation("/f.so").faketime == ""
    assert (SECOND.variation("/f.so").faketime, SECOND.variation("/f.so").ahead) == ("/f.so", SECOND.ahead)
    assert SECOND.variation("").ahead == 0


def test_a_second_clone(tmp_path):
    source = tmp_path / "source"
    (source / "sub" / "node_modules").mkdir(parents=True)
    (source / "sub" / "node_modules" / "x").write_text("hidden")
    (source / "run.sh").write_text("#!")
    (source / "run.sh").chmod(0o750)
    (source / "link").symlink_to("run.sh")
    (source / ".git").mkdir()
    os.mkfifo(source / "fifo")
    copy_checkout(str(source), str(tmp_path / "copy"), frozenset({"sub/node_modules"}))
    made = tmp_path / "copy"
    assert sorted(str(path.relative_to(made)) for path in made.rglob("*")) == [".git", "link", "run.sh", "sub"]
    assert (made / "run.sh").stat().st_mode & 0o777 == 0o750
    assert (made / "run.sh").stat().st_mtime < (source / "run.sh").stat().st_mtime - 86400
    assert os.readlink(made / "link") == "run.sh"


@pytest.mark.parametrize("oldest", [0, 320_000_000, 1_700_000_000])
def test_which_file_of_a_second_clone_is_newer_stays_as_it_is(tmp_path, oldest):
    source, rng = tmp_path / "source", random.Random(oldest)
    (source / "sub").mkdir(parents=True)
    for number in range(40):
        path = source / rng.choice(["", "sub"]) / f"f{rng.random()}"
        path.write_text("")
        when = oldest * 10**9 + number // 2 * rng.choice([1, 10**9, 10**16])
        os.utime(path, ns=(when, when))
    os.utime(source / "sub", (oldest, oldest))
    (source / "link").symlink_to("sub")
    copy_checkout(str(source), str(tmp_path / "copy"), frozenset())
    pairs = [
        (path.lstat().st_mtime_ns, (tmp_path / "copy" / path.relative_to(source)).lstat().st_mtime_ns)
        for path in source.rglob("*")
    ]
    (shift,) = {now - before for before, now in pairs}
    assert abs(shift) > 86400 * 10**9
    if oldest > 315_532_800:
        assert min(now for _, now in pairs) >= 315_532_800 * 10**9, "what zip can say is what zip can say"
