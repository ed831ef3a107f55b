from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.container import messages, output_patterns, outputs


def stream(*frames, chunk=1 << 16) -> list[bytes]:
    whole = b""
    for frame, *data in frames:
        head = messages.pack(*frame)
        whole += len(head).to_bytes(4, "little") + head + b"".join(data)
    return [whole[at : at + chunk] for at in range(0, len(whole), chunk)]


def receive(directory, *frames, chunk=1 << 16):
    receiver = outputs.OutputReceiver(str(directory), owned=False)
    for piece in stream(*frames, chunk=chunk):
        read, write = os.pipe()
        os.write(write, piece)
        os.close(write)
        assert receiver.feed(read)
        os.close(read)
    paths, notes = receiver.finish()
    return paths, (*filter(None, [receiver.lost]), *notes)


def file(path, data=b"x", mode=0o644):
    return [(("file", path, mode, 10**9, len(data)),), (("data", 0, len(data)), data), (("end",),)]


@pytest.mark.parametrize("chunk", [1, 7, 1 << 16])
def test_frames_may_come_in_pieces(tmp_path, chunk):
    paths, notes = receive(tmp_path, *file("a/b", b"hello"), (("link", "l", "a/b"),), (("note", "n"),), chunk=chunk)
    assert paths == ("a/b", "l")
    assert notes == ("n",)
    assert (tmp_path / "a/b").read_bytes() == b"hello"
    assert (tmp_path / "a/b").stat().st_mtime == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "l"]


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "", ".", "a//x", "..", "a/.."])
def test_no_path_leaves(tmp_path, path):
    inside = tmp_path / "in"
    inside.mkdir()
    paths, notes = receive(inside, *file(path))
    assert paths == ()
    assert len(notes) == 1
    assert [p for p in tmp_path.rglob("*") if not p.is_dir()] == []


def test_symlinks_of_the_destination_are_not_followed(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "d").symlink_to(outside)
    (inside / "f").symlink_to(outside / "f")
    paths, notes = receive(inside, *file("d/x"), *file("f", b"new"))
    assert paths == ("f",)  # replaced, not written through
    assert not (inside / "f").is_symlink()
    assert notes[0].startswith("d/x: `d` in the way is not a directory")
    assert list(outside.iterdir()) == []


def test_a_directory_in_the_way_of_a_file(tmp_path):
    (tmp_path / "d" / "e").mkdir(parents=True)
    paths, notes = receive(tmp_path, *file("d"), *file("ok"))
    assert paths == ("ok",)
    assert notes[0].startswith("d: ")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".envtool")]


def test_modes(tmp_path):
    receive(tmp_path, *file("a", mode=0o6755), *file("b", mode=0))
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "b").stat().st_mode & 0o7777 == 0o600


def test_half_a_file_is_no_file(tmp_path):
    assert receive(tmp_path, *file("a")[:2]) == ((), ())
    assert list(tmp_path.iterdir()) == []


@given(
    parents=st.lists(st.sampled_from("ab"), max_size=3),
    parts=st.lists(st.sampled_from(["..", ".", "a", "b"]), max_size=6),
)
def test_a_link_that_is_taken_stays_inside(parents, parts):
    if not outputs._leaves_project(parents, parts):
        whole = os.path.normpath("/".join(["top", *parents, *parts]))
        assert whole == "top" or whole.startswith("top/")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a", ["a"]),
        ("*.txt", ["x.txt"]),
        ("**", ["a/b/f.txt", "a/g.txt", "x.txt"]),
        ("**/*.txt", ["a/b/f.txt", "a/g.txt", "x.txt"]),
        ("a/**/f.txt", ["a/b/f.txt"]),
        ("a/*/f.txt", ["a/b/f.txt"]),
        (".hidden", [".hidden"]),
        (".h*", [".hidden"]),
        ("l/*", []),
        ("[xy].txt", ["x.txt"]),
        ("none", []),
    ],
)
def test_patterns(tmp_path, monkeypatch, pattern, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/b/f.txt", "a/g.txt", "x.txt", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "l").symlink_to("a")
    found = sorted(output_patterns.find_matches(pattern.split("/"))[0])
    if pattern == "**":
        assert set(expected) <= set(found)
    else:
        assert found == expected
