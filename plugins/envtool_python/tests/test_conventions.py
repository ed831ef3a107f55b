"""What tox.ini and pytest's options say that tests need."""

from __future__ import annotations

import pytest
from envtool_python.metadata import ProjectMetadata, read_facts
from envtool_python.test_config import required_plugins, tox_groups_and_extras, tox_needs

TOX = """\
[tox]
envlist = py{36,37}
[testenv]
deps =
    pytest>=6  # a comment
    py36: mock
    coverage[toml]
    -r{toxinidir}/requirements-ci.txt
    -r {toxinidir}/gone.txt
    -c constraints.txt
    {env:MORE}
    ./local
commands = pytest
[testenv:docs]
deps = sphinx
"""


class Project:
    def __init__(self, **files):
        self.files = {name.replace("__", ".").replace("_D_", "-"): text for name, text in files.items()}

    def read(self, path):
        return self.files.get(path)


def test_deps_of_the_default_environment_that_always_hold():
    project = Project(tox__ini=TOX, requirements_D_ci__txt="x")
    assert tox_needs(project, ProjectMetadata()) == (("pytest>=6", "coverage[toml]"), ("requirements-ci.txt",))
    assert tox_needs(Project(), ProjectMetadata()) == ((), ())
    assert tox_needs(Project(tox__ini="[testenv\nno"), ProjectMetadata()) == ((), ())


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        ("unit: six", True), ("unit-!py315t: six", True), ("test,docs: six", True),
        ("!unit: six", False), ("!docs: six", False), ("unit-py36: six", False), ("py{36,37}-unit: six", False),
        ("docs: six", False), ("unit-!tests: six", False), ("tests  :  six  # why", True),
    ],
)  # fmt: skip
def test_deps_of_factors_that_are_for_tests(line, holds):
    project = Project(tox__ini=f"[tox]\nenvlist = py3-{{unit,docs}}\n[testenv]\ndeps =\n    {line}\n")
    assert tox_needs(project, ProjectMetadata()) == (("six",) if holds else (), ())


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        ("py{310,311,pypy3}: six", True), ("py311: six", True), ("py3.11: six", True), ("py310,py311: six", True),
        ("py{310,311}-unit: six", True), ("{py311,lint}: six", True), ("lint,py{39,311}: six", True), ("py3{10,11}: six", True),
        ("py{310,312}: six", False), ("py27: six", False), ("py311-django42: six", False), ("!py311: six", False),
        ("unit-!py311: six", False), ("unit-!py310: six", True), ("py311t: six", False), ("pypy311: six", False),
        ("py{310,311}-{cov,min}: six", False), ("py{310,311}-{unit,min}: six", True), ("py31{}: six", False), ("{: six", False),
        ("{a,b}" * 60 + ": six", False),
    ],
)  # fmt: skip
def test_deps_of_factors_that_are_this_python(line, holds):
    project = Project(tox__ini=f"[testenv]\ndeps =\n    {line}\n")
    assert tox_needs(project, ProjectMetadata(), (3, 11)) == (("six",) if holds else (), ())
    assert tox_needs(project, ProjectMetadata()) == ((), ()) or line.startswith(
        "unit-"
    )  # where it is not known which one it is


def test_extras_of_factors_that_are_this_python():
    project = Project(tox__ini="[testenv]\nextras =\n    py{38,311}: tests\n    py27: old\n")
    assert tox_groups_and_extras(project, ProjectMetadata(), (3, 11)) == ((), ("tests",))
    assert tox_groups_and_extras(project, ProjectMetadata()) == ((), ())


def test_deps_in_pyproject():
    text = '[tool.tox.env_run_base]\ndeps = ["pytest", "hypothesis>=6"]\n'
    project = Project(pyproject__toml=text)
    assert tox_needs(project, read_facts(project)) == (("pytest", "hypothesis>=6"), ())
    legacy = Project(pyproject__toml="[tool.tox]\nlegacy_tox_ini = '''\n[testenv]\ndeps = six\n'''\n")
    assert tox_needs(legacy, read_facts(legacy)) == (("six",), ())


@pytest.mark.parametrize(
    ("options", "plugins"),
    [
        ("addopts = --cov=me --cov-report=html", ("pytest-cov",)),
        ("addopts =\n    -ra\n    -n auto", ("pytest-xdist",)),
        ("addopts = -n4", ("pytest-xdist",)),
        ("addopts = -ra --strict-markers --no-header -p no:cacheprovider --tb=native", ()),
        ("timeout = 10", ("pytest-timeout",)),
        ("asyncio_mode = auto", ("pytest-asyncio",)),
        ("testpaths = tests\nnorecursedirs = --cov", ()),
        ("markers = slow: with -n it is faster", ()),
        ("addopts = -p xdist -p instafail -p no:timeout -p pytester -pfoo", ("pytest-xdist", "pytest-instafail")),
        ("addopts = -ppytest_cov", ("pytest-cov",)),
        ("addopts = -p our.plugin -p unheard_of", ()),
        ("required_plugins = pytest-django>=4.0,<5 pytest-xdist", ("pytest-django>=4.0,<5", "pytest-xdist")),
        ("required_plugins = pytest-cov >= 5\naddopts = --cov", ("pytest-cov>=5",)),
    ],
)
def test_plugins_that_options_take_for_granted(options, plugins):
    for project in (
        Project(tox__ini=f"[pytest]\n{options}\n"),
        Project(pytest__ini=f"[pytest]\n{options}\n"),
        Project(setup__cfg=f"[tool:pytest]\n{options}\n"),
    ):
        assert required_plugins(project, read_facts(project)) == plugins


@pytest.mark.parametrize("file", ["pytest.toml", ".pytest.toml", "pyproject.toml"])
def test_native_toml_is_read(file):
    head = "[tool.pytest]" if file == "pyproject.toml" else "[pytest]"
    text = f'{head}\naddopts = ["--cov=nine", "-n2", "-p", "sugar"]\nrequired_plugins = ["pytest-mock>=3"]\n'
    project = Project()
    project.files[file] = text
    wanted = ("pytest-mock>=3", "pytest-cov", "pytest-xdist", "pytest-sugar")
    assert required_plugins(project, read_facts(project)) == wanted


def test_pytest_toml_comes_first():
    project = Project(pytest__ini="[pytest]\naddopts = -n 2\n")
    project.files["pytest.toml"] = ""
    assert required_plugins(project, read_facts(project)) == ()


def test_options_come_from_the_file_that_pytest_reads():
    project = Project(
        pyproject__toml='[tool.pytest.ini_options]\naddopts = ["-ra", "--cov"]\n',
        tox__ini="[pytest]\naddopts = -n 2\n",
    )
    assert required_plugins(project, read_facts(project)) == ("pytest-cov",)
    project.files["pytest.ini"] = "[pytest]\n"
    assert required_plugins(project, read_facts(project)) == ()
