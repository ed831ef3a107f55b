"""The tests that an output names; readers of plugins that fail."""

from __future__ import annotations

import pytest

from envtool import api
from envtool.plugin_calls import Offer
from envtool.plugins import discover, output_readers
from envtool.report.test_counts import OutputCounter

READERS = output_readers(discover())

PYTEST = """\
============================= test session starts ==============================
collected 4 items
tests/test_a.py::test_one PASSED                                         [ 25%]
tests/test_a.py::test_two[a - b] FAILED                                  [ 50%]
tests/test_a.py::test_three SKIPPED (no network)                         [ 75%]
tests/test_a.py::test_four XFAIL                                         [100%]
------------------------------ Captured stdout call ----------------------------
tests/test_x.py::test_printed is no result
=========================== short test summary info ============================
FAILED tests/test_a.py::test_two[a - b] - assert 'a - b' == 'c'
=================== 1 failed, 1 passed, 1 skipped, 1 xfailed in 0.10s ==========
"""
UNITTEST = """\
test_one (test_a.A.test_one) ... ok
test_two (test_a.A.test_two) ... FAIL

======================================================================
FAIL: test_two (test_a.A.test_two)
----------------------------------------------------------------------
Traceback (most recent call last):
  File "test_a.py", line 3, in test_two
    self.assertEqual(1, 2)
AssertionError: 1 != 2

----------------------------------------------------------------------
Ran 2 tests in 0.001s

FAILED (failures=1)
"""
SUREFIRE = """\
[INFO] Running x.ATest
[ERROR] Tests run: 3, Failures: 1, Errors: 1, Skipped: 0, Time elapsed: 0.185 s <<< FAILURE! -- in x.ATest
[ERROR] x.ATest.bad -- Time elapsed: 0.139 s <<< FAILURE!
java.lang.AssertionError: no
[ERROR] x.ATest.err -- Time elapsed: 0.002 s <<< ERROR!
[INFO] Results:
[ERROR] Tests run: 3, Failures: 1, Errors: 1, Skipped: 0
"""
SUREFIRE_2 = """\
Running x.ATest
Tests run: 2, Failures: 1, Errors: 0, Skipped: 0, Time elapsed: 0.1 sec <<< FAILURE!
bad(x.ATest)  Time elapsed: 0.012 sec  <<< FAILURE!
Results :
Tests run: 2, Failures: 1, Errors: 0, Skipped: 0
"""
TAP = "TAP version 13\n1..3\nok 1 - good\nnot ok 2 - bad # twice\nok 3 - later # SKIP no network\n"
MESON = """\
1/3 x / good            OK              0.05s
2/3 x / bad             FAIL            0.10s   exit status 1
3/3 x / slow            TIMEOUT         9.00s   killed by signal 15 SIGTERM
Ok:                 1
Expected Fail:      0
Fail:               1
Unexpected Pass:    0
Skipped:            0
Timeout:            1
"""
NODE = """\
✔ top (1.5ms)
▶ suite
  ✖ inner (2ms)
✖ suite (3ms)
ℹ tests 2
ℹ suites 1
ℹ pass 1
ℹ fail 1
ℹ cancelled 0
ℹ skipped 0
ℹ todo 0
ℹ duration_ms 6
"""
NODE_TAP = """\
TAP version 13
# Subtest: suite
    # Subtest: inner
    not ok 1 - inner
      ---
      duration_ms: 2.5
      error: 'it is wrong'
      ...
    1..1
not ok 1 - suite
  ---
  duration_ms: 3
  ...
1..1
# tests 1
# suites 1
# pass 0
# fail 1
# cancelled 0
# skipped 0
# todo 0
# duration_ms 6
"""
JEST = """\
FAIL ./a.test.js
  ● Console
    console.log
  ● adding › of two
    expect(received).toBe(expected)
Test Suites: 1 failed, 1 total
Tests:       1 failed, 2 passed, 3 total
"""
VITEST = """\
 FAIL  a.test.mjs > adding > of two
AssertionError: expected 1 to be 2
 Test Files  1 failed (1)
      Tests  1 failed | 1 passed (2)
"""
CARGO = """\
running 3 tests
test tests::one ... ok
test tests::slow ... ignored, too slow
test tests::bad ... FAILED
test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.13s
"""
GO = """\
--- FAIL: TestSub (0.50s)
    --- FAIL: TestSub/y (0.00s)
FAIL
FAIL\texample.com/x/a\t0.505s
"""
CTEST = """\
1/3 Test #1: good .............................   Passed    0.03 sec
2/3 Test #2: bad ..............................***Timeout   1.01 sec
3/3 Test #3: skip .............................***Skipped   0.00 sec
67% tests passed, 1 tests failed out of 3
"""
AUTOMAKE = """\
PASS: good.sh
FAIL: bad.sh 2 - of two
Testsuite summary for x 1.0
# TOTAL: 2
# PASS:  1
# SKIP:  0
# XFAIL: 0
# FAIL:  1
# XPASS: 0
# ERROR: 0
"""


