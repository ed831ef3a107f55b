"""Two checkouts of envtool in one run, interleaved: what must not become slower from one to the other.

    .venv/bin/python benchmarks/compare.py --before DIR --after DIR [--cpu] [--strict]

Measured are a warm `envtool exec`, a further container in one process, `envtool test` of 1,000 unchanged files, and the
view of 100,000 files. Both are copied as they stand and compiled, and run by the interpreter that runs this, with what
is installed beside it. The ratio is the median of what each round says; a row is slower when that is above 1 by more
than the spread between rounds (between quartiles, as a share of the median), of whichever of the two is steadier.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import functools
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from _bench import Table, cpu, further, options, ratio, remove, repository, run, seconds, spread, workspace

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
HERE = Path(__file__).resolve().parents[1]
SIDES = ("envtool before", "envtool after")


@dataclass(frozen=True)
class Side:
    """One of the two: its command, and the variables that make a Python find its modules, and it its store."""

    envtool: str
    store: Path
    variables: dict[str, str]


def installed(checkout: Path, to: Path) -> Side:
    """A copy of a checkout's modules with their .pyc, and a command as pip would write it."""
    library = to / "library"
    for package in (checkout / "envtool", *checkout.glob("plugins/*/src/*")):
        if package.is_dir():
            shutil.copytree(package, library / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(library, quiet=2)
    text = (library / "envtool/cli/launcher").read_text()
    command = to / "envtool"
    command.write_text(text.replace("#!python", f"#!{sys.executable}", 1))
    command.chmod(0o755)
    variables = {"PYTHONPATH": str(library), "PYTHONDONTWRITEBYTECODE": "1", "ENVTOOL_STORE": str(to / "store")}
    check = f"import envtool; assert envtool.__file__.startswith({str(library)!r}), envtool.__file__"
    seconds(sys.executable, "-c", check, **variables)  # an installed one could come first
    return Side(str(command), to / "store", variables)


def main(asked: argparse.Namespace, table: Table) -> None:
    """All four, each in turns."""
    if not table.installed("git"):
        return
    counts = (100, 200) if asked.tiny else (1_000, asked.files)
    with workspace(asked.envtool) as work, contextlib.ExitStack() as held:
        sides: dict[str, Side] = {}
        for who, checkout in zip(SIDES, (asked.before, asked.after), strict=True):
            sides[who] = installed(checkout.resolve(), work / who.split()[1])
            held.callback(remove, asked.envtool, sides[who].store)
        directories = {who: work / who.split()[1] / "project" for who in sides}
        for directory in directories.values():
            repository(directory, counts[0])
            (directory / "envtool.yaml").write_text(SPEC)
        time.sleep(1.2)  # the short way trusts no file that is younger than the run that read it

        def measure(what: str, contenders: dict[str, Callable[[], float]], rounds: int) -> None:
            table.measure(what, contenders, rounds, base=SIDES[0], warm=3)

        def timed(who: str, *words: str | os.PathLike[str], cwd: Path) -> Callable[[], float]:
            run = functools.partial(seconds, *words, cwd=cwd, **sides[who].variables)
            return functools.partial(cpu, run) if asked.cpu else run

        starts = {
            who: timed(who, side.envtool, "exec", "unit", "--", "true", cwd=directories[who])
            for who, side in sides.items()
        }
        measure("warm exec", starts, asked.rounds)
        plans = {who: (side.store, directories[who] / "envtool.yaml", "unit") for who, side in sides.items()}
        running = {
            who: held.enter_context(further(sys.executable, plans[who], starts[who], cpu=asked.cpu, **side.variables))
            for who, side in sides.items()
        }
        measure("a further container", running, asked.rounds)
        measure(
            f"envtool test, {counts[0]:,} files unchanged",
            {who: timed(who, side.envtool, "test", cwd=directories[who]) for who, side in sides.items()},
            asked.rounds,
        )
        many = work / "many"
        repository(many, counts[1])
        measure(
            f"view of {counts[1]:,} files",
            {
                who: timed(who, sys.executable, "-c", LOOK, many, side.store.with_name("record"), cwd=work)
                for who, side in sides.items()
            },
            max(2, asked.rounds // 2),
        )
    print(verdict(table), flush=True)
    slower = [what for what in table.times if judged(table, what)[2]]
    if slower and asked.strict:
        raise SystemExit(f"slower: {', '.join(slower)}")


def judged(table: Table, what: str) -> tuple[float, float, bool]:
    """Ratio, spread between rounds, and whether it became slower by more than that."""
    before, after = (table.times[what][who] for who in SIDES)
    found, width = ratio(after, before), min(spread(before), spread(after))
    return found, width, found > 1 + width


def verdict(table: Table) -> str:
    """A row a measure."""
    lines = ["| | before, ms | after, ms | after / before | spread between rounds | |", "|---|---|---|---|---|---|"]
    for what, row in table.times.items():
        before, after = (1000 * statistics.median(row[who]) for who in SIDES)
        found, width, slower = judged(table, what)
        said = "slower" if slower else "faster" if found < 1 - width else "the same"
        lines.append(f"| {what} | {before:.1f} | {after:.1f} | {found:.3f} | {width:.0%} | {said} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    parser = options(__doc__, rounds=60)
    parser.add_argument("--before", type=Path, default=HERE, help="a checkout")
    parser.add_argument("--after", type=Path, default=HERE, help="another one")
    parser.add_argument("--files", type=int, default=100_000, help="of the large project")
    parser.add_argument("--cpu", action="store_true", help="CPU time, which other work on the machine changes little")
    parser.add_argument("--strict", action="store_true", help="end with status 1 when anything is slower")
    run(main, parser, unit="ms")
