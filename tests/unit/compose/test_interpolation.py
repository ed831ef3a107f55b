"""Variables in a compose file, and files of variables, by the rules of the Compose Specification."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.app.compose.dotenv import DotenvError, parse_dotenv
from envtool.app.compose.interpolation import MAX_DEPTH, MAX_RESULT, InterpolationError, UnsetVariable, interpolate

VALUES = {"SET": "one", "EMPTY": "", "OTHER": "two"}


def put(text):
    unset = []
    return interpolate(text, VALUES.get, unset.append), unset


# What docs.docker.com shows, and what compose-go's own tests of its template package hold.
@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("$SET", "one"),
        ("${SET}", "one"),
        ("a$SET-b", "aone-b"),
        ("${SET}${OTHER}", "onetwo"),
        ("$$SET", "$SET"),
        ("$$$SET", "$one"),
        ("$${SET}", "${SET}"),
        ("100$", "100$"),
        ("a $ b", "a $ b"),
        ("$1", "$1"),
        ("${GONE:-x}", "x"),
        ("${GONE-x}", "x"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY-x}", ""),
        ("${SET:-x}", "one"),
        ("${SET:+x}", "x"),
        ("${EMPTY:+x}", ""),
        ("${EMPTY+x}", "x"),
        ("${GONE+x}", ""),
        ("${SET:?no}", "one"),
        ("${EMPTY?no}", ""),
        ("${GONE:-}", ""),
        ("${GONE:-${SET}}", "one"),
        ("${GONE:-${ALSO:-deep}}", "deep"),
        ("${GONE:-a${SET}b}c", "aonebc"),
        ("${GONE:-http://x:80/}", "http://x:80/"),
        ("${GONE:-$$}", "$"),
    ],
)
def test_interpolation(text, result):
    assert put(text) == (result, [])


@pytest.mark.parametrize(
    ("text", "result", "unset"),
    [
        ("$GONE", "", UnsetVariable("GONE")),
        ("x${GONE}y", "xy", UnsetVariable("GONE")),
        ("${GONE:?say it}", "", UnsetVariable("GONE", "say it")),
        ("${EMPTY:?}", "", UnsetVariable("EMPTY", "")),
        ("${GONE?write $SET}", "", UnsetVariable("GONE", "write one")),
    ],
)
def test_a_variable_without_a_value_is_said(text, result, unset):
    assert put(text) == (result, [unset])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${", "without its `}`"),
        ("${SET", "without its `}`"),
        ("${GONE:-${SET}", "without its `}`"),
        ("${}", "has no name"),
        ("${ SET}", "has no name"),
        ("${1}", "has no name"),
        ("${SET/a/b}", "after the name comes"),
        ("${SET:x}", "after the name comes"),
    ],
)
def test_what_cannot_be_read(text, message):
    with pytest.raises(InterpolationError, match=message):
        put(text)


def test_limits():
    deep = "${A:-" * (MAX_DEPTH + 2) + "}" * (MAX_DEPTH + 2)
    with pytest.raises(InterpolationError, match="deep"):
        interpolate(deep, VALUES.get, [].append)
    with pytest.raises(InterpolationError, match="more than"):
        interpolate("$A" * 1000, {"A": "x" * (MAX_RESULT // 500)}.get, [].append)


@given(st.text(alphabet="${}:-+?AB1 \n", max_size=40))
def test_any_text_has_a_result_or_an_error(text):
    try:
        result = interpolate(text, {"A": "a"}.get, lambda _: None)
    except InterpolationError:
        return
    assert len(result) <= len(text)
    if "$" not in text:
        assert result == text


def read(text, **options):
    return dict(parse_dotenv(text, VALUES.get, lambda _: None, **options))


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("A=1\nB=two words\n", {"A": "1", "B": "two words"}),
        ("# comment\n\n  A=1 # more\r\nB=a#b\n", {"A": "1", "B": "a#b"}),
        ("export A=1\nA_B.c-d=2", {"A": "1", "A_B.c-d": "2"}),
        ("A='$SET'\nB=\"$SET\"\nC=$SET", {"A": "$SET", "B": "one", "C": "one"}),
        ('A="a\\nb\\"\\$SET"', {"A": 'a\nb"$SET'}),
        ("A='one\ntwo'\nB=3", {"A": "one\ntwo", "B": "3"}),
        ("A=1\nB=${A}2\nC=${GONE:-x}", {"A": "1", "B": "12", "C": "x"}),
        ("A=\nB= \nC", {"A": "", "B": "", "C": None}),
        ("A: 1", {"A": "1"}),
        ("A=it's", {"A": "it's"}),
        ("A=#x", {"A": ""}),
        ("A=a=b", {"A": "a=b"}),
    ],
)
def test_files_of_variables(text, variables):
    assert read(text) == variables


def test_a_raw_file_is_taken_as_it_is():
    assert read('A="$SET" # x\n', raw=True) == {"A": '"$SET" # x'}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("A=1\n=2", 2, "no `NAME=value`"),
        ("A=1\n\na b=2", 3, "no `NAME=value`"),
        ("A='open\nB=1", 1, "the quote ' is not closed"),
        ("A=1\nB=${A", 2, "without its"),
    ],
)
def test_a_wrong_line_is_named(text, line, message):
    with pytest.raises(DotenvError, match=message) as raised:
        read(text)
    assert raised.value.line == line


@given(st.text(alphabet="AB=:'\"$#{}\\ \n\r", max_size=60))
def test_any_file_has_variables_or_an_error(text):
    try:
        variables = read(text)
    except DotenvError as error:
        line, variables = error.line, {}
    else:
        line = 1
    assert 1 <= line <= text.count("\n") + 1
    assert all(name and "=" not in name for name in variables)
