from __future__ import annotations

import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import pytest

from envtool import api, distributions, plugin_calls, testing
from envtool.cli.plugin_verbs import load_verb
from envtool.errors import PluginError, SpecError, UsageError
from envtool.plugins import OUR_VERBS, REMOVED, check_verbs, discover, wrong_schema
from envtool.spec import load as load_spec


def kind(name, **more):
    return type(name.title(), (api.Kind,), {"name": name, "schema": {"type": "string"}, **more})()


def plugin(**hooks):
    return SimpleNamespace(**{name: api.hook(function) for name, function in hooks.items()})


def base(name, **more):
    return type(name.title(), (api.Base,), {"name": name, "schema": True, **more})()


class Entry:
    """An entry point as importlib.metadata gives it."""

    def __init__(self, name, load, distribution="envtool-x"):
        self.name, self.value, self._load = name, f"{name}:plugin", load
        self.dist = SimpleNamespace(name=distribution, version="1.2") if distribution else None

    def load(self):
        return self._load()


def test_ours_and_plugins_are_gathered():
    ours = plugin(envtool_layer_kinds=lambda: [kind("run")], envtool_base_kinds=lambda: [base("host")])
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
    registry = discover(ours, [Entry(f"p{n}", load, f"dist-{n}") for n, load in enumerate(plugins)])
    (error,) = registry.faults
    assert error.code == "plugin"
    assert error.owners
    assert not {*error.owners} & {*registry.owners}, "nothing that it offers is used"
    return f"{error.message} -- {error.hint}"


def test_a_broken_plugin_is_named():
    def broken():
        raise ImportError("no module named x")

    assert "the plugin `dist-0` 1.2 cannot be imported: ImportError: no module named x" in refused(broken)
    assert "failed in envtool_layer_kinds: ZeroDivisionError" in refused(
        lambda: plugin(envtool_layer_kinds=lambda: [1 / 0])
    )
    assert "which is no envtool.api.Kind" in refused(lambda: plugin(envtool_layer_kinds=lambda: ["pip"]))
    assert "which is no envtool.api.Base" in refused(lambda: plugin(envtool_base_kinds=lambda: [kind("box")]))
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


def test_our_verbs_are_those_of_the_command_line():
    """Their names are there a second time, so that a plugin's verb is refused without importing the command line."""
    from envtool.cli.main import VERBS

    assert {*VERBS, "help"} == OUR_VERBS


def verb(name, run=lambda call: api.Answer(text=""), **more):
    return api.PluginVerb(**{"name": name, "help": "Do it.", "run": run, **more})


def entry(*verbs, name="do"):
    point = Entry(name, lambda: plugin(envtool_verbs=lambda: [*verbs]))
    point.group = "envtool.verbs"
    return point


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (verb("other"), "has no verb `do`"),
        (verb("do", help=" "), "without `help`"),
        (verb("do", options=(api.Option(name="-x", help=""),)), "names begin with `--`"),
        (verb("do", options=(api.Option(name="--output", help=""),)), "which every verb has already"),
        (verb("do", arguments=(api.Argument(name="ENV", help=""),)), "small letters, digits"),
        (
            verb("do", arguments=(api.Argument(name="x", help=""),), options=(api.Option(name="--x", help=""),)),
            "has `x` twice",
        ),
        ("do", "which is no envtool.api.PluginVerb"),
    ],
)
def test_a_verb_that_the_command_line_cannot_have(broken, words):
    with pytest.raises(UsageError, match=r"the plugin `envtool-x` 1\.2") as error:
        load_verb(entry(broken))
    assert words in error.value.message


def test_a_verb_of_another_version():
    old = entry(verb("do"))
    module = old.load()
    module.envtool_api = api.API_VERSION + 1
    with pytest.raises(UsageError, match="is written for version 2 of the plugin API"):
        load_verb(Entry("do", lambda: module, "envtool-x"))


