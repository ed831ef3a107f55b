"""A disk without room for one more file is the one that gc has to work on."""

from __future__ import annotations

import errno
import os
import time

import pytest

from envtool.store import inventory, locks, temp_dirs
from envtool.store.collect import GcPolicy
from envtool.store.gc import gc
from envtool.store.store import open_store


class Disk:
    """Stands for one that is full until something was unlinked: no file can be made, and nothing written."""

    def __init__(self, patch, store):
        self.full = True
        opened, made, pwrite, unlink = os.open, os.mkdir, os.pwrite, os.unlink

        def make(call):
            def made(path, *arguments, **more):
                creates = call is not opened or (arguments and arguments[0] & os.O_CREAT and not os.path.exists(path))
                if self.full and creates:
                    raise OSError(errno.ENOSPC, "No space left on device", path)
                return call(path, *arguments, **more)

            return made

        def write(descriptor, *arguments):
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return pwrite(descriptor, *arguments)

        def remove(path, **more):
            there = os.path.lexists(path)
            unlink(path, **more)
            self.full = self.full and not there

        patch.setattr(os, "open", make(opened))
        patch.setattr(os, "mkdir", make(made))
        patch.setattr(os, "pwrite", write)
        patch.setattr(os, "unlink", remove)
        patch.setattr(temp_dirs, "_has_minimum", lambda store: not self.full)


@pytest.fixture
def store(tmp_path):
    found = open_store(environ={"ENVTOOL_STORE": str(tmp_path / "store")})
    os.makedirs(found.path("results", "ab" * 32))
    with open(found.path("results", "ab" * 32, "x"), "w") as file:
        file.write("x")
    return found


@pytest.mark.parametrize("room", ["plans", "blobs/partial"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_gc_makes_room_for_itself(store, monkeypatch, room, dry_run):
    os.makedirs(store.path(*room.split("/")), exist_ok=True)
    with open(store.path(*room.split("/"), "x"), "w") as file:
        file.write("x")
    Disk(monkeypatch, store)
    _, done = gc(
        store,
        lambda found: GcPolicy(now=time.time(), older_than=-1.0),
        inside=lambda function, *arguments, at: 0,
        remove=lambda path: None,
        dry_run=dry_run,
    )
    assert [item.sort for item in done.gone] == ["result"]
    assert os.path.exists(store.path("results", "ab" * 32)) == dry_run


def test_a_lock_on_a_full_disk_is_one(store, monkeypatch):
    with locks.exclusive(store, "x"):
        pass
    Disk(monkeypatch, store)
    with locks.exclusive(store, "x"), locks.try_exclusive(store, "x") as mine:
        assert not mine


def test_with_room_nothing_goes(store):
    with open(store.path("plans", "x"), "w") as file:
        file.write("x")
    temp_dirs.free_minimum(store)
    assert os.listdir(store.path("plans")) == ["x"]
    assert os.listdir(store.path("tmp")) == []
    assert inventory.list_names(store, "tmp") == []
