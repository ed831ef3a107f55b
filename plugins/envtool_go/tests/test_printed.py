"""What go test prints, by the kit's own check of readers."""

from __future__ import annotations

import json

import pytest
from envtool_go.plugin import envtool_output_readers

from envtool import testing

PLAIN, JSON = envtool_output_readers()
VERBOSE = """\
=== RUN   TestF
=== RUN   TestF/sub
--- PASS: TestF (0.01s)
    --- PASS: TestF/sub (0.00s)
=== RUN   TestBad
    p_test.go:4: bad
--- FAIL: TestBad (0.00s)
FAIL
FAIL\texample.org/p\t0.004s
FAIL
"""
QUIET = """\
--- FAIL: TestBad (0.02s)
    p_test.go:4: bad
FAIL
FAIL\texample.org/p\t0.004s
ok  \texample.org/q\t0.003s
?   \texample.org/r\t[no test files]
FAIL\texample.org/s [build failed]
FAIL
"""


def event(package, action, test="", output="", elapsed=None):
    fields = {"Time": "2026-11-28T01:49:54.98Z", "Action": action, "Package": package}
    fields |= {"Test": test} if test else {}
    fields |= {"Output": output} if output else {}
    return json.dumps(fields | ({"Elapsed": elapsed} if elapsed is not None else {})) + "\n"


def test_run(package, name, action, *output):
    lines = [event(package, "run", name), event(package, "output", name, f"=== RUN   {name}\n")]
    lines += [event(package, "output", name, line) for line in output]
    lines += [
        event(package, "output", name, f"--- {action.upper()}: {name} (0.25s)\n"),
        event(package, action, name, elapsed=0.25),
    ]
    return lines


test_run.__test__ = False
P, Q = "example.org/p", "example.org/q"
MIXED = "".join(
    [
        event(P, "start"),
        event(Q, "start"),
        *test_run(P, "TestF", "pass"),
        *test_run(Q, "TestQ", "pass"),
        *test_run(P, "TestBad/sub", "fail", "    p_test.go:9: in the subtest\n"),
        *test_run(P, "TestBad", "fail", "    p_test.go:4: bad\n", "    p_test.go:5: worse\n"),
        *test_run(P, "TestSkip", "skip", "    p_test.go:6: later\n"),
        event(P, "output", output="FAIL\n"),
        event(P, "fail", elapsed=0.3),
        event(Q, "output", output="ok  \texample.org/q\t0.003s\n"),
        event(Q, "pass", elapsed=0.1),
    ]
)
PANIC = "".join(
    [
        event(P, "start"),
        event(P, "run", "TestA"),
        event(P, "output", "TestA", "panic: boom\n"),
        event(P, "fail", elapsed=0.1),
    ]
)
NOT_BUILT = (
    json.dumps({"ImportPath": P, "Action": "build-fail"}) + "\n" + event(P, "start") + event(P, "fail", elapsed=0)
)

VERBOSE_PANIC = """\
=== RUN   TestA
--- PASS: TestA (0.00s)
=== RUN   TestB
panic: boom

goroutine 20 [running]:
FAIL\texample.org/p\t0.009s
=== RUN   TestC
--- PASS: TestC (0.00s)
PASS
ok  \texample.org/q\t0.003s
FAIL
"""
TWICE = "".join(
    [
        event(P, "start"),
        *test_run(P, "TestF", "fail", "    p_test.go:4: first\n"),
        *test_run(P, "TestF", "pass"),
        event(P, "fail", elapsed=0.3),
    ]
)


@pytest.mark.parametrize(
    ("reader", "output", "counts", "failed"),
    [
        (PLAIN, VERBOSE, "1 failed, 1 passed", [f"{P}.TestBad"]),
        (PLAIN, QUIET, "2 packages failed, 1 package passed", [f"{P}.TestBad"]),
        (PLAIN, "printed--- FAIL: TestBad (0.00s)\nFAIL\nFAIL\tp\t0.1s\n", "1 package failed", ["p.TestBad"]),
        (PLAIN, VERBOSE_PANIC, "1 failed, 2 passed", [f"{P}.TestB"]),
        (JSON, TWICE, "1 failed, 1 passed", [f"{P}.TestF"]),
        (JSON, MIXED, "1 failed, 2 passed, 1 skipped", [f"{P}.TestBad/sub", f"{P}.TestBad"]),
        (JSON, PANIC, "1 failed", [f"{P}.TestA"]),
        (JSON, NOT_BUILT, "1 package failed", []),
        (JSON, '{"a": 1}\n{"Package": 1}\n{"Package": "p", "Test": 2, "Action": []}\n{"x"\n', "", []),
        (JSON, event(P, "pass", "TestForged") + event(P, "pass"), "", []),
    ],
)
def test_runners(reader, output, counts, failed):
    cases = testing.check_reader(reader, output, counts)
    assert [case.id for case in cases if case.outcome == "failed"] == failed


def test_messages_and_times():
    cases = {case.id: case for case in testing.check_reader(JSON, MIXED, "1 failed, 2 passed, 1 skipped")}
    assert cases[f"{P}.TestBad"].message == "p_test.go:4: bad"
    assert cases[f"{P}.TestSkip"].message == "p_test.go:6: later"
    assert cases[f"{Q}.TestQ"].seconds == 0.25


@pytest.mark.parametrize(
    ("reader", "output", "counts", "name"),
    [(PLAIN, VERBOSE_PANIC, "1 failed, 2 passed", "TestB"), (JSON, PANIC, "1 failed", "TestA")],
)
def test_a_test_that_did_not_end_has_the_panic(reader, output, counts, name):
    cases = {case.id: case for case in testing.check_reader(reader, output, counts)}
    assert cases[f"{P}.{name}"].message == "panic: boom"
