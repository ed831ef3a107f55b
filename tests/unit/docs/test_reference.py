"""docs/reference.md is what the schema says, and each example is a spec.

`ENVTOOL_UPDATE=1 pytest tests/unit/docs` writes the page anew.
"""

from __future__ import annotations

import os
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from envtool.plugins import discover
from envtool.spec import editor_schema
from envtool.spec.docs import reference

TOP = Path(__file__).parents[3]
# The plugins of this repository, whatever else is installed
OURS = [
    EntryPoint(name, value, "envtool")
    for path in TOP.glob("plugins/*/pyproject.toml")
    for name, value in tomllib.loads(path.read_text())["project"]["entry-points"]["envtool"].items()
]
EXAMPLES = sorted(TOP.glob("examples/**/envtool.yaml"))


def test_the_page_is_up_to_date():
    page = TOP / "docs/reference.md"
    wanted = reference(discover(entry_points=OURS))
    if os.environ.get("ENVTOOL_UPDATE"):
        page.write_text(wanted)
    assert page.read_text() == wanted, "run `ENVTOOL_UPDATE=1 pytest tests/unit/docs` and look at the difference"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_each_example_is_valid(path):
    jsonschema_rs.Draft202012Validator(editor_schema(discover())).validate(yaml.safe_load(path.read_text()))
