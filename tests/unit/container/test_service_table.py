"""Members and services by name."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.container.service_table import ServiceTable
from tests.depth import examples


@pytest.mark.parametrize(
    "name", ["", ".", "-a", "a-", "a b", "all.api", "ALL.x", "a" * 64, "ä", "a\n", "a/b", "*", "api\0"]
)
def test_what_cannot_be_a_name(name):
    members = ServiceTable()
    with pytest.raises(ValueError, match="cannot be the name"):
        members.add(name, "", "10.64.0.2")
    with pytest.raises(ValueError, match="cannot be the name"):
        members.declare(name)
    if name:
        with pytest.raises(ValueError, match="cannot be the name"):
            members.add("fine", name, "10.64.0.2")
    assert members.look_up("fine") is None


def test_a_name_is_a_members_or_a_services():
    members = ServiceTable()
    members.add("db-1", "db", "10.64.0.2")
    for name, service in (("db", ""), ("DB-1", ""), ("x", "db-1"), ("y", "Y")):
        with pytest.raises(ValueError, match=r"in use|name of a member"):
            members.add(name, service, "10.64.0.3")
    with pytest.raises(ValueError, match="name of a member"):
        members.declare("db-1")
    assert members.look_up("x") is None


def test_a_declared_service_is_known():
    members = ServiceTable()
    assert members.look_up("db") is None
    members.declare("db")
    members.declare("DB")
    assert members.look_up("db") == members.look_up("all.db") == []


@pytest.mark.parametrize("change", ["remove", "ready"])
def test_an_unknown_member(change):
    members = ServiceTable()
    with pytest.raises(KeyError):
        members.remove("db-1") if change == "remove" else members.set_ready("db-1", ready=True)


def test_each_user_has_turns_of_its_own():
    members = ServiceTable()
    for number in range(3):
        members.add(f"a{number}", "a", f"{number}")
        members.set_ready(f"a{number}", ready=True)
    assert [members.in_turn("a", "one")[0] for _ in range(4)] == ["0", "1", "2", "0"]
    assert members.in_turn("a", "two") == ["0", "1", "2"]
    assert members.in_turn("a", "two") == ["1", "2", "0"]


@settings(max_examples=examples(60, 3000), deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "ready", "not"]), st.integers(0, 5)), max_size=40))
def test_a_service_is_exactly_those_that_are_ready(changes):
    """Against a model: a dict of address -> ready."""
    members, model = ServiceTable(), {}
    members.declare("s")
    for change, number in changes:
        name = f"s-{number}"
        try:
            if change == "add":
                members.add(name, "s", str(number))
                assert number not in model
                model[number] = False
            elif change == "remove":
                members.remove(name)
                del model[number]
            else:
                members.set_ready(name, ready=change == "ready")
                model[number] = change == "ready"
        except (KeyError, ValueError):
            assert (number in model) == (change == "add")
    ready = [str(number) for number, is_ready in model.items() if is_ready]
    assert members.ready("s") == members.look_up("all.s") == ready
    drawn = [members.in_turn("s", "x")[:1] for _ in range(2 * len(ready))]
    assert sorted(drawn) == sorted([[address] for address in ready] * 2)
    for number in range(6):
        assert members.look_up(f"s-{number}") == ([str(number)] if number in model else None)
