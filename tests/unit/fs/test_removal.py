"""Trees of every depth and kind are removed, and nothing beside them."""

from __future__ import annotations

import os
import socket
import traceback

import pytest

from envtool.fs.removal import remove_tree
from tests.places import nest

DEPTH = 1500


@pytest.fixture
def outside(tmp_path):
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (tmp_path / "outside" / "deep" / "file").write_text("theirs")
    return tmp_path / "outside"


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


@pytest.mark.parametrize("name", ["d", "directory-with-a-longer-name"])  # the second is far beyond PATH_MAX
def test_depth_has_no_bound(few_descriptors, tree, name):
    nest(str(tree), DEPTH, name)
    nest(str(tree), DEPTH, "beside")
    remove_tree(str(tree))
    assert not tree.exists()


def test_every_kind_of_entry_is_removed_and_no_link_followed(tree, outside):
    (tree / "below").mkdir()
    for where in (tree, tree / "below"):
        (where / "link").symlink_to(outside)
        (where / "dangling").symlink_to("nowhere")
        (where / "empty").mkdir()
        (where / "file").write_text("x")
        os.mkfifo(where / "fifo")
        os.link(outside / "deep" / "file", where / "hard")
        with open(os.fsencode(where) + b"/\xff\n", "wb"):
            pass
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tree / "socket"))
    listening.close()
    remove_tree(str(tree))
    assert not tree.exists()
    assert (outside / "deep" / "file").read_text() == "theirs"


def test_a_link_at_the_top_is_removed_itself(tmp_path, outside):
    (tmp_path / "link").symlink_to(outside)
    remove_tree(str(tmp_path / "link"))
    assert not os.path.lexists(tmp_path / "link")
    assert (outside / "deep" / "file").exists()


def test_a_file_and_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    remove_tree(str(tmp_path / "file"))
    remove_tree(str(tmp_path / "file"))
    remove_tree(str(tmp_path / "no" / "such"))
    assert os.listdir(tmp_path) == []


def test_below_a_descriptor(tree, tmp_path):
    nest(str(tree), 3, "d")
    top = os.open(tmp_path, os.O_PATH)
    remove_tree("tree", top)
    os.close(top)
    assert os.listdir(tmp_path) == []


def test_a_directory_that_moves_away_takes_nothing_with_it(tree, outside, monkeypatch):
    """What another process does between two steps: the way back must not lead into another directory."""
    nest(str(tree), 3, "d")
    (tree / "d" / "d" / "file").write_text("")
    unlink = os.unlink

    def moving(name, **where):
        if name == "file":
            os.rename(tree / "d" / "d", outside / "moved")
        unlink(name, **where)

    monkeypatch.setattr(os, "unlink", moving)
    with pytest.raises(OSError, match="moved while it was removed"):
        remove_tree(str(tree))
    assert (outside / "deep" / "file").exists()


def as_nobody(directory, function):
    """Runs a function as an ordinary user in a directory, in a process of its own."""
    child = os.fork()
    if not child:
        try:
            os.chdir(directory)
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            function()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("mode", [0o000, 0o100, 0o400, 0o500, 0o555])
def test_directories_without_rights_are_removed_by_their_owner(tmp_path, mode):
    os.chmod(tmp_path, 0o777)

    def check():
        nest("tree", 3, "d", top_file=True)
        for path in ("tree/d/d", "tree/d", "tree"):
            os.chmod(path, mode)
        remove_tree("tree")

    as_nobody(tmp_path, check)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_what_can_be_removed_is_and_the_error_names_the_rest(tmp_path):
    os.chmod(tmp_path, 0o777)

    def check():
        nest("tree/mine", 3, "d")
        os.mkdir("tree/theirs", 0o777)

    as_nobody(tmp_path, check)
    (tmp_path / "tree" / "theirs" / "file").write_text("root's")
    os.chown(tmp_path / "tree" / "theirs", 0, 0)
    os.chmod(tmp_path / "tree" / "theirs", 0o755)

    def fail():
        with pytest.raises(PermissionError) as raised:
            remove_tree("tree")
        assert raised.value.filename == "tree/theirs/file"

    as_nobody(tmp_path, fail)
    assert os.listdir(tmp_path / "tree") == ["theirs"]
