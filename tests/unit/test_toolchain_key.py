"""`toolchain:` of envs: what it adds for toolchains that plugins offer, who decides a version, and what is refused."""

from __future__ import annotations

import pytest

from envtool import api, testing
from envtool.api.toolchains import describe_versions
from envtool.errors import PluginError, SpecError, UsageError
from envtool.plugins import discover
from envtool.spec import load
from tests.unit.spec.test_plugin_keys import Bare, Note
from tests.unit.test_plugins import Entry, plugin


class Anvil(api.ToolchainKind):
    name = "anvil-toolchain"
    tool = "anvil"
    title = "Anvil"


class Words(api.Language):
    name = "words"

    def layers(self, env, project):
        return (api.LayerDraft(name="words", kind="note", options=repr(env.toolchains), needs=env.layer_names),)


def by_file(project):
    text = project.read(".anvil")
    return None if text is None else api.Decision(wanted=text.strip(), origin=".anvil")


def expand(env, files=None, decide=by_file, kind=Anvil.name, name="anvil"):
    hooks = plugin(
        envtool_base_kinds=lambda: [Bare()],
        envtool_layer_kinds=lambda: [Note(), Anvil()],
        envtool_languages=lambda: [Words()],
        envtool_toolchains=lambda: [api.Toolchain(name=name, kind=kind, decide=decide, files=(".anvil",))],
    )
    spec = f"version: 1\nenvs:\n  e: {{base: {{bare: x}}, {env}}}\n"
    project = testing.MemoryProject({"envtool.yaml": spec, **(files or {})})
    return load(project, "envtool.yaml", root="/r", registry=discover([], [Entry("p", lambda: hooks)])).envs


def problem(*arguments, **named):
    with pytest.raises(SpecError) as refused:
        expand(*arguments, **named)
    (found,) = refused.value.problems
    return found


def test_a_toolchain_is_a_layer_on_the_base_alone_below_all_others():
    (env,) = expand('toolchain: {anvil: "1.2"}, language: words, layers: [{note: mine}]')
    assert [(layer.name, layer.options, layer.needs) for layer in env.layers] == [
        ("toolchain-anvil", {"version": "1.2"}, ()),
        ("note", "mine", None),
        ("words", "('anvil',)", ("toolchain-anvil", "note")),
    ]


def test_each_point_of_a_matrix_has_its_own_version():
    envs = expand('matrix: {v: ["1", "2"]}, toolchain: {anvil: "{{ matrix.v }}"}')
    assert [env.layers[0].options for env in envs] == [{"version": "1"}, {"version": "2"}]


@pytest.mark.parametrize("value", ["[anvil]", "{anvil: }"])
def test_without_a_version_the_project_decides(value):
    (env,) = expand(f"toolchain: {value}", {".anvil": "3.1\n"})
    assert env.layers[0].options == {"version": "3.1", "origin": ".anvil"}
    found = problem(f"toolchain: {value}")
    assert found.message == "nothing says which anvil: there is no .anvil that names a version"
    assert found.hint == 'write one: `toolchain: {anvil: "VERSION"}`'


def test_what_the_key_refuses():
    assert "unknown key `anvi` in `toolchain`" in problem('toolchain: {anvi: "1"}').message
    assert 'write it in quotes: "1.20"' in problem("toolchain: {anvil: 1.20}").hint
    assert "as in" in problem('toolchain: {anvil: "new"}').message
    assert "`toolchain` of env `e` is empty" in problem("toolchain: {}").message


def test_a_plugin_whose_decision_is_none_is_named():
    with pytest.raises(PluginError, match="the toolchain `anvil`"):
        expand("toolchain: [anvil]", decide=lambda project: "1.2")
    with pytest.raises(UsageError, match=r"offers a toolchain `anvil` of the kind `note`, which is no ToolchainKind"):
        expand("toolchain: [anvil]", kind="note")
    with pytest.raises(UsageError, match="offers a toolchain `An vil` whose name has other characters"):
        expand("toolchain: [anvil]", name="An vil")


@pytest.mark.parametrize(
    ("wanted", "versions", "described"),
    [
        ("2.9", ["1.0", "2.1", "2.10", "2.9rc1"], "2.10, 2.1 and 1 more"),
        ("9", ["1.0", "1.1", "2.1", "2.1.1"], "2.1.1, 2.1, 1.1 and 1 more"),
        ("1", [], "none for this machine"),
        ("1", [f"1.{'9' * 5000}", "9" * 5000, "1.2"], "1.2"),  # numbers of a registry that Python does not read
        ("1.99", [f"1.{minor}" for minor in range(20)], "1.19, 1.18, 1.17, 1.16, 1.15, 1.14, 1.13, 1.12 and 12 more"),
    ],
)
def test_the_nearest_versions_are_named(wanted, versions, described):
    assert describe_versions(wanted, versions) == described
