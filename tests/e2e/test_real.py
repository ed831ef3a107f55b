"""Suites of released projects, whose tests we did not write, pass whole."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.slow]

EXAMPLES = Path(__file__).parents[2] / "examples/real"
# At least so many tests pass, as the suite's own runner counts them: a suite that finds no tests also ends with 0.
PASSED = {
    "arrayvec": (r"(\d+) passed\b", 90),
    "attrs": (r"(\d+) passed", 1300),
    "cjson": (r"out of (\d+)", 19),
    "go-cmp": (r"(\d+) passed\b", 19),
    "go-yaml": (r"OK: (\d+) passed", 45),
    "commons-codec": (r"Tests run: (\d+)", 1100),
    "commons-csv": (r"Tests run: (\d+)", 400),
    "jsoup": (r"Tests run: (\d+)", 1000),
    "libyaml": (r"# PASS: +(\d+)", 2),
    "npm": (r"# pass\s+(\d+)", 700),
    "psycopg": (r"Ran (\d+) tests", 740),
    "pycairo": (r"(\d+) passed", 250),
    "python-ldap": (r"Ran (\d+) tests", 150),
    "redis-py": (r"(\d+) passed", 1000),
    "ryu": (r"(\d+) passed\b", 48),
    "semver": (r"(\d+) passed\b", 36),
    "serd": (r"Ok: +(\d+)", 23),
    "toml": (r"(\d+) passed\b", 60),
}


def test_every_real_project_is_run_here():
    assert {path.parent.name for path in EXAMPLES.glob("*/envtool.yaml")} == set(PASSED)


@pytest.mark.dear
@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", PASSED)
def test_its_own_suite_passes(name, common):
    spec = (EXAMPLES / name / "envtool.yaml").read_text()
    most = 25 if "services:" in spec else 8 if "language:" in spec else 15
    assert len(spec.splitlines()) <= most
    if name == "npm" and not all(shutil.which(each, path="/usr/bin:/bin") for each in ("node", "npm")):
        pytest.skip("this machine's system has no node and npm")
    common.copy(EXAMPLES / name)
    done = common.envtool("test", "-v")
    assert done.status == 0, done.said[-8000:]
    pattern, least = PASSED[name]
    counted = re.findall(pattern, done.said)
    assert counted, "the suite did not say how many tests it ran"
    assert max(map(int, counted)) >= least
    again = common.envtool("plan")
    assert again.status == 0, again.said
    assert "built" not in again.said
    assert common.envtool("test", "--expect-cached").status == 0, "the second run would build something"
