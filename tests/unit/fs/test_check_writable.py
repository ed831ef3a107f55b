"""What `check_writable` says before a run is what `atomic_write` does after it."""

from __future__ import annotations

import os

import pytest

from envtool.fs.caller_paths import atomic_write, check_writable


def refused(path, project=""):
    try:
        check_writable(str(path), str(project) if project else "")
    except OSError as error:
        return error.strerror
    return ""


@pytest.fixture
def top(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    (tmp_path / "dangling").symlink_to("nowhere")
    return tmp_path


@pytest.mark.parametrize("in_project", [False, True])
@pytest.mark.parametrize(
    ("path", "own", "projects"),
    [
        ("new", True, True),
        ("file", True, True),  # it is replaced
        ("directory/new", True, True),
        ("a/b/c/new", True, True),
        ("directory", False, False),
        ("file/new", False, False),
        ("file/a/new", False, False),
        ("link/new", True, False),  # a link of the caller, or one of the checkout
        ("link/a/b/new", True, False),
        ("dangling/new", False, False),
    ],
)
def test_what_is_said_before_is_what_is_done_after(top, path, own, projects, in_project):
    project, works = (str(top), projects) if in_project else ("", own)
    before = sorted(os.listdir(top))
    assert (refused(top / path, project) == "") == works
    assert sorted(os.listdir(top)) == before
    if works:
        with atomic_write(str(top / path), project, make=True) as file:
            file.write(b"y")
        assert (top / path).read_text() == "y"
    else:
        with pytest.raises(OSError), atomic_write(str(top / path), project, make=True):
            pass


def test_devices_are_written_directly():
    for path in ("/dev/null", "/dev/stdout", "/dev/fd/1"):
        assert not refused(path)


def test_permission_is_looked_at(top, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert "Permission denied" in refused(top / "directory" / "a" / "new")
    monkeypatch.setattr(os, "fstatvfs", lambda _: type("Info", (), {"f_flag": os.ST_RDONLY}))
    assert "Read-only file system" in refused(top / "new")
