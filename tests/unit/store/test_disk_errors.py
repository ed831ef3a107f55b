"""Every refusal of the system's in one sentence, with what to do."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace

import pytest

from envtool.errors import StoreError
from envtool.store import disk_errors

ROOT = "/srv/store"


def disk(monkeypatch, *, size=260 << 20, free=54 << 20, inodes=1000, left=1000):
    found = SimpleNamespace(f_blocks=size, f_bavail=free, f_frsize=1, f_files=inodes, f_favail=left)
    monkeypatch.setattr(os, "statvfs", lambda _: found)


def said(number: int, name: str | bytes | None = None) -> str:
    error = OSError(number, os.strerror(number), name) if name else OSError(number, os.strerror(number))
    found = disk_errors.translate_os_error(ROOT, error)
    assert isinstance(found, StoreError), error
    assert found.hint
    assert "Errno" not in found.message + found.hint
    assert "\n" not in found.message + found.hint
    return found.message


def test_a_full_disk_says_how_full(monkeypatch):
    disk(monkeypatch)
    for name in ("/srv/store/locks/x", b"/srv/store/tmp/y", "/srv/store"):
        assert said(errno.ENOSPC, name) == "the disk of the store is full: /srv/store (273 MB, 57 MB free now)"
    assert "the disk of the store" not in said(errno.ENOSPC, "/srv/storehouse/x")
    assert "the disk of the store" not in said(errno.ENOSPC, "/tmp/x")
    assert said(errno.EDQUOT, "/srv/store/x").startswith("the quota of the disk of the store is used up")
    assert said(errno.EDQUOT).startswith("the quota of the disk of the store is used up")
    disk(monkeypatch, left=0)
    assert "takes no more files" in said(errno.ENOSPC, "/srv/store/x")


def test_a_full_disk_without_a_name_is_the_stores_if_that_is_full(monkeypatch):
    disk(monkeypatch, free=1 << 20)
    assert said(errno.ENOSPC).startswith("the disk of the store is full")
    disk(monkeypatch, free=54 << 30)
    assert said(errno.ENOSPC) == "no space left on device"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "the store /srv/store is read-only"),
        (errno.EACCES, "the store /srv/store cannot be used: /srv/store/x: permission denied"),
        (errno.EPERM, "the store /srv/store cannot be used: /srv/store/x: operation not permitted"),
        (errno.EIO, "/srv/store/x: input/output error"),
        (errno.EMFILE, "/srv/store/x: too many open files"),
        (errno.ESTALE, "/srv/store/x: stale file handle"),
        (errno.ENOTDIR, "/srv/store/x: not a directory"),
    ],
)
def test_all_else(monkeypatch, number, words):
    disk(monkeypatch)
    assert said(number, "/srv/store/x").lower() == words.lower()


def test_what_is_no_refusal_is_none():
    assert disk_errors.translate_os_error(ROOT, OSError("a library says so")) is None


def test_what_clearly_does_not_fit_is_refused_and_what_hardly_does_is_said():
    def tight(fetched, missing):
        return disk_errors.space_warning(ROOT, "base `x`", *disk_errors.needed(fetched, missing), 100)

    assert tight(0, 0) == ("", False)
    assert tight(25, 0) == ("", False)
    text, never = tight(30, 0)
    assert text == "base `x` takes about 120 B, and the disk of the store has 100 B free: /srv/store"
    assert not never
    text, never = tight(51, 51)
    assert text == "base `x` takes 102 B at least, and the disk of the store has 100 B free: /srv/store"
    assert never
    assert tight(101, 0)[1]
    assert tight(20, 20) == ("", False)


def test_a_store_that_cannot_be(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(f"{__name__}.ROOT", str(tmp_path / "file/store"))
    assert said(errno.ENOTDIR, f"{ROOT}/store.json").endswith(f"cannot be made: {tmp_path}/file is no directory")
    assert "there can be no directory" in said(errno.ENOENT, ROOT)


def test_what_is_ours_and_cannot_be_read_is_told_with_what_makes_it_readable(tmp_path):
    path = tmp_path / "store.json"
    path.write_text("{}")
    error = PermissionError(errno.EACCES, "Permission denied", str(path))
    assert "shows whose it is" in (disk_errors.translate_os_error(str(tmp_path), error).hint or "")
    path.chmod(0)
    assert f"`chmod u+rwX {path}`" in (disk_errors.translate_os_error(str(tmp_path), error).hint or "")
