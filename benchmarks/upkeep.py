"""Looking after a large store and into it: gc, store verify, inspect, diff. See README.md.

    upkeep.py --envtool .venv/bin/envtool [--layers 200] [--files 1500] [--blobs 5000]

The store is made in a fresh directory and removed at the end. Each row is one whole command.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import tempfile
import time

from envtool import keys
from envtool.container import ids
from envtool.store import blobs, canonical, layers, store


def fill(top: str, number: int, files: int) -> None:
    """Runs as container root: a tree of small files."""
    for index in range(files):
        if index % 100 == 0:
            directory = f"{top}/usr/lib/{number}/{index // 100}"
            os.makedirs(directory)
        with open(f"{directory}/file{index}.txt", "wb") as file:
            file.write(b"%d %d\n" % (number, index) * 100)


def layer(place: store.Store, number: int, files: int, below: list[str]) -> layers.Layer:
    """One layer in the store."""
    document = {"kind": "layer:bench", "number": number, "below": below, "files": []}
    with layers.building(place, keys.digest(document), remove=ids.remove) as draft:
        ids.own(draft.upper)
        ids.remove(draft.work)
        with open(draft.manifest, "wb") as sheet:
            ids.inside(fill, ".", number, files, at=draft.upper)
            captured = ids.inside(canonical.capture, ".", 1_600_000_000, (), sheet.fileno(), at=draft.upper)
        return draft.commit(captured, document, {"name": f"l{number}", "project": "/p", "time": time.time()})


def sheet(place: store.Store, number: int, files: int) -> str:
    """A layer of many files of which there is only what inspect and diff read: its key."""
    document = {"kind": "layer:bench", "number": -number, "below": [], "files": []}
    rows = []
    for index in range(files):
        if index % 100 == 0:
            rows.append(b"d 755 0 0 - usr/lib/big/%04d\0" % (index // 100))
        changed = number if index % 50 == 0 else 0
        rows.append(b"f 644 0 0 1000:%08x usr/lib/big/%04d/file%06d.txt\0" % (index + changed, index // 100, index))
    key = keys.digest(document)
    with layers.building(place, key) as draft:
        os.rmdir(draft.work)
        with open(draft.manifest, "wb") as file:
            file.write(b"".join(rows))
        draft.commit((f"sha256:{number:064}", files, len(rows)), document, {"name": "big", "time": time.time()})
    return key


def main() -> None:
    """Make the store, run each command, print a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envtool", required=True)
    parser.add_argument("--layers", type=int, default=200)
    parser.add_argument("--files", type=int, default=1500, help="in each layer")
    parser.add_argument("--blobs", type=int, default=5000)
    parser.add_argument("--big", type=int, default=100_000, help="files in each of the two layers that are compared")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as top:
        environ = {**os.environ, "ENVTOOL_STORE": f"{top}/store"}
        place = store.locate(idmap=ids.describe(), environ=environ)
        below: list[str] = []
        for number in range(asked.layers):
            made = layer(place, number, asked.files, below[-5:])
            below.append(made.diff_id)
        for number in range(asked.blobs):
            content = b"%d\n" % number * 2000
            source = place.path("tmp", "blob")
            with open(source, "wb") as file:
                file.write(content)
            blobs.put(place, source, hashlib.sha256(content).hexdigest())
        envtool = os.path.abspath(asked.envtool)

        def run(*words: str, statuses: tuple[int, ...] = (0,)) -> str:
            began = time.monotonic()
            done = subprocess.run([envtool, *words], cwd=top, env=environ, capture_output=True, text=True, check=False)
            spent = time.monotonic() - began
            assert done.returncode in statuses, done.stdout + done.stderr
            shown = " ".join(word[:12] for word in words)
            print(f"| envtool {shown} | {spent:.2f} |", flush=True)
            return done.stdout

        print(f"{asked.layers} layers of {asked.files} files, {asked.blobs} blobs\n\n| command | seconds |\n|---|---|")
        run("--version")
        run("store", "size")
        size = json.loads(run("store", "size", "--json"))["size"]
        run("store", "verify")
        run("gc", "--dry-run")
        run("gc", "--dry-run", "--keep-size", str(size // 2))
        one, two = (sheet(place, number, asked.big) for number in (1, 2))
        run("inspect", one)
        run("inspect", one, "--files", "--json")
        run("inspect", one, "/usr/lib/big/0001/file000100.txt")
        run("diff", one, two, statuses=(1,))
        run("diff", one, one)
        run("gc", "--keep-size", str(size // 2))
        run("gc", "--keep-size", "0")
        ids.remove(place.root)


if __name__ == "__main__":
    main()
