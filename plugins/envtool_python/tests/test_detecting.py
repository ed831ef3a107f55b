from __future__ import annotations

import pytest
from envtool_python.detect import detect

from envtool import testing

PYPROJECT = '[project]\nname = "a"\nversion = "1"\n'
DJANGO = {"manage.py": "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 's')\n", "requirements.txt": "Django>=4\n"}
TOX = "[tox]\nenvlist = py\n[testenv]\ndeps = pytest\ncommands = {}\n"
NOX = "import nox\n\n@nox.session\ndef tests(session):\n    '''Run them.'''\n"


def found(**files):
    files = {name.replace("__", "."): text for name, text in files.items()}
    return one(files)


def one(files):
    (detection,) = detect(testing.MemoryProject(files))
    return detection


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"pyproject.toml": PYPROJECT, "tests/test_a.py": ""}, "pytest {{ args }}"),
        ({"pyproject.toml": PYPROJECT, "test_a.py": ""}, "pytest {{ args }}"),
        ({"setup.py": "setup()", "src/a/a_test.py": ""}, "pytest {{ args }}"),
        ({"pyproject.toml": PYPROJECT + "[tool.pytest.ini_options]\npython_files = 'x_*.py'\n"}, "pytest {{ args }}"),
        ({"pyproject.toml": PYPROJECT, "a/tests.py": ""}, "python -m unittest discover {{ args }}"),
        (DJANGO | {"polls/tests.py": ""}, "python manage.py test {{ args }}"),
        (DJANGO | {"polls/test_a.py": ""}, "python manage.py test {{ args }}"),
        (
            DJANGO | {"polls/test_a.py": "", "pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = s\n"},
            "pytest {{ args }}",
        ),
        ({"setup.py": "", "tox.ini": TOX.format("pytest {posargs}")}, "pytest {{ args }}"),
        ({"setup.py": "", "tox.ini": TOX.format("pytest {posargs:tests}")}, "pytest {{ args or 'tests' }}"),
        (
            {"setup.py": "", "tox.ini": TOX.format("\n  coverage run -m pytest []\n  coverage report")},
            "coverage run -m pytest {{ args }} && coverage report",
        ),
        ({"setup.py": "", "tox.ini": TOX.format("{envpython} -m unittest -v")}, "python -m unittest -v"),
        ({"setup.py": "", "tox.ini": TOX.format("make -C {envtmpdir}"), "test_a.py": ""}, "pytest {{ args }}"),
        ({"setup.py": "", "tox.ini": TOX.format("python setup.py test"), "test_a.py": ""}, "pytest {{ args }}"),
        (
            {"setup.py": "", "noxfile.py": NOX + "    session.run('pytest', '-q', *session.posargs)\n"},
            "pytest -q {{ args }}",
        ),
        (
            {"setup.py": "", "noxfile.py": NOX + "    session.run(*COMMAND)\n", "test_a.py": ""},
            "pytest {{ args }}",
        ),
    ],
)
def test_the_command_is_what_the_project_says(files, command):
    assert one(files).tested
    assert one(files).env["tasks"]["test"] == command


@pytest.mark.parametrize(
    ("files", "command"),
    [  # what is no package is not installed: its tests find what lies beside them by the current directory
        ({"requirements.txt": "", "app.py": "", "tests/test_a.py": "import app\n"}, "python -m pytest {{ args }}"),
        ({"requirements.txt": "", "app/x.py": "", "tests/test_a.py": "from app.x import y\n"}, "python -m pytest {{ args }}"),
        ({"pyproject.toml": PYPROJECT + "[tool.uv]\n", "a/__init__.py": "", "tests/test_a.py": "def test():\n    import a.b\n"}, "python -m pytest {{ args }}"),
        ({"requirements.txt": "", "app.py": "", "tests/test_a.py": "from . import app\n"}, "pytest {{ args }}"),
        ({"requirements.txt": "", "app.py": "", "tests/test_a.py": "import os\n"}, "pytest {{ args }}"),
        ({"requirements.txt": "", "app.py": "", "tests/test_a.py": "import (\n"}, "pytest {{ args }}"),
        ({"requirements.txt": "", "src/app.py": "", "tests/test_a.py": "import app\n", "pytest.ini": "[pytest]\npythonpath = src\n"}, "pytest {{ args }}"),
        ({"requirements.txt": "", "src/app.py": "", "tests/test_a.py": "import app\n", "tests/conftest.py": "import sys\nsys.path.insert(0, 'src')\n"}, "pytest {{ args }}"),
        ({"setup.py": "setup(name='a')", "a/__init__.py": "", "tests/test_a.py": "import a\n"}, "pytest {{ args }}"),
    ],
)  # fmt: skip
def test_what_is_no_package_is_found_beside_its_tests(files, command):
    assert one(files).env["tasks"]["test"] == command


