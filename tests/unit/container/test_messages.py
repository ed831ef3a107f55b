from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.container import messages
from tests.depth import examples

VALUES = st.lists(st.integers(-(1 << 63), (1 << 63) - 1) | st.text(st.characters()), max_size=8)


@settings(max_examples=examples(100, 5000), deadline=None)
@given(VALUES)
def test_what_was_packed_is_unpacked(values):
    assert messages.unpack(messages.pack(*values)) == tuple(values)


@settings(max_examples=examples(200, 20000), deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_none(data):
    try:
        values = messages.unpack(data)
    except ValueError:
        return
    assert messages.pack(*values) == data


@settings(max_examples=examples(100, 5000), deadline=None)
@given(VALUES.filter(bool), st.data())
def test_one_byte_more_or_less_is_no_message(values, data):
    packed = messages.pack(*values)
    cut = data.draw(st.integers(0, len(packed) - 1))
    for other in (packed[:cut], packed + b"\0"):
        with pytest.raises(ValueError, match=r"message|decode"):
            messages.unpack(other)


def test_large_claims_take_no_time_and_no_room():
    began = time.thread_time()
    for claim in (b"\x01s\xff\xff\xff\xff", b"\x08" + b"s\xff\xff\xff\x7f" * 8, b"\xff" * 65536):
        with pytest.raises(ValueError, match="not a message"):
            messages.unpack(claim)
    assert time.thread_time() - began < 1


def test_what_a_message_cannot_hold():
    with pytest.raises(OverflowError):
        messages.pack(1 << 63)
    with pytest.raises(ValueError, match="8 values"):
        messages.pack(*range(9))


def test_names_of_files_survive():
    assert messages.unpack(messages.pack("a\udcffb", "\ud800")) == ("a\udcffb", "\ud800")