def test_names_of_verbs():
    check_verbs([entry(name="do"), entry(name="undo")])
    for name in ("Do", "do it", "-do", "9", "é", "d" * 40):
        with pytest.raises(UsageError, match="names have small letters"):
            check_verbs([entry(name=name)])
    for name in ("test", "help", "completion"):
        with pytest.raises(UsageError, match=f"two plugins offer the verb `{name}`: envtool itself and the plugin"):
            check_verbs([entry(name=name)])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "answered NoneType where Answer is wanted"),
        ("text", "answered str where Answer is wanted"),
        (api.Answer(text=b"x"), "whose `text` is a str"),
        (api.Answer(text="", status=2), "whose `status` is 0 or 1"),
        (api.Answer(text="", status=True), "whose `status` is 0 or 1"),
        (api.Answer(text="", document={1, 2}), "where JSON is wanted"),
        (api.Answer(text="", document=float("nan")), "where JSON is wanted"),
    ],
)
def test_an_answer_that_cannot_be_printed_is_the_plugins_fault(answer, words):
    offer = load_verb(entry(verb("do", run=lambda call: answer)))
    with pytest.raises(PluginError) as error:
        plugin_calls.call_verb(offer, api.VerbCall(values={}, project=None))
    assert error.value.message.startswith("the plugin `envtool-x` 1.2 failed in the verb `do`: ")
    assert words in error.value.message


def env_key(name, **more):
    def add(env, value, project):
        return api.Additions()

    return api.EnvKey(**{"name": name, "schema": {"type": "string", "description": "d"}, "add": add, **more})


def test_keys_of_envs_are_checked():
    def key(*arguments, **named):
        return lambda: plugin(envtool_env_keys=lambda: [env_key(*arguments, **named)])

    assert "offers a key of envs `base` which every env has already" in refused(key("base"))
    assert "without a schema that has a description" in refused(key("x", schema={"type": "string"}))
    assert "other characters than small letters" in refused(key("X y"))
    assert "two plugins offer the key of envs `x`: the plugin `dist-0` 1.2 and the plugin `dist-1` 1.2" in refused(
        key("x"), key("x")
    )
    language = type("L", (api.Language,), {"name": "l", "options": {"x": {"type": "string"}}})
    assert "(for language `l`) and the plugin `dist-1`" in refused(
        lambda: plugin(envtool_languages=lambda: [language()]), key("x")
    )
    taken = type("L", (api.Language,), {"name": "l", "options": {"tasks": {}}})
    assert "with the key `tasks`, which every env has already" in refused(
        lambda: plugin(envtool_languages=lambda: [taken()])
    )
    registry = discover([], [Entry("p", key("x", schema={"type": "strin", "description": "d"}))])
    assert wrong_schema(registry).message.startswith(
        "the plugin `envtool-x` 1.2 offers the key `x` of envs with a wrong"
    )


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


@pytest.fixture
def site(tmp_path, monkeypatch):
    """`site(name, points=…, info=…)`: a distribution in a directory of sys.path, or `at` one of its directories."""
    monkeypatch.syspath_prepend(str(tmp_path))
    files = {"points": "entry_points.txt", "info": "METADATA", "old": "PKG-INFO"}

    def install(name, at=".", **texts):
        directory = tmp_path / at / name
        directory.mkdir(parents=True)
        for file, text in texts.items():
            (directory / files[file]).write_text(text)

    install.top = tmp_path
    return install


def whole(group):
    """What importlib.metadata says of a group."""
    return sorted((each.name, each.value, each.dist.name, each.dist.version) for each in entry_points(group=group))


def ours(group):
    found = distributions.entry_points_of(group)
    return sorted((each.name, each.value, each.dist.name, each.dist.version) for each in found)


META = "Metadata-Version: 2.1\nName: Some.Thing\nVersion: 1.5\n\nName: other\n"


