"""Archives into a tree that is in use."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from envtool.errors import BuildError
from envtool.store import unpack_archive
from tests.unit.store.archives import directory, hard, link, member, tar

ME = (os.geteuid(), os.getegid())


@pytest.fixture
def root(tmp_path) -> Path:
    """`t` is the target; what is around it must not change."""
    top = tmp_path / "root"
    (top / "t/full/of").mkdir(parents=True)
    (top / "t/full/of/things").write_text("mine")
    (top / "etc").mkdir()
    (top / "etc/passwd").write_text("mine")
    (top / "t/out").symlink_to("/etc")
    (top / "t/up").symlink_to("../etc")
    (top / "t/self").symlink_to("/t")
    return top


def unpack(root: Path, archive: bytes, target: str = "/t") -> list[str] | None:
    path = root.parent / "archive"
    path.write_bytes(archive)
    made = []
    found = unpack_archive.unpack_if_archive(str(path), target, ME, lambda: made.append(1), root=str(root))
    assert bool(made) == (found is not None)
    return found


WRONG = {
    "a link of the tree": (tar(member("out/x", b"x")), "'out/x' leads out of the target"),
    "a link upward": (tar(member("up/passwd", b"x")), "'up/passwd' leads out of the target"),
    "its own link": (tar(link("l", "/etc"), member("l/passwd", b"x")), "'l/passwd' leads out of the target"),
    "a link of a link": (tar(link("l", "out"), member("l/passwd", b"x")), "'l/passwd' leads out of the target"),
    "past the root": (tar(link("l", "../../../.."), member("l/x", b"x")), "'l/x' leads out of the target"),
    "a hard link through one": (tar(hard("h", "out/passwd")), "leads out of the target"),
    "a circle": (tar(link("l", "l"), member("l/x", b"x")), "'l/x' leads through symlinks without end"),
    "upward": (tar(member("x/../../y", b"x")), "'x/../../y' leads out"),
    "a deletion": (tar(member(".wh.x", b"x")), "begins with .wh."),
    "cut short": (gzip.compress(tar(member("x", bytes(100000))))[:-20], "the gzip stream ends too early"),
    "below a file": (tar(member("f", b"x"), member("f/x", b"x")), "'f/x' lies below one that is no directory"),
    "a hard link to nothing": (tar(hard("h", "none")), "'h' is a hard link to what is no file"),
    "a hard link to a directory": (tar(hard("h", "full")), "'h' is a hard link to what is no file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused(root, case):
    archive, said = WRONG[case]
    with pytest.raises(BuildError, match=said.replace(".", r"\.")):
        unpack(root, archive)
    assert {path.name: path.read_text() for path in (root / "etc").iterdir()} == {"passwd": "mine"}
    assert {path.name for path in root.iterdir()} == {"t", "etc"}


def test_no_archive_is_told_from_a_damaged_one(root):
    for content in (
        b"",
        b"text",
        bytes(10240),
        b"\x1f\x8b",
        gzip.compress(b"text"),
        b"PK\x03\x04",
        b"\x28\xb5\x2f\xfd no",
    ):
        assert unpack(root, content) is None, content


def test_what_is_there_is_replaced_or_merged(root):
    (root / "t/first").write_text("one")
    os.link(root / "t/first", root / "t/second")
    archive = tar(member("self/first", b"new"), member("up", b"a file"), link("full", "nowhere"), directory("out"),
                  member("out/x", b"x"), hard("third", "second"), member("/etc/y", b"y"))  # fmt: skip
    assert unpack(root, archive) == []
    there = root / "t"
    assert [(there / name).read_text() for name in ("first", "second", "third", "up", "etc/y")] == [
        "new",
        "one",
        "one",
        "a file",
        "y",
    ]
    assert os.readlink(there / "full") == "nowhere"
    assert [path.name for path in (there / "out").iterdir()] == ["x"]
    assert [path.name for path in (root / "etc").iterdir()] == ["passwd"]


def test_members_that_a_later_one_takes_the_place_of(root):
    archive = tar(directory("d", mode=0o700), member("d/x", b"x"), member("d", b"file"), directory("e", mode=0o711),
                  member("e", b"x"), directory("e", mode=0o750), member("e/y", b"y"))  # fmt: skip
    assert unpack(root, archive) == []
    assert (root / "t/d").read_text() == "file"
    assert (root / "t/e").stat().st_mode & 0o7777 == 0o750
    assert os.listdir(root / "t/e") == ["y"]


DEEP = 1010  # Python's stack ends at a thousand


@pytest.fixture
def deep(root) -> Iterator[Path]:
    """With directories below one another in the target, each with a file."""
    at = os.open(root / "t", os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("d", dir_fd=at)
        inner = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(os.open("f", os.O_CREAT, dir_fd=inner))
        os.close(at)
        at = inner
    os.close(at)
    yield root
    subprocess.run(["rm", "-rf", root / "t"], check=True)  # Python's own rmtree recurses


OVER_DEEP = {
    "a file": tar(member("d", b"file")),
    "below it": tar(member("d/" * 200 + "f", b"new"), directory("d/" * 200, mode=0o711)),
    "a hard link": tar(hard("d", "full/of/things")),
}


@pytest.mark.parametrize("case", OVER_DEEP)
def test_a_tree_that_is_deeper_than_any_archive_may_be(deep, case):
    assert unpack(deep, OVER_DEEP[case]) == []
    assert (deep / "t/d").is_dir() == (case == "below it")


def test_a_target_that_is_deeper_than_any_archive_may_be(deep):
    assert unpack(deep, tar(member("new/x", b"x"), directory("d", mode=0o711)), "/t" + "/d" * DEEP) == []
    assert os.path.exists(str(deep / "t") + "/d" * DEEP + "/new/x")
