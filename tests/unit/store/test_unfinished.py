"""What is being made, what is being taken away, and what nobody is at: told apart by names and locks."""

from __future__ import annotations

import fcntl
import os
import threading
from unittest import mock

import pytest

from envtool.app import machine_checks
from envtool.errors import StoreError
from envtool.store import disk_usage, inventory, temp_dirs
from envtool.store.collect import remove_items
from envtool.store.store import Store, find_store, open_store


def here(function, *arguments, at):
    """Stands in for container.ids.inside."""
    assert arguments == (".",)
    return function(at)


@pytest.fixture
def store(tmp_path) -> Store:
    return open_store(environ={"ENVTOOL_STORE": str(tmp_path / "store")})


def fill(path, size=100_000):
    os.makedirs(f"{path}/upper/a", exist_ok=True)
    with open(f"{path}/upper/a/file", "wb") as file:
        file.write(b"x" * size)


def of(store) -> inventory.UnfinishedWork:
    return inventory.measure_unfinished(store, here)


def test_a_directory_of_something_else_is_no_store_for_who_only_looks_either(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVTOOL_STORE", str(tmp_path / "thesis"))
    monkeypatch.setattr(machine_checks, "check_machine", lambda root: ())
    (tmp_path / "thesis").mkdir()
    assert "is not a store" not in str(machine_checks.run_checks())
    (tmp_path / "thesis/x.tex").write_text("x")
    assert "is not a store: it holds x.tex" in str(machine_checks.run_checks())
    monkeypatch.setenv("ENVTOOL_STORE", "rel/store")
    with pytest.raises(StoreError) as caught:
        find_store()
    assert caught.value.hint.endswith("/rel/store")


def test_nothing(store):
    assert of(store) == inventory.UnfinishedWork()


def test_what_is_being_made(store):
    with temp_dirs.temp_directory(store) as top:
        fill(top)
        found = of(store)
    assert found.made > 100_000
    assert (found.going, found.left, found.stopped) == (0, 0, 0)
    assert of(store).size == 0


def test_what_a_killed_run_left(store):
    fill(store.path("tmp", "0123456789abcdef"))
    found = of(store)
    assert (found.made, found.going, found.stopped) == (0, 0, 1)
    assert found.left > 100_000


def test_all_that_a_remover_will_take_is_being_removed_from_the_first_moment(store):
    for number in range(5):
        fill(store.path("tmp", f"{number}" * 16))
    looked = []

    def refuse(path, *_):
        raise PermissionError(path)

    with mock.patch.object(temp_dirs.removal, "remove_tree", refuse):
        temp_dirs.sweep(store, remove=lambda path: (looked.append(of(store)), os.system(f"rm -r {path}")))
    assert len(looked) == 5
    assert not any(found.left for found in looked), "nobody will find it left"
    assert looked[0].going > 500_000
    assert of(store).size == 0


def test_what_is_being_swept_away(store):
    """It is seen from another process, whose descriptors hold no lock."""
    fill(store.path("tmp", "0123456789abcdef"))
    looked = []

    def remove(path):
        assert path.endswith(temp_dirs.REMOVAL_SUFFIX)
        looked.append(of(store))

    os.chmod(store.path("tmp", "0123456789abcdef", "upper"), 0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(temp_dirs.removal, "remove_tree", lambda path: (_ for _ in ()).throw(PermissionError(1, "no")))
        assert temp_dirs.sweep(store, remove=remove) == 0  # the stand-in removed nothing
    assert looked[0].going > 100_000
    assert (looked[0].made, looked[0].left) == (0, 0)
    # its process was killed: nobody is at it, and whoever is next takes it away
    assert of(store).left > 100_000
    assert temp_dirs.sweep(store) == 1
    assert of(store).size == 0


def test_what_gc_takes_away(store):
    """Layers are moved out of sight first; until they are gone they are what is going."""
    key = "ab" * 32
    fill(store.path("results", key))
    item = inventory.StoredItem(sort="result", name=key, size=1, used=0.0)
    found = []

    def remove(path):
        found.append(of(store))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(temp_dirs.removal, "remove_tree", lambda path: (_ for _ in ()).throw(PermissionError(1, "no")))
        with pytest.raises(PermissionError):
            remove_items(store, [item], remove=remove)
    assert found[0].going > 100_000
    assert found[0].made == 0


def test_a_file_and_what_cannot_be_looked_at(store):
    with open(store.path("tmp", "store.json.1.2"), "wb") as file:
        file.write(b"x" * 10_000)
    os.symlink("/", store.path("tmp", "link"))
    found = of(store)
    assert 10_000 < found.left < 30_000


def test_a_tree_that_vanishes_while_it_is_measured(store):
    top = store.path("tmp", "0123456789abcdef")
    for number in range(200):
        os.makedirs(f"{top}/{number}/x")
    thread = threading.Thread(target=temp_dirs.remove_tree, args=(top,))
    thread.start()
    while thread.is_alive():
        disk_usage.measure_changing(top)
    thread.join()
    assert disk_usage.measure_changing(top) == 0


def test_a_link_is_not_followed_and_one_file_counts_once(tmp_path):
    fill(tmp_path / "t")
    before = disk_usage.measure_changing(str(tmp_path / "t"))
    os.link(tmp_path / "t/upper/a/file", tmp_path / "t/upper/b")
    os.symlink("/usr", tmp_path / "t/upper/l")
    assert disk_usage.measure_changing(str(tmp_path / "t")) - before < 20_000
    os.symlink(tmp_path / "t", tmp_path / "link")
    assert disk_usage.measure_changing(str(tmp_path / "link")) < 20_000


def test_the_lock_of_what_is_made_stays(store):
    """To look takes no lock away, and keeps none."""
    with temp_dirs.temp_directory(store) as top:
        of(store)
        descriptor = os.open(top, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
