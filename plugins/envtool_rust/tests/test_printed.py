"""What cargo test and cargo nextest print, by the kit's own check of readers."""

from __future__ import annotations

import pytest
from envtool_rust.installed import crates_with, installed_crates
from envtool_rust.plugin import envtool_output_readers

from envtool import testing

CARGO, NEXTEST = envtool_output_readers()
FAILS = """\
     Running unittests src/lib.rs (target/debug/deps/m-9b326cc1640a3ca2)

running 3 tests
test tests::fails ... FAILED
test tests::works ... ok
test tests::later ... ignored, slow

failures:

---- tests::fails stdout ----

thread 'tests::fails' (4242) panicked at m/src/lib.rs:1:132:
two


failures:
    tests::fails

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

error: test failed, to rerun pass `-p m --lib`
   Doc-tests m

running 1 test
test m/src/lib.rs - one (line 3) ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.42s

error: 1 target failed:
    `-p m --lib`
"""
FORGED = """\
running 1 test
test a ... ok
test forged ... FAILED
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
"""
RUN = """\
    Finished `test` profile [unoptimized + debuginfo] target(s) in 0.40s
────────────
 Nextest run ID 6f3b with nextest profile: default
    Starting 4 tests across 2 binaries (1 test skipped)
        PASS [   0.004s] (1/4) app tests::works
        FAIL [   0.012s] (2/4) app::cli fails
  TRY 1 FAIL [   0.003s] (3/4) app tests::flaky
  TRY 2 PASS [   0.003s] (3/4) app tests::flaky
     SIGABRT [   0.101s] (4/4) app tests::aborts
────────────
     Summary [   0.120s] 4 tests run: 2 passed (1 flaky), 2 failed, 1 skipped
        FAIL [   0.012s] (2/4) app::cli fails
     SIGABRT [   0.101s] (4/4) app tests::aborts
error: test run failed
"""


@pytest.mark.parametrize(
    ("reader", "output", "counts", "failed"),
    [
        (CARGO, FAILS, "1 failed, 2 passed, 1 ignored", {"src/lib.rs::tests::fails": "panicked at m/src/lib.rs:1:132"}),
        (CARGO, FORGED, "1 passed", {}),
        (NEXTEST, RUN, "2 failed, 2 passed, 1 skipped", {"app::cli::fails": "", "app::tests::aborts": "SIGABRT"}),
        (NEXTEST, RUN.replace("4 tests run", "9 tests run"), "", {}),
    ],
)
def test_runners(reader, output, counts, failed):
    cases = testing.check_reader(reader, output, counts)
    assert {case.id: case.message for case in cases if case.outcome == "failed"} == failed


def test_tests_are_named_after_the_file_of_their_program():
    cases = testing.check_reader(CARGO, FAILS, "1 failed, 2 passed, 1 ignored")
    assert [case.id for case in cases] == [
        "src/lib.rs::tests::fails", "src/lib.rs::tests::works", "src/lib.rs::tests::later", "m/src/lib.rs - one (line 3)",
    ]  # fmt: skip


def test_the_times_of_nextest():
    cases = {case.id: case for case in testing.check_reader(NEXTEST, RUN, "2 failed, 2 passed, 1 skipped")}
    assert cases["app::tests::works"].seconds == 0.004
    assert cases["app::tests::flaky"].outcome == "passed"


TREE = {
    "/opt/cargo/crates/serde-1.0.1/Cargo.toml": '[package]\nname = "serde"\nversion = "1.0.1"\nlicense = "MIT OR Apache-2.0"\n'
    'description = """\nA framework\n"""\nrepository = "https://r.invalid"\n',
    "/opt/cargo/crates/serde-1.0.1/src/lib.rs": "",
    "/opt/cargo/crates/bad-1.0.0/Cargo.toml": "[package",
    "/opt/cargo/crates/odd-1.0.0/Cargo.toml": "[package]\nname = 1\n",
    "/opt/cargo/crates/none-1.0.0/Cargo.toml": b"\xff",
    "/opt/cargo/other/x-1.0.0/Cargo.toml": '[package]\nname = "x"\nversion = "1.0.0"\n',
}


def test_crates_of_a_stack():
    (package,) = installed_crates(testing.MemoryTree(TREE))
    assert (package.type, package.name, package.version) == ("cargo", "serde", "1.0.1")
    assert (package.licenses, package.summary, package.homepage) == (
        ("MIT OR Apache-2.0",),
        "A framework",
        "https://r.invalid",
    )
    assert crates_with(testing.MemoryTree(TREE), "/opt/cargo/crates/serde-1.0.1/src/lib.rs") == [package]
    assert crates_with(testing.MemoryTree(TREE), "/opt/cargo/crates/bad-1.0.0/x") == []
    assert crates_with(testing.MemoryTree(TREE), "/usr/bin/x") == []


CRASH = """\
     Running tests/it.rs (target/debug/deps/it-1245ce0d238d968c)

running 2 tests
test a_b ... ok
error: test failed, to rerun pass `--test it`

Caused by:
  process didn't exit successfully: `/m/target/debug/deps/it-1245ce0d238d968c` (signal: 6, SIGABRT: process abort signal)
   Doc-tests m

running 2 tests
test src/lib.rs - (line 1) ... FAILED
test src/lib.rs - two (line 8) - compile fail ... ok

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.47s

error: doctest failed, to rerun pass `--doc`
"""


def test_a_program_that_crashed_hides_none_of_those_behind_it():
    cases = testing.check_reader(CARGO, CRASH, "1 failed, 1 program failed, 2 passed")
    assert [(case.id, case.outcome, case.message) for case in cases] == [
        ("tests/it.rs::a_b", "passed", ""),
        ("tests/it.rs", "failed", "signal: 6, SIGABRT: process abort signal"),
        ("src/lib.rs - (line 1)", "failed", ""),
        ("src/lib.rs - two (line 8)", "passed", ""),
    ]


def test_names_are_those_that_cargo_takes():
    output = """\
running 2 tests
test tests::sp - should panic ... FAILED
test tests::ig ... ignored, slow ... ok
test result: FAILED. 0 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
"""
    cases = testing.check_reader(CARGO, output, "1 failed, 1 ignored")
    assert [(case.id, case.outcome) for case in cases] == [("tests::sp", "failed"), ("tests::ig", "skipped")]
