"""What starting each verb costs: those that read a spec and look, the long way of an unchanged `envtool test`, and the
spellings of a command line that may take a short way.

CPU time of whole processes, which is steady on a machine that has other work to do, beside
`python3 -c 'import yaml, jinja2'` of the same environment. The files are those of an installed envtool: compiled.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from pathlib import Path

from _bench import Failed, Table, cpu, options, python, run, seconds, workspace

YAML = "python3 -c 'import yaml, jinja2'"
SMALL = "version: 1\nenvs: {unit: {base: {debian: bookworm}, language: python, tasks: {test: 'true'}}}\n"
PROJECT = '[project]\nname = "small"\nversion = "1"\ndependencies = ["click"]\n'
HOST = "version: 1\nenvs: {unit: {base: host, tasks: {test: 'true', lint: 'true'}}}\n"
LOOKING = ("--help", "list", "plan", "why", "schema")
LONG = ("test --expect-cached", "test --no-locked")
SHORT = ("exec unit -- true", "exec -C . unit -- true", "exec -q unit true", "test", "test -q --color never",
         "run test", "run lint -C .", "test --json", "test --junit {junit}", "test -j 2",
         "test -v", "test --fail-fast", "test --offline", "list", "list --json")  # fmt: skip


def many(directory: Path, envs: int) -> None:
    """A spec of many envs with five layers each of its own."""
    lines = ["version: 1", "envs:"]
    for number in range(envs):
        layers = ", ".join(f"{{run: 'echo {number} {layer}'}}" for layer in range(5))
        lines.append(f"  e{number}: {{base: host, layers: [{layers}], tasks: {{test: 'true'}}}}")
    directory.mkdir()
    (directory / "envtool.yaml").write_text("\n".join(lines) + "\n")


def main(asked: argparse.Namespace, table: Table) -> None:
    """Each project by itself; each verb takes turns with the imports that it is measured by."""
    with workspace(asked.envtool) as work:
        floor = [python(asked.envtool), "-c", "import yaml, jinja2"]

        def measure(what: str, directory: Path, verbs: tuple[str, ...], rounds: int) -> None:
            words = {f"envtool {verb}": [asked.envtool, *verb.format(junit=work / "j.xml").split()] for verb in verbs}
            contenders: dict[str, Callable[[], float]] = {
                who: functools.partial(cpu, functools.partial(seconds, *each, cwd=directory))
                for who, each in {**words, YAML: floor}.items()
            }
            table.measure(what, contenders, rounds, base=YAML, warm=1)

        small, host = work / "small", work / "host"
        for directory, spec in ((small, SMALL), (host, HOST)):
            directory.mkdir()
            (directory / "envtool.yaml").write_text(spec)
        (small / "pyproject.toml").write_text(PROJECT)
        measure("a Python project of four lines", small, LOOKING, asked.rounds)
        own = Path(__file__).resolve().parents[1]
        if (own / "envtool.yaml").exists():
            measure("this project", own, ("list", "plan"), asked.rounds)
        try:
            for verb in ("test", "run lint"):
                seconds(asked.envtool, *verb.split(), cwd=host)
            time.sleep(1.2)  # the short ways trust no file that is younger than the run that read it
            for verb in ("exec unit -- true", "test", "run lint", "list", "list --json"):
                seconds(asked.envtool, *verb.split(), cwd=host)
        except Failed as failed:
            table.leave_out("unchanged tasks", failed.why)
        else:
            measure("unchanged tasks, the long way", host, LONG, asked.rounds)
            measure("unchanged tasks and a warm env, the short ways", host, SHORT, asked.rounds)
        count = 20 if asked.tiny else 1_000
        many(work / "many", count)
        measure(f"{count:,} envs of five layers", work / "many", ("plan",), min(asked.rounds, 3))


if __name__ == "__main__":
    run(main, options(__doc__, rounds=15), unit="ms")
