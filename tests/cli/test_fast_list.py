"""`list` prints from the plan cache what it printed before, until anything changes that decided it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from envtool.cli import fastpath, main
from envtool.run import fast_exec, fast_list

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


@pytest.fixture
def repository(project, monkeypatch, tmp_path_factory):
    """The project two directories below the top of a repository, which ignores requirements.txt."""
    top = project.parent
    home = tmp_path_factory.mktemp("home")  # not in the repository: envtool reads no configuration that came with it
    monkeypatch.setenv("HOME", str(home))
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"):
        monkeypatch.delenv(name, raising=False)
    (top / ".gitignore").write_text("requirements.txt\n")
    (project / "requirements.txt").write_text("attrs\n")
    (project / "empty").mkdir()
    git(top, "init", "-q")
    git(top, "add", "project", ".gitignore")
    (project / "extra.txt").write_text("")  # neither tracked nor ignored
    return top


def git(top, *words):
    subprocess.run(["git", "-C", str(top), *words], check=True, capture_output=True)


GIT_CHANGES = {
    "a .gitignore above the project": lambda top: (top / ".gitignore").unlink(),
    "the index": lambda top: git(top, "add", "-f", "project/requirements.txt"),
    "a file in a directory that was empty": lambda top: (top / "project/empty/new.py").write_text(""),
    "a repository in the project": lambda top: git(top / "project/data", "init", "-q"),
    "no repository": lambda top: (top / ".git").rename(top / "gone"),
    "the user's own rules": lambda top: [
        (home := Path(os.environ["HOME"]), (home / ".gitconfig").write_text(f"[core]\nexcludesFile = {home}/rules\n")),
        (home / "rules").write_text("extra.txt\n"),
    ],
}


@pytest.mark.parametrize("name", GIT_CHANGES)
def test_what_git_lists_counts(repository, say, name):
    long, fast = say()
    assert long == fast
    GIT_CHANGES[name](repository)
    assert say.fast() is None


def test_a_new_file_without_git_counts(project, say):
    (project / "empty").mkdir()
    say()
    assert say.fast() is not None
    (project / "empty" / "new.py").write_text("")
    assert say.fast() is None


def test_json_names_the_project_as_the_command_line_does(project, say, capsys):
    link = project.parent / "link"
    link.symlink_to(project)
    say("--json")
    assert fastpath.try_list(["-C", str(link), "list", "--json"]) is None
    assert main.main(["-C", str(link), "list", "--json"]) == 0
    assert f'"root": "{link}"' in capsys.readouterr().out
    assert say.fast("--json") is not None


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["test", "--json"], ["plan", "--json"], ["version"]])
@pytest.mark.parametrize("how", [">/dev/full", ">&-"])
def test_an_output_that_cannot_be_written(project, say, words, how):
    """Twice: by the long path, and by the fast path if there is one."""
    (project / "envtool.yaml").write_text("version: 1\nenvs: {unit: {base: host, tasks: {lint: 'true'}}}\n")
    command = " ".join([shlex.quote(sys.executable), "-m", "envtool", *words, how])
    for _ in range(2):
        done = subprocess.run(["sh", "-c", command], cwd=project, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        assert done.returncode in ((3,) if how == ">/dev/full" and words[0] != "test" else (0, 2, 3)), done.stderr
        say()


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
    signature = fast_exec.stat_signature
    own = os.path.realpath(language.__file__)
    monkeypatch.setattr(
        fast_exec, "stat_signature", lambda path: (1,) if os.path.realpath(path) == own else signature(path)
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
