"""Why a task is run again: all of what differs between two result documents, and which files of the project."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool import keys
from envtool.model import Where
from envtool.plan.change_values import ComparedDocument, Parent
from envtool.plan.why_task import CurrentTask, PastRun, compare_runs, explain_task, nearest_run

HERE = Where(file="envtool.yaml", line=9, column=7)


def document(**changes):
    return {
        "format": 1,
        "stack": [["sha256:b", ""], ["sha256:l", ""]],
        "view": "v1",
        "history": "h1",
        "commands": [["/bin/sh", "-ec", "pytest -q"]],
        "workdir": "/project",
        "variables": {"A": "1"},
        "passed": {"TOKEN": "0" * 64},
        "user": "user",
        "outputs": ["dist/*"],
        "network": False,
        "arch": "x86_64",
        "services": [],
    } | changes


LEAVES = {
    "format": ({"format": 2}, ("format", "format")),
    "stack": ({"stack": [["sha256:b", ""], ["sha256:x", ""]]}, ("layer", "")),
    "base": ({"stack": [["sha256:x", ""], ["sha256:l", ""]]}, ("base", "")),
    "a layer's key": ({"stack": [["sha256:b", "k"], ["sha256:l", ""]]}, ("base", "")),
    "view": ({"view": "v2"}, ("file", "")),
    "history": ({"history": "h2"}, ("file", ".git")),
    "command": ({"commands": [["/bin/sh", "-ec", "pytest"]]}, ("spec", "commands")),
    "workdir": ({"workdir": "/project/sub"}, ("spec", "workdir")),
    "variable": ({"variables": {"A": "2"}}, ("variable", "A")),
    "passed": ({"passed": {"TOKEN": "1" * 64}}, ("variable", "TOKEN")),
    "user": ({"user": "root"}, ("spec", "user")),
    "outputs": ({"outputs": ["dist/*", "x"]}, ("spec", "outputs")),
    "network": ({"network": True}, ("spec", "network")),
    "arch": ({"arch": "aarch64"}, ("arch", "arch")),
    "service": ({"services": ["db"]}, ("spec", "services")),
    "a part of a later envtool": ({"limits": 1}, ("other", "limits")),
}


def compare(old, new, **more):
    return compare_runs(ComparedDocument(document=old), ComparedDocument(document=new), **more)


@pytest.mark.parametrize("leaf", LEAVES)
def test_one_changed_leaf_is_named(leaf):
    changes, expected = LEAVES[leaf]
    (one,) = compare(document(), document(**changes))
    assert (one.part, "" if one.part in ("base", "layer") else one.name) == expected


def test_of_equal_documents_nothing_is_said():
    assert compare(document(), copy.deepcopy(document())) == ()


@given(st.data())
def test_something_changed_exactly_when_the_keys_differ(data):
    old, new = (
        document(
            **{
                key: value
                for leaf in data.draw(st.sets(st.sampled_from(sorted(LEAVES)), max_size=4))
                for key, value in LEAVES[leaf][0].items()
            }
        )
        for _ in range(2)
    )
    assert bool(compare(old, new)) == (keys.digest(old) != keys.digest(new))


def test_a_passed_variables_value_is_never_shown():
    (one,) = compare(document(), document(passed={"TOKEN": "1" * 64}))
    assert (one.old, one.new, one.note) == ("", "", "passed from outside")


def test_files_of_the_project_are_named():
    old = {"a": (0o644, "1"), "b": (0o644, "2"), "moved": (0o644, "3"), "gone": (0o644, "4"), "x": (0o644, "5")}
    new = {"a": (0o644, "9"), "b": (0o755, "2"), "here": (0o644, "3"), "new": (0o644, "7"), "x": (0o644, "5")}
    found = compare(document(), document(view="v2"), views=(old, new))
    assert [(one.name, one.how, one.note or one.old) for one in found] == [
        ("a", "changed", "content"),
        ("b", "changed", "mode"),
        ("here", "renamed", "moved"),
        ("new", "added", ""),
        ("gone", "removed", ""),
    ]


def test_the_nearest_run_is_the_least_different_then_the_newest():
    runs = [
        PastRun(key="1", document=document(view="v2"), time=1.0),
        PastRun(key="2", document=document(view="v3"), time=2.0),
        PastRun(key="3", document=document(view="v3", user="root"), time=3.0),
    ]
    assert nearest_run(document(), runs).key == "2"
    assert nearest_run(document(), []) is None


BASE = Parent(diff_id="sha256:b", name="host", subject="base")
LAYER = Parent(diff_id="sha256:l", name="deps")


def task(**more):
    return CurrentTask(
        env="unit", name="test", where=HERE, **({"document": document(), "key": "k", "below": (BASE, LAYER)} | more)
    )


def test_a_remembered_run_is_told_with_when_and_where():
    told = explain_task(task(), [PastRun(key="k", document=document(), time=5.0, host="build7")])
    assert (told.state, told.since.time, told.summary) == ("cached", 5.0, "on build7")


def test_a_run_that_is_due_says_what_changed_and_what_did_not():
    runs = [PastRun(key="x", document=document(view="v0"), time=5.0)]
    manifests = {"v0": {"a.py": (0o644, "1")}}
    told = explain_task(task(), runs, view=manifests.get, now={"a.py": (0o644, "2")}, ground=lambda _: (BASE, LAYER))
    assert told.state == "run"
    assert [(one.part, one.name, one.note) for one in told.changes] == [("file", "a.py", "content")]
    assert told.same == ("the base", "layer deps", "its commands", "variables")


def test_who_waits_and_who_is_always_run():
    assert explain_task(task(document=None, waits=("deps",)), []).state == "wait"
    told = explain_task(task(document=None, never="it has the network, and is run every time"), [])
    assert (told.state, told.since, told.summary) == ("run", None, "it has the network, and is run every time")
