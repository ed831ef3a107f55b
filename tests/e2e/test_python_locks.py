"""Projects with a lock file of uv, Poetry, PDM or PEP 751, for real: exactly the locked versions are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envtool.api.pip_indexes import parse_default_index

pytest.importorskip("envtool_python")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.network,
    pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="this machine's system has no python3"),
]

REPOSITORY = Path(__file__).parents[2]
LOCKS = REPOSITORY / "plugins/envtool_python/tests/locks"
TOOLS = {"uv": "uv.lock", "poetry": "poetry.lock", "pdm": "pdm.lock", "pylock": "pylock.toml"}
SPEC = "version: 1\nenvs:\n  unit: {language: python, tasks: {test: python -m pytest -q}}\n"
TEST = """\
import importlib.metadata, json
def test_every_package_is_the_locked_one():
    with open("versions.json") as file:
        versions = json.load(file)
    assert {name: importlib.metadata.version(name) for name in versions} == versions
    assert not {"colorama", "mdurl", "blinker"} & {item.name for item in importlib.metadata.distributions()}
"""
NAMES = ("itsdangerous", "jinja2", "markupsafe", "pytest", "iniconfig", "packaging", "pluggy")


@pytest.fixture
def project(tmp_path):
    """Runs envtool in a project of its own, with a store of its own."""
    top = tmp_path / "project"
    (top / "src/shop").mkdir(parents=True)
    (top / "src/shop/__init__.py").write_text('"""A shop."""\n')
    (top / "tests").mkdir()
    (top / "tests/test_versions.py").write_text(TEST)
    (top / "envtool.yaml").write_text(SPEC)

    def run(*arguments: str) -> str:
        path = f"{REPOSITORY}:{REPOSITORY}/plugins/envtool_python/src"
        environ = {**os.environ, "ENVTOOL_STORE": str(tmp_path / "store"), "PYTHONPATH": path}
        command = [sys.executable, "-m", "envtool", *arguments]
        done = subprocess.run(command, cwd=top, env=environ, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    run.top = top
    yield run
    from envtool.container import userns

    userns.remove_as_root(str(tmp_path / "store"))


def usual_index() -> str:
    """The index that this machine's pip asks by default: the data have no name of one."""
    command = [sys.executable, "-m", "pip", "install", "--help"]
    environ = {**os.environ, "COLUMNS": "300"}
    return parse_default_index(subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout)


def pins(top: Path) -> dict:
    """The pins of the layer `requirements`."""
    entries = json.loads((top / "envtool.lock").read_text())["entries"]
    (found,) = [entry["pins"] for entry in entries if entry.get("kind") == "pip"]
    return found


@pytest.mark.sampled(1)
@pytest.mark.parametrize("tool", TOOLS)
def test_exactly_the_locked_versions_are_installed(project, tool):
    from envtool_python.lock_files import read_lock

    text = (LOCKS / tool / TOOLS[tool]).read_text().replace("https://usual.invalid/simple", usual_index().rstrip("/"))
    shutil.copy(LOCKS / tool / "pyproject.toml", project.top)
    (project.top / TOOLS[tool]).write_text(text)
    versions = {package.name: package.version for package in read_lock(text, TOOLS[tool]).packages}
    (project.top / "versions.json").write_text(json.dumps({name: versions[name] for name in NAMES}))
    project("lock")
    assert "1 passed" in project("test")
    assert pins(project.top)["locked"] == {"file": TOOLS[tool], "beside": []}
    if tool != "pylock":  # what no requirement reaches decides nothing
        changed = text.replace('name = "mdurl"\nversion = "0.1.2"', 'name = "mdurl"\nversion = "0.1.1"')
        assert changed != text
        (project.top / TOOLS[tool]).write_text(changed)
        assert "reused: host (not pinned), requirements, project" in project("plan", "--locked")


def test_every_command_warns_of_a_lock_that_is_not_up_to_date(project):
    """Also an unchanged run, and one whose envtool.lock fits: `lock` pins what is installed near the project's lock."""
    (project.top / "tests/test_versions.py").unlink()
    (project.top / "envtool.yaml").write_text(
        SPEC.replace("language: python", "language: python, install: none").replace("python -m pytest -q", '"true"')
    )
    (project.top / "pyproject.toml").write_text(
        '[project]\nname = "shop"\nversion = "1"\ndependencies = ["iniconfig<2"]\n[tool.uv]\n'
    )
    (project.top / "pylock.toml").write_text(
        'lock-version = "1.0"\ncreated-by = "x"\n[[packages]]\nname = "iniconfig"\nversion = "2.0.0"\n'
        '[[packages.wheels]]\nurl = "https://files.invalid/iniconfig-2.0.0-py3-none-any.whl"\n'
        f'hashes = {{sha256 = "{"0" * 64}"}}\n'
    )
    said = "env `unit`: pylock.toml does not satisfy `iniconfig<2`, which the project requires"
    for words in ("test", "test", "test", "test --again", "plan", "lock", "test --locked", "exec unit -- true"):
        done = project(*words.split())
        assert done.count(said) == 1, (words, done)
    assert done == project("exec", "unit", "--", "true"), "no plan of a fast path was stored"
    assert "unchanged" in project("test")
