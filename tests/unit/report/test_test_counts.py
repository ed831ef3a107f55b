"""What a task's tests came to: by what the real programs printed (outputs/), and by properties.

The files hold what each program printed (times, stack traces and places left out), after a line `#### what => counts`.
"""

from __future__ import annotations

import re
import time
from collections import Counter as Sums
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from envtool.plugins import discover, output_readers
from envtool.report import test_counts
from envtool.report.test_counts import MAX_LINE_LENGTH, MAX_OUTPUT, OutputCounter
from envtool.report.test_counts.sums import PLURALS
from tests.depth import examples

SAMPLE = re.compile(r"^#### (.*) =>(.*)\n((?:(?!#### ).*\n)*)", re.MULTILINE)
SAMPLES = [
    pytest.param(body, counts.strip(), id=name)
    for path in sorted((Path(__file__).parent / "outputs").glob("*.txt"))
    for name, counts, body in SAMPLE.findall(path.read_text())
]

READERS = output_readers(discover())


def read(*pieces: str) -> OutputCounter:
    counter = OutputCounter(READERS)
    for piece in pieces:
        counter.feed(piece)
    return counter


def counted(*pieces: str) -> str:
    return read(*pieces).summarize()


def test_there_is_a_sample_of_every_program():
    programs = {parameter.id.split()[0] for parameter in SAMPLES}
    assert programs == {
        "pytest", "unittest", "node", "jest", "mocha", "vitest", "prove", "perl", "automake", "ctest", "meson", "cargo",
        "go", "maven", "rspec", "phpunit",
    }  # fmt: skip


@pytest.mark.parametrize(("output", "truth"), SAMPLES)
def test_what_programs_really_print(output, truth):
    assert counted(output) == truth
    assert counted(output.replace("\n", "\r\n")) == truth


NODE_NONE = "ℹ tests 0\nℹ suites 0\nℹ pass 0\nℹ fail 0\nℹ cancelled 0\nℹ skipped 0\nℹ todo 0\nℹ duration_ms 9.5\n"
CARGO_NONE = (
    "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.00s\n"
)


@pytest.mark.parametrize(
    "output",
    [
        f"\n{'-' * 70}\nRan 0 tests in 0.000s\n\nOK\n",
        f"\n{'-' * 70}\nRan 0 tests in 0.000s\n\nNO TESTS RAN\n",
        "===== test session starts =====\n===== no tests ran in 0.01s =====\n",
        "no tests ran in 0.01s\n",
        CARGO_NONE,
        NODE_NONE,
        "No tests were found!!!\n",
        "No suitable tests defined.\n",
        "[INFO] --- maven-surefire-plugin:3.5.2:test (default-test) @ sf ---\n[INFO] No tests to run.\n",
    ],
    ids=["unittest", "unittest 3.12", "pytest", "pytest -q", "cargo", "node", "ctest", "meson", "surefire"],
)
def test_a_run_without_tests_says_so(output):
    assert counted(output) == test_counts.NONE_RAN
    assert read(output).suite() is None, "no report has numbers of it"
    assert (
        counted(f"{CARGO_NONE}{output}running 1 test\ntest a ... ok\n{CARGO_NONE.replace('0 passed', '1 passed')[17:]}")
        == "1 passed"
    )


EXITS = "     Running unittests src/lib.rs (target/debug/deps/m-9b32)\n\nrunning 3 tests\ntest first ... ok\n"


@pytest.mark.parametrize(
    ("output", "unfinished"),
    [
        (EXITS, test_counts.UNFINISHED),
        (EXITS + "   Doc-tests m\n\n" + CARGO_NONE, test_counts.UNFINISHED),
        ("===== test session starts =====\n" + "a.py .", test_counts.UNFINISHED),
        (CARGO_NONE, ""),
        ("===== test session starts =====\na.py .   [100%]\n===== 1 passed in 0.01s =====\n", ""),
        ("", ""),
    ],
)
def test_tests_that_began_and_did_not_end(output, unfinished):
    """A test that calls `exit(0)` ends its program with success, and hides the tests behind it."""
    counter = read(output)
    counter.summarize()
    assert counter.note_unfinished() == unfinished


