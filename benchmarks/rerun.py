"""Running the tests of a trivial project again: nothing changed, and after an edit, beside tox and tox-uv.

All have made their environment before; none has dependencies. envtool runs the tests in a container on this machine's
own system. tox and tox-uv are installed into an environment of this run, by pip and from its index.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from _bench import Failed, Table, options, python, run, seconds, workspace

SPEC = "version: 1\nenvs: {unit: {base: host, tasks: {test: 'python3 -m unittest -q'}}}\n"
TOX = """[tox]
env_list = unit
[testenv]
skip_install = true
commands = python -m unittest -q
"""
TEST = """import unittest, module

class Test(unittest.TestCase):
    def test(self):
        self.assertGreater(module.value, -1)
"""
PEERS = {"tox": "tox", "tox-uv": "tox-uv"}  # how they are called here, and on the index


def installed(work: Path, who: str) -> Path:
    """tox in an environment of its own. Raises Failed."""
    place = work / f"{who}-environment"
    seconds(sys.executable, "-m", "venv", "--without-pip", place)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(place / "bin/python")]
    seconds(*pip, "install", "--quiet", PEERS[who])
    return place / "bin/tox"


def project(directory: Path) -> None:
    """One module and one test, in git, for all of them."""
    directory.mkdir()
    (directory / "envtool.yaml").write_text(SPEC)
    (directory / "tox.ini").write_text(TOX)
    (directory / "test_module.py").write_text(TEST)
    (directory / "module.py").write_text("value = 0\n")
    (directory / ".gitignore").write_text(".tox/\n__pycache__/\n")
    subprocess.run(["git", "init", "-q", str(directory)], check=True)


def main(asked: argparse.Namespace, table: Table) -> None:
    """Each in a copy of its own."""
    if not table.installed("git"):
        return
    with workspace(asked.envtool) as work:
        commands = {"envtool test": [asked.envtool, "test"]}
        for who in PEERS:
            try:
                commands[who] = [str(installed(work, who)), "-q", "run", "-e", "unit"]
            except Failed as failed:
                table.leave_out(who, failed.why.replace("cannot run", "cannot be installed", 1))
        yaml = "python3 -c 'import yaml, jinja2'"
        projects = {who: work / f"project{number}" for number, who in enumerate(commands)}
        contenders: dict[str, Callable[[], float]] = {
            who: functools.partial(seconds, *words, cwd=projects[who], PYTHONDONTWRITEBYTECODE="1")
            for who, words in commands.items()
        }
        for directory in projects.values():
            project(directory)
        time.sleep(1.2)  # the short way trusts no file that is younger than the run that read it
        floor = functools.partial(seconds, python(asked.envtool), "-c", "import yaml, jinja2")
        base = next((who for who in PEERS if who in commands), yaml)
        table.measure("nothing changed", {**contenders, yaml: floor}, asked.rounds, base=base, warm=2)
        numbers = itertools.count(1)

        def edited(who: str) -> float:
            (projects[who] / "module.py").write_text(f"value = {next(numbers)}\n")
            time.sleep(0.05)
            return contenders[who]()

        changed: dict[str, Callable[[], float]] = {who: functools.partial(edited, who) for who in commands}
        base = base if base in commands else ""
        table.measure("after an edit", changed, asked.rounds, base=base, warm=1)


if __name__ == "__main__":
    os.environ.pop("TOX_ENV_DIR", None)  # started by tox itself, perhaps
    run(main, options(__doc__, rounds=10), unit="ms")
