"""Earlier builds from what lies in the store."""

import json
import time
from pathlib import Path

import pytest

from envtool import keys
from envtool.fs import store_files
from envtool.model import Where
from envtool.plan.why import CurrentNode, NearestBuild, PastBuild
from envtool.store import answer_cache, history


def put(store, number, kind="layer:run", **built):
    document = keys.layer_document(
        kind=kind,
        version=1,
        material={"run": [f"make {number}"]},
        files=[[f"pkg{n}_{number}_amd64.deb", f"{n:064x}"] for n in range(40)],
        inputs=[[f"src/{n}.c", f"{n * number:064x}", False, ""] for n in range(40)],
        variables={},
        arch="x86_64",
        epoch=1,
        below=["sha256:b"],
    )
    stored = {"diff_id": f"sha256:{number}", "size": 1, "entries": 1, "document": document}
    if built:
        stored["built"] = built
    key = keys.digest(document)
    place = Path(store.path("layers", key))
    place.mkdir()
    (place / "layer.json").write_bytes(keys.canonical_json(stored))
    return key


def test_kinds_and_diff_ids_are_found(store):
    one = put(store, 1, name="tool", project="/p", time=5.0, options="x")
    two = put(store, 2, kind="layer:pip")
    (found,) = history.earlier_builds(store, kinds=["layer:run"])
    assert (found.key, found.diff_id, found.time, found.built["name"]) == (one, "sha256:1", 5.0, "tool")
    (found,) = history.earlier_builds(store, diff_ids=["sha256:2"])
    assert (found.key, dict(found.built)) == (two, {})
    assert found.time == pytest.approx(time.time(), abs=60)
    assert history.read_build(store, one).diff_id == "sha256:1"
    assert history.read_build(store, "0" * 64) is None


def test_what_is_damaged_is_passed_over(store):
    key = put(store, 1)
    path = store.path("layers", key, "layer.json")
    for text in ("", "{", '{"document": 1, "x": {"kind":"layer:run"}}', json.dumps([{"kind": "layer:run"}])):
        with open(path, "w") as file:
            file.write(text)
        assert [*history.earlier_builds(store, kinds=["layer:run"])] == []


def test_questions_are_found_by_their_kind(store):
    answer_cache.put(store, {"kind": "layer:pip", "question": 1}, {"pins": 1})
    answer_cache.put(store, {"kind": "layer:apt", "question": 2}, {"pins": 2})
    answer_cache.put(store, {"conflicts": "a", "with": "b"}, {"paths": []})
    (found,) = history.earlier_questions(store, ["layer:apt"])
    assert found.question["question"] == 2


def test_each_layer_is_read_once_and_parsed_only_if_it_is_of_the_kind(store, monkeypatch):
    """How long that takes for thousands is measured by benchmarks/history.py."""
    for number in range(200):
        put(
            store,
            number,
            kind="layer:run" if number % 4 else "layer:pip",
            name="tool",
            project="/p",
            time=float(number),
        )
    document = history.read_build(store, put(store, 6000)).document
    subject = CurrentNode(
        name="tool",
        subject="layer",
        kind="run",
        where=Where(file="e", line=1, column=1),
        project="/p",
        document=document,
    )
    read, parsed = [], []
    monkeypatch.setattr(
        store_files, "read_regular_file", lambda path, **more: read.append(path) or Path(path).read_bytes()
    )
    loads = history.json_documents.loads
    monkeypatch.setattr(history.json_documents, "loads", lambda data: parsed.append(data) or loads(data))
    seeker = NearestBuild(subject)
    for built in history.earlier_builds(store, kinds=["layer:run"]):
        if built.built:
            seeker.offer(PastBuild(key=built.key, document=built.document, time=built.time, name="tool", project="/p"))
    assert len(read) == len(set(read)) == 201
    assert len(parsed) == 151
    assert seeker.best.time == 199.0
