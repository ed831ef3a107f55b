"""What starting costs, held by a set and not by a clock: what must not be imported before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

BANNED = {
    "rich",
    "requests",
    "yaml",
    "jinja2",
    "jsonschema_rs",
    "junitparser",
    "pluggy",
    "asyncio",
    "importlib.metadata",
}
OURS = {"envtool.api", "envtool.app", "envtool.cli.door", "envtool.cli.test", "envtool.report.terminal"}


def imported(code):
    """Names of all modules after `code`. (-X importtime does not see importlib.import_module.)"""
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('modules:', *sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return {*ran.stdout.rpartition("modules:")[2].split()}


@pytest.mark.parametrize(
    "code",
    [
        "import envtool.cli.main",
        "from envtool.cli.main import main; main(['--help'])",
        "from envtool.cli.main import main; main(['--version'])",
        "from envtool.cli.main import main; main(['tset'])",
    ],
)
def test_nothing_heavy_before_a_verb_is_known(code):
    names = imported(code)
    assert "click" in names
    assert not names & (BANNED | OURS)


def test_a_verbs_help_imports_that_verb_alone():
    names = imported("from envtool.cli.main import main; main(['list', '--help'])")
    assert "envtool.cli.list" in names
    assert not names & (BANNED | OURS)


def test_the_entry_point_leaves_the_short_way_short():
    assert not imported("import envtool.__main__") & {"click", "dataclasses", "envtool.cli.main"}


def test_the_short_way_of_test_imports_next_to_nothing():
    names = imported(
        "import envtool.__main__, envtool.cli.fast, envtool.run.told, envtool.evidence, envtool.view.look,"
        " envtool.report.unchanged"
    )
    slow = {"click", "contextlib", "dataclasses", "hashlib", "json", "pathlib", "re", "shutil", "subprocess", "typing"}
    assert not names & (slow | BANNED | {"envtool.model", "envtool.errors", "envtool.container.start"})
