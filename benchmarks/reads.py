"""What it costs a task that envtool records which files of the project it has read.

The task reads half of the files of a project, and starts fifteen programs for each ten files. Beside it: the same
command of envtool, which does not ask the container for the record. CPU time of all processes, so other work on the
machine matters little.
"""

from __future__ import annotations

import argparse
import functools
import os

from _bench import Table, cpu, options, python, run, seconds, workspace

SPEC = """version: 1
envs:
  unit:
    base: host
    tasks:
      test: |
        for part in part-*; do
          set -- $part/*
          half=$(($# / 2))
          while [ $# -gt $half ]; do cat "$1" >/dev/null; shift; done
          for number in 1 2 3 4 5 6 7 8 9 10; do expr $number : '[0-9]*' >/dev/null; done
        done
"""
WITHOUT = """
import sys
from dataclasses import replace
from envtool.container import program
from envtool.run import task

whole = task.replace
task.replace = lambda value, **new: whole(value, **{name: each for name, each in new.items() if name != "observe"})
sys.argv = ["envtool", *sys.argv[1:]]
from envtool.__main__ import main
sys.exit(main())
"""


def main(asked: argparse.Namespace, table: Table) -> None:
    """Projects of several sizes."""
    for count in (20,) if asked.tiny else (100, 1000, 10_000):
        with workspace(asked.envtool) as top:
            project = top / "project"
            for number in range(count):
                path = project / f"part-{number // 10}" / f"file-{number}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{number}\n")
            (project / "envtool.yaml").write_text(SPEC)
            words = ("test", "--again", "-q")
            ways = {
                "envtool": functools.partial(seconds, asked.envtool, *words, cwd=project),
                "envtool: without the record": functools.partial(
                    seconds, python(asked.envtool), "-c", WITHOUT, *words, cwd=project
                ),
            }
            contenders = {who: functools.partial(cpu, way) for who, way in ways.items()}
            table.measure(
                f"a task that reads half of {count} files, CPU", contenders, asked.rounds,
                base="envtool: without the record", warm=1,
            )  # fmt: skip


if __name__ == "__main__":
    os.umask(0o022)
    run(main, options(__doc__, rounds=11), unit="ms")
