"""What the capture of a tree costs beside sha256 over the same files: `python benchmarks/capture.py TREE`.

The tree is made canonical in place (times change): give it a copy.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable

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


def best(work: Callable[[], object], rounds: int = 5) -> float:
    """Seconds of the fastest of some rounds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    """Print both times and their ratio."""
    tree = sys.argv[1]
    with tempfile.NamedTemporaryFile() as manifest:
        _, size, entries = canonical.capture(tree, 0, (), manifest.name)
        ours = best(lambda: canonical.capture(tree, 0, (), manifest.name))
    floor = best(lambda: hash_files(tree))
    print(f"{size / 1e6:.0f} MB, {entries} names: capture {ours:.3f} s, sha256 {floor:.3f} s, ratio {ours / floor:.2f}")


if __name__ == "__main__":
    main()
