"""What differs between two JSON values: all of it, and nothing else."""

import copy

from hypothesis import given
from hypothesis import strategies as st

from envtool.keys import canonical_json
from envtool.plan import json_diff as module
from envtool.plan.json_diff import MISSING, diff_json

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, -0.0]) | st.text("ab", max_size=2)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "a", "b"]), inner, max_size=3),
    max_leaves=12,
)


def leaves(value, path=()):
    if isinstance(value, dict):
        return [leaf for key, member in value.items() for leaf in leaves(member, (*path, key))]
    if isinstance(value, list):
        return [leaf for index, member in enumerate(value) for leaf in leaves(member, (*path, index))]
    return [path]


@given(VALUES, VALUES)
def test_there_is_a_difference_exactly_when_the_canonical_forms_differ(old, new):
    assert bool(diff_json(old, new)) == (canonical_json(old) != canonical_json(new))


@given(VALUES, VALUES)
def test_a_long_list_is_no_exception(old, new):
    before, module.MAX_ORDERED = module.MAX_ORDERED, 0
    try:
        assert bool(diff_json(old, new)) == (canonical_json(old) != canonical_json(new))
    finally:
        module.MAX_ORDERED = before


OBJECTS = st.recursive(SCALARS, lambda inner: st.dictionaries(st.sampled_from(["a", "b", "c"]), inner), max_leaves=12)


def changed(value, path):
    if not path:
        return "another"
    value = copy.deepcopy(value)
    at = value
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = "another"
    return value


@given(VALUES.filter(leaves), st.data())
def test_a_changed_leaf_is_told(value, data):
    found = diff_json(value, changed(value, data.draw(st.sampled_from(leaves(value)))))
    assert any("another" in str(one.new) for one in found)


@given(OBJECTS.filter(leaves), st.data())
def test_a_changed_leaf_of_objects_is_one_difference_with_its_place(value, data):
    path = data.draw(st.sampled_from(leaves(value)))
    (one,) = diff_json(value, changed(value, path))
    assert (one.path, one.new, one.how) == (path, "another", "changed")


def test_members_with_names_are_compared_by_name():
    old = [["a.txt", "1", False], ["b.txt", "2", False]]
    new = [["0.txt", "9", False], ["a.txt", "1", False], ["b.txt", "2", True]]
    assert [(one.path, one.how) for one in diff_json(old, new)] == [(("0.txt",), "added"), (("b.txt", 2), "changed")]
    assert [one.path for one in diff_json([{"name": "x", "v": 1}], [{"name": "x", "v": 2}])] == [("x", "v")]


def test_sequences_are_aligned():
    (one,) = diff_json(["a", "b", "c"], ["a", "x", "b", "c"])
    assert (one.path, one.old, one.new) == ((1,), MISSING, "x")
    (one,) = diff_json(["a", "b"], ["b", "a"])
    assert one.how == "order"


def test_numbers_and_booleans_are_not_mixed_up():
    assert diff_json({"strip": 1}, {"strip": True})
    assert diff_json(1, 1.0)