def test_what_says_nothing_of_tests_has_no_words_about_them():
    assert counted("compiled 3 files, no tests ran\nRan 0 tests in 0.000s\n") == ""


@pytest.mark.parametrize(("output", "truth"), [each for each in SAMPLES if each.values[1]])
def test_no_number_is_one_of_the_middle(output, truth):
    """What is cut off, or goes on, has the same counts, or none: never others, but for suites that came before."""
    lines = output.splitlines(keepends=True)
    whole = Sums(numbers(truth))
    for end in range(0, len(lines), 3):
        part = Sums(numbers(counted("".join(lines[:end]))))
        assert all(part[word] <= max(whole[word], whole["run"]) for word in part), "".join(lines[:end])


@pytest.mark.parametrize(
    ("output", "truth"),
    [
        ("...\n===== 312 passed in 2.31s =====\n", "312 passed"),
        ("1 failed, 2 passed, 1 warning in 75.31s (0:01:15)\n", "1 failed, 2 passed, 1 warning"),
        ("\x1b[32m\x1b[1m3 passed\x1b[0m\x1b[32m in 0.01s\x1b[0m\n", "3 passed"),
        ("..F\n1 failed, 2 passed in 0.1s\nmake: *** [Makefile:3: test] Error 1\n", "1 failed, 2 passed"),
        ("140 passed, 5 skipped, 152 subtests passed in 2.52s\n", "140 passed, 5 skipped"),
        ("=== 1 failed, 2 passed, 1 subtests failed, 1 warning in 0.1s ===\n", "1 failed, 2 passed, 1 warning"),
        ("3 apples in 0.1s\n", ""),
        ("312 passed\n", ""),
        ("3 passed in 0.1s\nbut then something else\n", ""),
        ("we had 3 passed in 0.1s\n", ""),
        ("=== 3 passed in 0.1s\n", ""),
        ("test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n", "5 passed"),
        ("test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\nlater\n", ""),
        ("5 examples, 0 failures\n", "5 passed"),
        ("I have seen 5 examples, 0 failures\n", ""),
        ("Ran 3 tests in 0.1s\n\nOK\n", ""),
        ("ok 1 - one\nok 2 - two\n", ""),
        ("1..2\nok 1 - one\nok 3 - three\n", ""),
        ("Tests:  3 passed, 4 total\n", ""),
        ("Test Suites: 1 passed, 1 total\nTests:       3 passed, 4 total\n", ""),
        (f"{'9' * 4200} passed in 0.1s\n", ""),
        (f"{'9' * 40} passed in 0.1s\n", ""),
        ("0 passed in 0.1s\n", ""),
        ("", ""),
        ("\n\n", ""),
    ],
)
def test_a_line_alone_is_exact_and_the_last_or_nothing(output, truth):
    assert counted(output) == truth


def test_what_is_printed_without_end_costs_little():
    counter = OutputCounter(READERS)
    began = time.process_time()
    for _ in range(200):
        counter.feed("x" * 65536)
    assert sum(len(str(value)) for value in vars(counter).values() if isinstance(value, str)) < 3 * 65536
    counter.feed(f"{'y' * MAX_LINE_LENGTH}\n.\n1 passed in 0.1s\n")
    assert counter.summarize() == "1 passed"
    began = time.process_time()
    while counter._length < MAX_OUTPUT:
        counter.feed("a line like any other, of which there are many\n" * 1400)
    assert time.process_time() - began < 5
    assert counter.summarize() == ""


# ---- properties ------------------------------------------------------------------------------------------------------


def numbers(text: str) -> dict[str, int]:
    one = {many: word for word, many in PLURALS.items()}
    pairs = (each.split(" ", 1) for each in text.split(", ") if each)
    return {one.get(word, word): int(number) for number, word in pairs}


