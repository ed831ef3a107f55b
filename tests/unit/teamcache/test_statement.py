"""Statements: what goes in comes out, and nothing else is taken."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.teamcache import statement
from envtool.teamcache.statement import LAYER, RefusedStatement, Statement

hexes = st.text("0123456789abcdef", min_size=64, max_size=64)
digests = hexes.map(lambda text: f"sha256:{text}")
numbers = st.integers(0, (1 << 53) - 1)
statements = st.builds(
    Statement,
    sort=st.sampled_from(["layer", "result"]),
    key=hexes,
    ids=st.sampled_from(["single", "range"]),
    diff_id=digests,
    size=numbers,
    entries=numbers,
    blob=digests,
    blob_size=numbers,
    media_type=st.text(max_size=40).filter(str.isascii),
)
ONE = Statement(
    sort=LAYER, key="a" * 64, ids="range", diff_id=f"sha256:{'b' * 64}", size=2048, entries=3,
    blob=f"sha256:{'c' * 64}", blob_size=99, media_type="application/x",
)  # fmt: skip


def asked(one):
    return {"sort": one.sort, "key": one.key, "ids": one.ids}


@given(one=statements)
def test_there_and_back(one):
    assert statement.parse_statement(one.text(), **asked(one)) == one


@given(one=statements, other=hexes)
def test_a_statement_of_another_key_is_refused(one, other):
    if other != one.key:
        with pytest.raises(RefusedStatement) as caught:
            statement.parse_statement(one.text(), sort=one.sort, key=other, ids=one.ids)
        assert caught.value.code == "replayed"


def test_what_it_is_about_counts():
    for change, code in (({"sort": "result"}, "replayed"), ({"ids": "single"}, "ids")):
        with pytest.raises(RefusedStatement) as caught:
            statement.parse_statement(dataclasses.replace(ONE, **change).text(), **asked(ONE))
        assert caught.value.code == code


@given(text=st.binary(max_size=400))
def test_anything_else_is_refused(text):
    with pytest.raises(RefusedStatement):
        statement.parse_statement(text, **asked(ONE))


@given(data=st.data())
def test_a_change_of_one_byte_is_another_statement_or_none(data):
    text = ONE.text()
    where = data.draw(st.integers(0, len(text) - 1))
    by = data.draw(st.integers(1, 255))
    changed = text[:where] + bytes([text[where] ^ by]) + text[where + 1 :]
    try:
        found = statement.parse_statement(changed, **asked(ONE))
    except RefusedStatement:
        return
    assert found != ONE  # the signature is what refuses it


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"format": 0}, "format"),
        ({"format": 2}, "format"),
        ({"format": None}, "format"),
        ({"size": True}, "statement"),
        ({"size": -1}, "statement"),
        ({"size": 1.5}, "statement"),
        ({"more": 1}, "statement"),
        ({"diff_id": "sha512:" + "a" * 64}, "statement"),
        ({"blob": "../../etc"}, "statement"),
        ({"entries": "3"}, "statement"),
        ({"ids": []}, "statement"),
    ],
)
def test_other_values_are_refused(change, code):
    stored = {**json.loads(ONE.text()), **change}
    with pytest.raises(RefusedStatement) as caught:
        statement.parse_statement(json.dumps(stored, sort_keys=True, separators=(",", ":")).encode(), **asked(ONE))
    assert caught.value.code == code


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"format":' + b"1" * 70_000 + b"}", b"null", b"\xff", b""])
def test_what_no_parser_should_see_is_refused(text):
    with pytest.raises(RefusedStatement) as caught:
        statement.parse_statement(text, **asked(ONE))
    assert caught.value.code == "statement"
