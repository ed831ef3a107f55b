"""What a layer and a stack hold, and who put it there."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from envtool.api import Package
from envtool.errors import MakeError, UsageError
from envtool.inspect import contents
from envtool.inspect.contents import PlacedLayer


def member(layer, name="deps", subject="layer") -> PlacedLayer:
    return PlacedLayer(subject=subject, name=name, kind="run", layer=layer, disk=4096)


def listed(tree):
    """A package manager whose database is /db: a line a package."""
    content = tree.read(["/db"]).get("/db", b"").decode()
    return [Package(type="fake", name=line, version="1", path="/db") for line in content.split()]


def owners(tree, path):
    del tree
    return [Package(type="fake", name="a", version="1", path="/db")] if path == "/usr/big" else []


PLUGIN = SimpleNamespace(envtool_packages=listed, envtool_owners=owners)


@pytest.fixture
def stack(make):
    def base(tree: Path) -> None:
        (tree / "usr").mkdir()
        (tree / "usr/big").write_bytes(b"x" * 9000)
        (tree / "usr/old").write_bytes(b"x" * 500)
        (tree / "db").write_text("a\nb\n")

    def upper(tree: Path) -> None:
        (tree / "usr").mkdir()
        (tree / "usr/big").write_bytes(b"y" * 70)
        (tree / "usr/link").symlink_to("big")
        (tree / "db").write_text("a\nb\nc\n")
        if os.geteuid() == 0:
            os.mknod(tree / "usr/old", 0o020600, os.makedev(0, 0))

    lower = make("base", base)
    return lower, make("deps", upper, below=[lower.diff_id], time=1.0, project="/p", where="envtool.yaml:3")


def test_a_layer(stack):
    lower, upper = stack
    report = contents.inspect_layer(member(upper), [lower], [PLUGIN], files=True)
    assert [each.name for each in report.brought or ()] == ["c"]
    assert report.below == (lower.key,)
    assert report.built["project"] == "/p"
    assert report.sums.size == 70 + 6
    assert report.sums.entries == len(report.files)
    assert report.sums.directories == (("/usr", 70), ("/", 6))
    assert [each.path for each in report.sums.files] == ["/usr/big", "/db"]
    assert contents.inspect_layer(member(upper), None, [PLUGIN], files=False).brought is None
    assert [each.name for each in contents.inspect_layer(member(lower), [], [PLUGIN], files=False).brought or ()] == [
        "a",
        "b",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="deletions are devices, which only root makes here")
def test_a_stack(stack):
    lower, upper = stack
    report = contents.inspect_env("unit", [member(lower, "base", "base"), member(upper)], [PLUGIN], files=True)
    assert report.packages == {"fake": 3}
    assert [(step.member.name, step.seen) for step in report.steps] == [("base", 0), ("deps", 76)]
    assert {(each.path, each.layer) for each in report.files} == {
        ("/db", 1), ("/usr", 1), ("/usr/big", 1), ("/usr/link", 1),
    }  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="deletions are devices, which only root makes here")
def test_a_path(stack):
    lower, upper = stack
    members = [member(lower, "base", "base"), member(upper)]
    big = contents.inspect_path("/usr/../usr/big", members, [PLUGIN])
    assert big.path == "/usr/big"
    assert big.there
    assert [(each.member.name, each.seen, each.file.size) for each in big.said] == [
        ("base", False, 9000),
        ("deps", True, 70),
    ]
    assert [each.name for each in big.owners] == ["a"]
    old = contents.inspect_path("/usr/old", members, [PLUGIN])
    assert not old.there
    assert [(each.member.name, each.file.type) for each in old.said] == [("base", "file"), ("deps", "deletion")]
    usr = contents.inspect_path("/usr", members, [PLUGIN])
    assert [each.seen for each in usr.said] == [True, True]
    assert contents.inspect_path("/nope", members, [PLUGIN]).said == ()


def test_what_fails_is_named(stack):
    lower, _ = stack

    def broken(tree):
        raise ValueError("no database")

    with pytest.raises(UsageError, match="failed in envtool_packages: ValueError: no database"):
        contents.inspect_env("unit", [member(lower)], [SimpleNamespace(envtool_packages=broken)], files=False)
    os.unlink(lower.manifest)
    with pytest.raises(MakeError, match="is damaged: its manifest"):
        contents.inspect_layer(member(lower), [], [], files=False)