def read(output: str, readers=READERS, complain=lambda _: None) -> api.Suite | None:
    counter = OutputCounter(readers, complain)
    counter.feed(output)
    return counter.suite()


def case(name, outcome="failed", seconds=None, message=""):
    return api.Case(id=name, outcome=outcome, seconds=seconds, message=message)


@pytest.mark.parametrize(
    ("output", "cases"),
    [
        (
            PYTEST,
            [
                case("tests/test_a.py::test_one", "passed"),
                case("tests/test_a.py::test_two[a - b]", message="assert 'a - b' == 'c'"),
                case("tests/test_a.py::test_three", "skipped", message="no network"),
                case("tests/test_a.py::test_four", "skipped"),
            ],
        ),
        (
            UNITTEST,
            [
                case("test_one (test_a.A.test_one)", "passed"),
                case("test_two (test_a.A.test_two)", message="AssertionError: 1 != 2"),
            ],
        ),
        (NODE, [case("top", "passed", 0.0015), case("suite > inner", "failed", 0.002)]),
        (NODE_TAP, [case("suite > inner", "failed", 0.0025, "it is wrong")]),
        (SUREFIRE, [case("x.ATest.bad", "failed", 0.139), case("x.ATest.err", "error", 0.002)]),
        (SUREFIRE_2, [case("x.ATest.bad", "failed", 0.012)]),
        (TAP, [case("good", "passed"), case("bad"), case("later", "skipped")]),
        (
            MESON,
            [
                case("x / good", "passed", 0.05),
                case("x / bad", "failed", 0.1, "FAIL"),
                case("x / slow", "failed", 9.0, "TIMEOUT"),
            ],
        ),
        (JEST, [case("adding › of two")]),
        (CARGO, [case("tests::one", "passed"), case("tests::slow", "skipped"), case("tests::bad")]),
        (GO, [case("example.com/x/a.TestSub", seconds=0.5)]),
        (
            CTEST,
            [
                case("good", "passed", 0.03),
                case("bad", "failed", 1.01, "Timeout"),
                case("skip", "skipped", 0.0),
            ],
        ),
        (AUTOMAKE, [case("good.sh", "passed"), case("bad.sh 2 - of two")]),
        (VITEST, [case("a.test.mjs > adding > of two", message="AssertionError: expected 1 to be 2")]),
    ],
    ids=[
        "pytest",
        "unittest",
        "node",
        "node in TAP",
        "surefire",
        "surefire 2",
        "TAP",
        "meson",
        "jest",
        "cargo",
        "go",
        "ctest",
        "automake",
        "vitest",
    ],
)
def test_the_tests_that_an_output_names(output, cases):
    suite = read(output)
    assert suite is not None
    assert [*suite.cases] == cases


RERUN = """\
[ERROR] x.ATest.par(String)[2] -- Time elapsed: 0.009 s <<< FAILURE!
[ERROR] x.ATest.rep()[1] -- Time elapsed: 0.049 s <<< ERROR!
[ERROR] x.ATest.flaky -- Time elapsed: 0.007 s <<< FAILURE!
[ERROR] x.ATest.par(String)[2] -- Time elapsed: 0.011 s <<< FAILURE!
[ERROR] x.ATest.rep()[1] -- Time elapsed: 0.05 s <<< ERROR!
[INFO] Results:
[INFO]
[ERROR] Failures:
[ERROR] x.ATest.par(String)[2]
[ERROR]   Run 1: ATest.par:9 expected: <a> but was: <b (c)>
[WARNING] Flakes:
[WARNING] x.ATest.flaky
[ERROR]   Run 1: ATest.flaky:7 first
[INFO]   Run 2: PASS
[ERROR] Tests run: 4, Failures: 1, Errors: 1, Skipped: 0, Flakes: 1
"""


