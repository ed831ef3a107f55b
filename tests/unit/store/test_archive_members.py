"""Single files of zip archives as blobs: decompressed once, checked by size and hash."""

from __future__ import annotations

import hashlib
import os
import zipfile

import pytest

from envtool.errors import FetchError
from envtool.store import archive_members, blobs

CONTENT = b"\x7fELF" + bytes(3 << 20) + b"end"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.data/scripts/a", CONTENT)
    return str(path)


def test_the_archive_is_read_once(store, archive):
    path = archive_members.keep_member(store, archive, "a.data/scripts/a", SHA256, len(CONTENT))
    assert path == blobs.path(store, SHA256)
    with open(path, "rb") as file:
        assert file.read() == CONTENT
    os.unlink(archive)
    assert archive_members.keep_member(store, archive, "a.data/scripts/a", SHA256, len(CONTENT)) == path


@pytest.mark.parametrize(
    ("member", "sha256", "size", "message"),
    [
        ("b", SHA256, len(CONTENT), "no file `b`"),
        ("a.data/scripts/a", "0" * 64, len(CONTENT), "its sha256 is"),
        ("a.data/scripts/a", SHA256, len(CONTENT) - 1, "has not the"),
        ("a.data/scripts/a", SHA256, len(CONTENT) + 1, "has not the"),
    ],
)
def test_another_file_is_refused(store, archive, member, sha256, size, message):
    with pytest.raises(FetchError, match=message):
        archive_members.keep_member(store, archive, member, sha256, size)
    assert not blobs.list_digests(store)


def test_a_damaged_archive_is_refused(store, tmp_path):
    path = tmp_path / "a.whl"
    path.write_bytes(b"no zip")
    with pytest.raises(FetchError, match="can be read"):
        archive_members.keep_member(store, str(path), "a", SHA256, 1)


def test_a_blob_that_a_crash_cut_short_is_replaced(store, archive):
    path = archive_members.keep_member(store, archive, "a.data/scripts/a", SHA256, len(CONTENT))
    with open(path, "wb"):
        pass
    archive_members.keep_member(store, archive, "a.data/scripts/a", SHA256, len(CONTENT))
    with open(path, "rb") as file:
        assert file.read() == CONTENT
