"""The lock as value and text: what fits, what moves, what a diff shows."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.errors import SpecError
from envtool.lock import text_format
from envtool.lock.diff import diff_locks
from envtool.lock.lock import (
    Lock,
    LockEntry,
    LockQuestion,
    lock_of,
    merge_locks,
    parents_digest,
    pinned_items,
    without_items,
    without_upgraded,
)

SHA = "ab" * 32


def question(name="deps", **more):
    return LockQuestion(
        **{"subject": "layer", "name": name, "kind": "pip", "platform": "x86_64", "asked": ["attrs"], **more}
    )


def pins(**versions):
    return {
        "files": [{"name": name, "version": version, "sha256": SHA} for name, version in versions.items()],
        "suite": "s",
    }


def entry(name="deps", *, answer=None, **more):
    return LockEntry(question=question(name, **more), pins=answer or pins(attrs="25.1", click="8"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
ENTRIES = st.lists(
    st.builds(
        LockEntry,
        question=st.builds(
            LockQuestion,
            subject=st.sampled_from(["base", "layer"]),
            name=st.text(min_size=1, max_size=6),
            kind=st.sampled_from(["pip", "apt"]),
            platform=st.sampled_from(["x86_64", "aarch64"]),
            asked=JSON,
            ground=st.sampled_from(["", SHA]),
        ),
        pins=JSON.filter(lambda value: value not in ("", [])),
        files=st.just(()) | st.just(({"name": "f", "sha256": SHA},)),
        key=st.sampled_from(["", SHA]),
        diff_id=st.sampled_from(["", f"sha256:{SHA}"]),
    ),
    max_size=5,
)


@given(ENTRIES, st.randoms())
def test_text_and_value_are_the_same_in_any_order(entries, random):
    lock = lock_of(entries)
    written = text_format.dumps(lock)
    assert text_format.loads(written) == lock
    unique = {each.question.id: each for each in reversed(entries)}  # the first answer of a question counts
    shuffled = [*unique.values()]
    random.shuffle(shuffled)
    assert text_format.dumps(lock_of(shuffled)) == written


def test_one_item_a_line_and_the_same_whatever_the_order_of_keys():
    lock = lock_of([entry()])
    lines = text_format.dumps(lock).splitlines()
    for name in ("attrs", "click"):
        (line,) = [line for line in lines if f'"name": "{name}"' in line]
        assert json.loads(line.strip().rstrip(","))["version"]
    turned = replace(entry(), pins=dict(reversed(entry().pins.items())))
    assert text_format.dumps(lock_of([turned])) == text_format.dumps(lock)
    assert text_format.line_of(text_format.dumps(lock), "click", "8") == 1 + lines.index(line)
    assert text_format.line_of(text_format.dumps(lock), "click", "9") == 0


def test_another_version_of_one_item_changes_one_line():
    before = text_format.dumps(lock_of([entry()])).splitlines()
    after = text_format.dumps(lock_of([entry(answer=pins(attrs="25.2", click="8"))])).splitlines()
    assert len(before) == len(after)
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_the_question_decides_and_the_name_does_not():
    lock = lock_of([entry()])
    assert lock.answer(question("renamed")) == entry()
    for other in ({"asked": ["x"]}, {"kind": "npm"}, {"platform": "aarch64"}, {"ground": SHA}, {"subject": "base"}):
        assert lock.answer(question(**other)) is None
    assert lock.nearest(question(asked=["attrs", "click"])) == entry()
    assert lock.nearest(question("renamed", asked=[])) is None
    two = lock_of([entry(ground=SHA), entry(ground="cd" * 32, answer=pins(attrs="1"))])
    assert two.nearest(question(asked=[], ground="cd" * 32)).pins == pins(attrs="1")


def test_the_ground_is_the_pins_below_in_order():
    assert parents_digest([]) == ""
    assert parents_digest([1, 2]) != parents_digest([2, 1])
    assert parents_digest([{"a": 1, "b": 2}]) == parents_digest([{"b": 2, "a": 1}])


@pytest.mark.parametrize(
    ("written", "code", "line"),
    [
        ("{", "lock-json", 1),
        ('{\n "version": 1,\n<<<<<<< ours\n', "lock-json", 3),
        ("[" * 100_000, "lock-json", 1),
        ('{"version": 2, "entries": []}', "lock-version", 2),
        ('{"version": 1, "entries": [{"layer": 3}]}', "lock-schema", 1),
        ('{"version": 1, "entries": [{"kind": "a", "platform": "b", "asked": 1}]}', "lock-schema", 1),
        ('{"version": 1}', "lock-schema", 1),
        ("null", "lock-schema", 1),
    ],
)
def test_what_is_no_lock_is_refused_with_its_line(written, code, line):
    with pytest.raises(SpecError) as caught:
        text_format.loads(written)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where.line) == (code, line)
    assert problem.where.file == "envtool.lock"
    assert problem.hint or code == "lock-json"


def test_upgrading_a_layer_a_package_and_nothing():
    lock = lock_of([entry(), entry("other", asked=["z"], answer=pins(attrs="1"))])
    rest, moving, unknown = without_upgraded(lock, ["deps"])
    assert [each.question.name for each in rest.entries] == ["other"]
    assert moving == {question().id: None}
    rest, moving, unknown = without_upgraded(lock, ["ATTRS", "nothing"])
    assert rest == Lock()
    assert moving[question().id] == without_items(pins(attrs="25.1", click="8"), frozenset(["attrs"]))
    assert [item["name"] for item in pinned_items(moving[question().id])] == ["click"]
    assert unknown == ("nothing",)


def test_what_was_not_asked_this_time_stays_only_where_it_may():
    other = entry("deps", platform="aarch64")
    gone = entry("gone", asked=["gone"])
    old = lock_of([entry(), other, gone])
    now = entry(asked=["attrs", "more"])
    whole = merge_locks(old, [now], platforms=frozenset(["x86_64"]))
    assert {each.question.id for each in whole.entries} == {now.question.id, other.question.id}
    part = merge_locks(old, [now], platforms=frozenset(["x86_64"]), names=frozenset([("layer", "deps")]))
    assert {each.question.id for each in part.entries} == {now.question.id, other.question.id, gone.question.id}


def test_what_it_came_out_as_stays_while_the_key_is_the_same():
    known = replace(entry(), key=SHA, diff_id=f"sha256:{SHA}")
    same = merge_locks(lock_of([known]), [replace(entry(), key=SHA)], platforms=frozenset(["x86_64"]))
    assert same.entries[0].diff_id == known.diff_id
    other = merge_locks(lock_of([known]), [replace(entry(), key="cd" * 32)], platforms=frozenset(["x86_64"]))
    assert other.entries[0].diff_id == ""


def table(old, new):
    return [(each.entry, each.name, each.old, each.new) for each in diff_locks(lock_of(old), lock_of(new))]


def test_changes_name_what_moved_came_and_went():
    now = entry(asked=["attrs", "x"], answer=pins(attrs="25.2", x="1"))
    assert table([entry()], [now]) == [
        ("layer deps", "attrs", "25.1", "25.2"),
        ("layer deps", "click", "8", ""),
        ("layer deps", "x", "", "1"),
    ]
    assert table([], [entry()]) == [("layer deps", "", "", "3 pinned")]
    assert table([entry()], []) == [("layer deps", "", "3 pinned", "")]
    assert table([entry()], [entry("renamed")]) == []


@pytest.mark.parametrize(
    ("answer", "files", "words"),
    [
        ({"files": [{"name": "attrs", "version": "25"}]}, (), "1 package"),
        ({"files": [{"name": "ms", "version": "1"}, {"name": "ms", "version": "2"}]}, (), "2 packages"),
        ({"epoch": 7, "suite": "bookworm", "debs": [{"name": "a", "version": "1"}]}, (), "1 package"),
        ({"digest": SHA}, (), "pinned"),
        (None, ({"name": "tool", "sha256": SHA},), "1 file"),
        (None, ({"name": "tool", "sha256": SHA}, {"name": "b", "sha256": SHA}), "2 files"),
    ],
)
def test_a_new_entry_is_counted_as_plan_counts_it(answer, files, words):
    new = replace(entry(answer=answer or {"epoch": 0}), files=files)
    assert [change.counts for change in diff_locks(lock_of([]), lock_of([new]))] == [words]
    assert [change.counts for change in diff_locks(lock_of([new]), lock_of([]))] == [words]


def test_no_entry_of_before_changes():
    assert table([entry()], [entry()]) == []


def test_changes_tell_two_files_of_one_version_apart():
    other = pins(attrs="25.1", click="8")
    other["files"][0]["sha256"] = "cd" * 32
    ((_, name, old, new),) = table([entry()], [entry(answer=other)])
    assert (name, old, new) == ("attrs", "25.1 sha256:abababababab", "25.1 sha256:cdcdcdcdcdcd")


def test_changes_show_dates_and_plain_pins():
    ((_, name, old, new),) = table([entry(answer={"epoch": 0})], [entry(answer={"epoch": 86400})])
    assert (name, old, new) == ("index of", "1970-01-01 00:00", "1970-01-02 00:00")
