"""`language: python` for real, on this machine's own system: resolved from the index, built and run in containers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("envtool_python")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.network,
    pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="this machine's system has no python3"),
]

REPOSITORY = Path(__file__).parents[2]
SPEC = "version: 1\nenvs:\n  unit: {language: python, tasks: {test: pytest -q}}\n"
# flask brings a released click.
PYPROJECT = """\
[project]
name = "click"
dynamic = ["version"]
dependencies = []

[dependency-groups]
test = ["pytest", "flask"]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.hatch.version]
path = "src/click/__init__.py"
"""
SOURCE = "__version__ = '99'\n"
TEST = """\
import importlib.metadata, json, click
def test_it_is_ours():
    assert click.__file__ == "/project/src/click/__init__.py"
    assert importlib.metadata.version("click") == "99"
    address = importlib.metadata.distribution("click").read_text("direct_url.json")
    assert json.loads(address) == {"dir_info": {"editable": True}, "url": "file:///project"}
"""


@pytest.fixture
def envtool(tmp_path):
    """Runs envtool in a project of its own, with a store of its own."""
    project = tmp_path / "project"
    project.mkdir()

    def run(files: dict[str, str], *arguments: str, store: str = "store"):
        for name, text in files.items():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_text(text)
        path = f"{REPOSITORY}:{REPOSITORY}/plugins/envtool_python/src"
        environ = dict(os.environ, ENVTOOL_STORE=str(tmp_path / store), PYTHONPATH=path)
        command = [sys.executable, "-m", "envtool", *arguments]
        return subprocess.run(
            command, cwd=project, env=environ, capture_output=True, text=True, timeout=600, check=False
        )

    yield run
    from envtool.container import userns

    for store in tmp_path.glob("store*"):
        userns.remove_as_root(str(store))


def layers(store: Path) -> set[tuple[str, str]]:
    """(kind, diff ID) of every layer in a store."""
    found = set()
    for file in store.rglob("layer.json"):
        about = json.loads(file.read_text())
        found.add((about["document"]["kind"], about["diff_id"]))
    return found


@pytest.mark.dear(cases=2)
def test_a_project_replaces_the_copy_its_own_test_tool_brought(envtool):
    files = {"envtool.yaml": SPEC, "pyproject.toml": PYPROJECT, "src/click/__init__.py": SOURCE}
    files["tests/test_ours.py"] = TEST
    first = envtool(files, "test")
    assert first.returncode == 0, first.stdout + first.stderr
    changed = {"tests/test_ours.py": TEST + "def test_more(): pass\n"}
    second = envtool(changed, "test")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "2 passed" in second.stdout + second.stderr
    assert "built" not in second.stdout + second.stderr


@pytest.mark.dear(cases=2)
def test_a_compiled_source_distribution_comes_out_the_same_in_two_stores(envtool, tmp_path):
    files = {
        "envtool.yaml": SPEC,
        "requirements.txt": "--no-binary markupsafe\nmarkupsafe\npytest\n",
        "test_it.py": "def test():\n    import markupsafe._speedups\n",
    }
    for store in ("store-one", "store-two"):
        done = envtool(files, "test", store=store)
        assert done.returncode == 0, done.stdout + done.stderr
    one, two = layers(tmp_path / "store-one"), layers(tmp_path / "store-two")
    assert {kind for kind, _ in one} >= {"layer:pip"}
    assert one == two


def wheel(path: Path, name: str, says: str) -> None:
    """A wheel of one module that says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = f"{name}-1.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"said = {says!r}\n")
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")


@pytest.mark.dear(cases=2)
def test_archives_of_the_project_are_installed_by_their_content(envtool, tmp_path):
    """Also where git ignores them; an index has neither name."""
    files = {
        "envtool.yaml": "version: 1\nenvs:\n  unit: {language: python, tasks: {test: python test.py}}\n",
        "requirements.txt": "envtool-first @ file:./dist/envtool_first-1-py3-none-any.whl\n--find-links wheels\n"
        "envtool-second\n",
        "test.py": "import envtool_first, envtool_second\nprint(envtool_first.said, envtool_second.said)\n",
        ".gitignore": "dist/\n",
    }
    project = tmp_path / "project"
    subprocess.run(["git", "init", "-q", "--template=", str(project)], check=True)
    wheel(project / "dist/envtool_first-1-py3-none-any.whl", "envtool_first", "one")
    wheel(project / "wheels/envtool_second-1-py3-none-any.whl", "envtool_second", "two")
    done = envtool(files, "test", "-v")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "one two" in done.stdout + done.stderr
    assert envtool({}, "lock").returncode == 0
    assert str(tmp_path) not in (project / "envtool.lock").read_text()
    wheel(project / "dist/envtool_first-1-py3-none-any.whl", "envtool_first", "another")
    done = envtool({}, "test", "--no-locked", "-v")
    assert "another two" in done.stdout + done.stderr, done.stderr


