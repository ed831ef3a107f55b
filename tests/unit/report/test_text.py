from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.report import text

NASTY = st.text(st.sampled_from("ab m1;[]?0\x1b\x07\\\r\n\t\x9b\x00P^_\u202e\x7f\x85")) | st.text()
HARMLESS = re.compile("\x1b\\[[0-9;:]*m|[^\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


@given(NASTY, st.booleans())
def test_nothing_but_colours_gets_through(said, color):
    shown = text.sanitize(said, color=color)
    assert HARMLESS.sub("", shown) == ""
    if not color:
        assert "\x1b" not in shown


@given(NASTY)
def test_it_is_safe_to_make_safe_twice(said):
    assert text.sanitize(text.sanitize(said)) == text.sanitize(said)


@given(NASTY, st.lists(st.integers(0, 40)), st.booleans())
def test_live_output_is_safe_wherever_it_is_cut(said, cuts, color):
    live = text.LiveSanitizer(color=color)
    at = [0, *sorted(min(cut, len(said)) for cut in cuts), len(said)]
    shown = "".join(live.feed(said[start:end]) for start, end in pairwise(at))
    assert HARMLESS.sub("", shown.replace("\r\x1b[K", "")) == ""


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("10%\r50%\r100%\n", "100%\n"),
        ("dos\r\nline\r\n", "dos\nline\n"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b[2J\x1b[Hhome", "home"),
        ("a\x00b", "a␀b"),
        ("tab\tkept", "tab\tkept"),
        ("\x1b]never ended\nbut the next line is seen", "\nbut the next line is seen"),
        ("user\u202egnp.exe", "user<U+202E>gnp.exe"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
    ],
)
def test_examples(said, shown):
    assert text.sanitize(said) == shown


def test_colours_end_with_their_line():
    assert text.sanitize("\x1b[31mred\nplain", color=True) == "\x1b[31mred\x1b[0m\nplain"


def test_a_sequence_cut_in_two_is_still_one():
    live = text.LiveSanitizer(color=True)
    assert (
        live.feed("a\x1b[3") + live.feed("1mb\x1b]0;ti") + live.feed("tle\x07c\r") + live.feed("\nd")
        == "a\x1b[31mbc\nd"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0.0s"),
        (2.44, "2.4s"),
        (59.94, "59.9s"),
        (59.96, "1m00s"),
        (75, "1m15s"),
        (3599.6, "1h00m"),
        (3720, "1h02m"),
        (-1, "0.0s"),
    ],
)
def test_seconds(value, shown):
    assert text.format_seconds(value) == shown


def test_wide_characters_take_two_columns():
    assert text.visible_width("日本") == 4
    assert text.pad("日本", 6) == "日本  "
    assert text.visible_width("\x1b[31mred\x1b[0m") == 3
