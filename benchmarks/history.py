"""What `envtool why` costs as the store grows: the nearest earlier build of a layer among 500 and 5,000 of its kind.

It stands beside reading and parsing the same files, which is the least that can be done without an index.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
from pathlib import Path

from _bench import Table, options, run, timed, workspace

from envtool import keys
from envtool.container import userns
from envtool.model import Where
from envtool.plan.why import CurrentNode, NearestBuild, PastBuild
from envtool.store import history, store


def put(place: store.Store, number: int) -> str:
    """What the store keeps of one build, with as many files and inputs as a layer of some size has; its key."""
    document = keys.layer_document(
        kind="layer:run",
        version=1,
        material={"run": [f"make {number}"]},
        files=[[f"pkg{n}_{number}_amd64.deb", f"{n:064x}"] for n in range(40)],
        inputs=[[f"src/{n}.c", f"{n * number:064x}", False, ""] for n in range(40)],
        variables={},
        arch="x86_64",
        epoch=1,
        below=["sha256:b"],
    )
    key = keys.digest(document)
    built = {"name": "tool", "project": "/p", "time": float(number), "options": f"make {number}"}
    directory = Path(place.path("layers", key))
    directory.mkdir()
    told = {"diff_id": f"sha256:{number}", "size": 1, "entries": 1, "document": document, "built": built}
    (directory / "layer.json").write_bytes(keys.canonical_json(told))
    return key


def nearest(place: store.Store, subject: CurrentNode) -> None:
    """What `why` does of it."""
    seeker = NearestBuild(subject)
    for built in history.earlier_builds(place, kinds=["layer:run"]):
        seeker.offer(PastBuild(key=built.key, document=built.document, time=built.time, name="tool", project="/p"))
    assert seeker.best is not None


def parsed(place: store.Store) -> None:
    """The same files by the standard library."""
    for path in Path(place.path("layers")).glob("*/layer.json"):
        json.loads(path.read_bytes())


def main(asked: argparse.Namespace, table: Table) -> None:
    """One row for each number of layers."""
    with workspace(asked.envtool):
        place = store.open_store(idmap=userns.describe_ids(), environ=os.environ)
        there = 0
        for size in [10, 20] if asked.tiny else [500, 5_000]:
            while there < size:
                there += 1
                key = put(place, there)
            found = history.read_build(place, key)
            assert found is not None
            where = Where(file="envtool.yaml", line=1, column=1)
            subject = CurrentNode(
                name="tool", subject="layer", kind="run", where=where, project="/p", document=found.document
            )
            contenders = {
                "envtool": functools.partial(timed, functools.partial(nearest, place, subject)),
                "json.loads": functools.partial(timed, functools.partial(parsed, place)),
            }
            table.measure(f"nearest of {size:,} layers of a kind", contenders, asked.rounds, base="json.loads", warm=1)


if __name__ == "__main__":
    run(main, options(__doc__, rounds=5))