def test_what_cannot_be_found_is_said_with_its_place(envtool, tmp_path):
    spec = "version: 1\nenvs:\n  unit:\n    layers:\n      - {pip: [no-such-package-of-envtool]}\n    tasks: {test: 'true'}\n"
    done = envtool({"envtool.yaml": spec}, "test")
    said = done.stdout + done.stderr
    assert done.returncode == 3, said
    assert "nothing that this Python can install is called `no-such-package-of-envtool`" in said
    assert "Traceback" not in said
    (log,) = (tmp_path / "project/.envtool/runs").glob("*/unit.test.log")
    assert f"all that was printed: {log}" in said
    printed = log.read_text()
    assert "ERROR: No matching distribution found for no-such-package-of-envtool" in printed
    assert "No matching distribution" not in said


GENERATED = """\
[project]
name = "thing"
dynamic = ["version"]
[dependency-groups]
test = ["pytest"]
[build-system]
requires = ["setuptools", "setuptools-scm"]
build-backend = "setuptools.build_meta"
[tool.setuptools_scm]
version_file = "src/thing/_version.py"
tag_regex = "^v(?P<version>.*)$"
"""


@pytest.mark.dear(cases=2)
def test_a_version_module_that_the_build_writes_is_there_and_the_checkout_stays_clean(envtool, tmp_path):
    files = {
        "envtool.yaml": SPEC,
        "pyproject.toml": GENERATED,
        "src/thing/__init__.py": "from thing._version import version\n",
        "tests/test_thing.py": "import os, thing\n"
        "def test_it():\n    assert thing.version.startswith('3.2')\n"
        "    assert thing.__file__.startswith('/project/src')\n"
        "    os.unlink('/project/src/thing/_version.py')  # it is a file like any other\n",
        ".gitignore": "_version.py\n",
    }
    assert envtool(files, "version").returncode == 0  # the files are there now
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"], ["tag", "v3.2"], ["tag", "image-v99.0"]):
        subprocess.run([*git, *words], cwd=tmp_path / "project", check=True)
    done = envtool({}, "test")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "project/src/thing/_version.py").exists()


WORKSPACE = """\
[project]
name = "shop"
version = "1.0"
dependencies = ["sampleproject"]
[tool.uv.sources]
sampleproject = { workspace = true }
[tool.uv.workspace]
members = ["packages/*"]
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""
MEMBER = """\
[project]
name = "sampleproject"
version = "1.0"
dependencies = ["six"]
[build-system]
requires = ["setuptools"]
"""


@pytest.mark.dear(cases=2)
def test_a_member_of_the_workspace_comes_from_the_checkout_and_a_strangers_of_its_name_does_not(envtool):
    files = {
        "envtool.yaml": SPEC,
        "pyproject.toml": WORKSPACE,
        "src/shop/__init__.py": "from sample import answer\n",
        "packages/sampleproject/pyproject.toml": MEMBER,
        "packages/sampleproject/src/sample/__init__.py": "import six\nanswer = 'ours'\n",
        "tests/test_shop.py": "import shop, sample\ndef test_ours():\n    assert shop.answer == 'ours'\n"
        "    assert sample.__file__.startswith('/project/packages/')\n",
    }
    done = envtool(files, "test")
    assert done.returncode == 0, done.stdout + done.stderr
    done = envtool(
        {"pyproject.toml": WORKSPACE.replace("[tool.uv.sources]\nsampleproject = { workspace = true }\n", "")}, "test"
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "pyproject.toml:4:1" in said
    assert "`sources: {sampleproject: packages/sampleproject}`" in said


FAST = """\
#include <Python.h>
static PyObject *seven(PyObject *self, PyObject *none) { return PyLong_FromLong(7); }
static PyMethodDef methods[] = {{"seven", seven, METH_NOARGS, ""}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_fast", "", -1, methods};
PyMODINIT_FUNC PyInit__fast(void) { return PyModule_Create(&module); }
"""
FLAT = {
    "envtool.yaml": SPEC,
    "setup.py": "from setuptools import Extension, setup\n"
    "fast = Extension('flatc._fast', ['flatc/_fast.c'])\n"
    "setup(name='flatc', version='1.0', packages=['flatc'], ext_modules=[fast])\n",
    "flatc/_fast.c": FAST,
    "flatc/__init__.py": "from flatc._fast import seven\n",
    "tests/__init__.py": "",
    "tests/test_seven.py": "import flatc\ndef test_seven():\n    assert flatc.seven() == 7, flatc._fast.__file__\n",
}


@pytest.mark.dear(cases=2)
@pytest.mark.skipif(
    not shutil.which("gcc", path="/usr/bin") or not [*Path("/usr/include").glob("python3*/Python.h")],
    reason="this machine's system cannot compile for its python3",
)
def test_an_extension_beside_the_sources_is_imported_and_follows_them(envtool, tmp_path):
    done = envtool(FLAT, "test")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [*(tmp_path / "project").rglob("*.so")], "the checkout is nobody's to write to"
    done = envtool({"flatc/_fast.c": FAST.replace("(7)", "(8)")}, "test")
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "assert 8 == 7" in said
    done = envtool({"setup.py": "raise RuntimeError('no compass')\n"}, "test")
    assert done.returncode == 3
    assert "RuntimeError: no compass" in (done.stdout + done.stderr).splitlines()[-2]
