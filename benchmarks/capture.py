"""What the capture of a tree as a layer costs beside sha256 over the same files, and beside tar of them.

The tree is one of this machine's own files below /usr, or a copy of the one that is given.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from _bench import Table, options, run, seconds, some_files, timed, workspace

from envtool.store import canonical


def hash_files(tree: str) -> None:
    """The floor: every file read once, in one digest."""
    digest = hashlib.sha256()
    for top, _, names in os.walk(tree):
        for name in names:
            path = os.path.join(top, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb", buffering=0) as file:
                    while piece := file.read(1 << 20):
                        digest.update(piece)


def main(asked: argparse.Namespace, table: Table) -> None:
    """All three over one tree, which is canonical after the first time."""
    with workspace(asked.envtool) as work:
        tree, manifest = str(work / "tree"), str(work / "manifest")
        if asked.tree:
            shutil.copytree(asked.tree, tree, symlinks=True)
        else:
            for path in some_files(1 if asked.tiny else 150):
                target = Path(tree, path.lstrip("/"))
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        _, size, entries = canonical.capture(tree, 0, (), manifest)
        subprocess.run(["sync", "-f", tree], check=False)
        contenders = {
            "envtool": lambda: timed(functools.partial(canonical.capture, tree, 0, (), manifest)),
            "sha256": lambda: timed(functools.partial(hash_files, tree)),
            "tar to sha256sum": functools.partial(seconds, "sh", "-c", f"tar -C '{tree}' -cf - . | sha256sum"),
        }
        table.measure(f"{size / 1e6:.0f} MB, {entries} names", contenders, asked.rounds, base="sha256", warm=1)


if __name__ == "__main__":
    parser = options(__doc__, rounds=5)
    parser.add_argument("tree", nargs="?", help="a directory")
    run(main, parser)
