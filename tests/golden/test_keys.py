"""The keys of every example, against committed ones: a key that changes rebuilds that layer on every machine there is.

`ENVTOOL_UPDATE=1 pytest tests/golden` accepts what has changed; say in CHANGELOG.md why it had to.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from envtool.plugins import discover
from tests.golden.pins import documents

ROOT = Path(__file__).parents[2]
KEYS = Path(__file__).parent / "keys"
SPECS = {
    str(path.parent.relative_to(ROOT)).replace("/", "-").replace(".", "envtool", 1)
    if path.parent != ROOT
    else "envtool": path
    for path in [ROOT / "envtool.yaml", *sorted(ROOT.glob("examples/**/envtool.yaml"))]
}


def masked(document):
    """The document without what every commit changes: the content of this project's own files."""
    return document | {"inputs": [], "below": len(document["below"])}


@pytest.mark.parametrize("name", SPECS)
def test_keys_are_as_committed(name):
    found = documents(SPECS[name].parent, discover())
    if name == "envtool":
        found = {env: [[layer, masked(document)] for layer, _, document in stack] for env, stack in found.items()}
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    kept = KEYS / f"{name}.json"
    if os.environ.get("ENVTOOL_UPDATE"):
        kept.write_text(text)
    assert kept.exists(), f"no golden keys for {name}: ENVTOOL_UPDATE=1 pytest {Path(__file__).name}"
    assert json.loads(kept.read_text()) == json.loads(text)


def test_no_keys_without_a_spec():
    assert {path.stem for path in KEYS.glob("*.json")} == set(SPECS)


def test_a_key_changes_with_what_it_is_made_of(tmp_path):
    text = "version: 1\nlayers:\n  one: {run: 'true'}\n  two: {run: 'true'}\nenvs:\n  e: {base: {debian: bookworm}, layers: [one, two]}\n"
    before = spec(tmp_path / "a", text)
    assert spec(tmp_path / "b", text) == before
    below = spec(tmp_path / "c", text.replace("one: {run: 'true'}", "one: {run: 'false'}"))
    assert [key for key in below if key in before] == [before[0]]
    above = spec(tmp_path / "d", text.replace("two: {run: 'true'}", "two: {run: 'false'}"))
    assert [key for key in above if key in before] == before[:2]


def spec(directory, text):
    directory.mkdir()
    (directory / "envtool.yaml").write_text(text)
    (stack,) = documents(directory, discover()).values()
    return [key for _, key, _ in stack]
