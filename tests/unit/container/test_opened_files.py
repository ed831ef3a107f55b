"""One watch of this machine's directories serves all containers of a run."""

from __future__ import annotations

import os
import time

import pytest

from envtool.container import opened_files
from envtool.container.opened_files import SharedWatch
from tests.leftovers import descriptors, nothing_left


@pytest.fixture
def tree(tmp_path):
    for path in ("one/a", "two/b"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text("")
    return tmp_path


@pytest.fixture
def watch(tree):
    watch = SharedWatch((f"{tree}/one", f"{tree}/two"))
    yield watch
    watch.close()


def test_each_window_has_what_was_opened_in_it(tree, watch):
    (tree / "one/a").read_text()
    first = watch.begin()
    (tree / "one/a").read_text()
    second = watch.begin()
    (tree / "two/b").read_text()
    os.listdir(tree / "two")
    assert watch.end(first) == (f"{tree}/one/a", f"{tree}/two", f"{tree}/two/b")
    (tree / "one/a").read_text()
    assert watch.end(second) == (f"{tree}/one/a", f"{tree}/two", f"{tree}/two/b")
    assert watch.end(watch.begin()) == ()


def test_stat_and_changes_are_not_opening(tree, watch):
    window = watch.begin()
    (tree / "one/a").stat()
    (tree / "one/c").symlink_to("a")
    (tree / "one/a").rename(tree / "one/d")
    (tree / "one/d").chmod(0o600)
    assert watch.end(window) == ()


@pytest.mark.parametrize("change", ["removed", "moved"])
def test_a_directory_that_is_replaced_ends_what_is_known(tree, watch, change):
    """The one at its path now has no watch."""
    before = watch.begin()
    (tree / "two").rename(tree / "three")
    if change == "removed":
        (tree / "three/b").unlink()
        (tree / "three").rmdir()
    (tree / "two").mkdir()
    assert watch.end(before) is None
    assert watch.end(watch.begin()) is None


def test_a_queue_that_ran_over_is_not_known(tree, watch, monkeypatch):
    """To the windows of that moment; a later one knows again."""
    window = watch.begin()
    monkeypatch.setattr(opened_files, "_read_events", lambda descriptor: iter([(-1, 0x4000, b"")]))
    assert watch.end(window) is None
    monkeypatch.undo()
    window = watch.begin()
    (tree / "one/a").read_text()
    assert watch.end(window) == (f"{tree}/one/a",)


def test_more_is_opened_than_the_queue_holds(tree, watch):
    """The events are read meanwhile. Two files in turn: the kernel merges equal events that follow each other."""
    with open("/proc/sys/fs/inotify/max_queued_events") as file:
        room = int(file.read())
    window = watch.begin()
    for number in range(room):
        for path in ("one/a", "two/b"):
            os.close(os.open(tree / path, os.O_RDONLY))
        if not number % 1000:
            time.sleep(0.06)
    assert watch.end(window) == (f"{tree}/one/a", f"{tree}/two/b")


def test_one_that_cannot_be_watched(tree):
    with nothing_left(descriptors):
        for path in (f"{tree}/gone", f"{tree}/one/a"):
            with pytest.raises(OSError):
                SharedWatch((f"{tree}/one", path))


def test_it_leaves_no_descriptor(tree):
    with nothing_left(descriptors):
        watch = SharedWatch((f"{tree}/one",))
        window = watch.begin()
        watch.close()
        watch.close()
        assert watch.end(window) is None, "nobody has looked since"
