from __future__ import annotations

from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from envtool import api, testing
from envtool.errors import UsageError
from envtool.registry import discover, wrong_schema
from envtool.spec import load as load_spec


def kind(name, **more):
    return type(name.title(), (api.Kind,), {"name": name, "schema": {"type": "string"}, **more})()


def plugin(**hooks):
    return SimpleNamespace(**{name: api.hook(function) for name, function in hooks.items()})


class Entry:
    """An entry point as importlib.metadata gives it."""

    def __init__(self, name, load, distribution="envtool-x"):
        self.name, self.value, self._load = name, f"{name}:plugin", load
        self.dist = SimpleNamespace(name=distribution, version="1.2") if distribution else None

    def load(self):
        return self._load()


def test_ours_and_plugins_are_gathered():
    ours = plugin(envtool_layer_kinds=lambda: [kind("run")], envtool_base_kinds=lambda: [kind("host")])
    theirs = plugin(envtool_layer_kinds=lambda: [kind("pip")], envtool_languages=lambda: [api_language()])
    registry = discover([ours], [Entry("python", lambda: theirs), Entry("again", lambda: theirs)])
    assert sorted(registry.layers) == ["pip", "run"]
    assert sorted(registry.bases) == ["host"]
    assert sorted(registry.languages) == ["python"]
    assert registry.plugins[0] is ours
    assert len(registry.plugins) == 2, "a plugin that two entry points name is one"
    with pytest.raises(TypeError):
        registry.layers["x"] = kind("x")


def api_language():
    return type("Python", (api.Language,), {"name": "python"})()


def refused(*plugins, ours=()):
    with pytest.raises(UsageError) as error:
        discover(ours, [Entry(f"p{n}", load, f"dist-{n}") for n, load in enumerate(plugins)])
    assert error.value.code == "plugin"
    return f"{error.value.message} -- {error.value.hint}"


def test_a_broken_plugin_is_named():
    def broken():
        raise ImportError("no module named x")

    assert "the plugin `dist-0` 1.2 cannot be imported: ImportError: no module named x" in refused(broken)
    assert "failed in envtool_layer_kinds: ZeroDivisionError" in refused(
        lambda: plugin(envtool_layer_kinds=lambda: [1 / 0])
    )
    assert "which is no envtool.api.Kind" in refused(lambda: plugin(envtool_layer_kinds=lambda: ["pip"]))
    assert "without a name" in refused(lambda: plugin(envtool_layer_kinds=lambda: [api.Kind()]))
    no_schema = type("X", (api.Kind,), {"name": "x"})
    assert "without a schema" in refused(lambda: plugin(envtool_layer_kinds=lambda: [no_schema()]))
    assert "offers a layer kind `x` that is none: TypeError" in refused(
        lambda: plugin(envtool_layer_kinds=lambda: [kind("x", siblings=3)])
    )
    odd = type("L", (api.Language,), {"name": "l", "options": ["a"]})
    assert "offers a language `l` that is none: AttributeError" in refused(
        lambda: plugin(envtool_languages=lambda: [odd()])
    )
    taken = kind("x", siblings={"needs": {}})
    assert "the key `needs`" in refused(lambda: plugin(envtool_layer_kinds=lambda: [taken]))
    assert "does not fit this envtool" in refused(lambda: plugin(envtool_layer_kinds=lambda wrong: []))


@pytest.mark.parametrize("schema", [{"type": "strin"}, {"pattern": "("}, {"oneOf": 3}, {1: 2}, {"default": object()}])
def test_a_schema_that_is_none_is_its_plugins(schema):
    def load():
        return plugin(envtool_layer_kinds=lambda: [kind("fine"), kind("odd", siblings={"more": schema})])

    registry = discover([], [Entry("p", load)])
    wrong = wrong_schema(registry)
    assert wrong.message.startswith("the plugin `envtool-x` 1.2 offers a kind `odd` with a wrong schema of `more`: ")
    assert wrong_schema(discover([load()], [])) is None, "what is ours is our own bug"
    assert wrong_schema(discover([], [Entry("p", lambda: plugin(envtool_layer_kinds=lambda: [kind("fine")]))])) is None
    with pytest.raises(UsageError, match="with a wrong schema of `more`"):
        load_spec(testing.MemoryProject({"envtool.yaml": "version: 1"}), "envtool.yaml", root="/r", registry=registry)


def test_doubles_name_both():
    def load():
        return plugin(envtool_layer_kinds=lambda: [kind("pip")])

    said = refused(load, load)
    assert "`pip`" in said
    assert "`dist-0`" in said
    assert "`dist-1`" in said
    assert "envtool itself and the plugin `dist-0`" in refused(load, ours=[load()])


def test_our_own_kinds_are_there():
    registry = discover(entry_points=())
    assert {"debian", "tarball"} <= set(registry.bases)
    assert {"apt", "copy", "fetch", "run"} <= set(registry.layers)


def test_entry_points_are_asked_by_group(monkeypatch):
    asked = []

    def entry_points(*, group):
        asked.append(group)
        return [EntryPoint(name="x", value="json", group=group)]

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    assert dict(discover(()).layers) == {}
    assert asked == ["envtool"]
