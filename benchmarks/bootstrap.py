"""Making a minimal Debian from files at hand, beside mmdebstrap: `python benchmarks/bootstrap.py --envtool PATH`.

As root. Both have their packages on this disk already and ask nobody for any (mmdebstrap still fetches its index: a
mirror that is near is assumed). Interleaved; the fastest of each counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def mmdebstrap(suite: str, cache: Path, target: Path) -> float:
    """Seconds of one run; `cache` holds debs, and keeps what was fetched."""
    hooks = [
        '--setup-hook=mkdir -p "$1/var/cache/apt/archives"',
        f'--setup-hook=sync-in "{cache}" /var/cache/apt/archives/',
        f'--customize-hook=sync-out /var/cache/apt/archives "{cache}"',
    ]
    began = time.perf_counter()
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", "--mode=root",
         "--skip=download/empty", "--skip=essential/unlink", "--skip=cleanup/apt/cache", *hooks, suite, str(target)],
        check=True,
    )  # fmt: skip
    return time.perf_counter() - began


def ours(envtool: str, project: Path, store: Path) -> float:
    """Seconds that the layer took to build, as envtool says, from blobs that are there."""
    python = os.path.join(os.path.dirname(envtool), "python")
    remove = "import sys; from envtool.container import ids; ids.remove(sys.argv[1])"
    for layer in (store / "layers").glob("*"):
        subprocess.run([python, "-c", remove, str(layer)], check=True)
    environ = {**os.environ, "ENVTOOL_STORE": str(store)}
    done = subprocess.run(
        [envtool, "-C", str(project), "test", "--json", "--again"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (seconds,) = (event["seconds"] for event in events if event["event"] == "finished" and event["subject"] == "base")
    return float(seconds)


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description="a minimal Debian, ours and mmdebstrap's")
    parser.add_argument("--envtool", required=True)
    parser.add_argument("--suite", default="bookworm")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if not shutil.which("mmdebstrap") or os.geteuid():
        sys.exit("needs root, and mmdebstrap: apt-get install mmdebstrap")
    with tempfile.TemporaryDirectory(prefix="envtool-bench-") as name:
        top = Path(name)
        (top / "envtool.yaml").write_text(
            f"version: 1\nenvs: {{e: {{base: {{debian: {asked.suite}}}, tasks: {{test: 'true'}}}}}}\n"
        )
        (top / "cache").mkdir()
        envtool = os.path.abspath(asked.envtool)
        ours(envtool, top, top / "store")
        mmdebstrap(asked.suite, top / "cache", top / "root")
        mine, theirs = [], []
        for number in range(asked.rounds):
            mine.append(ours(envtool, top, top / "store"))
            theirs.append(mmdebstrap(asked.suite, top / "cache", top / f"root{number}"))
        one, other = min(mine), min(theirs)
        print(f"{asked.suite}: envtool {one:.1f} s, mmdebstrap {other:.1f} s, ratio {one / other:.2f}")
        subprocess.run(["rm", "-rf", *map(str, top.glob("root*"))], check=False)


if __name__ == "__main__":
    main()