@pytest.mark.parametrize(
    "points",
    [
        "[mine]\nx = json\n",
        "[mine]\nx=json:dumps\n\n[other]\ny = json\n",
        "# said\n[other]\ny = json\n[mine]\n  x = json : dumps \n# z = json\n",
        "[mine]\nx = json [extra]\ny = json:decoder.JSONDecoder\n",
        "[mine]\r\nx = json\r\n",
        "[other]\nx = json\n",
        "",
    ],
)
def test_entry_points_are_those_of_importlib(site, points):
    site("some_thing-1.5.dist-info", points=points, info=META)
    assert ours("mine") == whole("mine")
    loaded = [
        [each.load() for each in sorted(found, key=lambda each: each.name)]
        for found in (distributions.entry_points_of("mine"), entry_points(group="mine"))
    ]
    assert loaded[0] == loaded[1]


def test_a_distribution_counts_where_it_is_found_first(site, monkeypatch):
    site("some_thing-1.5.dist-info", points="[mine]\nx = json\n", info=META)
    site("Some.Thing-1.4.dist-info", at="later", points="[mine]\ny = json\n", info=META.replace("1.5", "1.4"))
    site("third.egg-info", at="later", points="[mine]\nz = json\n", old="Name: third\nVersion: 3\n")
    (site.top / "later/single.egg-info").write_text("Name: single\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site.top / "later"), str(site.top / "nowhere")])
    assert ours("mine") == whole("mine")
    assert [name for name, *_ in ours("mine")] == ["x", "z"]


def test_what_is_no_plain_directory_is_asked_of_importlib(monkeypatch, tmp_path):
    archive = tmp_path / "wheels.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("some_thing-1.5.dist-info/entry_points.txt", "[mine]\nx = json\n")
        file.writestr("some_thing-1.5.dist-info/METADATA", META)
    with monkeypatch.context() as changed:
        changed.syspath_prepend(str(archive))
        assert [name for name, *_ in ours("mine")] == ["x"]
    finder = SimpleNamespace(find_spec=lambda *_: None, find_distributions=lambda *_: [])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [group])
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    assert distributions.entry_points_of("mine") == ["mine"]


def test_an_entry_point_that_names_no_module_is_the_plugins_fault(site):
    site("some_thing-1.5.dist-info", points="[envtool]\nx = not-a-name\n", info=META)
    (fault,) = discover(()).faults
    assert "`Some.Thing` 1.5 cannot be imported" in fault.message


# ---- the version of the API ------------------------------------------------------------------------------------------


def test_what_fits_and_what_says_nothing():
    for version in ({}, {"envtool_api": api.API_VERSION}):
        module = plugin(envtool_layer_kinds=lambda: [kind("motd")])
        vars(module).update(version)
        assert sorted(discover([], [Entry("motd", lambda module=module: module)]).layers) == ["motd"]


@pytest.mark.parametrize(
    ("version", "said", "hint"),
    [
        (
            api.API_VERSION + 1,
            f"is written for version {api.API_VERSION + 1} of the plugin API, and this",
            "update envtool",
        ),
        (999, "is written for version 999", "update envtool"),
        (0, "names 0 as its version of the plugin API", "update it, or uninstall it"),
        (-1, "names -1", "update it"),
        ("1", "names '1'", "update it"),
        (True, "names True", "update it"),
        (1.0, "names 1.0", "update it"),
        (None, "names None", "update it"),
        ("x" * 10_000, "names 'xxx", "update it"),
    ],
)
def test_another_version(version, said, hint):
    module = plugin(envtool_layer_kinds=lambda: 1 / 0)
    module.envtool_api = version
    (fault,) = discover([], [Entry("motd", lambda: module, "envtool-motd")]).faults
    assert fault.message.startswith("the plugin `envtool-motd` 1.2 ")
    assert said in fault.message
    assert len(fault.message) < 200
    assert hint in fault.hint
    assert fault.code == "plugin"


@pytest.mark.parametrize("name", ["optional_inputs", "named_inputs", "asked_inputs", "keeps", "follows", "texts"])
def test_a_method_of_the_api_before_version_1(name):
    old = kind("motd", **{name: lambda self, options: ()})
    assert f"a layer kind `motd` with `{name}`, which version 1" in refused(
        lambda: plugin(envtool_layer_kinds=lambda: [old])
    )


