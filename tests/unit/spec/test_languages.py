"""`language:` with several languages: what stands on what, whose a key is, and what two languages may not both add."""

from __future__ import annotations

import pytest

from envtool import api, testing
from envtool.errors import SpecError
from envtool.plugins import discover
from envtool.spec import load
from tests.unit.test_plugins import Entry, plugin

WORD = {"type": "string", "description": "a word"}


class Note(api.Kind):
    name = "note"
    schema = {}

    def build(self, request, pins):
        return api.Recipe()


class Bare(api.Base):
    name = "bare"
    schema = True

    def build(self, request, pins):
        return api.Recipe()


def language(name, *options, own_layers=None):
    """A language as those that envtool has: a compiler below the user's layers, dependencies above them."""

    class Made(api.Language):
        def layers(self, env, project):
            if own_layers is not None:
                return own_layers
            compiler = api.LayerDraft(name=f"{name}c", kind="note", options=dict(env.options), after=False)
            needs = (compiler.name, *env.layer_names)
            crates = api.LayerDraft(name=f"{name}-crates", kind="note", options=[*env.above], needs=needs)
            return (compiler, crates)

    Made.name = name
    Made.options = dict.fromkeys(options, WORD)
    return Made()


LANGUAGES = (language("a", "where", "only-a"), language("b", "where"), language("c", "only-c"))


def expand(env, languages=LANGUAGES):
    hooks = plugin(
        envtool_base_kinds=lambda: [Bare()],
        envtool_layer_kinds=lambda: [Note()],
        envtool_languages=lambda: list(languages),
    )
    project = testing.MemoryProject(
        {"envtool.yaml": f"version: 1\ndefaults: {{base: {{bare: x}}}}\nenvs:\n  e: {env}\n"}
    )
    spec = load(project, "envtool.yaml", root="/r", registry=discover([], [Entry("p", lambda: hooks)]))
    return {layer.name: layer for layer in spec.envs[0].layers}


def errors(env, languages=LANGUAGES):
    with pytest.raises(SpecError) as raised:
        expand(env, languages)
    return [(problem.code, problem.where.column, problem.message, problem.hint) for problem in raised.value.problems]


def test_each_language_stands_on_the_compilers_of_those_before_it_and_on_no_dependencies():
    layers = expand("{language: [a, b, c]}")
    assert [*layers] == ["ac", "bc", "cc", "a-crates", "b-crates", "c-crates"]
    assert [layers[f"{name}-crates"].needs for name in "abc"] == [("ac",), ("bc", "ac"), ("cc", "ac", "bc")]
    assert layers["c-crates"].options == ["a-crates", "b-crates"]  # names that are in use


def test_the_order_of_the_list_decides():
    layers = expand("{language: [b, a]}")
    assert [*layers] == ["bc", "ac", "b-crates", "a-crates"]
    assert (layers["b-crates"].needs, layers["a-crates"].needs) == (("bc",), ("ac", "bc"))


def test_a_list_of_one_is_the_same_as_its_name():
    assert expand("{language: [a], only-a: x}").keys() == expand("{language: a, only-a: x}").keys()
    assert expand("{language: [a], only-a: x}")["ac"].options == expand("{language: a, only-a: x}")["ac"].options


def test_users_layers_stand_between_and_may_need_any_of_the_languages():
    layers = expand("{language: [a, c], layers: [{note: mine}, {note: top, needs: [c]}, {note: tip, needs: [a, c]}]}")
    assert [*layers] == ["ac", "cc", "note", "a-crates", "c-crates", "note-2", "note-3"]
    assert layers["c-crates"].needs == ("cc", "ac", "note")
    assert layers["note-2"].needs == ("cc", "c-crates")
    assert layers["note-3"].needs == ("ac", "a-crates", "cc", "c-crates")


def test_a_key_belongs_to_the_one_language_that_has_it():
    layers = expand("{language: [b, c], where: x, only-c: y}")
    assert (layers["bc"].options, layers["cc"].options) == ({"where": "x"}, {"only-c": "y"})


