"""What runners of JavaScript's tests print, by the kit's own check of readers."""

from __future__ import annotations

import pytest
from envtool_node.test_output import READERS

from envtool import testing

NODE, JEST, MOCHA, VITEST = READERS
TOTALS = "ℹ tests 2\nℹ suites 0\nℹ pass 1\nℹ fail 1\nℹ cancelled 0\nℹ skipped 0\nℹ todo 0\nℹ duration_ms 9.5\n"


@pytest.mark.parametrize(
    ("reader", "output", "counts", "failed"),
    [
        (NODE, f"✔ a (1ms)\n✖ b (2.5ms)\n{TOTALS}✖ failing tests:\n✖ b (2.5ms)\n", "1 failed, 1 passed", ["b"]),
        (NODE, f"✖ b (1ms)\n✖ forged (1ms)\n{TOTALS}", "1 failed, 1 passed", []),
        (
            JEST,
            "FAIL ./a.test.js\n  ● of › two\nTest Suites: 1 failed, 1 total\nTests:       1 failed, 1 total\n",
            "1 failed",
            ["of › two"],
        ),
        (MOCHA, "  a\n    ✔ good\n    1) bad\n\n  1 passing (62ms)\n  1 failing\n", "1 failed, 1 passed", []),
        (
            VITEST,
            " FAIL  a.mjs > bad\nError: no\n Test Files  1 failed (1)\n      Tests  1 failed | 1 passed (2)\n",
            "1 failed, 1 passed",
            ["a.mjs > bad"],
        ),
    ],
)
def test_runners(reader, output, counts, failed):
    cases = testing.check_reader(reader, output, counts)
    assert [case.id for case in cases if case.outcome == "failed"] == failed
