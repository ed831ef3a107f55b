"""Every task that passed leaves a statement of how, and `build --provenance` hands it out."""

from __future__ import annotations

import hashlib
import json

import pytest

pytestmark = pytest.mark.e2e

SPEC = """
envs:
  a:
    layers: [{run: echo layer > /opt/layer}]
    tasks:
      test: "true {{ args }}"
      build: {run: mkdir -p dist && echo made > dist/a.txt, outputs: [dist]}
  b:
    tasks:
      test: "false"
      build: "false"
"""


def test_statements_of_what_passed(place):
    place.spec(SPEC)
    done = place.envtool("build", "--provenance", str(place.top / "all.jsonl"), "--", "x y")
    assert done.status == 1, done.said
    (line,) = (place.top / "all.jsonl").read_text().splitlines()
    statement = json.loads(line)
    made = (place.project / "dist/a.txt").read_bytes()
    assert statement["subject"] == [{"name": "dist/a.txt", "digest": {"sha256": hashlib.sha256(made).hexdigest()}}]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["arguments"] == ["x y"]
    layers = {document["diff_id"].removeprefix("sha256:") for document in place.layers()}
    named = [each["digest"]["sha256"] for each in definition["resolvedDependencies"] if "mediaType" in each]
    assert len(named) == 2
    assert {*named} <= layers
    last = place.project / ".envtool" / "last"
    assert {path.name for path in last.iterdir()} == {"a.build.log", "b.build.log", "a.build.intoto.json"}
    assert json.loads((last / "a.build.intoto.json").read_text()) == statement
    # not run again, and described all the same
    place.shell("rm -r dist")
    done = place.envtool("build", "-e", "a", "--provenance", str(place.top / "again.jsonl"), "--", "x y")
    assert done.status == 0, done.said
    assert "1 cached" in done.err or "unchanged" in done.err, done.err
    again = json.loads((place.top / "again.jsonl").read_text())
    assert again["subject"] == statement["subject"]
    assert again["predicate"]["buildDefinition"] == statement["predicate"]["buildDefinition"]
    place.envtool("test", "-e", "a")
    (statement,) = [json.loads(path.read_text()) for path in (place.project / ".envtool/last").glob("*.intoto.json")]
    assert statement["subject"][0]["name"] == "a.test.log"
