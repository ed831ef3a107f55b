"""`toolchain:` of envs: what it adds for toolchains that plugins offer, who decides a version, and what is refused."""

from __future__ import annotations

import pytest

from envtool import api, testing
from envtool.api.toolchains import describe_versions
from envtool.errors import PluginError, SpecError
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


def registry(decide=by_file, kind=Anvil.name, name="anvil", **more):
    hooks = plugin(
        envtool_base_kinds=lambda: [Bare()],
        envtool_layer_kinds=lambda: [Note(), Anvil()],
        envtool_languages=lambda: [Words()],
        envtool_toolchains=lambda: [api.Toolchain(name=name, kind=kind, decide=decide, files=(".anvil",), **more)],
    )
    return discover([], [Entry("p", lambda: hooks)])


def expand(env, files=None, **changed):
    spec = f"version: 1\nenvs:\n  e: {{base: {{bare: x}}, {env}}}\n"
    project = testing.MemoryProject({"envtool.yaml": spec, **(files or {})})
    return load(project, "envtool.yaml", root="/r", registry=registry(**changed)).envs


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
    assert found.message == (
        "nothing says which anvil: no .anvil, mise.toml, .mise.toml or .tool-versions names a version"
    )
    assert found.hint == 'write one: `toolchain: {anvil: "VERSION"}`'


def test_what_the_key_refuses():
    assert "unknown key `anvi` in `toolchain`" in problem('toolchain: {anvi: "1"}').message
    assert 'write it in quotes: "1.20"' in problem("toolchain: {anvil: 1.20}").hint
    assert "as in" in problem('toolchain: {anvil: "new"}').message
    assert "`toolchain` of env `e` is empty" in problem("toolchain: {}").message


def test_a_plugin_whose_decision_is_none_is_named():
    with pytest.raises(PluginError, match="the toolchain `anvil`"):
        expand("toolchain: [anvil]", decide=lambda project: "1.2")
    for words, changed in (
        ("offers a toolchain `anvil` of the kind `note`, which is no ToolchainKind", {"kind": "note"}),
        ("offers a toolchain `An vil` whose name has other characters", {"name": "An vil"}),
    ):
        (fault,) = registry(**changed).faults
        assert words in fault.message


def by_line(project):
    for number, line in enumerate((project.read(".anvil") or "").splitlines(), 1):
        if line == "broken":
            where = api.Where(file=".anvil", line=number, column=1)
            raise SpecError((api.Problem(where=where, message="no anvil", code="anvil"),))
        yield api.WantedVersion(
            wanted=line.strip("<>"), file=".anvil", line=number, allows=line if line[0] == ">" else ""
        )


def test_a_plugin_yields_what_its_files_say_and_is_asked_no_further_than_needed():
    (env,) = expand("toolchain: [anvil]", {".anvil": "3.1\nbroken\n"}, decide=None, wants=by_line)
    assert env.layers[0].options == {"version": "3.1", "origin": ".anvil"}
    (env,) = expand("toolchain: [anvil]", {".tool-versions": "iron 2\n"}, decide=None, wants=by_line, names=("iron",))
    assert env.layers[0].options == {"version": "2", "origin": ".tool-versions"}
    with pytest.raises(SpecError):
        expand("toolchain: [anvil]", {".anvil": "broken"}, decide=None, wants=by_line)


def test_a_file_that_disagrees_is_noted_and_changes_nothing():
    files = {".anvil": "3.1\n", ".tool-versions": "# all of them\nanvil 3.2 3.1\n"}
    (env,) = expand("toolchain: [anvil]", files, decide=None, wants=by_line)
    assert env.layers[0].options == {"version": "3.1", "origin": ".anvil"}
    assert env.layers[0].note == "anvil is 3.1, by .anvil:1, but .tool-versions:2 wants 3.2"
    (env,) = expand("toolchain: [anvil]", files)
    assert env.layers[0].note == "anvil is 3.1, by .anvil, but .tool-versions:2 wants 3.2"


def test_what_is_no_version_is_said_where_nothing_else_decides():
    found = problem("toolchain: [anvil]", {"mise.toml": '[tools]\nanvil = "latest"\n'})
    assert found.message.endswith("names a version; mise.toml:2 names `latest`, which is no version")


@pytest.mark.parametrize("wants", [lambda project: 3, lambda project: ["3"], lambda project: iter([None])])
def test_a_plugin_that_yields_something_else_is_named(wants):
    with pytest.raises(PluginError, match="the toolchain `anvil`"):
        expand("toolchain: [anvil]", decide=None, wants=wants)


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
