"""`envtool ci`: the pipeline as one graph, locked, with one status and one JUnit; the same on every machine."""

from __future__ import annotations

import hashlib
import json
from xml.etree import ElementTree as ET

import pytest

from tests.places import calling, fresh_place

pytestmark = [pytest.mark.e2e]

SPEC = """\
pipeline: [lint, test, pack]
envs:
  build:
    tasks:
      build: {run: "mkdir -p dist; { echo wheel; cat source; } > dist/x.whl; chmod 755 dist/x.whl", outputs: [dist]}
  unit:
    matrix: {size: [small, large]}
    tasks:
      lint: grep -q one source
      test:
        needs: [build@build]
        run: "mkdir -p report; wc -c < dist/x.whl > report/{{ matrix.size }}; echo {{ matrix.size }}"
        outputs: ["report/{{ matrix.size }}"]
  last:
    tasks:
      pack: {run: "cat report/small report/large > all", outputs: [all], needs: [test@unit]}
      unused: {run: exit 1}
"""


def prepare(place):
    place.write("source", "one\n")
    place.spec(SPEC)
    place.write(".gitignore", "dist\nreport\nall\njunit.xml\n")
    place.shell("git init -q .")
    assert place.envtool("lock").status == 0


def outcomes(done):
    return [(result["env"], result["task"], result["outcome"]) for result in done.events[-1]["results"]]


@pytest.mark.callers_in_turn
def test_the_pipeline(fresh):
    prepare(fresh)
    done = fresh.envtool("ci", "--json", "--junit", "junit.xml")
    assert done.status == 0, done.said
    order = [(env, task) for env, task, _ in outcomes(done)]
    assert sorted(order) == sorted(
        [
            ("unit[small]", "lint"),
            ("unit[large]", "lint"),
            ("build", "build"),
            ("unit[small]", "test"),
            ("unit[large]", "test"),
            ("last", "pack"),
        ]
    )
    assert order.index(("build", "build")) < order.index(("unit[small]", "test")) < order.index(("last", "pack"))
    assert {outcome for _, _, outcome in outcomes(done)} == {"passed"}
    assert (fresh.project / "all").read_text() == "10\n10\n"
    root = ET.parse(fresh.project / "junit.xml").getroot()
    assert (root.get("tests"), root.get("failures"), root.get("errors"), root.get("skipped")) == ("6", "0", "0", "0")
    again = fresh.envtool("ci", "--json")
    assert {outcome for _, _, outcome in outcomes(again)} == {"cached"}
    assert "3 unchanged" in fresh.envtool("test").said, "the same results as by name: two tests and their build"
    fresh.check_nothing_left()


@pytest.mark.callers_in_turn
def test_one_failure_is_the_status_of_all(fresh):
    prepare(fresh)
    fresh.write("source", "two\n")
    done = fresh.envtool("ci", "--json")
    assert done.status == 1
    assert [outcome for _, task, outcome in outcomes(done) if task == "lint"] == ["failed", "failed"]
    assert [outcome for _, task, outcome in outcomes(done) if task == "pack"] == ["passed"], "nothing needs lint"


def test_it_is_locked(fresh):
    fresh.spec(SPEC)
    done = fresh.envtool("ci")
    assert (done.status, "no envtool.lock" in done.said) == (2, True), done.said


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("envs: {unit: {tasks: {test: 'true'}}}", "there is no `pipeline:` in envtool.yaml"),
        ("pipeline: [tset]\nenvs: {unit: {tasks: {test: 'true'}}}", "did you mean `test`?"),
        ("pipeline: [test, test]\nenvs: {unit: {tasks: {test: 'true'}}}", "`test` is in the pipeline twice"),
        ("pipeline: []\nenvs: {unit: {tasks: {test: 'true'}}}", "envtool.yaml:2:"),
    ],
)
def test_what_is_wrong_with_a_pipeline(place, spec, words):
    place.spec(spec)
    place.envtool("lock")
    done = place.envtool("ci")
    assert (done.status, words in done.said) == (2, True), done.said


def everything(place):
    """Of each task: its key in the store, without what names this machine, and each output byte for byte."""
    done = place.envtool("ci", "--json")
    assert done.status == 0, done.said
    results = {}
    for path in sorted(place.store.glob("results/*/result.json")):
        stored = json.loads(path.read_text())
        run, document = stored["run"], stored["document"]
        results.setdefault((run["env"], run["task"]), []).append((path.parent.name, document, stored["outputs"]))
    files = {
        name: (hashlib.sha256((place.project / name).read_bytes()).hexdigest(), (place.project / name).stat().st_mode)
        for name in ("dist/x.whl", "report/small", "report/large", "all")
    }
    return [(env, task, outcome) for env, task, outcome in outcomes(done)], results, files


def test_two_stores_and_two_users_have_the_same_keys_and_artefacts():
    """As this user and, if this is root, as another user with ids of their own."""
    seen = []
    for mode in ("root", "single", "root"):
        with fresh_place(calling(mode)) as place:
            prepare(place)
            order, results, files = everything(place)
            keys = {
                task: [(key, document["commands"], document.get("artefacts")) for key, document, _ in stored]
                for task, stored in results.items()
            }
            contents = {
                task: [
                    [{name: value for name, value in output.items() if name != "mtime_ns"} for output in outputs]
                    for _, _, outputs in stored
                ]
                for task, stored in results.items()
            }
            seen.append((order, keys, contents, files))
    first, second, third = seen
    assert first == third, "another store"
    assert first == second, "another user"
