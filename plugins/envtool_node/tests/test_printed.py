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


COUNTS = "{0} tests {1}\n{0} suites 0\n{0} pass {2}\n{0} fail {3}\n{0} cancelled 0\n{0} skipped 0\n{0} todo {4}\n{0} duration_ms 9\n"


@pytest.mark.parametrize(
    ("output", "counts", "expected"),
    [
        (
            "✖ later (0.3ms) # T\x4fDO\n✔ why (0.3ms) # next week\n⚠ new (0.3ms) # T\x4fDO\n"
            + COUNTS.format("ℹ", 3, 0, 0, 3),
            "3 todo",
            [("later", "skipped"), ("why", "skipped"), ("new", "skipped")],
        ),
        (
            "not ok 1 - later # T\x4fDO\nok 2 - a \\# b\n1..2\n" + COUNTS.format("#", 2, 1, 0, 1),
            "1 passed, 1 todo",
            [("later", "skipped"), ("a # b", "passed")],
        ),
        (
            "✖ same (1ms)\n✔ same (1ms)\n" + COUNTS.format("ℹ", 2, 1, 1, 0),
            "1 failed, 1 passed",
            [("same", "failed"), ("same", "passed")],
        ),
    ],
    ids=["a todo fails no run", "in TAP", "two of one name"],
)
def test_cases_of_node(output, counts, expected):
    assert [(case.id, case.outcome) for case in testing.check_reader(NODE, output, counts)] == expected


JEST_LOAD = """\
FAIL ./a.test.js
  ● same

FAIL b/c.test.js (5.2 s)
  ● Test suite failed to run

    SyntaxError: no

Summary of all failing tests
FAIL ./a.test.js
  ● same
FAIL b/c.test.js (5.2 s)
  ● Test suite failed to run

Test Suites: 2 failed, 2 total
Tests:       1 failed, 1 passed, 2 total
"""
JEST_ONLY = "FAIL a.test.js\n  ● Test suite failed to run\nTest Suites: 1 failed, 1 total\nTests:       0 total\n"
VITEST_LOAD = """\
 FAIL  v/load.mjs [ v/load.mjs ]
Error: load
 FAIL  v/a.mjs > same
TypeError: one
 Test Files  2 failed (2)
      Tests  1 failed | 1 passed (2)
     Errors  2 errors
"""


@pytest.mark.parametrize(
    ("reader", "output", "counts", "expected"),
    [
        (JEST, JEST_LOAD, "1 failed, 1 error, 1 passed", [("same", "failed"), ("b/c.test.js", "error")]),
        (JEST, JEST_ONLY, "1 error", [("a.test.js", "error")]),
        (VITEST, VITEST_LOAD, "1 failed, 3 errors, 1 passed", [("v/load.mjs", "error"), ("v/a.mjs > same", "failed")]),
        (
            VITEST,
            " FAIL  a.mjs [ a.mjs ]\nError: x\n Test Files  1 failed (1)\n      Tests  no tests\n",
            "1 error",
            [("a.mjs", "error")],
        ),
        (
            VITEST,
            " Test Files  1 passed (1)\n      Tests  1 passed (1)\n     Errors  1 error\n",
            "1 error, 1 passed",
            [],
        ),
    ],
)
def test_what_fails_outside_of_tests_is_an_error_and_hides_no_name(reader, output, counts, expected):
    assert [(case.id, case.outcome) for case in testing.check_reader(reader, output, counts)] == expected