def test_a_key_of_two_languages_is_written_with_its_language():
    layers = expand("{language: [{a: {where: x}}, {b: {where: y}}], only-a: z}")
    assert (layers["ac"].options, layers["bc"].options) == ({"where": "x", "only-a": "z"}, {"where": "y"})
    layers = expand("{language: [{a: {where: x}}, b], where: y}")  # only `b` is without
    assert (layers["ac"].options, layers["bc"].options) == ({"where": "x"}, {"where": "y"})
    layers = expand("{language: [{a: {where: '{{ env.name }}'}, c: {}}]}")  # a mapping may have several
    assert (layers["ac"].options, layers["cc"].options) == ({"where": "e"}, {})


def test_a_key_of_two_languages_beside_them_is_an_error_at_the_key():
    (error,) = errors("{language: [a, b], where: x}")
    assert error[:2] == ("ambiguous-key", 25)
    assert error[2] == "the key `where` belongs to languages `a` and `b`, and env `e` has them all"
    assert error[3] == "write it with its language, as in `language: [{a: {where: …}}, b]`"
    (error,) = errors("{language: [{a: {where: x}}, {b: {where: y}}], where: z}")
    assert error[0] == "duplicate"
    assert "besides" in error[2]


def test_a_key_of_another_language_names_those_that_the_env_has():
    (error,) = errors("{language: [a, b], only-c: x}")
    assert error[2] == "the key `only-c` belongs to language `c`, and env `e` has languages `a` and `b`"
    assert error[3].startswith("remove it: keys of `a` and `b` are `")
    assert error[3].endswith("; or, for an env of both languages, `language: [a, b, c]`")


@pytest.mark.parametrize(
    ("env", "code", "words"),
    [
        ("{language: [a, a]}", "duplicate", "language `a` is in env `e` twice"),
        ("{language: [a, {a: {where: x}}]}", "duplicate", "language `a` is in env `e` twice"),
        ("{language: []}", "empty", "`language` of env `e` is empty"),
        ("{language: [a, d]}", "value", 'unknown value "d"'),
        ("{language: ['{{ env.name }}', a]}", "unknown-language", "unknown language `e`"),
        ("{language: [{d: {}}]}", "unknown-key", "`d`"),
        ("{language: [{c: {where: x}}]}", "unknown-key", "`where`"),
        ("{language: [{a: {where: [x]}}]}", "type", "where"),
        ("{language: [[a]]}", "type", ""),
        ("{language: {a: {}}}", "type", "language"),
        ("{language: [1]}", "type", "got the number 1"),
    ],
)
def test_what_is_wrong_in_a_list_is_an_error_once(env, code, words):
    found = errors(env)
    assert [error[0] for error in found] == [code], found
    assert words in found[0][2]


def drafts(name, options):
    return (api.LayerDraft(name=name, kind="note", options=options),)


def test_one_layer_name_of_two_languages_is_an_error_unless_it_is_the_same_layer():
    same = (language("a", own_layers=drafts("x", 1)), language("b", own_layers=drafts("x", 1)))
    assert [*expand("{language: [a, b]}", same)] == ["x"]
    other = (language("a", own_layers=drafts("x", 1)), language("b", own_layers=drafts("x", 2)))
    (error,) = errors("{language: [a, b]}", other)
    assert error[:2] == ("duplicate", 21)
    assert error[2] == "languages `a` and `b` both add a layer `x` to env `e`, and the two differ"
    assert error[3] == "write an env for each language"


def test_the_users_own_layer_of_a_languages_name_is_an_error_at_the_language():
    (error,) = errors("{language: [a, b], layers: [x]}\nlayers:\n  x: {note: 1}", (
        language("a", own_layers=drafts("y", 1)), language("b", own_layers=drafts("x", 2)),
    ))  # fmt: skip
    assert error[2] == "`b` adds a layer `x`, and env `e` has one of this name"
