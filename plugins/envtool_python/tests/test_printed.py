"""What pytest and unittest print, by the kit's own check of readers."""

from __future__ import annotations

import pytest
from envtool_python.test_output import READERS

from envtool import testing

PYTEST, UNITTEST = READERS


FAILED = """\
= test session starts =
test_a.py .F                                [100%]
= FAILURES =
- Captured stdout call -
test_b.py::test_x PASSED
= short test summary info =
FAILED test_a.py::test_y[a] - b] - assert 0
ERROR test_c.py - ImportError: no module
= 1 failed, 1 passed, 1 error in 0.10s =
"""


@pytest.mark.parametrize(
    ("output", "counts", "cases"),
    [
        (
            FAILED,
            "1 failed, 1 passed, 1 error",
            ["test_b.py::test_x", "test_a.py::test_y[a]", "test_c.py"],
        ),
        (
            ".F\n= short test summary info =\nFAILED test_a.py::test_y\n1 failed, 1 passed in 0.1s\n",
            "1 failed, 1 passed",
            1,
        ),
        ("ERROR    root:a.py:3 logged\n= test session starts =\n= 2 passed in 0.10s =\n", "2 passed", 0),
        ("nothing of the kind\n", "", 0),
    ],
)
def test_pytest(output, counts, cases):
    found = [case.id for case in testing.check_reader(PYTEST, output, counts)]
    assert found == cases if isinstance(cases, list) else len(found) == cases


BARS = "=" * 70, "-" * 70


def test_unittest():
    output = (
        f"F.\n{BARS[0]}\nFAIL: test_x (a.A.test_x)\n{BARS[1]}\nTraceback (most recent call last):\nValueError: a: b\n\n"
    )
    output += f"{BARS[1]}\nRan 2 tests in 0.001s\n\nFAILED (failures=1)\n"
    (case,) = testing.check_reader(UNITTEST, output, "1 failed, 1 passed")
    assert (case.id, case.outcome, case.message) == ("test_x (a.A.test_x)", "failed", "ValueError: a: b")
