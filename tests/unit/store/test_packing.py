"""What is packed is the tar of the diff ID, whatever it is packed with."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import tempfile

import pytest
import zstandard

from envtool.store import canonical, packing


@pytest.fixture
def tree(tmp_path):
    top = tmp_path / "tree"
    (top / "opt").mkdir(parents=True)
    (top / "opt" / "big").write_bytes(bytes(range(256)) * 20_000)  # more than one piece
    (top / "opt" / "run").write_text("#!/bin/sh\n")
    (top / "opt" / "link").symlink_to("run")
    os.link(top / "opt" / "run", top / "opt" / "same")
    return str(top)


def packed(tree, form):
    with tempfile.TemporaryFile() as file:
        answer = packing.pack(tree, file.fileno(), form)
        file.seek(0)
        return answer, file.read()


@pytest.mark.parametrize(
    ("form", "undo"),
    [
        ("", bytes),
        ("gzip", gzip.decompress),
        ("zstd", lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
    ],
)
def test_it_is_the_tar_of_the_diff_id(tree, form, undo):
    diff_id, size, _ = canonical.capture(tree, 1_000_000_000)
    (plain, plain_size, digest, packed_size), data = packed(tree, form)
    assert (plain, plain_size) == (diff_id, size)
    assert digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert packed_size == len(data)
    assert hashlib.sha256(undo(data)).hexdigest() == diff_id.removeprefix("sha256:")
    assert (form == "") == (digest == diff_id)
    assert packed(tree, form)[1] == data


def test_gzip_has_no_time_and_no_name(tree):
    assert packed(tree, "gzip")[1][3:8] == bytes(5)


def test_it_can_be_ended(tree):
    reader, writer = os.pipe()
    os.write(writer, b"x")
    try:
        with tempfile.TemporaryFile() as file, pytest.raises(OSError) as found:
            packing.pack(tree, file.fileno(), "", reader)
        assert found.value.errno == errno.ECANCELED
    finally:
        os.close(reader)
        os.close(writer)
