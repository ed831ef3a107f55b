"""What is kept of a service's files where `data:` names directories: those, and the way to them."""

from __future__ import annotations

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.services.prepared_state import keep_only


def grow(top, *paths):
    for path in paths:
        target = top / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir() if path.endswith("/") else target.write_text(path)


def tree(top):
    return {str(path.relative_to(top)) for path in top.rglob("*")}


def test_only_data_is_kept(tmp_path):
    grow(tmp_path, "srv/db/a", "srv/db/b/c", "srv/other", "etc/passwd", "file")
    keep_only(["/srv/db"], str(tmp_path))
    assert tree(tmp_path) == {"srv", "srv/db", "srv/db/a", "srv/db/b", "srv/db/b/c"}


@pytest.mark.parametrize("paths", [["/srv", "/srv/db"], ["/srv/db", "/srv"], ["/srv", "/srv"], ["/srv/"]])
def test_one_in_the_other(tmp_path, paths):
    grow(tmp_path, "srv/db/a", "srv/other", "file")
    keep_only(paths, str(tmp_path))
    assert tree(tmp_path) == {"srv", "srv/db", "srv/db/a", "srv/other"}


def test_neighbours_and_names_that_begin_alike(tmp_path):
    grow(tmp_path, "srv/db/a", "srv/dbx/a", "srv/d/a", "var/lib/x/a", "var/lib/y/a")
    keep_only(["/srv/db", "/var/lib/y"], str(tmp_path))
    assert tree(tmp_path) == {"srv", "srv/db", "srv/db/a", "var", "var/lib", "var/lib/y", "var/lib/y/a"}


def test_nothing_was_written(tmp_path):
    keep_only(["/srv/db"], str(tmp_path))
    assert tree(tmp_path) == set()
    grow(tmp_path, "srv/other/x")
    keep_only(["/srv/db"], str(tmp_path))
    assert tree(tmp_path) == {"srv"}


@pytest.mark.parametrize("what", ["file", "fifo", "link", "link to itself", "link to nothing", "socket"])
def test_something_else_in_the_way(tmp_path, what):
    """A link on the way to the data leads nowhere: neither is anything behind it kept, nor removed."""
    top, outside = tmp_path / "top", tmp_path / "outside"
    grow(tmp_path, "outside/db/a", "outside/b", "top/x/")
    place = top / "srv"
    match what:
        case "file":
            place.write_text("")
        case "fifo":
            os.mkfifo(place)
        case "socket":
            os.mknod(place, stat.S_IFSOCK | 0o600)
        case "link":
            place.symlink_to(outside)
        case "link to itself":
            place.symlink_to("srv")
        case _:
            place.symlink_to("nowhere")
    keep_only(["/srv/db"], str(top))
    assert tree(top) == set()
    assert tree(outside) == {"db", "db/a", "b"}


def test_data_that_is_a_link_stays_one(tmp_path):
    """It is a link in the service's container too, where it leads to a directory of that."""
    top, outside = tmp_path / "top", tmp_path / "outside"
    grow(tmp_path, "outside/a", "top/srv/x")
    (top / "srv/db").symlink_to(outside)
    keep_only(["/srv/db"], str(top))
    assert tree(top) == {"srv", "srv/db"}
    assert (top / "srv/db").is_symlink()
    assert tree(outside) == {"a"}


def test_links_among_what_is_removed(tmp_path):
    top, outside = tmp_path / "top", tmp_path / "outside"
    grow(tmp_path, "outside/a", "top/srv/db/x", "top/etc/y")
    (top / "etc/link").symlink_to(outside)
    (top / "link").symlink_to(outside)
    keep_only(["/srv/db"], str(top))
    assert tree(top) == {"srv", "srv/db", "srv/db/x"}
    assert tree(outside) == {"a"}


NAMES = st.sampled_from(["a", "b", "ab"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@given(files=st.sets(PATHS, max_size=8), kept=st.lists(PATHS, min_size=1, max_size=3))
def test_any_tree(tmp_path_factory, files, kept):
    top = tmp_path_factory.mktemp("tree")
    for path in files:
        os.makedirs(top / path, exist_ok=True)
    before = tree(top)
    keep_only([f"/{path}" for path in kept], str(top))
    below = {path for path in before if any(f"{path}/".startswith(f"{each}/") for each in kept)}
    ways = {path for path in before if any(f"{each}/".startswith(f"{path}/") for each in kept)}
    assert tree(top) == below | ways
