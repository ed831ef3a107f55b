"""Requirement lines that are wrong in themselves, and what is said of them."""

from __future__ import annotations

import sys

import pytest
from envtool_python import requirement_checks
from envtool_python.requirement_checks import line_fault
from envtool_python.requirements import flatten
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.requirements import Requirement

WRONG = [  # line, what is said, what to write
    ("six => 1.0", "`=>` compares no versions", "write `six>=1.0`"),
    ("six =< 1", "`=<` compares no versions", "write `six<=1`"),
    ("six = 1.0", "`=` compares no versions", "write `six==1.0`"),
    ("six[a] =~ 1.0; python_version > '3'", "`=~` compares no versions", "write `six[a]~=1.0`"),
    ("six =! 1.0", "`=!`", "write `six!=1.0`"),
    ("six>1, => 2", "`=>`", "write `six>1, >=2`"),
    ("six 1.0", "says a version, and not how to compare", "write `six==1.0`"),
    ("six (v1.16)", "says a version", "write `six==1.16`"),
    ("six flask", "more than one requirement", "each by itself"),
    ("six[", "is no requirement", "attrs[tests]"),
    ("!!!", "is no requirement", "attrs>=24"),
    ("six; python_versio > '3'", "is no requirement", "python_version"),
    ("six @ ftp://h.invalid/six-1.tar.gz", "nothing is fetched by `ftp:`", "http: or https:"),
    ("s3://bucket/six-1.tar.gz", "nothing is fetched by `s3:`", "http: or https:"),
    ("six @ https://h.invalid/six", "neither a wheel nor a source archive", ".whl, .tar.gz"),
    ("--hsah sha256:00", "`--hsah` is no option of requirement files", "--index-url"),
    ("six==1 --hahs=sha256:00", "`--hahs` is no option of a requirement", "did you mean `--hash`?"),
    ("--requirments x.txt", "`--requirments` is no option", "did you mean `--requirement`?"),
]
RIGHT = [
    "six",
    "six>=1",
    "six===1.0",
    "six (>=1.0)",
    "six[a,b]~=1.0 ; python_version >= '3'",
    "six==1 --hash=sha256:00",
    "six==1; extra == 'a' --hash=sha256:00",
    "six @ https://h.invalid/six-1.whl",
    "six @ https://h.invalid/zipball/main#sha256=00",
    "six @ https://h.invalid/main.tar.gz?x=1",
    "six @ ${WHERE}/six-1.whl",
    "git+https://h.invalid/six",
    "git+ssh://git@h.invalid/six@v1#egg=six",
    "./dist/six-1.whl",
    "file:./x",
    "sub/dir",
    "six @ file:./x",
    "--pre",
    "--index-url https://h.invalid/simple",
    "-ihttps://h.invalid/simple",
    "--find-links=dist",
]


@pytest.mark.parametrize(("line", "said", "hint"), WRONG)
def test_what_is_wrong_is_said_with_what_to_write(line, said, hint):
    message, advice = line_fault(line)
    assert said in message
    assert f"`{line}`" in message
    assert hint in advice


@pytest.mark.parametrize("line", RIGHT)
def test_what_pip_takes_is_left_to_it(line):
    assert line_fault(line) == ("", "")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("-r dev.txt", "write `requirements: [dev.txt]`"),
        ("--requirement=dev.txt", "write `requirements: [dev.txt]`"),
        ("-c bounds.txt", "write `constraints: [bounds.txt]`"),
        ("-e .", "`language: python` installs the project itself"),
        ("-e ./sub", "`sources: {NAME: sub}`"),
        ("--editable sub", "`sources: {NAME: sub}`"),
    ],
)
def test_lines_of_files_are_no_requirements_of_a_list(line, hint):
    message, advice = line_fault(line, written=True)
    assert "and no requirement" in message
    assert hint in advice


def test_what_is_editable_is_a_path_and_never_a_name_of_an_index():
    read = {"r.txt": "-e six\n-e ./a\n--editable=b[x]\n-e git+https://h.invalid/c#egg=c\n"}.get
    assert flatten(read, ["r.txt"]).requirements == ("./six", "./a", "./b[x]", "git+https://h.invalid/c#egg=c")


_PARTS = st.sampled_from(
    [
        "a",
        "Zope.interface",
        "x_y-1",
        "-",
        ".",
        "[b]",
        "[b, c]",
        "[]",
        ">=",
        "==",
        "~=",
        "<",
        "!=",
        "1",
        "2.0.1",
        ".post0",
        "rc1",
        ".dev2",
        ",",
        " ",
        "v",
        ";",
        "python_version",
        "sys_platform",
        "'3.11'",
        '"linux"',
    ]
)


@given(st.lists(_PARTS, min_size=1, max_size=7).map("".join))
@example("a[b,c] >=1, <2.5")
@example("a >= 1")
@example("a[b]>=1; python_version < '3.11'")
def test_what_is_taken_without_asking_is_a_requirement(text):
    if requirement_checks._PLAIN.fullmatch(text):
        Requirement(text)


@pytest.mark.parametrize("line", ["a==2.9.0.post0", "a>=1rc1", "a<2.dev1", "a==1b2.post3.dev4", "a[b] >= 1, <2.0a1"])
def test_plain_lines_need_no_import(monkeypatch, line):
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    assert line_fault(line) == ("", "")