def _unittest(passed, failed, skipped):
    rule = "-" * 70
    names = [f"FAIL: test_{n} (t.T.test_{n})" for n in range(failed)]
    blocks = "".join(
        f"{'=' * 70}\n{name}\n{rule}\nTraceback (most recent call last):\nAssertionError\n\n" for name in names
    )
    ends = [*([f"failures={failed}"] if failed else []), *([f"skipped={skipped}"] if skipped else [])]
    word = ("FAILED" if failed else "OK") + (f" ({', '.join(ends)})" if ends else "")
    return f"{'F' * failed}{'.' * passed}{'s' * skipped}\n{blocks}{rule}\nRan {passed + failed + skipped} tests in 0.1s\n\n{word}\n"


def _pytest(passed, failed, skipped):
    counts = ", ".join(f"{n} {word}" for n, word in ((failed, "failed"), (passed, "passed"), (skipped, "skipped")) if n)
    dots = "F" * failed + "." * passed + "s" * skipped
    return (
        f"{'=' * 20} test session starts {'=' * 20}\n\nt.py {dots} [100%]\n\n{'=' * 20} {counts} in 0.1s {'=' * 20}\n"
    )


def _quiet(passed, failed, skipped):
    counts = ", ".join(f"{n} {word}" for n, word in ((failed, "failed"), (passed, "passed"), (skipped, "skipped")) if n)
    return f"{'F' * failed}{'.' * passed}{'s' * skipped}  [100%]\n{counts} in 0.1s\n"


def _cargo(passed, failed, skipped):
    end = f"{passed} passed; {failed} failed; {skipped} ignored; 0 measured; 0 filtered out; finished in 0.00s"
    total = passed + failed + skipped
    return f"\nrunning {total} test{'s' * (total != 1)}\n\ntest result: {'FAILED' if failed else 'ok'}. {end}\n\n"


def _go(passed, failed, skipped):
    words = ["PASS"] * passed + ["FAIL"] * failed + ["SKIP"] * skipped
    lines = "".join(f"=== RUN   Test{n}\n--- {word}: Test{n} (0.00s)\n" for n, word in enumerate(words))
    return lines + ("FAIL\nFAIL\texample.org/x\t0.1s\nFAIL\n" if failed else "PASS\nok  \texample.org/x\t0.1s\n")


def _tap(passed, failed, skipped):
    words = ["ok {}"] * passed + ["not ok {} - x"] * failed + ["ok {} # SKIP no"] * skipped
    return "".join(f"{word.format(n)}\n" for n, word in enumerate(words, 1)) + f"1..{len(words)}\n"


def _node(passed, failed, skipped):
    rows = {"tests": passed + failed + skipped, "suites": 0, "pass": passed, "fail": failed, "cancelled": 0,
            "skipped": skipped, "todo": 0, "duration_ms": 5}  # fmt: skip
    return "".join(f"ℹ {word} {number}\n" for word, number in rows.items())


def _jest(passed, failed, skipped):
    parts = ((failed, "failed"), (skipped, "skipped"), (passed, "passed"), (passed + failed + skipped, "total"))
    return f"Test Suites: 1 passed, 1 total\nTests:       {', '.join(f'{n} {w}' for n, w in parts if n)}\nTime: 1 s\n"


def _surefire(passed, failed, skipped):
    line = f"Tests run: {passed + failed + skipped}, Failures: {failed}, Errors: 0, Skipped: {skipped}"
    return f"[INFO] {line}, Time elapsed: 0.1 s -- in a.B\n[INFO]\n[INFO] Results:\n[INFO]\n[INFO] {line}\n[INFO]\n"


def _automake(passed, failed, skipped):
    rows = {"TOTAL": passed + failed + skipped, "PASS": passed, "SKIP": skipped, "XFAIL": 0, "FAIL": failed, "XPASS": 0}
    lines = "".join(f"# {word}: {number}\n" for word, number in {**rows, "ERROR": 0}.items())
    return f"Testsuite summary for x 1.0\n{'=' * 76}\n{lines}{'=' * 76}\n"


