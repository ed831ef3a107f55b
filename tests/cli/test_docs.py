from __future__ import annotations

import json
import re
from pathlib import Path

from envtool.cli.docs import render_docs

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_the_code_says():
    assert (DOCS / "cli.md").read_text() == render_docs(), "python -m envtool.cli.docs > docs/cli.md"


def test_every_key_of_json_is_documented(envtool):
    words = {*re.findall(r"`(\w+)`", (DOCS / "json.md").read_text())} | {"event"}

    def keys(value):
        if isinstance(value, dict):
            return {*value} - {"point"} | {key for each in value.values() for key in keys(each)}
        if isinstance(value, list):
            return {key for each in value for key in keys(each)}
        return set()

    for argv in (
        ["test", "--json"],
        ["list", "--json"],
        ["plan", "--json"],
        ["version", "--json"],
        ["--json", "tset"],
        ["fetch", "--json"],
        ["vendor", "--json"],
        ["verify", "--json"],
        ["export", "unit", "unit.tar", "--json"],
        ["push", "unit", "registry.example/unit", "--json"],
    ):
        for line in envtool(*argv).out.splitlines():
            assert keys(json.loads(line)) <= words
