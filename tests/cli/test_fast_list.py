"""`list` prints from the plan cache what it printed before, until anything changes that decided it."""

from __future__ import annotations

import os

import pytest

from envtool.cli import fastpath, main
from envtool.run import fast_list

SPEC = """\
version: 1
include: {below: other.yaml}
envs:
  unit: {base: {debian: bookworm}, language: python, layers: [{copy: {from: "data/*", to: /opt}}], tasks: {test: "true"}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    pytest.importorskip("envtool_python")
    root = tmp_path / "project"
    root.mkdir()
    for name, text in {
        "envtool.yaml": SPEC,
        "other.yaml": "version: 1\nenvs: {more: {base: host, tasks: {test: 'true'}}}\n",
        "pyproject.toml": '[project]\nname = "small"\nversion = "1"\n',
        "small.py": "",
        "data/one": "",
    }.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setenv("ENVTOOL_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "store" / "plans").mkdir(parents=True)
    monkeypatch.setattr(fast_list, "CLOCK_MARGIN", -(10**18))  # files that were just written count
    return root


@pytest.fixture
def say(project, capsys):
    """What the long path and the fast path print for some words; None if the fast path does not know."""

    def both(*words):
        assert main.main(["-C", str(project), "list", *words]) == 0
        long = capsys.readouterr().out
        return long, fast(*words)

    def fast(*words):
        status = fastpath.try_list(["-C", str(project), "list", *words])
        return capsys.readouterr().out if status == 0 else None

    both.fast = fast
    return both


@pytest.mark.parametrize("words", [(), ("--json",), ("--color", "always"), ("--color=never",)])
def test_the_fast_path_prints_what_the_long_path_prints(say, words):
    assert say.fast(*words) is None
    long, fast = say(*words)
    assert "unit" in long
    assert long == fast


def test_each_look_is_kept_for_itself(say):
    texts = {words: say(*words)[0] for words in ((), ("--json",), ("--color=always",))}
    assert len({*texts.values()}) == 3
    assert {words: say.fast(*words) for words in texts} == texts


@pytest.mark.parametrize("words", [("-q",), ("-v",), ("x",), ("-f", "envtool.yaml"), ("--", "x"), ("-e", "unit")])
def test_other_command_lines_take_the_long_path(say, words):
    say()
    assert say.fast(*words) is None


CHANGES = {
    "the spec": lambda root: (root / "envtool.yaml").write_text(SPEC + "# more\n"),
    "a spec that it includes": lambda root: (root / "other.yaml").write_text("version: 1\nenvs: {}\n"),
    "a file that the language reads": lambda root: (root / "pyproject.toml").unlink(),
    "a new file beside it": lambda root: (root / "requirements.txt").write_text("attrs\n"),
    "a new module": lambda root: (root / "more.py").write_text(""),
    "a repository": lambda root: (root / ".git").mkdir(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_takes_the_long_path(project, say, name):
    say()
    assert say.fast() is not None
    CHANGES[name](project)
    assert say.fast() is None


def test_what_the_caller_says_counts(project, say, monkeypatch, tmp_path):
    say()
    for name in ("ENVTOOL_DEBIAN_MIRROR", "CI"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            assert say.fast() is None
    (tmp_path / "config" / "envtool").mkdir(parents=True)
    (tmp_path / "config" / "envtool" / "config.yaml").write_text("{}\n")
    assert say.fast() is None


def test_code_that_changed_counts(project, say, monkeypatch, tmp_path):
    """A plugin's module is among the files that are compared."""
    import envtool_python.language as language

    say()
    signature = fast_list.fast_exec.stat_signature
    own = os.path.realpath(language.__file__)
    monkeypatch.setattr(
        fast_list.fast_exec, "stat_signature", lambda path: (1,) if os.path.realpath(path) == own else signature(path)
    )
    assert say.fast() is None


def test_a_damaged_plan_is_none(say, tmp_path):
    say()
    for path in (tmp_path / "store" / "plans").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert say.fast() is None


def test_what_changes_while_it_is_read_is_not_kept(say, monkeypatch):
    monkeypatch.setattr(fast_list, "CLOCK_MARGIN", 10**9)
    assert say()[1] is None  # the files were written less than a second ago
