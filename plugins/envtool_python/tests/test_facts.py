"""What a project's files say, and which version a project without its history gets."""

from __future__ import annotations

import pytest
from envtool_python.decode import WrongFileError
from envtool_python.metadata import read_facts
from envtool_python.poetry import poetry_lines, poetry_version
from packaging.requirements import Requirement

from envtool.testing import MemoryProject


class Files(dict):
    def read(self, path):
        return self.get(path)


def facts(**files):
    return read_facts(Files({name.replace("__", "."): text for name, text in files.items()}))


PROJECT = '[project]\nname = "Me"\nversion = "1"\ndependencies = ["click"]\n'


def test_static_dependencies_are_read():
    found = facts(pyproject__toml=PROJECT + '[project.optional-dependencies]\ntest = ["pytest"]\n')
    assert found.installable
    assert found.dependencies == ("click",)
    assert found.extras == {"test": ("pytest",)}
    assert not found.compiled
    assert not found.versioned


def test_dynamic_dependencies_and_setup_py_are_unknown():
    dynamic = '[project]\nname = "me"\ndynamic = ["dependencies"]\n'
    assert facts(pyproject__toml=dynamic).dependencies is None
    assert facts(setup__py="setup()").dependencies is None


def test_a_pyproject_of_tools_alone_is_no_project():
    found = facts(pyproject__toml="[tool.ruff]\nline-length = 1\n")
    assert not found.installable
    assert found.dependencies == ()


@pytest.mark.parametrize(
    "files",
    [
        {"setup__py": "setup(ext_modules=[...])"},
        {"pyproject__toml": '[build-system]\nrequires = ["meson-python"]\nbuild-backend = "mesonpy"\n'},
        {"pyproject__toml": '[build-system]\nrequires = ["setuptools", "Cython>=3"]\n'},
        {"pyproject__toml": '[build-system]\nrequires=["maturin"]\nbuild-backend = "maturin"\n'},
        {"pyproject__toml": "[[tool.setuptools.ext-modules]]\nname = 'x'\n", "setup__py": ""},
    ],
)
def test_compiled_projects_are_seen(files):
    assert facts(**files).compiled


def test_a_version_from_version_control_is_seen_but_not_in_a_source_distribution():
    text = '[project]\nname = "me"\ndynamic = ["version"]\n[build-system]\nrequires = ["hatchling", "hatch-vcs"]\n'
    assert facts(pyproject__toml=text).versioned
    assert not read_facts(Files({"pyproject.toml": text, "PKG-INFO": "Version: 1"})).versioned


def test_wrong_toml_is_reported_with_its_place():
    with pytest.raises(WrongFileError) as caught:
        facts(pyproject__toml="[project]\nname = \n")
    assert (caught.value.file, caught.value.line) == ("pyproject.toml", 2)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("^1.2.3", ">=1.2.3,<2"),
        ("^0.2.3", ">=0.2.3,<0.3"),
        ("^0.0.3", ">=0.0.3,<0.0.4"),
        ("^0", ">=0,<1"),
        ("~1.2.3", ">=1.2.3,<1.3"),
        ("~1", ">=1,<2"),
        ("1.2", "==1.2"),
        ("*", ""),
        (">= 1, <3", ">=1,<3"),
    ],
)
def test_poetry_versions(text, lines):
    assert poetry_version(text) == lines


@pytest.mark.parametrize(
    ("key", "value", "marker"),
    [
        ("platform", "darwin|linux", "(sys_platform == 'darwin' or sys_platform == 'linux')"),
        ("platform", "!=win32, !=cygwin", "sys_platform != 'win32' and sys_platform != 'cygwin'"),
        ("platform", "linux'; x", "sys_platform == 'linux' and sys_platform == 'x'"),
        ("python", "<3.8 || ^3.11", "(python_version < '3.8' or python_version >= '3.11' and python_version < '4')"),
        ("python", ">=3.11.4,<4", "python_full_version >= '3.11.4' and python_version < '4'"),
        ("python", "3.11.*", "python_version == '3.11'"),
        ("python", "<3.8 || *", ""),
    ],
)
def test_bounds_of_pythons_and_platforms_in_poetrys_notation(key, value, marker):
    (line,) = poetry_lines("x", {"version": "*", key: value})
    assert line == (f"x; {marker}" if marker else "x")
    Requirement(line)


def test_poetry_dependencies_with_markers_and_paths():
    value = {"version": "^1", "extras": ["a"], "python": "<3.11", "markers": "sys_platform == 'linux'"}
    assert poetry_lines("x", value) == ["x[a]>=1,<2; (sys_platform == 'linux') and python_version < '3.11'"]
    assert poetry_lines("x", {"path": "../x"}) == ["x"], "sources.py knows where it comes from"


@pytest.mark.parametrize(
    ("text", "install"),
    [
        ("", "editable"),
        ('[build-system]\nrequires = ["setuptools", "cython"]\n', "editable"),
        ('[build-system]\nrequires = ["setuptools"]\n[[tool.setuptools.ext-modules]]\nname = "a"\n', "editable"),
        ('[build-system]\nrequires = ["poetry-core"]\n[tool.poetry.build]\nscript = "build.py"\n', "editable"),
        ('[build-system]\nrequires = ["meson-python"]\nbuild-backend = "mesonpy"\n', "wheel"),
        ('[build-system]\nrequires = ["scikit-build-core"]\nbuild-backend = "scikit_build_core.build"\n', "wheel"),
        ('[build-system]\nrequires = ["setuptools", "scikit-build>=0.13"]\n', "wheel"),
    ],
)
def test_a_wheel_where_the_build_backend_compiles_in_a_way_of_its_own(text, install):
    assert read_facts(MemoryProject({"pyproject.toml": text})).install == install
