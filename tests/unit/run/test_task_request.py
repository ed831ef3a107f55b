"""A run as a plain value: what decides a result, what does not, and that another process could take it up."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict, replace
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from envtool import keys
from envtool.model import Command
from envtool.run import prepared_task
from envtool.run.task_request import TaskLayer, TaskRequest, TaskResult
from tests.unit.run.fakes import ENV, HOST, TASK, World, stack_of

TEXT = st.text(max_size=8) | st.binary(max_size=8).map(os.fsdecode)  # of a spec, or of the caller's environment
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
REQUESTS = st.builds(
    lambda variables, more, **fields: TaskRequest(
        variables={**variables, **more}, passed=tuple(sorted(more)), **fields
    ),
    variables=st.dictionaries(TEXT, TEXT, max_size=3), more=st.dictionaries(TEXT, TEXT, max_size=3),
    env=TEXT, task=TEXT, arch=TEXT, kernel=TEXT, view=TEXT, history=TEXT, repository=st.booleans(), workdir=TEXT,
    stack=st.lists(st.builds(TaskLayer, diff_id=TEXT, key=TEXT), max_size=3).map(tuple),
    commands=st.lists(TEXTS, max_size=3).map(tuple), user=st.sampled_from(["root", "user"]), network=st.booleans(),
    scratch=st.sampled_from(["memory", "disk"]), timeout=st.none() | st.floats(0, 1e6), outputs=TEXTS,
    outputs_limit=st.none() | st.integers(0), produced=TEXTS,
)  # fmt: skip


def request(top, *, env=ENV, task=TASK, host=None, stack=(), mounts=(), arch="x", view="v"):
    context = SimpleNamespace(root=str(top), arch=arch, cancel=SimpleNamespace(check=lambda: None))
    call = prepared_task.TaskCall(env=env, task=task, context=context, log="", host=HOST if host is None else host)
    return prepared_task.cacheable_request(call, stack_of(*stack, mounts=mounts), SimpleNamespace(digest=view))


def key(top, **changes):
    return request(top, **changes).key


def test_the_key_of_a_result_is_what_it_was(tmp_path):
    """As the envtools before this form of a request computed it: a change makes every stored result worthless."""
    assert key(tmp_path) == "6da5a1bbeb0719ecb93617e6fc9793bd5825bca6c4ae948c8664c6e36830ca68"
    task = replace(TASK, outputs=("dist/*",), user="root", commands=(Command(argv=("a", "b")), Command(shell="c")))
    env = replace(ENV, workdir="sub", set={"X": "ü"}, network=True)
    assert (
        key(tmp_path, env=env, task=task, stack=[("d9", "k9")], view="", arch="aarch64")
        == "37a01ff3d0758f342138fb3b0c8972d5457f57cead38a4c334dcd2f4d1ec4be9"
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
    assert key(tmp_path, task=replace(TASK, timeout=5.0, name="other", outputs_limit=1)) == same
    assert key(tmp_path, env=replace(ENV, scratch="disk", produced=("x",))) == same


def test_a_secret_is_not_written_down(tmp_path):
    secret = request(tmp_path, host={"MY_TOKEN": "hunter2"})
    assert b"hunter2" not in keys.canonical_json(secret.document())
    assert [*secret.document()["passed"]] == ["MY_TOKEN"]
    assert "hunter2" not in repr(secret)
    assert secret.variables["MY_TOKEN"] == "hunter2", "what runs it needs the value"


@given(REQUESTS)
def test_a_request_travels_as_json(one):
    there = TaskRequest.from_json(one.to_json())
    assert there == one
    assert there.document() == one.document()
    assert _is_plain(asdict(there))


def _is_plain(value):
    """Whether it is made of strings, numbers and collections of them alone."""
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(inner) for name, inner in value.items())
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or type(value) in (str, int, float, bool)


def test_a_result_travels_as_json():
    result = TaskResult(outcome="passed", status=0, started=1.5, seconds=0.25, message="é", outputs=("a/b",), host="h")
    assert TaskResult.from_json(result.to_json()) == result


def test_two_stores_and_two_checkouts_make_the_same_request(tmp_path):
    """Nothing of this machine is in it: neither the project's path, nor the store's, nor who built the layers."""
    task = replace(TASK, outputs=("dist/*",))
    one, two = (
        prepared_task.prepare_task(world.call(task=task), stack_of(("d1", made), tree=f"/{made}"))
        for world, made in ((World(tmp_path / "one"), "here"), (World(tmp_path / "two and longer"), "there"))
    )
    assert one.refusal is None
    assert one.request.view
    assert one.request == two.request
    text = one.request.to_json()
    assert text == two.request.to_json()
    assert str(tmp_path) not in json.loads(f"[{text}]")[0].values()
    assert str(tmp_path) not in text
