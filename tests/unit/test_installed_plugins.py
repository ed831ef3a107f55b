"""`envtool plugins`: what is installed, also what fails."""

from __future__ import annotations

import json
import sys

import pytest

from envtool import distributions
from envtool.app.installed_plugins import list_plugins
from envtool.cli.main import main


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a plugin in a directory of sys.path: its module's text, and its entry points."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(name, text, points="[envtool]\nx = {module}\n", metadata=True):
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(text)
        info = tmp_path / f"{module}-1.5.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_text(points.format(module=module))
        if metadata:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n\n")
        monkeypatch.delitem(sys.modules, module, raising=False)
        return str(tmp_path / f"{module}.py")

    return put


GOOD = """
from envtool import api
envtool_api = 1
@api.hook
def envtool_output_readers():
    return [api.OutputReader(name="dots", start=api.LineReader, begins=r"\\.")]
@api.hook
def envtool_failure_hint(failure):
    return ""
"""


def row(name):
    (plugin,) = [plugin for plugin in list_plugins() if plugin.name == name]
    return plugin


def test_each_plugin_of_ours_is_listed_with_what_it_adds():
    found = {plugin.name: plugin for plugin in list_plugins()}
    assert {"envtool-python", "envtool-node", "envtool-rust", "envtool-go", "envtool-cc", "envtool-java"} <= {*found}
    python = found["envtool-python"]
    assert "python" in python.adds["languages"]
    assert "pip" in python.adds["layers"]
    assert "pytest" in python.adds["readers"]
    assert python.adds["verbs"] == ("requirements",)
    assert "detect" in python.adds["hooks"]
    assert all(file.startswith("/") and file.endswith(".py") for file in python.files)
    assert not any(plugin.error for plugin in found.values() if plugin.name.startswith("envtool-"))


def test_what_a_plugin_adds_and_from_where(install):
    file = install("my-good", GOOD)
    plugin = row("my-good")
    assert (plugin.version, plugin.files, plugin.error) == ("1.5", (file,), "")
    assert plugin.adds == {"readers": ("dots",), "hooks": ("failure_hint",)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise LookupError('no\\nmotd')", "cannot be imported: LookupError: no motd"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("def (", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("envtool_api = 99", "written for version 99 of the plugin API"),
        ("def envtool_languages():\n    raise ValueError('late')", "envtool_languages failed: ValueError: late"),
        ("def envtool_languages():\n    return [3]", "envtool_languages failed: AttributeError"),
        ("def envtool_languages():\n    return None", "envtool_languages failed: TypeError"),
    ],
)
def test_one_that_fails_is_named_with_version_and_file_and_the_others_are_listed(install, capsys, text, words):
    file = install("my-bad", text)
    install("my-good", GOOD)
    assert main(["plugins", "--json"]) == 1
    found = {plugin["name"]: plugin for plugin in json.loads(capsys.readouterr().out)["plugins"]}
    assert (found["my-bad"]["version"], found["my-bad"]["files"]) == ("1.5", [file])
    assert words in found["my-bad"]["error"]
    assert found["my-good"]["adds"]["readers"] == ["dots"]
    assert found["envtool-python"]["error"] == ""
    assert main(["plugins"]) == 1
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("my-bad 1.5")
    assert lines[at + 1] == f"  {file}"
    assert any(words in line for line in lines[at:] if line.startswith("  error: "))


def test_one_without_a_module_or_with_hostile_words(install, capsys):
    install("my-gone", "", points="[envtool]\nx = no_such_module_at_all:y\n")
    install(
        "my-odd", "envtool_api = '\\x1b[2J' * 2", points="[envtool]\nx = {module}\n[envtool.verbs]\nbad = {module}\n"
    )
    main(["plugins"])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert row("my-gone").files == ()
    assert row("my-odd").adds["verbs"] == ("bad",)
    assert distributions.entry_points_of("envtool")
