"""A plugin that fails, or answers what is no answer, is named, with what it was asked and where that stands."""

from __future__ import annotations

import copy
import pickle
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from envtool import api, plugin_calls
from envtool.errors import PluginError, ResolveError
from envtool.plugins import discover

OWNER = "the plugin `envtool-bad` 1.0"
WHERE = api.Where(file="envtool.yaml", line=3, column=5)
REQUEST = api.Request(
    name="crashy", options={}, inputs=(), where=WHERE, arch="x86_64", epoch=0, below=("sha256:x",), base_kind="debian"
)
BASE = api.Request(name="b", options={}, inputs=(), where=WHERE, arch="x86_64", epoch=0)


def kind(**methods):
    own = {"name": "crashy", "schema": True, **methods}
    return plugin_calls.wrap_kind(type("Crashy", (api.Base,), own)(), OWNER)


def crash(*_, **__):
    return 1 // 0


ASKED = {  # method -> how it is called
    "inputs": ({},),
    "judge": ({},),
    "check": (REQUEST, None),
    "foreseen": (REQUEST,),
    "question": (REQUEST,),
    "resolve": (REQUEST, None),
    "fresh": (REQUEST, None),
    "watches": (None,),
    "looked": (None,),
    "package": ("a-1.tar.gz",),
    "fetches": (REQUEST, None),
    "locate": (REQUEST, None, (), None),
    "material": (REQUEST, None),
    "platform": (None,),
    "parts": (REQUEST, None),
    "image_config": (REQUEST, None),
    "image_source": (REQUEST, None),
    "original": (REQUEST, None, None),
    "epoch": (None,),
    "faketime": (REQUEST, None, None),
    "packages_with": (REQUEST, None, (), None),
    "hint": (REQUEST, None, "", None),
    "variables": (REQUEST, None),
    "in_project": (REQUEST, None),
    "generated": (REQUEST, None),
    "build": (REQUEST, None),
    "summary": (REQUEST, None),
}


def test_every_method_of_a_kind_is_held():
    methods = {
        name
        for name, value in {**vars(api.Kind), **vars(api.Base)}.items()
        if callable(value) and not name.startswith("_")
    }
    assert methods == {*ASKED}


@pytest.mark.parametrize("name", ASKED)
def test_a_crash_is_the_plugins(name):
    with pytest.raises(PluginError) as error:
        getattr(kind(**{name: crash}), name)(*ASKED[name])
    knows = REQUEST in ASKED[name] and name != "check"  # which is asked of layers of which no base is known
    placed = " of layer `crashy` (envtool.yaml:3:5)" if knows else ""
    line = crash.__code__.co_firstlineno + 1
    assert error.value.message == (
        f"{OWNER} failed in {name}{placed}: ZeroDivisionError: integer division or modulo by zero ({__file__}:{line})"
    )
    assert error.value.exit_status == 3
    assert "author" in error.value.hint


WRONG = {
    "inputs": "a",  # iterates as letters
    "question": {1, 2},
    "resolve": {"a", "b"},
    "watches": [1],
    "package": ["attrs", "25"],
    "fetches": ["https://x"],
    "locate": None,
    "material": {"at": object()},
    "platform": b"x",
    "parts": [3],
    "foreseen": [3],
    "image_config": [{1}],
    "image_source": "alpine",
    "original": 3,
    "epoch": "now",
    "faketime": "lib",
    "packages_with": [],
    "hint": None,
    "variables": {"A": 1},
    "in_project": ["a"],
    "generated": {1: "x"},
    "build": "make",
    "summary": 14,
}


@pytest.mark.parametrize("name", WRONG)
def test_an_answer_that_is_none_is_the_plugins(name):
    with pytest.raises(PluginError, match=f"failed in {name}.*: answered .* where .* is wanted"):
        getattr(kind(**{name: lambda *_: WRONG[name]}), name)(*ASKED[name])


@pytest.mark.parametrize(
    "wrong", [["a.txt"], [api.Input(b"a")], [api.Input("a", use="names")], [api.Input("a", use=None)], [None]]
)
def test_inputs_that_are_none_are_the_plugins(wrong):
    with pytest.raises(PluginError, match=r"failed in inputs: answered list where several Input.* is wanted"):
        kind(inputs=lambda *_: wrong).inputs({})


