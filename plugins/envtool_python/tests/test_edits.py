"""Which edits of a Python project resolve and build its requirements anew, and which install the project anew."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path

import pytest
from envtool_python.kinds import Pip, PythonProject
from envtool_python.language import Python

from envtool import api
from envtool.fs import globs

LOCKS = Path(__file__).parent / "locks"
WHERE = api.Where(file="envtool.yaml", line=3, column=5)
FILES = {
    "pyproject.toml": (LOCKS / "uv/pyproject.toml").read_text() + "[tool.ruff]\nline-length = 80\n",
    "uv.lock": (LOCKS / "uv/uv.lock").read_text(),
    "README.md": "# shop\n",
    "src/shop/__init__.py": "",
    "tests/test_a.py": "",
}


class Project(dict):
    """A project's files."""

    read = dict.get

    def read_bytes(self, path):
        text = self.get(path)
        return text if text is None else text.encode()

    def around(self, name):
        return {}

    def glob(self, pattern):
        return sorted(path for path in self if fnmatch(path, pattern.replace("**/", "*")))


def decisive(files):
    """Name of the layer -> all that decides whether it is resolved and built anew, before its pins."""
    env = api.EnvDraft(name="unit", base_kind="host", options={}, layer_names=(), where=WHERE)
    answers = {}
    for draft in Python().layers(env, Project(files)):
        kind = {"pip": Pip, "python-project": PythonProject}[draft.kind]()
        inputs = {"build": {}, "resolve": {}, "name": {}}
        for item in kind.inputs(draft.options):
            matches = globs.matcher([item.pattern, f"{item.pattern}/**"]).fullmatch
            for path in filter(matches, files):
                inputs[item.use][path] = "" if item.use == "name" else files[path]
        shown = {**inputs["resolve"], **inputs["build"]}
        request = api.Request(
            name=draft.name,
            options=draft.options,
            inputs=tuple(api.InputFile(path=path, sha256=text) for path, text in sorted(shown.items())),
            where=WHERE,
            arch="x86_64",
            epoch=1,
        )
        answers[draft.name] = (json.dumps(kind.question(request)), json.dumps([inputs["build"], inputs["name"]]))
    return answers


def edited(path, old, new):
    text = FILES.get(path, "")
    assert old in text
    changed = text.replace(old, new) if old else text + new
    assert changed != text
    return {**FILES, path: changed}


NOTHING = {  # edits that resolve and build no requirement: file, old text ("": at the end), new text
    "the project's version": ("pyproject.toml", 'version = "1.0"', 'version = "1.1"'),
    "the description": ("pyproject.toml", "a shop", "the shop"),
    "settings of ruff": ("pyproject.toml", "line-length = 80", "line-length = 99"),
    "settings of mypy": ("pyproject.toml", "", "[tool.mypy]\nstrict = true\n"),
    "settings of coverage": ("pyproject.toml", "", "[tool.coverage.run]\nbranch = true\n"),
    "settings of pytest": ("pyproject.toml", "", "[tool.pytest.ini_options]\naddopts = '-q'\n"),
    "a table of another tool": ("pyproject.toml", "", "[tool.towncrier]\nname = 'shop'\n"),
    "a URL of the project": ("pyproject.toml", "[dependency-groups]", "[project.urls]\na = 'https://a.invalid'\n[dependency-groups]"),
    "a script of the project": ("pyproject.toml", "[dependency-groups]", "[project.scripts]\nshop = 'shop:main'\n[dependency-groups]"),
    "a group that is not asked for": ("pyproject.toml", '["mdurl"]', '["mdurl", "sphinx"]'),
    "an extra that is not asked for": ("pyproject.toml", '["blinker"]', '["blinker>=1"]'),
    "comments": ("pyproject.toml", "[project]", "# of ours\n[project]"),
    "the backend's version": ("pyproject.toml", "flit_core>=3.9", "flit_core>=3.10"),
    "a package of the lock that nothing asked for reaches": ("uv.lock", 'name = "mdurl"\nversion = "0.1.2"', 'name = "mdurl"\nversion = "0.1.1"'),
    "the project's version in the lock": ("uv.lock", 'name = "shop"\nversion = "1.0"', 'name = "shop"\nversion = "1.1"'),
    "where the lock's author fetched": ("uv.lock", "https://files.invalid", "https://mirror.invalid"),
    "when files were uploaded": ("uv.lock", "upload-time", "uploaded"),
    "the revision of the lock's format": ("uv.lock", "revision = 5", "revision = 6"),
    "the README": ("README.md", "", "more\n"),
    "a module": ("src/shop/__init__.py", "", "x = 1\n"),
    "a test": ("tests/test_a.py", "", "x = 1\n"),
    "a file of settings": (".flake8", "", "[flake8]\n"),
    "a workflow": (".github/workflows/x.yml", "", "on: push\n"),
    "a changelog": ("CHANGES.md", "", "# 1.1\n"),
}  # fmt: skip
SOMETHING = {
    "a dependency": ("pyproject.toml", "jinja2>=3", "jinja2>=3.1"),
    "a dependency of the tests": ("pyproject.toml", "pytest>=8,<8.3", "pytest>=8.1,<8.3"),
    "a group that is included": ("pyproject.toml", '["toml"]', '["toml>=0.10"]'),
    "the Pythons that the project is for": ("pyproject.toml", ">=3.11", ">=3.10"),
    "a locked version": ("uv.lock", 'name = "markupsafe"\nversion = "2.1.3"', 'name = "markupsafe"\nversion = "2.1.4"'),
    "a locked hash": ("uv.lock", 'hash = "sha256:', 'hash = "sha512:' + "0" * 64),
    "the index of a lock": ("uv.lock", "https://usual.invalid", "https://other.invalid"),
}  # fmt: skip


@pytest.mark.parametrize("edit", NOTHING)
def test_an_edit_that_resolves_and_builds_no_requirement(edit):
    assert decisive(edited(*NOTHING[edit]))["requirements"] == decisive(FILES)["requirements"]


@pytest.mark.parametrize("edit", SOMETHING)
def test_an_edit_that_matters_is_noticed(edit):
    assert decisive(edited(*SOMETHING[edit]))["requirements"] != decisive(FILES)["requirements"]


@pytest.mark.parametrize(
    "edit", [name for name, (path, *_) in NOTHING.items() if path not in ("pyproject.toml", "README.md")]
)
def test_an_edit_that_does_not_install_the_project_anew(edit):
    """pyproject.toml and the README are what the project's own metadata is made of: its layer, not the requirements'."""
    assert decisive(edited(*NOTHING[edit]))["project"] == decisive(FILES)["project"]


@pytest.mark.parametrize(
    "edit",
    ["settings of ruff", "settings of mypy", "settings of coverage", "settings of pytest", "a table of another tool"],
)
def test_settings_of_tools_ask_no_build_backend(edit):
    assert decisive(edited(*NOTHING[edit]))["project"][0] == decisive(FILES)["project"][0]
