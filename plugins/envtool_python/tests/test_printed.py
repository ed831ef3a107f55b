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


SUBTESTS = """\
= test session starts =
test_a.py::T::test_us SUBFAILED(i=0)                    [ 50%]
test_a.py::T::test_us PASSED                            [ 50%]
test_a.py::test_sub SUBFAILED[m (a) b] (i='x - y')      [100%]
test_a.py::test_sub SUBFAILED[m (a) b] (i='x - y')      [100%]
test_a.py::test_sub FAILED                              [100%]
= short test summary info =
SUBFAILED(i=0) test_a.py::T::test_us - AssertionError: 0 != 1
SUBFAILED[m (a) b] (i='x - y') test_a.py::test_sub - assert 0
SUBFAILED[m (a) b] (i='x - y') test_a.py::test_sub - assert 0
FAILED test_a.py::test_sub - contains 2 failed subtests
= 4 failed, 1 passed in 0.10s =
"""


def test_a_subtest_that_failed_is_a_case_and_its_test_did_not_pass():
    cases = testing.check_reader(PYTEST, SUBTESTS, "4 failed, 1 passed")
    twice = ("test_a.py::test_sub [m (a) b] (i='x - y')", "failed", "assert 0")
    assert [(case.id, case.outcome, case.message) for case in cases] == [
        ("test_a.py::T::test_us (i=0)", "failed", "AssertionError: 0 != 1"),
        twice,
        twice,
        ("test_a.py::test_sub", "failed", "contains 2 failed subtests"),
    ]


def test_a_subtest_of_the_plugin():
    output = "= test session starts =\n= short test summary info =\n"
    output += "SUBFAIL test_a.py::T::test_us - AssertionError: no\nSUBFAIL nothing\n= 1 failed, 1 passed in 0.10s =\n"
    (case,) = testing.check_reader(PYTEST, output, "1 failed, 1 passed")
    assert (case.id, case.message) == ("test_a.py::T::test_us", "AssertionError: no")


BARS = "=" * 70, "-" * 70


def test_unittest():
    output = (
        f"F.\n{BARS[0]}\nFAIL: test_x (a.A.test_x)\n{BARS[1]}\nTraceback (most recent call last):\nValueError: a: b\n\n"
    )
    output += f"{BARS[1]}\nRan 2 tests in 0.001s\n\nFAILED (failures=1)\n"
    (case,) = testing.check_reader(UNITTEST, output, "1 failed, 1 passed")
    assert (case.id, case.outcome, case.message) == ("test_x (a.A.test_x)", "failed", "ValueError: a: b")