def test_filters_of_inputs_are_held_and_stay_one():
    two = [api.Input("a", keeps=crash, follows=crash), api.Input("b", keeps=crash, follows=crash)]
    held = kind(inputs=lambda *_: two)
    first, second = held.inputs({})
    assert (first.keeps, first.follows) == (second.keeps, second.follows)
    assert held.inputs({})[0].keeps == first.keeps
    with pytest.raises(PluginError, match=r"failed in keeps: ZeroDivisionError"):
        first.keeps("a")
    with pytest.raises(PluginError, match=r"failed in follows: ZeroDivisionError"):
        second.follows("a", "b")


def test_pins_have_to_fit_the_kinds_own_schema():
    pins = {"type": "object", "required": ["debs"]}
    with pytest.raises(PluginError, match="its own `pins` has"):
        kind(pins=pins, resolve=lambda *_: {"dbs": []}).resolve(REQUEST, None)
    assert kind(pins=pins, resolve=lambda *_: {"debs": []}).resolve(REQUEST, None) == {"debs": []}


def test_more_ways_to_fail():
    def late(*_):
        yield "a"
        raise KeyError("b")

    def deep(*_):
        return deep()

    for method, said in (
        (late, "KeyError: 'b'"),
        (deep, "RecursionError"),
        (lambda *_: sys.exit("no"), "SystemExit: no"),
        (lambda *_: open("/nowhere"), "FileNotFoundError"),
        (lambda: (), "TypeError"),
    ):
        with pytest.raises(PluginError, match=f"failed in inputs: {said}"):
            kind(inputs=method).inputs({})
    with pytest.raises(PluginError, match="of base `b`"):
        kind(build=crash).build(BASE, None)
    for step, said in (
        ("make", "a Recipe of Run"),
        (api.Run(command="make"), "Runs have a Command, and not 'make'"),
        (api.Run(command=api.Command(argv="make")), "a tuple of str as argv"),
        (api.Run(command=api.Command(argv=("make", 1))), "a tuple of str as argv"),
        (api.Run(command=api.Command(shell=["make"])), "a str as shell"),
    ):
        recipe = api.Recipe(steps=(step,))
        with pytest.raises(PluginError, match=said):
            kind(build=lambda *_, recipe=recipe: recipe).build(REQUEST, None)


def test_what_a_plugin_says_on_purpose_passes():
    def refuse(*_):
        raise ResolveError("no such gem", hint="look")

    with pytest.raises(ResolveError, match=r"^no such gem$"):
        kind(resolve=refuse).resolve(REQUEST, None)

    def full(path):
        from envtool.fs import store_files

        return store_files.read_regular_file(path, most=1)

    with pytest.raises(FileNotFoundError):  # of our own code, as the system says it
        kind(inputs=lambda *_: full("/nowhere/at/all")).inputs({})


def test_a_stand_in_is_what_it_stands_for():
    class Gem(api.Kind):
        name = "gem"
        schema = True
        siblings = {"groups": True}

        def __init__(self):
            self.calls = []

        def summary(self, request, pins):
            self.calls.append(request)
            return super().summary(request, pins) + "2 gems"

        def resolve(self, request, site):
            return [self.summary(request, None)]

    held = plugin_calls.wrap_kind(Gem(), OWNER)
    assert isinstance(held, Gem)
    assert held.name == "gem"
    assert held.siblings == {"groups": True}
    assert type(held).resolve is not api.Kind.resolve
    assert type(held).judge is api.Kind.judge, "the core asks by this whether there is one"
    assert held.resolve(REQUEST, None) == ["2 gems"]
    assert held.inputs({}) == ()
    assert plugin_calls.wrap_kind(held, OWNER) is held
    with pytest.raises(PluginError, match=r"failed in build of layer `crashy`.*NotImplementedError"):
        plugin_calls.wrap_kind(type("None_", (Gem,), {"build": _unmade})(), OWNER).build(REQUEST, None)


