"""One thing is not called by its plural."""

from __future__ import annotations

import pytest

from envtool.errors import BuildError
from envtool.model import Where
from envtool.plan.why import Explanation, NodeContents
from envtool.report import error_text, why
from envtool.report.formatting import Style


@pytest.mark.parametrize(("hidden", "text"), [(0, ""), (1, "… 1 line before"), (2, "… 2 lines before")])
def test_lines_before_the_end_of_an_output(hidden, text):
    output = "\n".join(f"line {number}" for number in range(error_text.TAIL_LINES + hidden))
    lines = error_text.format_error(BuildError("it failed", code="build", output=output), style=Style()).split("\n")
    assert [line for line in lines if line.endswith("before")] == [text] * bool(text)


@pytest.mark.parametrize(
    ("entries", "text"),
    [(0, "0 files and directories"), (1, "1 file or directory"), (2, "2 files and directories")],
)
def test_entries_of_a_tree(entries, text):
    content = NodeContents(
        diff_id="sha256:1", size=7, entries=entries, arch="x86_64", epoch=0, pins=(), inputs=(), variables={}, below=()
    )
    explanation = Explanation(
        name="deps", subject="layer", kind="copy", state="cached", where=Where(file="e.yaml", line=1, column=1),
        key="k", content=content,
    )  # fmt: skip
    assert f"in {text}, x86_64" in why.format_explanations([explanation], Style(), now=0.0)
