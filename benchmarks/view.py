"""What telling "unchanged" costs: view digests of 1,000 to 100,000 files, and `envtool test` of an unchanged project.

All are whole processes, with Python's start. Digests stand beside `git status` of the same repository; `envtool test`
beside `python3 -c 'import yaml, jinja2'` of the same environment, and bare Python.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import os
import time
from pathlib import Path

from _bench import Table, options, python, repository, run, seconds, workspace

BUDGET = {1_000: 30, 10_000: 100, 100_000: 400}  # ms, unchanged
SPEC = "version: 1\nenvs: {unit: {base: host, tasks: {test: 'true'}}}\n"
LOOK = """
import os, sys
try:
    from envtool.project.snapshot import take_snapshot
except ImportError:  # before this was its name
    from envtool.view.look import look as take_snapshot
take_snapshot(*sys.argv[1:])
os._exit(0)
"""
YAML = "python3 -c 'import yaml, jinja2'"


def digests(work: Path, size: int, asked: argparse.Namespace, table: Table) -> None:
    """Nothing changed, one file edited, and the first time."""
    directory, record = work / f"p{size}", work / f"record{size}"
    repository(directory, size)
    look = functools.partial(seconds, python(asked.envtool), "-I", "-c", LOOK, directory, record)
    status = functools.partial(seconds, "git", "-C", directory, "status", "--porcelain")
    numbers = itertools.count()

    def first() -> float:
        for path in (record, Path(f"{record}.hashes")):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        return look()

    def edited() -> float:
        (directory / "pkg0/part0/file1.py").write_text(f"value = {next(numbers)}\n")
        time.sleep(0.05)
        return look()

    budget = f" (budget {BUDGET[size]} ms)" if size in BUDGET else ""
    table.measure(f"{size:,} files, first time", {"envtool": first}, min(asked.rounds, 3))
    table.measure(f"{size:,} files, one edited", {"envtool": edited}, asked.rounds, warm=1)
    table.measure(
        f"{size:,} files, unchanged{budget}", {"envtool": look, "git status": status}, asked.rounds,
        base="git status", warm=2,
    )  # fmt: skip


def told(work: Path, size: int, asked: argparse.Namespace, table: Table) -> None:
    """`envtool test` of unchanged files, and what it is measured by."""
    venv, directory = python(asked.envtool), work / "told"
    repository(directory, size)
    (directory / "envtool.yaml").write_text(SPEC)
    time.sleep(1.2)  # the short way trusts no file that is younger than the run that read it
    commands = {
        "python3 -I -S -c pass": [os.path.realpath(venv), "-I", "-S", "-c", "pass"],
        "python3 -c pass": [venv, "-c", "pass"],
        YAML: [venv, "-c", "import yaml, jinja2"],
        "envtool test": [asked.envtool, "test"],
        "envtool test --color never (the long way)": [asked.envtool, "test", "--color", "never"],
    }
    contenders = {who: functools.partial(seconds, *words, cwd=directory) for who, words in commands.items()}
    table.measure(f"told of {size:,} unchanged files", contenders, asked.rounds, base=YAML, warm=2)


def main(asked: argparse.Namespace, table: Table) -> None:
    """Both, for each size."""
    if not table.installed("git"):
        return
    with workspace(asked.envtool) as work:
        told(work, 100 if asked.tiny else 1_000, asked, table)
        for size in [100] if asked.tiny else [size for size in BUDGET if size <= asked.most]:
            digests(work, size, asked, table)


if __name__ == "__main__":
    parser = options(__doc__, rounds=15)
    parser.add_argument("--most", type=int, default=100_000, help="files of the largest project")
    run(main, parser, unit="ms")
