"""Text of `inspect` for values that a damaged store, or another envtool, may have written."""

from __future__ import annotations

from dataclasses import replace

import pytest
import scripted

from envtool.app.command_request import CommandRequest
from envtool.cli.inspect_tables import format_inspection
from envtool.report.formatting import Style


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (1_700_000_000, True), (1_700_000_000.5, True), (-1, True), (0, False), (None, False), (True, False), ("soon", False),
        ("1700000000", False), ([], False), ({}, False), (1e300, False), (-1e300, False), (float("nan"), False),
        (float("inf"), False), (10**30, False),
    ],
)  # fmt: skip
def test_the_time_of_a_build_is_shown_only_if_it_is_one(seconds, shown):
    report = scripted.inspect(CommandRequest(), "deps", "", files=False)
    report = replace(report, built={"time": seconds, "where": "envtool.yaml:3", "project": "/src"})
    text = "\n".join(format_inspection(report, Style(color=False)))
    assert ("for envtool.yaml:3 of /src" in text) == shown