@pytest.mark.parametrize(
    ("output", "cases"),
    [
        (RERUN, [case("x.ATest.par(String)[2]", seconds=0.011), case("x.ATest.rep()[1]", "error", 0.05)]),
        (
            (
                "1/1 Test #1: a and ... b - *** c .............***Failed    0.01 sec\n\n"
                "0% tests passed, 1 tests failed out of 1\n"
            ),
            [case("a and ... b - *** c", seconds=0.01, message="Failed")],
        ),
        (
            "1..2\nnot ok 1 - a \\# b \\\\ c\nBail out! no database\n",
            [case("a # b \\ c"), case("Bail out!", "error", message="no database")],
        ),
    ],
    ids=["surefire runs tests again", "a name with dots", "TAP that ends before its plan"],
)
def test_names_that_peers_lost(output, cases):
    suite = read(output)
    assert suite is not None
    assert [*suite.cases] == cases


def test_more_failures_than_were_counted_are_not_believed():
    """A test of pytest's own plugins prints what a run prints."""
    forged = PYTEST.replace("FAILED tests/test_a.py", "FAILED tests/test_z.py::test_other - no\nFAILED tests/test_a.py")
    suite = read(forged)
    assert suite is not None
    assert suite.parts == (("failed", 1), ("passed", 1), ("skipped", 1), ("xfailed", 1))
    assert suite.cases == ()


def test_an_output_with_many_tests_names_a_bounded_number():
    lines = "".join(f"a.py::t{number} PASSED\n" for number in range(20_000))
    suite = read(f"= test session starts =\n{lines}= 20000 passed in 1.00s =\n")
    assert suite is not None
    assert suite.parts == (("passed", 20_000),)
    assert len(suite.cases) == 10_000


@pytest.mark.parametrize(
    "line",
    ["::" * 2000, "a::b " * 800, "FAILED " + " - [" * 1000, "✖ (" * 1300, "▶" + " (1ms)" * 600, " FAIL  " * 580,
     "ERROR: " * 580, "(a.b) ... " * 400, "[ERROR] a" + ".a" * 2000, "a(" * 2000, "a.b[" * 900 + " <<< ERROR!", "  ● " * 1000, "not ok 1 - " * 370, "test_a (" * 500, "[100%]" * 680],
)  # fmt: skip
def test_no_line_costs_much(line):
    """Each of these invites an expression to try again and again."""
    import time

    began = time.process_time()
    for _ in range(20):
        read(f"= short test summary info =\n{line}\n")
    assert time.process_time() - began < 2


# ---- readers of plugins that fail ------------------------------------------------------------------------------------


class Dots(api.LineReader):
    def feed_line(self, text: str) -> api.Suite | None:
        return api.Suite.of(("passed", len(text)), proven=True) if text.strip(".") == "" else None


def raises(text: str = "") -> None:
    raise LookupError(text)


class Raising(Dots):
    def feed_line(self, text: str) -> api.Suite | None:
        return raises("no such dot")


class Ending(Dots):
    def is_epilogue(self, text: str) -> bool:
        return bool(raises("no end"))


class Odd(Dots):
    answer: object = "3 passed"

    def feed_line(self, text: str) -> api.Suite | None:
        return self.answer  # type: ignore[return-value]


def odd(answer):
    return type("Odd", (Odd,), {"answer": answer})


def suite(**fields):
    return api.Suite(**{"parts": (("passed", 1),), "trust": api.PROVEN, **fields})


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (Raising, "LookupError: no such dot"),
        (Ending, "LookupError: no end"),
        (raises, "LookupError"),
        (dict, "returned dict in place of a LineReader"),
        (odd("3 passed"), "returned str in place of a Suite"),
        (odd(suite(parts=[("passed", 1)])), "are tuples"),
        (odd(suite(parts=(("passed", "1"),))), "pairs of a str and an int"),
        (odd(suite(cases=("test_a",))), "are Cases"),
        (odd(suite(replaces="1")), "is an int"),
    ],
)
def test_a_reader_that_fails_is_named_and_the_others_go_on(start, words):
    bad = Offer(api.OutputReader(name="dots", start=start, begins=r"\."), "the plugin `bad` 1.0")
    told = []
    found = read("...\nlater\n= test session starts =\n= 1 failed in 1.00s =\n", [bad, *READERS], told.append)
    assert found is not None
    assert ("failed", 1) in found.parts
    (error,) = told
    assert error.message.startswith("the plugin `bad` 1.0 failed in the reader of dots")
    assert words in error.message
