"""The tests of a released Python project (itsdangerous, by its source distribution), beside tox, tox-uv and nox.

All run the same pytest with the same requirements under this machine's own Python, with the project as an editable
install. "cold": nothing is resolved, fetched or built, and no cache has anything; uv is at hand for tox-uv and
envtool, and envtool's base, which is this machine's system. "again": everything is built. The rows "CPU" have the
processor time of the same runs, which other work on the machine changes less. tox, tox-uv and nox are installed into
environments of this run, by pip and from its index, where the project comes from too; with --tiny, tox-uv alone.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

from _bench import Failed, Table, cpu, options, remove, run, seconds, workspace

PYTHON = "/usr/bin/python3"  # that of envtool's `base: host`, and so of all
PROJECT = "itsdangerous==2.2.0"
PEERS = {"tox": "tox", "tox-uv": "tox-uv", "nox": "nox"}  # how they are called here, and on the index
SPEC = "version: 1\nenvs: {unit: {language: python, base: host, tasks: {test: pytest -q}}}\n"
SEED = (
    "version: 1\nlayers: {one: {pip: [colorama]}}\nenvs: {unit: {base: host, layers: [one], tasks: {test: 'true'}}}\n"
)
TOX = """[tox]
env_list = unit
[testenv]
package = editable
deps = -r requirements/tests.txt
commands = pytest -q
"""
NOX = """import nox

@nox.session
def unit(session):
    session.install("-r", "requirements/tests.txt", "-e", ".")
    session.run("pytest", "-q")
"""
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def installed(work: Path, who: str) -> list[str]:
    """The command of one of the others, in an environment of its own. Raises Failed."""
    place = work / f"{who}-environment"
    seconds(PYTHON, "-m", "venv", "--without-pip", place)
    seconds(*PIP, "--python", str(place / "bin/python"), "install", "--quiet", PEERS[who])
    if who == "nox":
        return [str(place / "bin/nox"), "-s", "unit"]
    return [str(place / "bin/tox"), "-q", "run", "-e", "unit"]


def project(archive: Path, directory: Path) -> None:
    """The released project in git, with what tells each of them what to do."""
    with tarfile.open(archive) as file:
        file.extractall(directory, filter="data")
    (inner,) = directory.iterdir()
    for path in inner.iterdir():
        path.rename(directory / path.name)
    inner.rmdir()
    (directory / "envtool.yaml").write_text(SPEC)
    (directory / "tox.ini").write_text(TOX)
    (directory / "noxfile.py").write_text(NOX)
    (directory / ".gitignore").write_text(".tox/\n.nox/\n__pycache__/\n.pytest_cache/\n*.egg-info/\n")
    subprocess.run(["git", "init", "-q", str(directory)], check=True)


def main(asked: argparse.Namespace, table: Table) -> None:
    """Each in a copy of its own."""
    if not table.installed("git") or not table.installed(PYTHON):
        return
    with workspace(asked.envtool) as work:
        seconds(*PIP, "download", "--quiet", "--no-deps", "--no-binary", ":all:", "-d", work / "archive", PROJECT)
        (archive,) = (work / "archive").iterdir()
        commands = {"envtool test": [asked.envtool, "test", "--again"]}
        for who in ("tox-uv",) if asked.tiny else PEERS:
            try:
                commands[who] = installed(work, who)
            except Failed as failed:
                table.leave_out(who, failed.why.replace("cannot run", "cannot be installed", 1))
        projects = {who: work / f"project{number}" for number, who in enumerate(commands)}
        for directory in projects.values():
            project(archive, directory)
        (work / "seed").mkdir()
        (work / "seed/envtool.yaml").write_text(SEED)
        numbers, stores = itertools.count(), [work / "no store yet"]
        used: dict[str, list[float]] = {who: [] for who in commands}  # CPU seconds of each run

        def start(who: str) -> float:
            caches = {"UV_CACHE_DIR": f"{work}/caches/uv", "PIP_CACHE_DIR": f"{work}/caches/pip"}
            more = {"ENVTOOL_STORE": str(stores[-1]), **caches, "PYTHONDONTWRITEBYTECODE": "1"}
            spent: list[float] = []
            used[who].append(cpu(lambda: spent.append(seconds(*commands[who], cwd=projects[who], **more))))
            return spent[0]

        def cold(who: str) -> float:
            for name in (".tox", ".nox", ".envtool"):
                shutil.rmtree(projects[who] / name, ignore_errors=True)
            shutil.rmtree(work / "caches", ignore_errors=True)
            if who == "envtool test":
                remove(asked.envtool, stores[-1])
                stores.append(work / f"store{next(numbers)}")
                seconds(asked.envtool, "test", cwd=work / "seed", ENVTOOL_STORE=str(stores[-1]))
            return start(who)

        base = "tox-uv" if "tox-uv" in commands else ""

        def measure(what: str, contenders: dict[str, Callable[[], float]], warm: int = 0) -> None:
            for times in used.values():
                times.clear()
            table.measure(what, contenders, asked.rounds, base=base, warm=warm)
            for who in table.times[what]:
                for spent in used[who][-asked.rounds :]:
                    table.add(f"{what}, CPU", who, spent, base=base if base in table.times[what] else "")

        measure("cold", {who: functools.partial(cold, who) for who in commands})
        contenders: dict[str, Callable[[], float]] = {who: functools.partial(start, who) for who in commands}
        if "nox" in commands:
            commands["nox"] = [*commands["nox"], "-R"]
        time.sleep(1.2)  # the short way trusts no file that is younger than the run that read it
        measure("again", contenders, warm=1)


if __name__ == "__main__":
    os.environ.pop("TOX_ENV_DIR", None)  # started by tox itself, perhaps
    run(main, options(__doc__, rounds=5))
