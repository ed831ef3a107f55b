"""Looking after a large store and into it: gc, store verify, inspect, diff; each row is one whole command.

The store is made in a fresh directory and removed at the end. What a command does stands beside the plainest tool that
does as much to the disk: `du`, reading all of it, `rm -rf` of as many files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import time
from pathlib import Path

from _bench import Table, options, run, seconds, workspace

from envtool import keys
from envtool.container import userns
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
    with layers.open_draft(place, keys.digest(document), remove=userns.remove_as_root) as draft:
        userns.give_to_root(draft.upper)
        userns.remove_as_root(draft.work)
        with open(draft.manifest, "wb") as sheet:
            userns.run_as_root(fill, ".", number, files, at=draft.upper)
            captured = userns.run_as_root(canonical.capture, ".", 1_600_000_000, (), sheet.fileno(), at=draft.upper)
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
    with layers.open_draft(place, key) as draft:
        os.rmdir(draft.work)
        with open(draft.manifest, "wb") as file:
            file.write(b"".join(rows))
        draft.commit((f"sha256:{number:064}", files, len(rows)), document, {"name": "big", "time": time.time()})
    return key


def made(asked: argparse.Namespace, work: Path) -> store.Store:
    """A store of layers and fetched files."""
    place = store.open_store(idmap=userns.describe_ids(), environ=os.environ)
    below: list[str] = []
    for number in range(asked.layers):
        below.append(layer(place, number, asked.files, below[-5:]).diff_id)
    for number in range(asked.blobs):
        content = b"%d\n" % number * 2000
        source = place.path("tmp", "blob")
        Path(source).write_bytes(content)
        blobs.put(place, source, hashlib.sha256(content).hexdigest())
    for number in range(asked.layers // 2):  # for rm
        fill(str(work / "plain"), number, asked.files)
    return place


def main(asked: argparse.Namespace, table: Table) -> None:
    """Make the store, run each command."""
    if asked.tiny:
        asked.layers, asked.files, asked.blobs, asked.big = 4, 20, 10, 200
    with workspace(asked.envtool) as work:
        place = made(asked, work)

        def ours(
            *words: str, more: str = "", statuses: tuple[int, ...] = (0,), beside: float = 0, tool: str = ""
        ) -> None:
            what = f"envtool {' '.join(word[:12] for word in words)}{more}"
            table.add(what, "envtool", seconds(asked.envtool, *words, cwd=work, statuses=statuses), base=tool)
            if beside:
                table.add(what, tool, beside)

        def shell(script: str) -> float:
            return seconds("sh", "-c", script, cwd=work)

        ours("--version")
        ours("store", "size", more=", the first time", beside=shell("du -s plain"), tool="du of half of it")
        ours("store", "size")
        listed = subprocess.run(
            [asked.envtool, "store", "size", "--json"], cwd=work, capture_output=True, check=True
        ).stdout
        size = json.loads(listed)["size"]
        reading = shell("find plain -type f -print0 | xargs -0 sha256sum")
        ours("store", "verify", beside=reading, tool="sha256sum of half of it")
        ours("gc", "--dry-run")
        ours("gc", "--dry-run", "--keep-size", str(size // 2))
        one, two = (sheet(place, number, asked.big) for number in (1, 2))
        ours("inspect", one)
        ours("inspect", one, "--files", "--json")
        ours("inspect", one, "/usr/lib/big/0001/file000100.txt")
        ours("diff", one, two, statuses=(1,))
        ours("diff", one, one)
        ours("gc", "--keep-size", str(size // 2), beside=shell("rm -rf plain"), tool="rm -rf of as many files")
        ours("gc", "--keep-size", "0")


if __name__ == "__main__":
    parser = options(__doc__, rounds=1)
    parser.add_argument("--layers", type=int, default=200)
    parser.add_argument("--files", type=int, default=1500, help="in each layer")
    parser.add_argument("--blobs", type=int, default=5000)
    parser.add_argument("--big", type=int, default=100_000, help="files in each of the two layers that are compared")
    run(main, parser)
