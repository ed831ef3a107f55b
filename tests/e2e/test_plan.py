"""`envtool plan`, its text and its JSON, against the run that follows: node by node, what is planned is what is done."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
DONE = {"reuse": None, "build": "built", "resolve": "built", "unpack": "pulled", "pull": "pulled"}

pytestmark = [pytest.mark.e2e]


def planned(place, *words):
    """Node id -> its step, of all envs."""
    done = place.envtool("plan", "--json", *words)
    assert done.status == 0, done.said
    return {step["node"]: step for env in json.loads(done.out)["envs"] for step in env["steps"]}


def told(place, *words):
    """What the text says: (action, subject, name) of each line of a step, and its sums by action."""
    done = place.envtool("plan", "-v", *words)
    assert done.status == 0, done.said
    lines = re.findall(r"^  (reuse|pull|unpack|resolve|build) +(base|layer) +(\S+(?: \S+)*)", done.out, re.MULTILINE)
    sums = {
        action: int(number)
        for number, action in re.findall(r"(\d+) (?:to )?(\w+)", done.out.splitlines()[-1].partition(":")[0])
    }
    # what a name is on is no part of it
    return Counter((action, subject, name.partition(" [")[0]) for action, subject, name in lines), sums


def carried_out(place, *words):
    """Node id -> (outcome, whether its pins were asked for), of the bases and layers that the run did something for."""
    done = place.envtool("test", "--json", *words)
    assert done.status == 0, done.said
    outcomes, resolved = {}, set()
    for line in done.out.splitlines():
        event = json.loads(line)
        sort, _, node = event.get("id", "").partition(":")
        if event["event"] == "progress" and event.get("phase") == "resolving" and sort in ("base", "layer"):
            resolved.add(node)
        if event["event"] == "finished" and sort == "resolve":
            resolved.add(node)
        if event["event"] == "finished" and sort in ("base", "layer"):
            outcomes[node.partition(":")[0]] = event["outcome"]
    return {node: (outcome, node in resolved) for node, outcome in outcomes.items()}


def check(place, *words):
    """The run does for each node what was planned, and for no other node anything."""
    steps, (lines, sums) = planned(place, *words), told(place, *words)
    done = carried_out(place, *words)
    # a key is built once, whatever nodes have it; names of one text line are told apart by the env above it
    once = {step["key"] or node: step for node, step in steps.items()}
    assert lines == Counter((step["action"], step["subject"], step["name"]) for step in once.values())
    sums["reuse"] = sums.pop("reused", 0)
    assert sums == {"reuse": 0} | Counter(step["action"] for step in once.values())
    expected = {
        node: (DONE[step["action"]], step["action"] == "resolve")
        for node, step in steps.items()
        if step["action"] != "reuse"
    }
    names = {node: step["name"] for node, step in steps.items()}
    assert {names.get(node, node): each for node, each in done.items()} == {
        names[node]: each for node, each in expected.items()
    }
    assert all(step["reason"] for step in steps.values()), steps
    return {step["name"]: step["action"] for step in steps.values()}


SPEC = """
layers:
  first: {run: "mkdir -p /opt/x; cp a /opt/x/first", inputs: [a]}
  second: {run: "cat /opt/x/first > /opt/second"}
  alone: {run: "cp b /opt/alone", inputs: [b], needs: []}
envs:
  all: {base: host, layers: [first, second, alone], tasks: {test: "cat /opt/second /opt/alone"}}
  some: {base: host, layers: [first], tasks: {test: "cat /opt/x/first"}}
"""


def test_cold_half_warm_and_warm(fresh):
    fresh.spec(SPEC)
    fresh.write("a", "1\n")
    fresh.write("b", "1\n")
    cold = {"host": "resolve", "first": "build", "second": "build", "alone": "build"}
    assert check(fresh, "-e", "some") == {"host": "resolve", "first": "build"}
    assert check(fresh) == {"host": "reuse", "first": "reuse", "second": "build", "alone": "build"}
    assert check(fresh) == dict.fromkeys(cold, "reuse")
    fresh.write("a", "2\n")
    steps = planned(fresh)
    assert {step["name"]: step["reason"] for step in steps.values() if step["action"] == "build"} == {
        "first": "the store has no layer of this key",
        "second": "its key depends on what `first` comes out as",
    }
    assert [step["state"] for step in steps.values() if step["name"] == "second"] == ["unknown"]
    assert check(fresh) == {"host": "reuse", "first": "build", "second": "build", "alone": "reuse"}
    fresh.write("a", "1\n")  # what was there is found again, and nothing waits
    assert check(fresh) == dict.fromkeys(cold, "reuse")
    fresh.write("b", "3\n")
    assert check(fresh) == {"host": "reuse", "first": "reuse", "second": "reuse", "alone": "build"}


# example -> the file that changes for its half-warm run, and how
EDITS = {
    "quickstart": ("envtool.yaml", "language: python,", "language: python, packages: [attrs],"),
    "c-build": ("envtool.yaml", "libc6-dev, make]", "libc6-dev, make, file]"),
    "node": ("package.json", "{", "{ "),
    "suites": ("envtool.yaml", "[python3, jq]", "[python3, jq, file]"),
}


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.dear
@pytest.mark.sampled(1)
@pytest.mark.parametrize("example", EDITS)
def test_examples(example, fresh):
    fresh.limit = 600.0  # everything is fetched
    fresh.copy(EXAMPLES / example)
    check(fresh)
    assert {*check(fresh).values()} == {"reuse"}
    name, old, new = EDITS[example]
    path = fresh.project / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    check(fresh)
    assert {*check(fresh).values()} == {"reuse"}