def test_what_tests_cannot_find_is_said():
    tests = "import tests.helpers, app\n"
    files = {"requirements.txt": "", "src/app/x.py": "", "tests/helpers.py": "", "tests/test_a.py": tests}
    assert not one(files).tested
    assert "its tests import app from src/" in one(files).reason


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": PYPROJECT},
        {"pyproject.toml": PYPROJECT, "src/a/__init__.py": ""},
        {"requirements.txt": "requests\n", "main.py": ""},
        {"setup.py": "", "conftest.py": ""},
    ],
)
def test_without_tests_nothing_is_written_that_could_not_pass(files):
    assert not one(files).tested
    assert one(files).env["language"] == "python"
    assert "no tests" in one(files).reason


def test_what_nox_installs_comes_along():
    text = NOX + "    session.install('.[db,x]', 'pytest', '-r', 'dev.txt', '-e', '.')\n    session.run('pytest')\n"
    env = one({"setup.py": "", "noxfile.py": text}).env
    assert env["packages"] == ["pytest"]
    assert env["extras"] == ["db", "x"]
    assert env["requirements"] == ["dev.txt"]


def test_a_base_is_chosen_where_this_machine_has_no_such_python(monkeypatch):
    monkeypatch.setattr("envtool_python.detect.env_python", lambda *_: (3, 11))
    files = {"pyproject.toml": PYPROJECT, "test_a.py": ""}
    assert "base" not in one(files).env
    files["pyproject.toml"] = PYPROJECT + 'requires-python = ">=3.13"\n'
    assert one(files).env["base"] == {"debian": "trixie"}
    files["pyproject.toml"] = PYPROJECT + 'requires-python = "<3.10"\n'
    assert one(files).env["base"] == {"debian": "bullseye"}


def test_files_that_are_wrong_are_told_and_nothing_is_written():
    detection = one({"pyproject.toml": "[project\n"})
    assert detection.env is None
    assert detection.reason.startswith("pyproject.toml:1: ")
    assert detect(testing.MemoryProject({"main.go": ""})) == []


EXTRAS = PYPROJECT + (
    "[dependency-groups]\ntest = ['pytest', 'ujson']\n[project.optional-dependencies]\n"
    "bson = ['pymongo']\nyaml = ['PyYAML']\nfast = ['msgspec>=1; python_version > \"3\"']\nujson = ['ujson']\nwrong = ['=']\n"
)


@pytest.mark.parametrize(
    ("text", "extras"),
    [
        ("import bson\n", ["bson"]),  # the extra's own name
        ("from msgspec import x\nimport yaml.x\n", ["yaml", "fast"]),
        ("from a.with_.bson import x\nfrom b.msgspec import x\n", ["bson"]),  # a module of the project's own
        ("import ujson\n", None),  # the group brings it
        ("import os, attr\n", None),
        ("try:\n    import bson\nexcept ImportError:\n    bson = None\n", None),  # the tests can do without
        ("def test():\n    import bson\n", None),
        ("import pytest\npytest.importorskip('bson')\nimport bson.x\n", None),
        ("from . import bson\n", None),
    ],
)
def test_extras_that_test_files_cannot_be_imported_without(text, extras):
    assert one({"pyproject.toml": EXTRAS, "tests/test_a.py": text}).env.get("extras") == extras


def test_extras_are_added_to_those_for_tests():
    text = PYPROJECT + "[project.optional-dependencies]\ntests = ['pytest']\nbson = ['pymongo']\n"
    assert one({"pyproject.toml": text, "tests/test_a.py": "import bson\n"}).env["extras"] == ["tests", "bson"]


@pytest.mark.parametrize(
    ("files", "command"),
    [
        (["bench/test_b.py", "tests/test_a.py"], "pytest --ignore=bench {{ args }}"),
        (["perf/x/test_b.py", "benchmarks/test_b.py", "test/test_a.py"], "pytest --ignore=benchmarks --ignore=perf {{ args }}"),
        (["bench/test_b.py", "a/test_a.py"], "pytest {{ args }}"),  # there may be no other tests
        (["bench/b.py", "tests/test_a.py"], "pytest {{ args }}"),
    ],
)  # fmt: skip
def test_benchmarks_are_no_tests(files, command):
    project = {"pyproject.toml": PYPROJECT, **dict.fromkeys(files, "")}
    assert one(project).env["tasks"]["test"] == command
    settings = "[tool.pytest.ini_options]\ntestpaths = ['tests', 'bench']\n"
    project["pyproject.toml"] += settings
    assert one(project).env["tasks"]["test"] == "pytest {{ args }}"
