"""Paths that are opened below a directory never lead out of it."""

from __future__ import annotations

import contextlib
import errno
import os

import pytest

from envtool.fs.beneath import open_beneath
from tests.leftovers import descriptors, nothing_left
from tests.places import nest


def read(top, path, **more):
    descriptor = open_beneath(str(top), path, **more)
    try:
        return os.read(descriptor, 100).decode()
    finally:
        os.close(descriptor)


@pytest.fixture
def top(tmp_path):
    (tmp_path / "secret").write_text("secret")
    top = tmp_path / "top"
    (top / "a/b").mkdir(parents=True)
    (top / "a/b/file").write_text("inner")
    (top / "file").write_text("outer")
    return top


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("file", "outer"),
        ("a/b/file", "inner"),
        ("./a//b/./file", "inner"),
        ("a/../file", "outer"),
        ("a/b/../../file", "outer"),
    ],
)
def test_plain_paths(top, path, text):
    assert read(top, path) == text


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/etc/passwd", "a/../../top/file", ".."])
def test_paths_that_leave(top, path):
    with pytest.raises(OSError) as caught:
        open_beneath(str(top), path)
    assert caught.value.errno == errno.EXDEV


@pytest.mark.parametrize(
    ("target", "text"), [("b/file", "inner"), ("../file", "outer"), ("./b/../../a/b/file", "inner"), ("chain", "inner")]
)
def test_links_that_stay(top, target, text):
    (top / "a/chain").symlink_to("b/file")
    (top / "a/link").symlink_to(target)
    assert read(top, "a/link") == text
    with pytest.raises(OSError) as caught:
        open_beneath(str(top), "a/link", follow=False)
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("target", ["../../secret", "../..", "/etc/passwd", "b/../../../secret"])
@pytest.mark.parametrize("path", ["a/link", "a/link/x"])
def test_links_that_leave(top, target, path):
    (top / "a/link").symlink_to(target)
    with pytest.raises(OSError) as caught:
        open_beneath(str(top), path)
    assert caught.value.errno == errno.EXDEV


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("{down}/file", ""),
        ("{down}/../../{down2}/file", ""),
        ("{down}/{up}/file", "outer"),
        ("{down}/{up}/{down}/{up}/a/b/file", "inner"),
        ("long/file", ""),
        ("long/{up}/file", "outer"),
    ],
)
def test_a_way_longer_than_the_limit_of_open_files(top, few_descriptors, path, text):
    nest(str(top), 300)
    (top / "long").symlink_to("/".join(["d"] * 300))
    words = {"down": "/".join(["d"] * 300), "down2": "d/d", "up": "/".join([".."] * 300)}
    assert read(top, path.format(**words)) == text


@pytest.mark.parametrize("path", ["{down}/{up}/../secret", "{down}/{up}/{down}/{up}/..", "long/{up}/../secret"])
def test_a_long_way_does_not_leave_either(top, few_descriptors, path):
    nest(str(top), 300)
    (top / "long").symlink_to("/".join(["d"] * 300))
    words = {"down": "/".join(["d"] * 300), "up": "/".join([".."] * 300)}
    with pytest.raises(OSError) as caught:
        open_beneath(str(top), path.format(**words))
    assert caught.value.errno == errno.EXDEV


def test_a_directory_that_became_a_link_is_not_entered_on_the_way_back(top, monkeypatch):
    nest(str(top), 100)
    opened = os.open

    def exchange(name, *arguments, **where):
        if name == "last":
            os.rename(top / "d", top / "moved")
            (top / "d").symlink_to("..")
        return opened(name, *arguments, **where)

    os.mkdir(top / "/".join(["d"] * 100) / "last")
    monkeypatch.setattr(os, "open", exchange)
    with pytest.raises(OSError) as caught:
        open_beneath(str(top), "/".join(["d"] * 100) + "/last/" + "/".join([".."] * 100) + "/secret")
    assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)


def test_directories_by_links(top):
    (top / "dir").symlink_to("a/b")
    assert read(top, "dir/file") == "inner"
    assert read(top, "dir/../../file") == "outer"  # as the kernel has it: from where the link led
    with pytest.raises(OSError) as caught:
        open_beneath(str(top), "dir/file", follow=False)
    assert caught.value.errno == errno.ELOOP


def test_loops_end(top):
    (top / "x").symlink_to("y")
    (top / "y").symlink_to("x")
    with pytest.raises(OSError) as caught:
        open_beneath(str(top), "x")
    assert caught.value.errno == errno.ELOOP


def test_other_errors_are_those_of_open(top):
    for path, number in (("missing", errno.ENOENT), ("file/x", errno.ENOTDIR), ("a/missing/x", errno.ENOENT)):
        with pytest.raises(OSError) as caught:
            open_beneath(str(top), path)
        assert caught.value.errno == number


def test_a_fifo_does_not_block(top):
    os.mkfifo(top / "fifo")
    os.close(open_beneath(str(top), "fifo"))


def test_the_directory_itself_and_a_descriptor_of_it(top):
    directory = open_beneath(str(top), ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert sorted(os.listdir(directory)) == ["a", "file"]
        inner = open_beneath(directory, "a/b/file")
        os.close(inner)
        os.fstat(directory)  # still ours
    finally:
        os.close(directory)


def test_nothing_is_left_open(top):
    (top / "a/link").symlink_to("../../secret")
    with nothing_left(descriptors):
        for path in ("a/b/file", "missing", "../secret", "a/link"):
            with contextlib.suppress(OSError):
                os.close(open_beneath(str(top), path))


def test_a_new_file(top):
    descriptor = open_beneath(str(top), "a/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, follow=False)
    os.close(descriptor)
    assert (top / "a/new").stat().st_mode & 0o777 == 0o600
