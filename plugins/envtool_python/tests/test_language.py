"""`language: python` expands into the layers that a project needs."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest
from envtool_python.language import Python

from envtool import api

WHERE = api.Where(file="envtool.yaml", line=3, column=5)
PROJECT = '[project]\nname = "me"\nversion = "1"\ndependencies = ["click"]\n[build-system]\nrequires = ["hatchling"]\n'


class Project:
    def __init__(self, **files):
        self.files = {name.replace("__", ".").replace("_S_", "/"): text for name, text in files.items()}

    def read(self, path):
        return self.files.get(path)

    def read_bytes(self, path):
        text = self.files.get(path)
        return text if text is None else text.encode()

    def around(self, name):
        return {}

    def glob(self, pattern):
        return sorted(path for path in self.files if fnmatch(path, pattern.replace("**/", "*")))


def expand(project, base="host", names=(), **options):
    env = api.EnvDraft(name="unit", base_kind=base, options=options, layer_names=names, where=WHERE)
    return Python().layers(env, project)


def one(drafts, kind):
    (found,) = [draft for draft in drafts if draft.kind == kind]
    return found


def test_a_library_gets_its_requirements_those_of_its_tests_and_itself():
    text = PROJECT + '[dependency-groups]\ntest = ["pytest>=8", "me[x]"]\ndocs = ["sphinx"]\n'
    text += '[project.optional-dependencies]\nx = ["attrs"]\n'
    drafts = expand(Project(pyproject__toml=text, tests_S_test_a__py=""))
    assert [draft.kind for draft in drafts] == ["pip", "python-project"]
    assert drafts[0].options == {"packages": ["pytest>=8", "attrs", "click"]}
    assert drafts[1].needs == ("requirements",)
    assert drafts[1].options["install"] == "editable"


def test_pytest_is_added_where_there_are_tests_and_nothing_brings_it():
    assert one(expand(Project(pyproject__toml=PROJECT, tests_S_test_a__py="")), "pip").options == {
        "packages": ["click"],
        "adds": ["pytest"],
    }
    assert one(expand(Project(pyproject__toml=PROJECT)), "pip").options == {"packages": ["click"]}
    brought = Project(pyproject__toml=PROJECT, tests_S_test_a__py="", requirements_S_test__txt="pytest-xdist\n")
    assert one(expand(brought), "pip").options == {"packages": ["click"], "requirements": ["requirements/test.txt"]}


def test_on_debian_python_comes_by_apt_before_the_users_layers():
    drafts = expand(Project(pyproject__toml=PROJECT), base="debian", names=("libs", "python3"))
    assert (drafts[0].name, drafts[0].kind, drafts[0].after) == ("python-python3", "apt", False)
    assert drafts[0].options == ["python3"]
    assert drafts[1].needs == ("python-python3", "libs", "python3")
    assert [draft.kind for draft in expand(Project(pyproject__toml=PROJECT), base="debian", python="python3.11")] == [
        "pip",
        "python-project",
    ]


def test_a_compiled_project_gets_a_compiler_and_is_made_anew_when_its_sources_change():
    project = Project(setup__py="setup(ext_modules=[])")
    sources = ("me/_fast.c", "me/__init__.py", "me/deep.py", "include/fast.h", "tests/data.bin")
    project.files |= dict.fromkeys(sources, "")
    drafts = expand(project, base="debian")
    assert drafts[0].options == ["python3", "python3-dev", "build-essential"]
    assert drafts[-1].options["install"] == "editable"
    assert {"me/_fast.c", "include/fast.h"} <= set(drafts[-1].options["files"])
    assert not {"me/deep.py", "tests/data.bin"} & set(drafts[-1].options["files"])
    backend = '[build-system]\nrequires = ["meson-python"]\nbuild-backend = "mesonpy"\n'
    assert expand(Project(pyproject__toml=backend))[-1].options == {"install": "wheel"}


def test_an_application_with_requirements_alone_installs_no_project():
    drafts = expand(Project(requirements__txt="-r more.txt\n", more__txt="flask\n", app__py="", test_app__py=""))
    assert [draft.kind for draft in drafts] == ["pip"]
    assert drafts[0].options == {"adds": ["pytest"], "requirements": ["requirements.txt"], "inputs": ["more.txt"]}


def test_setup_py_leaves_dependencies_to_the_container():
    options = one(expand(Project(setup__py="setup()")), "pip").options
    assert options == {"project": True, "reads": ["*.py", "setup.py"]}
    computed = {
        "setup.cfg": "[metadata]\nversion = attr: me.__version__\n",
        "me/__init__.py": "__version__ = '.'.join('12')\n",
    }
    project = Project()
    project.files |= computed  # setuptools would import it: all of the project may be read
    assert one(expand(project), "pip").options["reads"] == ["."]
    project.files["me/__init__.py"] = "__version__ = '1.2'\n"
    assert (
        "me/__init__.py" in one(expand(project), "pip").options["reads"]
        or "**/__init__.py" in one(expand(project), "pip").options["reads"]
    )


def test_tox_and_pytests_options_say_what_tests_need():
    tox = "[testenv]\ndeps =\n  pytest\n  mock\n[pytest]\naddopts = --cov=me\n"
    options = one(expand(Project(pyproject__toml=PROJECT, tox__ini=tox, tests_S_test_a__py="")), "pip").options
    assert options == {"packages": ["pytest", "mock", "click"], "adds": ["pytest-cov"]}
    files = Project(pyproject__toml=PROJECT, tox__ini=tox, requirements_S_test__txt="pytest\npytest-cov\n")
    assert one(expand(files), "pip").options == {"packages": ["click"], "requirements": ["requirements/test.txt"]}


def test_options_come_before_what_is_found():
    text = PROJECT + '[dependency-groups]\ntest = ["a"]\nslow = ["b"]\n'
    drafts = expand(Project(pyproject__toml=text), groups=["slow"], packages=["c"], install="none", version="3")
    assert [draft.options for draft in drafts] == [{"packages": ["c", "b", "click"], "version": "3"}]


@pytest.mark.parametrize(
    ("project", "options", "code", "file"),
    [
        (Project(pyproject__toml="[project\n"), {}, "pyproject", "pyproject.toml"),
        (Project(pyproject__toml=PROJECT), {"groups": ["gone"]}, "requirements", "envtool.yaml"),
        (Project(requirements__txt="-r gone.txt"), {}, "requirements", "requirements.txt"),
        (Project(requirements__txt="six => 1"), {}, "requirements", "requirements.txt"),
        (
            Project(pyproject__toml=PROJECT.replace("dependencies", "dependencies")),
            {"packages": ["six => 1"]},
            "requirements",
            "envtool.yaml",
        ),
    ],
)
def test_wrong_files_are_errors_of_the_spec_with_a_place(project, options, code, file):
    with pytest.raises(api.SpecError) as caught:
        expand(project, **options)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where.file) == (code, file)


def test_what_setup_py_reads_counts_whatever_table_ends_pyproject():
    text = '[build-system]\nrequires = ["setuptools"]\n[tool.isort]\nprofile = "black"\n'
    project = Project(pyproject__toml=text, setup__py='open("c/template.h")\n')
    project.files["c/template.h"] = ""
    assert "c/template.h" in one(expand(project), "pip").options["reads"]
