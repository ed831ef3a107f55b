"""Is this a package, by the rules of the tool that it is made with?"""

from __future__ import annotations

import pytest
from envtool_python.language import Python
from envtool_python.metadata import read_facts

from envtool import api
from envtool.testing import MemoryProject

ME = '[project]\nname = "me"\nversion = "1"\ndependencies = ["six"]\n'
BUILD = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
POETRY = '[tool.poetry]\nname = "me"\nversion = "1"\n[tool.poetry.dependencies]\npython = "^3.9"\nsix = "*"\n'
SETUP = "from setuptools import setup\nsetup(name='me')\n"
FLAT = {"me/__init__.py": "", "tests/test_me.py": ""}
TWO = {"app/__init__.py": "", "data/__init__.py": ""}

ROWS = {  # files, and whether they are a package
    "a build system": ({"pyproject.toml": ME + BUILD} | FLAT, True),
    "a build system and several packages: its own business": ({"pyproject.toml": ME + BUILD} | TWO, True),
    "uv says no": ({"pyproject.toml": f"{ME}{BUILD}[tool.uv]\npackage = false\n"} | FLAT, False),
    "uv says yes": ({"pyproject.toml": f"{ME}[tool.uv]\npackage = true\n"} | TWO, True),
    "uv's, and no build system": ({"pyproject.toml": f"{ME}[tool.uv]\nmanaged = true\n"} | FLAT, False),
    "uv's by its lock": ({"pyproject.toml": ME, "uv.lock": ""} | FLAT, False),
    "Poetry says no": ({"pyproject.toml": f"{POETRY}{BUILD}".replace('version = "1"', "package-mode = false")}, False),
    "Poetry, a package": ({"pyproject.toml": POETRY + BUILD} | FLAT, True),
    "Poetry without a build system": ({"pyproject.toml": POETRY} | FLAT, False),
    "PDM says no": ({"pyproject.toml": f"{ME}{BUILD}[tool.pdm]\ndistribution = false\n"} | FLAT, False),
    "PDM says yes": ({"pyproject.toml": f"{ME}[tool.pdm]\ndistribution = true\n"} | FLAT, True),
    "setuptools finds several packages": ({"pyproject.toml": ME} | TWO, False),
    "setuptools finds a package beside data": ({"pyproject.toml": ME, "data/a.json": "{}"} | FLAT, False),
    "setuptools finds one": ({"pyproject.toml": ME, "docs/conf.py": "", "_a/x.py": ""} | FLAT, True),
    "setuptools finds src": ({"pyproject.toml": ME, "src/me/__init__.py": ""} | TWO, True),
    "setuptools is configured": ({"pyproject.toml": f'{ME}[tool.setuptools]\npackages = ["app"]\n'} | TWO, True),
    "one module": ({"pyproject.toml": ME, "me.py": "", "conftest.py": "", "test_me.py": ""}, True),
    "several modules": ({"pyproject.toml": ME, "main.py": "", "models.py": ""}, False),
    "no module": ({"pyproject.toml": ME}, False),
    "setup.py alone": ({"setup.py": SETUP} | TWO, True),
    "setup.py beside pyproject.toml": ({"pyproject.toml": ME, "setup.py": SETUP} | TWO, True),
    "setup.py, and uv says no": ({"pyproject.toml": f"{ME}[tool.uv]\npackage = false\n", "setup.py": SETUP}, False),
    "setup.cfg": ({"setup.cfg": "[metadata]\nname = me\n[options]\npackages = app\n"} | TWO, True),
    "setup.cfg of tools": ({"setup.cfg": "[flake8]\n"} | FLAT, False),
    "tools alone": ({"pyproject.toml": "[tool.ruff]\n"} | FLAT, False),
    "requirements alone": ({"requirements.txt": "six\n"} | TWO, False),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_package_or_none(row):
    files, package = ROWS[row]
    drafts = layers(files)
    assert ["python-project" in draft.kind for draft in drafts].count(True) == package
    if not package and "pyproject.toml" in files and "ruff" not in files["pyproject.toml"]:
        assert read_facts(MemoryProject(files)).dependencies == ("six",), "what it requires is known without a build"
        assert any("six" in str(draft.options) for draft in drafts)


def layers(files, **options):
    where = api.Where(file="envtool.yaml", line=1, column=1)
    env = api.EnvDraft(name="unit", base_kind="image", options=options, layer_names=(), where=where)
    return Python().layers(env, MemoryProject(files))


@pytest.mark.parametrize("install", ["editable", "wheel", "none"])
@pytest.mark.parametrize("row", ["uv says no", "setuptools finds one", "Poetry, a package"])
def test_the_spec_has_the_last_word(row, install):
    projects = [draft for draft in layers(ROWS[row][0], install=install) if draft.kind == "python-project"]
    assert [draft.options["install"] for draft in projects] == ([] if install == "none" else [install])


def test_a_package_that_poetry_describes_is_read_without_its_backend():
    text = POETRY.replace('six = "*"', 'six = "^1.16"\nrich = {version = "~13.1", optional = true}\n') + BUILD
    text += '[tool.poetry.extras]\ncolour = ["Rich"]\n'
    facts = read_facts(MemoryProject({"pyproject.toml": text}))
    assert (facts.dependencies, facts.extras) == (("six>=1.16,<2",), {"colour": ("rich>=13.1,<13.2",)})
    assert facts.requires_python == ">=3.9,<4"
