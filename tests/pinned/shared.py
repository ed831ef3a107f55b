"""What tests of this directory share: expectations, how outputs are normalised, and how trees of others are unpacked."""

from __future__ import annotations

import difflib
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.places import Place

GOLDEN = Path(__file__).parents[1] / "golden" / "pinned"
OLD = GOLDEN / "old"
PROGRAM = OLD / "root.tar.gz"  # the root file system of the pins: shell.c as /bin/sh
CALLER = 1 << 20  # the id of whoever made a tree, in archives: no id of a container

X86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the pins' shell is a program of x86-64")


@dataclass(frozen=True)
class Map:
    """Ids of a caller: `root` is the host's id of a container's root; `uid` and `gid` are the caller's."""

    root: int
    uid: int
    gid: int

    @classmethod
    def of(cls, place: Place) -> Map:
        """As the place's store says it: `range 0-300000-1000;… 0-300000-1000;…`."""
        idmap = json.loads((place.store / "store.json").read_text())["idmap"]
        return cls(int(idmap.split()[1].split("-")[1]), place.caller.uid, place.caller.gid)

    def inward(self, member: tarfile.TarInfo) -> tarfile.TarInfo:
        """For an archive."""
        member.uname = member.gname = ""
        member.uid = member.gid = 0 if member.uid == self.root and self.root != self.uid else CALLER
        return member

    def outward(self, member: tarfile.TarInfo) -> tarfile.TarInfo:
        """Out of an archive."""
        own = member.uid == CALLER
        member.uid, member.gid = (self.uid, self.gid) if own else (self.root, self.root)
        return member


def unpack(archive: Path, tree: Path, ids: Map) -> None:
    """What `pack` of make_old.py wrote, as files of another caller."""
    tree.mkdir(exist_ok=True)
    trusting = {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}  # not in Python 3.11.2
    with tarfile.open(archive) as tar:
        members = [ids.outward(member) for member in tar]
        for member in members:
            tar.extract(member, tree, numeric_owner=True, **trusting)
        for member in members:  # what came into a directory changed its time
            os.utime(tree / member.name, (member.mtime, member.mtime), follow_symlinks=False)


def golden(name: str, found: Any, *, among: Callable[[Any], Any] = lambda kept: kept) -> None:
    """Compare with tests/golden/pinned/NAME: JSON, or text where the name ends otherwise. ENVTOOL_UPDATE=1 writes it.

    `among` takes out of what is kept what this machine cannot show.
    """
    path = GOLDEN / name
    if os.environ.get("ENVTOOL_UPDATE"):
        path.write_text(found if isinstance(found, str) else json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert path.exists(), f"ENVTOOL_UPDATE=1 writes {name}: it has to be looked at"
    kept = path.read_text() if isinstance(found, str) else json.loads(path.read_text())
    if among(kept) != found:
        texts = [json.dumps(each, indent=1, ensure_ascii=False).splitlines() for each in (among(kept), found)]
        pytest.fail(
            "\n".join([f"{name} is not as it was", *difflib.unified_diff(*texts, "kept", "found", lineterm="", n=2)])
        )
