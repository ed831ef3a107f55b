"""Compressed files, right, cut and changed: the content, or a beginning of it and one error of ours."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.errors import BuildError
from envtool.store import decompress
from tests.unit.store.archives import member, tar

CONTENT = tar(member("first", b"x"), member("noise", bytes(range(256)) * 300), member("zeros", bytes(90_000)))
CHECKED = zstandard.ZstdCompressor(write_checksum=True)
PACKERS = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": CHECKED.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
}
LARGEST = 1 << 20
PACKED = {form: pack(CONTENT) for form, pack in PACKERS.items()}


def read(path, data: bytes, form: str | None = None) -> tuple[bytes, str]:
    """What comes, and the code of the error after it."""
    path.write_bytes(data)
    found = b""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        pieces = decompress.decompress_layer(descriptor) if form is None else decompress.decompress(descriptor, form)
        for piece in pieces:
            assert len(piece) <= decompress.PIECE
            found += piece
            if len(found) > LARGEST:  # of bzip2, one byte that is changed may mean 40 MB
                break
    except BuildError as error:
        return found, error.code
    finally:
        os.close(descriptor)
    return found, ""


@pytest.mark.parametrize("form", PACKERS)
def test_each_format_is_known_and_read(tmp_path, form):
    assert decompress.detect_format(PACKED[form][:8]) == form
    assert read(tmp_path / "x", PACKED[form], form) == (CONTENT, "")
    assert read(tmp_path / "x", PACKED[form] + PACKERS[form](b""), form)[0] == CONTENT


@pytest.mark.parametrize("form", PACKERS)
def test_a_layer_is_gzip_or_zstd_or_plain(tmp_path, form):
    found = read(tmp_path / "x", PACKED[form])
    if form in ("gzip", "zstd"):
        assert found == (CONTENT, "")
    elif form == "lzma":  # no magic that could not be the beginning of a name
        assert found == (PACKED[form], "")
    else:
        assert found == (b"", "unpack-format")


@pytest.mark.parametrize("form", PACKERS)
def test_of_a_file_that_is_cut_a_block_comes_before_the_error(tmp_path, form):
    """By which ADD knows that it is an archive, and no file to be copied. bzip2 has nothing before a block of 900 kB."""
    content = tar(member("noise", random.Random(1).randbytes(400_000)))
    found, code = read(tmp_path / "x", PACKERS[form](content)[:-20], form)
    assert form == "bzip2" or len(found) >= decompress.FIRST_PIECE
    assert content.startswith(found)
    if form != "zstd":  # Python's own module says that it is cut, zstandard does not
        assert code in ("unpack-truncated", "unpack-damaged")


@pytest.mark.parametrize("form", ["gzip", "zstd", "xz", "bzip2"])
def test_of_a_file_with_a_wrong_sum_a_block_comes_before_the_error(tmp_path, form):
    small = bytearray(PACKERS[form](tar(member("f", b"x"))))
    at = {"gzip": -6, "zstd": -2, "xz": -34, "bzip2": -3}[form]
    small[at] ^= 0xFF
    found, code = read(tmp_path / "x", bytes(small), form)
    assert code == "unpack-damaged"
    assert form == "bzip2" or len(found) >= decompress.FIRST_PIECE  # bzip2 checks a block before it gives it


@pytest.mark.parametrize("form", PACKERS)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_whatever_is_in_a_file_the_error_is_ours(tmp_path_factory, form, data):
    packed = bytearray(PACKED[form])
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(6, len(packed) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(packed), len(packed) // 2, 7]))
    _, code = read(tmp_path_factory.mktemp("x") / "x", bytes(packed[:end]), form)
    assert code in ("", "unpack-damaged", "unpack-truncated", "unpack-trailing")


def test_a_bomb_ends_at_its_limit():
    size = decompress.UnpackedSize(10, 100)
    size.add(2500)
    with pytest.raises(BuildError) as caught:
        size.add(1)
    assert caught.value.code == "unpack-bomb"
    decompress.UnpackedSize(0, 100).add(100)
