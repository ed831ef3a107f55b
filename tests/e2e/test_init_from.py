"""`init --from`: the spec that is written runs, and tests what the other tool's file says."""

from __future__ import annotations

import pytest

pytest.importorskip("envtool_python")
pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.one_caller]

FILES = {
    "pyproject.toml": '[project]\nname = "thing"\nversion = "1.2"\noptional-dependencies = {test = ["iniconfig"]}\n'
    '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n',
    "src/thing/__init__.py": "",
    "tests/test_thing.py": """\
import importlib.metadata, os, sys
def test_it_is_the_project_as_it_is_installed():
    import iniconfig, thing
    assert importlib.metadata.version("thing") == "1.2"
    assert os.environ["WORD"] == "a {{ b }}"
    assert sys.version_info[:2] == (3, 11)
""",
}
TOX = """\
[tox]
env_list = py311, py27, lint
[testenv]
deps = pytest
extras = test
set_env = WORD = a {{ b }}
commands =
    pytest -q {posargs:tests}
    ! python -c "import sys; sys.exit('{envname}' == 'py311')"
[testenv:lint]
skip_install = true
deps = iniconfig
commands = python -c "import iniconfig, importlib.util; assert importlib.util.find_spec('thing') is None"
"""
NOX = """\
import nox, os
os.mkdir("nox-was-executed")
@nox.session(python=["3.11", "3.7"])
def tests(session):
    session.install("pytest", "-e", ".[test]")
    session.env["WORD"] = "a {{ b }}"
    session.run("pytest", "-q", *session.posargs)
@nox.session
def deploy(session):
    session.run("twine", "upload", os.environ["TOKEN"])
"""


WORKFLOW = """\
on: [push]
env: {WORD: "a {{ b }}"}
jobs:
  test:
    runs-on: ${{ matrix.os }}
    strategy: {matrix: {os: [ubuntu-latest, windows-latest], python: ["3.11", "3.7"]}}
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {python-version: "${{ matrix.python }}"}
      - run: |
          python -m pip install --upgrade pip
          pip install pytest -e .[test]
      - run: |
          for word in x y; do
            test "$word" != ${{ matrix.os == 'ubuntu-latest' && 'z' || 'x' }}
          done
          pytest -q
"""


@pytest.mark.parametrize(
    ("name", "text", "envs"),
    [
        ("tox.ini", TOX, "py311 lint"),
        ("noxfile.py", NOX, "tests-3.11"),
        (".github/workflows/ci.yml", WORKFLOW, "test-ubuntu-latest-3.11"),
    ],
)
@pytest.mark.dear(cases=1)
def test_the_spec_that_is_written_runs(common, name, text, envs):
    place = common
    for path, content in {**FILES, name: text}.items():
        place.write(path, content)
    done = place.envtool("init", "--from", name)
    assert done.status == 0, done.said
    assert f": {', '.join(envs.split())}; next: envtool test" in done.err
    assert "Python 2.7" in done.err or "`py27`" in done.err or "Python 3.7" in done.err
    assert not (place.project / "nox-was-executed").exists()
    again = place.envtool("init", "--from", name)
    assert (again.status, "exists" in again.err) == (2, True)
    done = place.envtool("test")
    assert done.status == 0, done.said
    assert "1 passed" in done.said
    if text is not WORKFLOW:  # whose commands have no arguments of a caller
        done = place.envtool("test", "-e", envs.split()[0], "--", "tests", "-k", "nothing")
        assert done.status == 1, "the caller's arguments reach the command"
