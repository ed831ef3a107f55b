"""A layer whose tree belongs to container ids: built into, captured, found and removed."""

from __future__ import annotations

import json
import os

import pytest

from envtool.container import userns
from envtool.store import canonical, layers
from envtool.store.store import open_store
from envtool.store.temp_dirs import sweep

pytestmark = pytest.mark.e2e


def fill() -> None:
    os.mkdir("closed", 0o700)
    with open("closed/secret", "w") as file:
        file.write("x")
    os.chmod("closed/secret", 0)
    os.chown("closed/secret", 0, 0)
    os.mknod("gone", 0o020000, 0)
    os.chmod("closed", 0)


def test_a_tree_of_container_ids(tmp_path):
    store = open_store(environ={"ENVTOOL_STORE": str(tmp_path / "store")})
    assert os.stat(store.root).st_mode & 0o777 == 0o700
    with layers.open_draft(store, "k" * 64, remove=userns.remove_as_root) as draft:
        userns.give_to_root(draft.upper)
        userns.run_as_root(fill, at=draft.upper)
        with open(draft.manifest, "wb") as sheet:
            captured = userns.run_as_root(canonical.capture, ".", 1000, ("/none",), sheet.fileno(), at=draft.upper)
        layer = draft.commit(captured, {"kind": "test"})
    assert layer.entries == 3
    with open(layer.manifest, "rb") as file:
        records = file.read().split(b"\0")
    assert [record.split(b" ")[:4] for record in records[:-1]] == [
        [b"w", b"0", b"0", b"0"],
        [b"d", b"0", b"0", b"0"],
        [b"f", b"0", b"0", b"0"],
    ]
    assert json.dumps(dict(layer.document)) == '{"kind": "test"}'
    userns.remove_as_root(os.path.dirname(layer.tree))
    assert os.listdir(store.path("layers")) == []


def test_a_build_that_fails_or_dies_leaves_nothing(tmp_path):
    store = open_store(environ={"ENVTOOL_STORE": str(tmp_path / "store")})
    with pytest.raises(RuntimeError), layers.open_draft(store, "k" * 64, remove=userns.remove_as_root) as draft:
        userns.give_to_root(draft.upper)
        userns.run_as_root(fill, at=draft.upper)
        raise RuntimeError
    assert os.listdir(store.path("tmp")) == []
    dead = store.path("tmp", "dead")
    os.mkdir(dead)
    userns.give_to_root(dead)
    userns.run_as_root(fill, at=dead)
    assert sweep(store, remove=userns.remove_as_root) == 1
    assert os.listdir(store.path("tmp")) == []
