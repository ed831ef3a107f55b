"""What tests require is found where projects say it."""

from __future__ import annotations

import pytest
from envtool_python.decode import DecodedFiles
from envtool_python.metadata import read_facts
from envtool_python.requirements_of_tests import has_tests, requirements_of_tests

from envtool.testing import MemoryProject

ME = '[project]\nname = "me"\nversion = "1"\n[build-system]\nrequires = ["hatchling"]\n'
SETUP = "from setuptools import setup\n{}\nsetup(name='me', {})\n"

ROWS = {  # files -> groups, extras, files, lines
    "an extra all, as idna's": (
        {"pyproject.toml": ME + '[project.optional-dependencies]\nall = ["ruff", "mypy", "pytest >= 8"]\n'},
        ((), ("all",), (), ()),
    ),
    "a group dev, as urllib3's": (
        {"pyproject.toml": ME + '[dependency-groups]\ndev = ["pytest"]\nmypy = ["mypy", "pytest"]\n'},
        (("dev",), (), (), ()),
    ),
    "dev of linters, and a group that brings pytest": (
        {"pyproject.toml": ME + '[dependency-groups]\ndev = ["ruff"]\nqa = ["pytest-cov"]\nci = ["tox", "pytest", "a"]\n'},
        (("qa",), (), (), ()),
    ),
    "dev that includes the group with pytest": (
        {"pyproject.toml": ME + '[dependency-groups]\ndev = ["ruff", {include-group = "qa"}]\nqa = ["pytest"]\n'},
        (("dev",), (), (), ()),
    ),
    "a requirement file of pytest's name, as multidict's, before one for everything": (
        {"pyproject.toml": ME, "requirements/pytest.txt": "pytest-cov\n", "requirements/dev.txt": "-r pytest.txt\nsphinx\n"},
        ((), (), ("requirements/pytest.txt",), ()),
    ),
    "dev alone, whatever it brings": (
        {"pyproject.toml": ME + '[dependency-groups]\ndev = ["nose2"]\n'}, (("dev",), (), (), ()),
    ),
    "uv's dev-dependencies": (
        {"pyproject.toml": ME + '[tool.uv]\ndev-dependencies = ["pytest"]\n'}, (("dev",), (), (), ()),
    ),
    "PDM's dev-dependencies": (
        {"pyproject.toml": ME + '[tool.pdm.dev-dependencies]\ntest = ["pytest"]\nlint = ["ruff"]\n'},
        (("test",), (), (), ()),
    ),
    "Hatch's environments": (
        {"pyproject.toml": ME + '[tool.hatch.envs.hatch-test]\nextra-dependencies = ["pytest-mock"]\n'},
        (("test",), (), (), ()),
    ),
    "Poetry's groups that include others": (
        {"pyproject.toml": ME + '[tool.poetry.group.test]\ninclude-groups = ["b"]\n[tool.poetry.group.b.dependencies]\nx = "*"\n'},
        (("test",), (), (), ()),
    ),
    "extras_require": (
        {"setup.py": SETUP.format("", "extras_require={'tests': ['pytest']}")}, ((), ("tests",), (), ()),
    ),
    "extras_require, by a name and later": (
        {"setup.py": SETUP.format("extras = {'docs': ['sphinx']}\nextras['check'] = ['pytest']", "extras_require=extras")},
        ((), ("check",), (), ()),
    ),
    "extras_require, computed": (
        {"setup.py": SETUP.format("", "extras_require={'test': read('r.txt')}")}, ((), ("test",), (), ()),
    ),
    "extras of setup.cfg": (
        {"setup.py": "", "setup.cfg": "[options.extras_require]\ntesting =\n  pytest\n  six\n"}, ((), ("testing",), (), ()),
    ),
    "tests_require": (
        {"setup.py": SETUP.format("needs = ['mock']", "tests_require=needs + ['pytest']")},
        ((), (), (), ("mock", "pytest")),
    ),
    "what tox asks for": (
        {"pyproject.toml": ME + '[project.optional-dependencies]\nunusual = ["a"]\n[dependency-groups]\nodd = ["b"]\n',
         "tox.ini": "[testenv]\nextras = unusual\ndependency_groups =\n  odd\n  gone\n"},
        (("odd",), ("unusual",), (), ()),
    ),
    "what tox asks for of factors, as pyparsing's": (
        {"pyproject.toml": ME + '[project.optional-dependencies]\ndiagrams = ["a"]\nall = ["b"]\n',
         "tox.ini": "[testenv]\nextras =\n  unit: diagrams\n  docs: all\ndeps =\n  unit: pytest\n  doctest: sphinx\n"},
        ((), ("diagrams",), (), ("pytest",)),
    ),
    "a file of tests, and the extra that tox asks for": (
        {"pyproject.toml": ME + '[project.optional-dependencies]\ndiagrams = ["a"]\n', "tests/requirements.txt": "tox\n",
         "tox.ini": "[testenv]\nextras = diagrams\ndeps = pytest\n"},
        ((), ("diagrams",), ("tests/requirements.txt",), ()),
    ),
    "what tox.toml asks for": (
        {"pyproject.toml": ME + '[dependency-groups]\nodd = ["b"]\n',
         "tox.toml": '[env_run_base]\ndeps = ["pytest"]\ndependency_groups = ["odd"]\n'},
        (("odd",), (), (), ("pytest",)),
    ),
    "files before dev": (
        {"pyproject.toml": ME + '[dependency-groups]\ndev = ["x"]\n', "test-requirements.txt": ""},
        ((), (), ("test-requirements.txt",), ()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_where_they_are(row):
    files, wanted = ROWS[row]
    project = DecodedFiles(MemoryProject(files))
    found = requirements_of_tests({}, project, read_facts(project))
    assert (found.groups, found.extras, found.files, found.lines) == wanted


@pytest.mark.parametrize(
    ("files", "answer"),
    [
        (["checks/check_test.py"], True), (["a_test.py"], True), (["test_a.py"], True), (["tests/a.txt"], True),
        (["pytest.toml"], True), ([".pytest.toml"], True), (["pytest.ini"], True), (["conftest.py"], True),
        (["tests.py"], True), (["me/tests.py"], True), (["test.py"], True),
        (["contest.py", "latest.py", "me/testing.py", "me/contests.py"], False),
    ],
)  # fmt: skip
def test_whether_there_are_tests(files, answer):
    project = DecodedFiles(MemoryProject(dict.fromkeys(files, "")))
    assert has_tests(project, read_facts(project)) is answer