def _phpunit(passed, failed, skipped):
    tests = passed + failed + skipped
    head = f"{'.' * passed}{'F' * failed}{'S' * skipped} {tests} / {tests} (100%)\n\n"
    if tests == passed:
        return f"{head}OK ({tests} tests, 9 assertions)\n"
    rest = "".join(f", {word}: {n}" for word, n in (("Failures", failed), ("Skipped", skipped)) if n)
    return (
        f"{head}{'FAILURES!' if failed else 'OK, but some tests were skipped!'}\nTests: {tests}, Assertions: 9{rest}.\n"
    )


SKIPPED = {_cargo: "ignored"}
WRITERS = (_unittest, _pytest, _quiet, _cargo, _go, _tap, _node, _jest, _surefire, _automake, _phpunit)
NOISE = st.sampled_from([
    "building\n", "ok\n", "done.\n", "5 passed in 0.10s\n", "==== 5 passed in 0.10s ====\n", "\n", "OK\n", "Ran 9 tests in 0.1s\n",
    "test result: ok. 9 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n", "7 examples, 0 failures\n",
    "ok 1 - x\n", "--- PASS: TestOther (0.00s)\n", "Tests: 5, Assertions: 9.\n", "# pass 9\n", "  1 failing\n",
    "PASS\n", "FAIL\n", "100%\n", "# TOTAL: 9\n", "Tests:       9 passed, 9 total\n", "\x1b[31mred\x1b[0m\n",
])  # fmt: skip
COUNTS = st.integers(0, 12)
SUITES = st.tuples(st.sampled_from(WRITERS), COUNTS, COUNTS, COUNTS)


@settings(max_examples=examples(300, 20000), deadline=None)
@given(parts=st.lists(st.one_of(SUITES, NOISE), max_size=6))
def test_it_is_the_truth_or_nothing(parts):
    """Suites one after the other, with what only looks like one between them."""
    text, truth = "", Sums()
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        write, passed, failed, skipped = part
        if not passed + failed + skipped:
            continue
        text += write(passed, failed, skipped)
        truth += Sums({"passed": passed, "failed": failed, SKIPPED.get(write, "skipped"): skipped})
    told = numbers(counted(text, "that was it\n"))
    assert told in ({}, dict(truth)), text


@settings(max_examples=examples(100, 5000), deadline=None)
@given(
    suite=SUITES.filter(lambda each: sum(each[1:]) > 0),
    before=st.lists(NOISE.filter(lambda n: len(n) > 12), max_size=2),
)
def test_a_suite_is_counted_whatever_was_printed_before(suite, before):
    write, passed, failed, skipped = suite
    truth = Sums({"passed": passed, "failed": failed, SKIPPED.get(write, "skipped"): skipped})
    assert numbers(counted(*before, "building\n", write(passed, failed, skipped))) == dict(+truth)


@settings(max_examples=examples(100, 5000), deadline=None)
@given(data=st.data())
def test_pieces_may_end_anywhere(data):
    output, truth = data.draw(st.sampled_from([each.values for each in SAMPLES]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(output)), max_size=5)))
    pieces = [output[a:b] for a, b in zip([0, *cuts], [*cuts, len(output)], strict=True)]
    assert counted(*pieces) == truth


LINES = sorted({line for each in SAMPLES for line in each.values[0].splitlines(keepends=True)})


@settings(max_examples=examples(200, 20000), deadline=None)
@given(some=st.lists(st.one_of(st.sampled_from(LINES), st.text(max_size=9), NOISE), max_size=30))
@example(["== 5 passed in 0.10s ==\n"])  # a narrow terminal
@example(["= 5 passed in 0.10s =\n"])
def test_no_mixture_of_lines_is_an_error_and_what_is_passed_over_means_nothing(some):
    told = read(*some).suite()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_counts, "candidate_lines", lambda _: re.compile(""))
        assert read(*some).suite() == told


@pytest.mark.parametrize(("output", "truth"), SAMPLES)
def test_nothing_that_counts_is_passed_over(output, truth, monkeypatch):
    told = read(output).suite()
    monkeypatch.setattr(test_counts, "candidate_lines", lambda _: re.compile(""))
    assert counted(output) == truth
    assert read(output).suite() == told
