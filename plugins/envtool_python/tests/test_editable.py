"""What an editable install depends on: enough for its build, and not each source file."""

from __future__ import annotations

import pytest
from envtool_python import editable
from envtool_python.decode import parse_python
from envtool_python.editable import editable_inputs
from envtool_python.metadata import read_facts

from envtool.fs import globs

HATCH = '[project]\nname = "me"\nversion = "1"\nreadme = "doc/intro.md"\n[build-system]\nrequires = ["hatchling"]\n'


class Project:
    def __init__(self, **files):
        self.files = {
            name.replace("__I", "__init__").replace("_S_", "/").replace("_D_", ".").replace("_H_", "-"): text
            for name, text in files.items()
        }

    def read(self, path):
        return self.files.get(path)

    def glob(self, pattern):
        return sorted(path for path in self.files if globs.matcher((pattern,)).fullmatch(path))


SOURCES = {
    "src_S_me_S___I_D_py": "",
    "src_S_me_S_core_D_py": "",
    "src_S_me_S_data_S_b_D_py": "",
    "src_S_me_S_data_S_a_D_py": "",
    "tests_S_deep_S_test_a_D_py": "",
    "doc_S_intro_D_md": "",
    "README_D_md": "",
}


def decided(text, **more):
    """The files that the answer's patterns match, by content and by name; the patterns of the first."""
    project = Project(pyproject_D_toml=text, **SOURCES, **more)
    patterns, names = editable_inputs(project, read_facts(project))
    for pattern in (*patterns, *names):
        assert project.glob(pattern) or project.glob(f"{pattern}/**"), f"{pattern} matches nothing, which is an error"

    def matched(some):
        shown = globs.matcher([each for pattern in some for each in (pattern, f"{pattern}/**")])
        return {path for path in project.files if shown.fullmatch(path)}

    return matched(patterns), matched(names), patterns


def test_the_builds_files_what_they_name_and_where_packages_are():
    files, names, _ = decided(HATCH)
    assert files == {"pyproject.toml", "README.md", "doc/intro.md"}
    # a package without __init__.py is seen by one of its files
    assert names == {"src/me/__init__.py", "src/me/data/a.py"}


@pytest.mark.parametrize(
    "more",
    [
        {"text": HATCH.replace('version = "1"', 'dynamic = ["version"]')},
        {"text": HATCH, "setup_D_cfg": "[options]\npackages = find:\n"},
        {"text": HATCH.replace('"hatchling"', '"hatchling", "versioningit"')},
    ],
)
def test_modules_count_by_content_where_a_build_may_read_them(more):
    files, names, _ = decided(**more)
    assert {"src/me/__init__.py", "src/me/data/a.py"} <= files
    assert not names


@pytest.mark.parametrize(
    ("setup", "path"),
    [
        ("packages=['me-stubs']", "me-stubs/a.pyi"), ("packages=['me', 'me_data']", "src/me_data/deep/a.json"),
        ("packages=['ns.stubs']", "ns/stubs/a.pyi"), ("package_dir={'': './python'}", "python/a.txt"),
        ("data_files=[('share', ['x/'])]", "x/a"), ("packages=find_packages('lib')", "lib/a.so"),
    ],
)  # fmt: skip
def test_a_directory_without_modules_that_the_build_names_is_there(setup, path):
    name = path.replace("/", "_S_").replace(".", "_D_").replace("-", "_H_")
    more = {name: "", name.replace("_S_a", "_S_b"): ""}
    files, names, _ = decided(HATCH, setup_D_py=f"from setuptools import setup\nsetup({setup})\n", **more)
    assert path in files | names
    assert path.replace("/a", "/b") not in files | names


@pytest.mark.parametrize(
    "line",
    [
        'license-files = ["licenses/*.txt"]', 'license-files = [\n  "COPYING*", # all\n  "**/B?D.txt",\n]',
        "license-files = {paths = ['licenses/BSD.txt']}", "license-files = { globs = ['lic*/*'] }",
        'license-files = ["licenses/*.txt", "../gone", "/etc/*", ""]',
    ],
)  # fmt: skip
def test_files_of_licences_count(line):
    text = HATCH.replace('version = "1"', f'version = "1"\n{line}')
    files, names, _ = decided(text, licenses_S_BSD_D_txt="")
    assert "licenses/BSD.txt" in files
    assert names


def test_tables_of_other_tools_name_nothing():
    files, _, _ = decided(
        HATCH + '[tool.pytest.ini_options]\ntestpaths = ["tests"]\n[tool.ruff]\nsrc = ["src/me/core.py"]\n'
    )
    assert "src/me/core.py" not in files
    assert "tests/deep/test_a.py" not in files


@pytest.mark.parametrize(
    "more",
    [
        {"setup_D_py": "from glob import glob\nsetup(data_files=glob('x/*'))"},
        {"setup_D_py": "from me import core\nsetup(version=core.v)"},
    ],
)
def test_a_build_that_may_read_anything_depends_on_everything_but_tests(more):
    _, _, patterns = decided("", **more)
    assert patterns == ("README.md", "pyproject.toml", "setup.py", "src")


def test_a_version_that_is_read_by_import_depends_on_everything():
    text = '[project]\nname = "me"\ndynamic = ["version"]\n[tool.setuptools.dynamic]\nversion = {attr = "me.meta.V"}\n'
    files, _, _ = decided(text, src_S_me_S_meta_D_py='V = "1"\n')
    assert "src/me/meta.py" in files
    assert "src/me/core.py" not in files
    _, _, patterns = decided(text, src_S_me_S_meta_D_py="from .core import V\n")
    assert "src" in patterns


def test_flit_reads_a_literal_and_imports_anything_else():
    text = '[project]\nname = "me"\ndynamic = ["version"]\n[build-system]\nrequires=["flit_core"]\nbuild-backend = "flit_core.buildapi"\n'
    _, _, patterns = decided(text)
    assert "src" in patterns


def test_setup_py_names_its_files():
    files, _, _ = decided(
        "",
        setup_D_py="setup(scripts=['bin/me'], long_description=open('notes.txt').read())",
        bin_S_me="",
        notes_D_txt="",
    )
    assert {"bin/me", "notes.txt"} <= files
    assert "src/me/core.py" not in files


@pytest.mark.parametrize("text", ["x = " + "(" * 5000, "x = " + "-" * 100_000 + "1", "\0", "x ="])
def test_code_that_cannot_be_parsed_has_no_literal(text):
    assert not editable._literal(text, "x")


def test_an_invalid_escape_in_a_projects_code_is_no_warning():
    """In tests each warning is an error."""
    assert editable._literal("x = '\\d'", "x")
    assert parse_python("x = '\\d'") is not None


@pytest.mark.parametrize(
    ("requires", "more"),
    [
        ("cython", {}),  # may read any file
        ("setuptools", {"setup_D_py": "from setuptools import Extension, setup\nsetup(ext_modules=[Extension('a', ['a.c'])])"}),
    ],
)  # fmt: skip
def test_the_spec_and_the_lock_are_no_part_of_the_build(requires, more):
    text = f'[project]\nname = "me"\nversion = "1"\n[build-system]\nrequires = ["{requires}"]\n'
    own = {"envtool_D_yaml": "", "envtool_D_lock": "", "envtool_D_package_D_yaml": ""}
    before = decided(text, a_D_c="", **more)
    assert "a.c" in before[0] | before[1]
    assert "tests/deep/test_a.py" not in before[0] | before[1]
    assert decided(text, a_D_c="", **more, **own) == before
