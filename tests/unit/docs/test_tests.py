"""docs/tests.md names the test of every promise: what it names is there, and no module of tests is left out."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).parents[3]
PAGE = (TOP / "docs/tests.md").read_text()
ROWS = [line.split("|")[2] for line in PAGE.partition("## Promises")[2].splitlines() if line.startswith("| ")]
NAMED = {name for row in ROWS for name in re.findall(r"(?:tests|plugins)/[\w/.]+", row)}


def test_what_is_named_is_there():
    assert len(NAMED) > 40
    assert [name for name in sorted(NAMED) if not (TOP / name).exists()] == []


def test_every_module_holds_a_promise():
    modules = [*TOP.glob("tests/**/test_*.py"), *TOP.glob("plugins/*/tests/test_*.py")]
    names = [str(path.relative_to(TOP)) for path in modules]
    assert [name for name in sorted(names) if not any(name == each or name.startswith(each) for each in NAMED)] == []
