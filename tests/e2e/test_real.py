"""Suites of released projects, whose tests we did not write, pass whole."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.network]

REPOSITORY = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join([str(REPOSITORY), *(str(path) for path in REPOSITORY.glob("plugins/*/src"))])
# At least so many tests pass, as the suite's own runner counts them: a suite that finds no tests also ends with 0.
PASSED = {
    "attrs": (r"(\d+) passed", 1300),
    "npm": (r"# pass\s+(\d+)", 700),
    "pycairo": (r"(\d+) passed", 250),
    "python-ldap": (r"Ran (\d+) tests", 150),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One for all: two stand on the same base."""
    directory = tmp_path_factory.mktemp("store") / "store"
    yield directory
    from envtool.container import ids

    ids.remove(str(directory))


def test_every_real_project_is_run_here():
    assert {path.parent.name for path in REPOSITORY.glob("examples/real/*/envtool.yaml")} == set(PASSED)


@pytest.mark.parametrize("name", PASSED)
def test_its_own_suite_passes(name, store, tmp_path):
    spec = (REPOSITORY / "examples/real" / name / "envtool.yaml").read_text()
    assert len(spec.splitlines()) <= 15
    if name == "npm" and not all(shutil.which(each, path="/usr/bin:/bin") for each in ("node", "npm")):
        pytest.skip("this machine's system has no node and npm")
    project = tmp_path / name
    shutil.copytree(REPOSITORY / "examples/real" / name, project, ignore=shutil.ignore_patterns(".envtool"))

    def run(*more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "envtool", "test", "-v", *more],
            cwd=project,
            env={**os.environ, "ENVTOOL_STORE": str(store), "PYTHONPATH": PYTHONPATH},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-8000:]
        return done.stdout

    pattern, least = PASSED[name]
    counted = re.findall(pattern, run())
    assert counted, "the suite did not say how many tests it ran"
    assert max(map(int, counted)) >= least
    assert "built" not in run("--again"), "the second run built something"
