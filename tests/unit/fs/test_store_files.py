"""Files of the store are read by one reader: whole, regular, bounded, and short cuts only with their sum."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.fs import store_files
from tests.depth import examples

VALUE = {"version": (1, "x"), "watch": [("/a", (1, 2, 3))], "env": "unit", "none": None}


def refusal(path) -> int:
    with pytest.raises(OSError) as caught:
        store_files.read_regular_file(str(path), most=100)
    return caught.value.errno


def test_only_regular_files_of_a_size(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert store_files.read_regular_file(str(tmp_path / "file"), most=100) == b"x" * 100
    (tmp_path / "large").write_bytes(b"x" * 101)
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "device").symlink_to("/dev/zero")
    found = {
        name: refusal(tmp_path / name) for name in ("large", "holes", "link", "directory", "fifo", "device", "none")
    }
    assert found == {
        "large": errno.EFBIG, "holes": errno.EFBIG, "link": errno.ELOOP, "directory": errno.EISDIR, "fifo": errno.EINVAL,
        "device": errno.ELOOP, "none": errno.ENOENT,
    }  # fmt: skip


def test_a_short_cut_comes_back(tmp_path):
    place = str(tmp_path / "plan")
    store_files.replace_if_possible(place, store_files.encode_with_checksum(VALUE, b"bulk"))
    value, bulk = store_files.decode_with_checksum(store_files.read_regular_file(place))
    assert (value, bytes(bulk)) == (VALUE, b"bulk")
    assert os.listdir(tmp_path) == ["plan"]


@settings(max_examples=examples(200, 20_000), deadline=None)
@given(data=st.data())
def test_what_is_not_as_it_was_written_is_not_unmarshalled(data):
    right = store_files.encode_with_checksum(VALUE)
    at = data.draw(st.integers(0, len(right)))
    end = data.draw(st.integers(at, len(right)))
    other = right[:at] + data.draw(st.binary(max_size=40)) + right[end:]
    if other[: len(right)] == right:  # what follows is bulk, and under no sum
        return
    with pytest.raises(ValueError, match="short cut"):
        store_files.decode_with_checksum(other)


def test_nothing_is_left_where_it_cannot_be_written(tmp_path):
    (tmp_path / "plan").mkdir()
    store_files.replace_if_possible(str(tmp_path / "plan"), b"x")
    store_files.replace_if_possible(str(tmp_path / "no" / "plan"), b"x")
    assert os.listdir(tmp_path) == ["plan"]
