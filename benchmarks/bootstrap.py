"""Making a minimal Debian from files at hand, beside mmdebstrap.

Both have their packages on this disk already, from a first time that does not count (with --tiny envtool's first time
is all there is). mmdebstrap still fetches its index: a mirror that is near is assumed. It needs root.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
from collections.abc import Callable
from pathlib import Path

from _bench import Table, options, remove, run, seconds, workspace

SPEC = "version: 1\nenvs: {{e: {{base: {{debian: {suite}}}}}}}\n"


def mmdebstrap(suite: str, cache: Path, targets: itertools.count[int]) -> float:
    """One run; `cache` holds debs, and keeps what was fetched."""
    hooks = [
        '--setup-hook=mkdir -p "$1/var/cache/apt/archives"',
        f'--setup-hook=sync-in "{cache}" /var/cache/apt/archives/',
        f'--customize-hook=sync-out /var/cache/apt/archives "{cache}"',
    ]
    target = cache.with_name(f"root{next(targets)}")
    return seconds(
        "mmdebstrap", "--quiet", "--variant=minbase", "--mode=root",
        "--skip=download/empty", "--skip=essential/unlink", "--skip=cleanup/apt/cache", *hooks, suite, target,
    )  # fmt: skip


def ours(envtool: str, work: Path) -> float:
    """The layer anew, and `true` in it, from blobs that are there."""
    remove(envtool, *(work / "store/layers").glob("*"))
    return seconds(envtool, "-C", work, "exec", "e", "--", "true")


def main(asked: argparse.Namespace, table: Table) -> None:
    """Both, beside each other."""
    with workspace(asked.envtool) as work:
        (work / "envtool.yaml").write_text(SPEC.format(suite=asked.suite))
        (work / "cache").mkdir()
        contenders: dict[str, Callable[[], float]] = {"envtool": functools.partial(ours, asked.envtool, work)}
        if os.geteuid():
            table.leave_out("mmdebstrap", "needs root")
        elif table.installed("mmdebstrap"):
            contenders["mmdebstrap"] = functools.partial(mmdebstrap, asked.suite, work / "cache", itertools.count())
        rounds, warm = (1, 0) if asked.tiny else (asked.rounds, 1)
        table.measure(f"a minimal {asked.suite}", contenders, rounds, base="mmdebstrap", warm=warm)


if __name__ == "__main__":
    parser = options(__doc__, rounds=3)
    parser.add_argument("--suite", default="bookworm")
    run(main, parser)
