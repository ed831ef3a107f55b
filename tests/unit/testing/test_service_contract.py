"""The conformance kit of kinds of services finds each that breaks a promise."""

from __future__ import annotations

import itertools

import pytest

from envtool import api, testing


class Good(api.ServiceKind):
    name = "good"
    schema = {"description": "a version", "type": ["integer", "string"]}
    options = {"database": {"description": "its name", "type": "string"}}

    def service(self, declaration, project):
        return api.ServiceDraft(**self.parts(declaration))

    def parts(self, declaration):
        return {
            "base_kind": "debian",
            "base_options": "bookworm",
            "layers": (api.LayerDraft(name="good", kind="apt", options=[f"good-{declaration.value}"]),),
            "command": api.Command(argv=("good", str(declaration.options.get("database", "app")))),
            "ports": (80,),
            "provides": {"GOOD_URL": f"good://{declaration.host}:80", "GOOD_VERSION": str(declaration.value)},
        }


def spoilt(**changed):
    """A kind whose draft has other parts: values, or functions of the declaration."""

    class Spoilt(Good):
        def parts(self, declaration):
            values = {name: value(declaration) if callable(value) else value for name, value in changed.items()}
            return {**super().parts(declaration), **values}

    return Spoilt()


def test_a_good_kind_passes():
    draft = testing.check_service_kind(
        Good(), 15, testing.MemoryProject(), wrong=[[], True], options={"database": "mine"}
    )
    assert draft.command == api.Command(argv=("good", "mine"))
    assert draft.provides == {"GOOD_URL": "good://mine:80", "GOOD_VERSION": "15"}


LETTERS = itertools.cycle("ab")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (spoilt(user=lambda _: next(LETTERS)), "two calls, two answers"),
        (spoilt(base_kind=""), "there is no base"),
        (spoilt(ports=()), "nothing says when it is ready"),
        (spoilt(layers=2 * (api.LayerDraft(name="x", kind="apt", options=[]),)), "two layers have one name"),
        (spoilt(provides={"URL": "good://localhost:80"}), "URL names localhost, and the service is another host"),
        (spoilt(provides={"URL": "good://mine:80"}), "URL does not follow the service's name"),
        (spoilt(data=("/srv",), files={"/srv/x": ""}), "/srv/x is in a directory of `data`"),
        (spoilt(ports=(0,)), "`ports` are from 1 to 65535"),
        (spoilt(command="good"), "`command` has its type"),
        (spoilt(command=lambda _: 1 / 0), "ZeroDivisionError"),
    ],
)
def test_a_broken_promise_is_named(kind, words):
    with pytest.raises(AssertionError, match=r"^good: ") as caught:
        testing.check_service_kind(kind, 15, testing.MemoryProject())
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("attributes", "value", "more", "words"),
    [
        ({"schema": {"type": "integer"}}, 15, {}, "no description"),
        ({"schema": {"type": "integer", "description": "x"}}, 15, {}, "the schema refuses '15', and a template gives"),
        ({}, [15], {}, "[15] does not fit the schema"),
        ({}, 15, {"wrong": ["x"]}, "the schema takes 'x'"),
        ({"options": {"database": {"type": "string"}}}, 15, {"options": {"database": "x"}}, "`database` has no description"),
        ({}, 15, {"options": {"database": 3}}, "`database: 3` does not fit its schema"),
    ],
)  # fmt: skip
def test_a_wrong_schema_is_named(attributes, value, more, words):
    kind = type("Kind", (Good,), attributes)()
    with pytest.raises(AssertionError, match=r"^good: ") as caught:
        testing.check_service_kind(kind, value, testing.MemoryProject(), **more)
    assert words in str(caught.value)
