"""Symlinks of a tree that is not the root."""

from __future__ import annotations

import os
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.fs.rootpaths import resolve_in_root


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/file").write_text("")
    (tmp_path / "lib").symlink_to("usr/lib")
    (tmp_path / "abs").symlink_to("/usr/lib/file")
    (tmp_path / "out").symlink_to("../../../../../etc")
    (tmp_path / "round").symlink_to("round")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/lib/file", "usr/lib/file"),
        ("abs", "usr/lib/file"),
        ("lib/../lib/./file", "usr/lib/file"),
        ("out/passwd", "etc/passwd"),
        ("../../etc", "etc"),
        ("lib/gone/x", "usr/lib/gone/x"),
        ("", ""),
        ("/", ""),
    ],
)
def test_paths_stay_inside(tree, path, place):
    assert resolve_in_root(str(tree), path) == str(tree / place)


def test_the_last_one_can_be_left(tree):
    assert resolve_in_root(str(tree), "abs", last=False) == f"{tree}/abs"
    assert resolve_in_root(str(tree), "lib/../abs", last=False) == f"{tree}/usr/abs"  # as the kernel has it


def test_a_link_to_itself_ends(tree):
    with pytest.raises(OSError, match="symbolic links"):
        resolve_in_root(str(tree), "round")


NAMES = st.sampled_from(["a", "b", "..", ".", "", "c"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.lists(NAMES, min_size=1, max_size=4), st.booleans()), max_size=3),
       st.lists(NAMES, max_size=5))  # fmt: skip
def test_nothing_leads_out(links, path):
    with tempfile.TemporaryDirectory() as top:
        for name, target, absolute in links:
            if not os.path.lexists(f"{top}/{name}"):
                os.symlink(("/" if absolute else "") + "/".join(target) or ".", f"{top}/{name}")
        try:
            found = resolve_in_root(top, "/".join(path))
        except OSError:
            return
        assert found == top or found.startswith(f"{top}/")
        assert ".." not in found.split("/")
