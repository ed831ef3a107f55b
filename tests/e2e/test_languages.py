"""`language: [python, node]` for real: each finds its own packages, starts the other's programs, and rebuilds alone."""

from __future__ import annotations

import json

import pytest

from tests.e2e.test_node import _usable

pytest.importorskip("envtool_python")
pytest.importorskip("envtool_node")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.network,
    pytest.mark.one_caller,
    pytest.mark.skipif(bool(_usable()), reason=_usable() or "-"),
]

PACKAGE = {"name": "web", "version": "1.0.0", "private": True, "dependencies": {"semver": "7.6.3"}}
PYPROJECT = '[project]\nname = "thing"\nversion = "1"\n[dependency-groups]\ntest = ["pytest", "iniconfig{}"]\n'
PYPROJECT += '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
PYPROJECT += '[tool.setuptools]\npy-modules = ["thing"]\n'
FILES = {
    "thing.py": "",
    "test_thing.py": """\
import json, subprocess
def test_each_finds_its_own_packages_and_the_programs_of_the_other():
    import iniconfig
    code = "const { execFileSync } = require('child_process'); const run = (...a) => execFileSync(a[0], a.slice(1), {encoding: 'utf8'}).trim();"
    code += "console.log(JSON.stringify([require('semver').valid('1.2.3'), run('python', '-c', 'import iniconfig; print(1)'), run('semver', '1.0.0')]))"
    assert json.loads(subprocess.check_output(["node", "-e", code])) == ["1.2.3", "1", "1.0.0"]
""",
    "envtool.yaml": "version: 1\nenvs:\n  unit: {language: [python, node], tasks: {test: 'pytest -q'}}\n",
}  # fmt: skip


def actions(place):
    (env,) = json.loads(place.envtool("plan", "--json").out)["envs"]
    return {step["name"]: step["action"] for step in env["steps"]}


def test_two_languages_in_one_env(common):
    place = common
    for path, text in {**FILES, "package.json": json.dumps(PACKAGE), "pyproject.toml": PYPROJECT.format("")}.items():
        place.write(path, text)
    done = place.envtool("test")
    assert done.status == 0, done.said
    assert actions(place) == dict.fromkeys(("host", "requirements", "project", "node-modules"), "reuse")
    place.write("pyproject.toml", PYPROJECT.format(">=1"))
    after = actions(place)
    assert after["requirements"] != "reuse"
    assert after["node-modules"] == "reuse"
