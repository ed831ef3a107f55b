"""Linters are tests: `pytest` is the whole truth."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "--no-cache"], ["ruff", "format", "--check", "--no-cache"], ["mypy", "--cache-dir=/dev/null"]],
    ids=" ".join,
)
def test_nothing_is_found(command):
    if importlib.util.find_spec(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    ran = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]


def test_modules_stay_readable():
    too_long = {
        str(path.relative_to(ROOT)): lines
        for package in (
            "envtool",
            "plugins/envtool_cc/src",
            "plugins/envtool_java/src",
            "plugins/envtool_node/src",
            "plugins/envtool_python/src",
            "plugins/envtool_go/src",
            "plugins/envtool_rust/src",
            "plugins/envtool_services/src",
        )
        for path in (ROOT / package).glob("**/*.py")
        if (lines := len(path.read_text().splitlines())) > 600
    }
    assert not too_long


def test_no_half_finished_work():
    # spelled so that this file does not find itself
    words = ["TO" + "DO", "FIX" + "ME", "X" + "XX"]
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for package in ("envtool", "plugins", "tests", "docs", "benchmarks")
        for path in (ROOT / package).glob("**/*")
        if path.suffix in {".py", ".md", ".toml", ".yaml"}
        for word in words
        if word in path.read_text()
    ]
    assert not found
