"""Keys of plugins in a spec: what they add to which env, in which order, and what outweighs what."""

from __future__ import annotations

import pytest

from envtool import api, testing
from envtool.errors import PluginError, SpecError
from envtool.plugins import discover
from envtool.spec import load
from tests.unit.test_plugins import Entry, plugin

ANY = {"description": "anything"}


class Note(api.Kind):
    name = "note"
    schema = {"type": "string"}

    def build(self, request, pins):
        return api.Recipe()


class Words(api.Language):
    name = "words"

    def layers(self, env, project):
        return (api.LayerDraft(name="words", kind="note", options=repr(env.layer_names), needs=env.layer_names),)


class Bare(api.Base):
    name = "bare"
    schema = True

    def build(self, request, pins):
        return api.Recipe()


def draft(name, *, after=True, kind="note", needs=None):
    return api.LayerDraft(name=name, kind=kind, options=name, after=after, needs=needs)


def expand(spec, *keys, files=None):
    hooks = plugin(
        envtool_base_kinds=lambda: [Bare()],
        envtool_layer_kinds=lambda: [Note()],
        envtool_languages=lambda: [Words()],
        envtool_env_keys=lambda: [api.EnvKey(name=name, schema=schema, add=add) for name, schema, add in keys],
    )
    project = testing.MemoryProject(
        {"envtool.yaml": f"version: 1\ndefaults: {{base: {{bare: x}}}}\n{spec}", **(files or {})}
    )
    return load(project, "envtool.yaml", root="/r", registry=discover([], [Entry("p", lambda: hooks)])).envs


def adds(*layers, **variables):
    return ANY, lambda env, value, project: api.Additions(layers=layers, variables=variables)


def test_layers_stand_below_and_above_the_users_and_the_language_on_what_is_below():
    key = ("k", *adds(draft("low", after=False), draft("high")))
    (env,) = expand("envs: {a: {k: 1, language: words, layers: [{note: mine}, {note: top, needs: [high]}]}}", key)
    assert [layer.name for layer in env.layers] == ["low", "note", "words", "high", "note-2"]
    assert env.layers[2].needs == ("low", "note")
    (env,) = expand("envs: {a: {k: 1, layers: [{note: mine}, {note: top, needs: [high]}]}}", key)
    assert [layer.name for layer in env.layers] == ["low", "note", "high", "note-2"]
    (env,) = expand("envs: {a: {layers: [{note: mine}]}}", key)
    assert [layer.name for layer in env.layers] == ["note"]


def test_keys_are_asked_in_the_order_of_their_names_with_their_own_value():
    seen = []

    def add(env, value, project):
        seen.append((env.name, value, env.options, env.base_kind, project.read("x.txt")))
        return api.Additions(variables={"SAME": str(value), f"OF_{value}": env.directory})

    keys = [("b", ANY, add), ("a", ANY, add)]
    envs = expand("include: [sub/envtool.yaml]", *keys, files={
        "sub/envtool.yaml": "version: 1\nenvs: {e: {b: 2, a: '{{ matrix.n }}', matrix: {n: [1, 3]}, set: {OF_2: mine}}}\n",
        "sub/x.txt": "here",
    })  # fmt: skip
    assert [env.name for env in envs] == ["e[1]", "e[3]"]
    assert envs[0].set == {"SAME": "2", "OF_1": "sub", "OF_2": "mine"}
    assert seen[:2] == [("e[1]", "1", {"a": "1"}, "bare", "here"), ("e[1]", 2, {"b": 2}, "bare", "here")]


def test_keys_come_from_defaults_and_by_extends():
    key = ("k", ANY, lambda env, value, project: api.Additions(variables={"K": str(value)}))
    envs = expand("envs:\n  a: {k: 1}\n  b: {extends: a}\n  c: {extends: a, k: 2}\n  d: {k: null}", key)
    assert [env.set.get("K") for env in envs] == ["1", "1", "2", "None"]


def errors(spec, *keys):
    with pytest.raises(SpecError) as raised:
        expand(spec, *keys)
    return [(problem.where.line, problem.message) for problem in raised.value.problems]


def usage(env, value, project):
    raise api.UsageError("no such file", code="x", hint="write it")


def wrong(env, value, project):
    raise api.SpecError((api.Problem(where=env.where, message="it is wrong", code="x"),))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (("k", *adds(draft("note"))), "`k` adds a layer `note`, and env `a` has one of this name"),
        (("k", *adds(draft("x", kind="gone"))), "the key `k` adds a layer of the unknown kind `gone`"),
        (("k", *adds(draft("x", needs=("gone",)))), "layer `x` needs the unknown layer `gone`"),
        (("k", ANY, usage), "key `k`: no such file"),
        (("k", ANY, wrong), "it is wrong"),
        (("k", {"type": "string", **ANY}, None), "`k` is 1"),
    ],
)
def test_errors_have_the_place_of_the_key_and_are_told_once(key, message):
    found = errors("envs:\n  a:\n    layers: [{note: mine}]\n    k: 1", key)
    assert len(found) == 1
    line, told = found[0]
    assert message in told or key[0] in told
    assert line in (6, 5)


@pytest.mark.parametrize(
    "answer",
    [None, {}, api.Additions(layers=("x",)), api.Additions(variables={"": "x"}), api.Additions(variables={"A=B": "x"}),
     api.Additions(variables={"A": 1}), api.Additions(variables={"A": "\0"}), api.Additions(variables=["A"])],
)  # fmt: skip
def test_what_is_no_addition_is_the_plugins_fault(answer):
    with pytest.raises(
        PluginError, match=r"the plugin `envtool-x` 1\.2 failed in the key `k` of env `a` \(envtool.yaml:"
    ):
        expand("envs: {a: {k: 1}}", ("k", ANY, lambda *_: answer))