@pytest.mark.parametrize("name", ["parts", "fresh", "pinned", "watches", "image_config", "epoch"])
def test_what_only_bases_are_asked(name):
    layer = kind("motd", **{name: None})
    assert f"with `{name}`, which only an envtool.api.Base has" in refused(
        lambda: plugin(envtool_layer_kinds=lambda: [layer])
    )


def test_our_plugins_say_it_and_the_changelog_has_it():
    top = Path(__file__).parents[2]
    for path in sorted(top.glob("plugins/*/src/*/plugin.py")):
        assert f"envtool_api = {api.API_VERSION}" in path.read_text(), path
    text = (top / "docs" / "api-changelog.md").read_text()
    assert f"## Version {api.API_VERSION}" in text
    assert f"## Version {api.API_VERSION + 1}" not in text
    for name in REMOVED:
        assert f"`{name}`" in text


# ---- what goes on without a plugin -----------------------------------------------------------------------------------


def test_the_others_are_used():
    def late():
        return plugin(envtool_layer_kinds=lambda: [1 / 0])

    def fine():
        return plugin(envtool_layer_kinds=lambda: [kind("pip")])

    registry = discover([], [Entry("a", late, "dist-a"), Entry("b", fine, "dist-b"), Entry("c", late, "dist-c")])
    assert [*registry.layers] == ["pip"]
    assert registry.owners == ("the plugin `dist-b` 1.2",)
    assert [fault.owners for fault in registry.faults] == [("the plugin `dist-a` 1.2",), ("the plugin `dist-c` 1.2",)]
    line = late.__code__.co_firstlineno + 1
    assert f"division by zero ({__file__}:{line})" in registry.faults[0].message
    assert registry.left_out().startswith("not used: the plugin `dist-a` 1.2 failed in envtool_layer_kinds: ")


def test_a_fault_of_ours_is_no_plugins():
    with pytest.raises(UsageError, match="envtool itself failed in envtool_layer_kinds"):
        discover([plugin(envtool_layer_kinds=lambda: [1 / 0])], [])


def test_a_plugin_that_does_not_fit_does_not_spoil_the_next():
    entries = [
        Entry("a", lambda: plugin(envtool_layer_kinds=lambda wrong: []), "dist-a"),
        Entry("b", lambda: plugin(envtool_layer_kinds=lambda: [kind("pip")]), "dist-b"),
    ]
    registry = discover([], entries)
    assert [*registry.layers] == ["pip"]
    assert len(registry.faults) == 1


@pytest.mark.parametrize("written", ["level: 1", "greet: x"])
def test_a_spec_is_read_without_a_plugin_whose_schema_is_wrong(written, monkeypatch, capsys):
    from envtool import errors, plugins
    from envtool.app.read_spec import load_with_plugins

    bad = [kind("odd", siblings={"more": {"type": "strin"}})]
    entries = [
        Entry("a", lambda: plugin(envtool_layer_kinds=lambda: bad, envtool_env_keys=lambda: [env_key("level")]), "a"),
        Entry("b", lambda: plugin(envtool_env_keys=lambda: [env_key("greet")]), "b"),
    ]
    monkeypatch.setattr(plugins, "_installed", lambda faults: entries)
    errors.forget_faults()
    project = testing.MemoryProject(
        {"envtool.yaml": f"version: 1\nenvs: {{e: {{base: host, {written}, tasks: {{t: x}}}}}}\n"}
    )
    known = {"file": "envtool.yaml", "root": "/r", "registry": discover()}
    if written.startswith("level"):
        with pytest.raises(SpecError) as error:
            load_with_plugins(project, **known)
        assert "not used: the plugin `a` 1.2 offers a kind `odd` with a wrong schema of `more`" in error.value.hint
    else:
        spec, registry = load_with_plugins(project, **known)
        assert [env.name for env in spec.envs] == ["e"]
        assert [*registry.layers].count("odd") == 0
    assert capsys.readouterr().err.count("warning: the plugin `a` 1.2 offers a kind `odd`") == 1
    assert errors.has_faults()