def test_a_method_may_be_of_the_class_or_static():
    class Gem(api.Kind):
        name = "gem"
        schema = True

        @staticmethod
        def summary(request, pins):
            return request.name

        @classmethod
        def hint(cls, request, pins, output, site):
            return cls.name

    held = plugin_calls.wrap_kind(Gem(), OWNER)
    assert held.summary(REQUEST, None) == "crashy"
    assert held.hint(REQUEST, None, "", None) == "gem"
    with pytest.raises(PluginError, match="failed in inputs: TypeError: 'tuple' object is not callable"):
        kind(inputs=("a",)).inputs({})


def test_kinds_of_parts_are_held_too():
    inner = type("Inner", (api.Kind,), {"name": "inner", "schema": True, "build": crash})()
    part = api.Part(name="RUN", kind=inner, options={}, where=WHERE)
    (found,) = kind(parts=lambda *_: [part]).parts(BASE, None)
    with pytest.raises(PluginError, match="failed in build"):
        found.kind.build(REQUEST, None)


def test_kinds_of_parts_that_are_foreseen_are_held_too():
    inner = type("Inner", (api.Kind,), {"name": "inner", "schema": True, "inputs": crash})()
    part = api.Part(name="RUN", kind=inner, options={}, where=WHERE)
    (found,) = kind(foreseen=lambda *_: [part]).foreseen(REQUEST)
    with pytest.raises(PluginError, match="failed in inputs"):
        found.kind.inputs({})


def _unmade(self, request, pins):
    return api.Kind.build(self, request, pins)


def entry(plugin, name="bad"):
    return SimpleNamespace(
        name=name, value="bad:plugin", dist=SimpleNamespace(name="envtool-bad", version="1.0"), load=lambda: plugin
    )


def test_languages_and_hooks_are_held():
    language = type("L", (api.Language,), {"name": "l", "layers": crash})()
    plugin = SimpleNamespace(
        envtool_languages=api.hook(lambda: [language]),
        envtool_detect=api.hook(lambda project: [3]),
        envtool_event=api.hook(lambda event: 1 // 0),
        envtool_packages=api.hook(lambda tree: iter([1 // 0])),
        envtool_owners=api.hook(lambda tree, path: ["x"]),
    )
    registry = discover([], [entry(plugin)])
    draft = api.EnvDraft(name="unit", base_kind="host", options={}, layer_names=(), where=WHERE)
    with pytest.raises(PluginError, match=r"failed in layers of env `unit` \(envtool.yaml:3:5\): ZeroDivisionError"):
        registry.languages["l"].layers(draft, None)
    for hook, arguments in (
        ("envtool_detect", {"project": None}),
        ("envtool_event", {"event": None}),
        ("envtool_packages", {"tree": None}),
        ("envtool_owners", {"tree": None, "path": "/x"}),
    ):
        (function,) = registry.hooks(hook)
        with pytest.raises(PluginError, match=f"^{OWNER} failed in {hook}: "):
            function(**arguments)


def test_who_asks_sees_where(monkeypatch):
    monkeypatch.setenv("ENVTOOL_DEBUG", "1")
    with pytest.raises(PluginError) as error:
        kind(summary=crash).summary(REQUEST, None)
    assert "in crash" in error.value.output


@dataclass(frozen=True, slots=True)
class Slotted(api.Kind):
    name: str = "slotted"
    wanted: tuple[str, ...] = ()

    def summary(self, request, pins):
        return " ".join(self.wanted)


class Plain(api.Kind):
    name = "plain"

    def __init__(self, wanted):
        self.wanted = wanted

    def summary(self, request, pins):
        return " ".join(self.wanted)


@pytest.mark.parametrize("own", [Slotted(wanted=("a", "b")), Plain(("a", "b"))], ids=["slots", "dict"])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_stand_in_goes_to_another_process(own, copied):
    """`verify` builds in processes of its own."""
    found = copied(plugin_calls.wrap_kind(own, OWNER))
    assert plugin_calls.plugin_owner(found) == OWNER
    assert isinstance(found, type(own))
    assert found.summary(REQUEST, None) == "a b"
    with pytest.raises(PluginError):
        plugin_calls.wrap_kind(type(own)(wanted=(1,)), OWNER).summary(REQUEST, None)


def test_every_kind_and_language_of_ours_goes_to_another_process():
    known = discover()
    for value in (*known.layers.values(), *known.bases.values(), *known.languages.values()):
        assert type(pickle.loads(pickle.dumps(value))).__qualname__ == type(value).__qualname__
