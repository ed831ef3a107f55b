"""Nothing differs if and only if the diff IDs are the same; and one change is named with its path and kind."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.store import canonical, compare_trees

EPOCH = 1_577_836_800

names = st.sampled_from(["a", "b", "c", "é", "x y", "z" * 120])
things = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["file", "file", "link", "hard", "directory", "fifo"]),
        "content": st.sampled_from([b"", b"one\n", b"two\n", b"\0\1", b"x" * 2000]),
        "mode": st.sampled_from([0o644, 0o755, 0o600]),
        "mtime": st.sampled_from([0, 1000, EPOCH]),
        "xattr": st.sampled_from([None, b"1", b"2"]),
    }
)
trees = st.dictionaries(st.lists(names, min_size=1, max_size=3).map(tuple), things, max_size=7)


def grow(top, tree) -> str:
    first = None
    os.mkdir(top)
    for path, what in tree.items():
        parent = os.path.join(top, *path[:-1])
        try:
            os.makedirs(parent, exist_ok=True)
        except OSError:  # a link or file is in the way
            continue
        place = os.path.join(parent, path[-1])
        if os.path.lexists(place):
            continue
        if what["type"] == "hard" and first:
            os.link(first, place)
        elif what["type"] == "link":
            os.symlink(what["content"].hex() or "x", place)
        elif what["type"] == "directory":
            os.mkdir(place)
            os.chmod(place, what["mode"] | 0o700)
        elif what["type"] == "fifo":
            os.mkfifo(place, what["mode"])
        else:
            with open(place, "wb") as file:
                file.write(what["content"])
            if what["xattr"]:
                os.setxattr(place, "user.x", what["xattr"])
            os.chmod(place, what["mode"])
            os.utime(place, (what["mtime"], what["mtime"]))
            first = first or place
    return top


@pytest.fixture(scope="module")
def top():
    path = tempfile.mkdtemp()
    yield path
    shutil.rmtree(path)


def two(top, one, other):
    paths = []
    for number, tree in enumerate((one, other)):
        path = os.path.join(top, str(number))
        shutil.rmtree(path, ignore_errors=True)
        paths.append(grow(path, tree))
    return paths


def digests(*paths):
    return [canonical.capture(path, EPOCH)[0] for path in paths]


@settings(max_examples=120, deadline=None)
@given(one=trees, other=trees)
def test_nothing_differs_exactly_where_the_diff_ids_are_the_same(top, one, other):
    for left, right in ((one, one), (one, other)):
        paths = two(top, left, right)
        first, second = digests(*paths)
        assert (compare_trees.compare_trees(*paths) == []) == (first == second)


def changed_content(path):
    with open(path, "ab") as file:
        file.write(b"more")
    os.utime(path, (1000, 1000))


def changed_type(path):
    os.unlink(path)
    os.mkdir(path)
    os.utime(path, (1000, 1000))


def changed_target(path):
    os.unlink(path)
    os.symlink("elsewhere", path)
    os.utime(path, (1000, 1000), follow_symlinks=False)


def unlinked(path):
    with open(path, "rb") as file:
        content = file.read()
    os.unlink(path)
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, 0o644)
    os.utime(path, (1000, 1000))


MUTATIONS = {
    "content": ("d/file", changed_content, "content"),
    "mode": ("d/file", lambda path: os.chmod(path, 0o4755), "mode"),
    "mode of a directory": ("d/e", lambda path: os.chmod(path, 0o700), "mode"),
    "time": ("d/file", lambda path: os.utime(path, (2000, 2000)), "time"),
    "time of a link": ("d/link", lambda path: os.utime(path, (2000, 2000), follow_symlinks=False), "time"),
    "target": ("d/link", changed_target, "link target"),
    "type": ("d/file", changed_type, "type"),
    "xattr": ("d/file", lambda path: os.setxattr(path, "user.a", b"b"), "xattr"),
    "gone": ("d/file", os.unlink, "only in the first"),
    "new": ("d/new", os.mkdir, "only in the second"),
    "hard link": ("d/second", unlinked, "hard link"),
    "opaque": ("d/e", lambda path: os.setxattr(path, "user.overlay.opaque", b"y"), "type"),
}
if os.geteuid() == 0:
    MUTATIONS["owner"] = ("d/file", lambda path: os.chown(path, 3, 4), "owner")
    MUTATIONS["deletion"] = ("d/new", lambda path: os.mknod(path, 0o020000, 0), "only in the second")


@pytest.mark.parametrize("name", MUTATIONS)
def test_one_change_is_named_with_its_path_and_kind(tmp_path, name):
    where, change, kind = MUTATIONS[name]
    paths = [str(tmp_path / side) for side in ("one", "two")]
    for path in paths:
        os.makedirs(f"{path}/d/e")
        for file in ("d/file", "d/linked", "other"):
            with open(f"{path}/{file}", "w") as out:
                out.write("text\n")
            os.utime(f"{path}/{file}", (1000, 1000))
        os.symlink("file", f"{path}/d/link")
        os.utime(f"{path}/d/link", (1000, 1000), follow_symlinks=False)
        os.link(f"{path}/d/linked", f"{path}/d/second")
    change(f"{paths[1]}/{where}")
    first, second = digests(*paths)
    assert first != second
    found = compare_trees.compare_trees(*paths)
    assert [path for path, _, _ in found] == [f"/{where}"]
    assert kind in found[0][1]
    if kind != "type":
        assert found[0][1] == [kind]
    assert compare_trees.compare_trees(*paths, ignored=compare_trees.KINDS) == []


def test_what_is_shown_of_text_and_of_bytes():
    assert compare_trees.diff_contents(b"a\nb\nc\n", b"a\nB\nc\n") == ["line 2:", "- b", "+ B"]
    assert compare_trees.diff_contents(b"\0\1\2", b"\0\1\3") == ["differ from byte 2 on: 02 / 03"]
    assert compare_trees.diff_contents(b"\0", b"\0\1") == ["1 and 2 bytes, differ from byte 1 on:  / 01"]
    many = compare_trees.diff_contents("\n".join(map(str, range(100))).encode(), b"")
    assert many[0] == "line 1:"
    assert "- … 94 more lines" in many
    assert "- … 1 more line" in compare_trees.diff_contents("\n".join(map(str, range(7))).encode(), b"")
