"""Caches of tasks in the store: the last whole one wins, nobody waits, and a killed run leaves the former one whole."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.store import cache_generations, inventory, locks
from envtool.store.cache_generations import MAX_CHAIN, Publication, lease_cache, publish_draft, sweep_generations
from envtool.store.collect import MAX_CACHES_SIZE, GcPolicy, select_removals
from envtool.store.inventory import Inventory, StoredItem
from envtool.store.merge_trees import merge_trees
from envtool.store.store import open_store
from envtool.store.temp_dirs import remove_tree, temp_directory

KEY, LABEL = "0123456789abcdef" * 2, {"env": "unit", "path": "/project/target"}


def as_root(function, *arguments, at="", cancel=-1):
    return function(*arguments)


MEANS = Publication(as_root, remove_tree, lambda path: None, lambda path: None)


@pytest.fixture
def store(tmp_path):
    return open_store(environ={"ENVTOOL_STORE": str(tmp_path / "store")})


def write(store, files, *, record=None, lease=None, means=MEANS, fresh=False) -> bool:
    """One run that writes these files."""
    with temp_directory(store) as top, lease_cache(store, KEY, LABEL) as own:
        draft = cache_generations.make_draft(f"{top}/0")
        for name, text in files.items():
            path = Path(draft, "tree", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        published = publish_draft(store, lease or own, draft, record or {}, means, fresh=fresh)
    sweep_generations(store, KEY, remove_tree)
    return published


def content(store) -> dict[str, str]:
    """The files of the last whole cache."""
    with lease_cache(store, KEY, LABEL) as lease:
        found: dict[str, str] = {}
        for generation in lease.chain:
            tree = Path(cache_generations.tree_path(store, KEY, generation))
            for path in tree.rglob("*"):
                if path.is_file():
                    found.setdefault(str(path.relative_to(tree)), path.read_text())
        return found


def generations(store) -> list[str]:
    directory = cache_generations.cache_directory(store, KEY)
    return [name for name in os.listdir(directory) if name != "head"]


def test_each_run_adds_to_the_last_one(store):
    assert content(store) == {}
    for number in range(3 * MAX_CHAIN):
        assert write(store, {f"d/{number}": "x", "last": str(number)}, record={"used": number})
        assert content(store) == {**{f"d/{n}": "x" for n in range(number + 1)}, "last": str(number)}
        assert len(generations(store)) <= MAX_CHAIN
    with lease_cache(store, KEY, LABEL) as lease:
        assert lease.record == {"used": 3 * MAX_CHAIN - 1}
    assert cache_generations.read_label(store, KEY) == LABEL


def test_a_run_that_wrote_nothing_changes_nothing(store):
    write(store, {"a": "1"}, record={"used": 1})
    head = Path(cache_generations.cache_directory(store, KEY), "head").read_bytes()
    assert not write(store, {}, record={"used": 2})
    assert Path(cache_generations.cache_directory(store, KEY), "head").read_bytes() == head


def test_the_last_of_two_wins_and_neither_sees_the_other(store):
    write(store, {"a": "1"})
    with lease_cache(store, KEY, LABEL) as first, lease_cache(store, KEY, LABEL) as second:
        assert first.chain == second.chain
        write(store, {"a": "one", "b": "one"}, lease=first)
        for number in range(2 * MAX_CHAIN):
            write(store, {f"more{number}": ""})
        assert all(os.path.isdir(cache_generations.tree_path(store, KEY, name)) for name in second.chain)
        write(store, {"a": "two"}, lease=second)
        assert content(store) == {"a": "two"}
    write(store, {"c": "3"})
    assert len(generations(store)) == 3, "what nobody uses is gone"


def test_a_fresh_one_replaces_all(store):
    write(store, {"a": "1"})
    write(store, {"b": "1"}, fresh=True)
    assert content(store) == {"b": "1"}
    assert len(generations(store)) == 1


@pytest.mark.parametrize("damage", [b"", b"envtool\n", b"x" * 100])
def test_a_damaged_head_is_an_empty_cache(store, damage):
    write(store, {"a": "1"})
    Path(cache_generations.cache_directory(store, KEY), "head").write_bytes(damage)
    assert content(store) == {}
    write(store, {"b": "2"})
    assert content(store) == {"b": "2"}
    assert len(generations(store)) == 1


def test_a_generation_that_is_gone_is_an_empty_cache(store):
    write(store, {"a": "1"})
    (name,) = generations(store)
    remove_tree(os.path.join(cache_generations.cache_directory(store, KEY), name))
    assert content(store) == {}


@pytest.mark.parametrize("step", ["rename", "fsync", "replace", "sync"])
def test_stopped_at_each_step_the_former_one_stays(store, monkeypatch, step):
    write(store, {"a": "1"})

    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if step != "sync":
            patch.setattr(cache_generations.os, step, fail)
        with pytest.raises(OSError, match="No space"):
            write(store, {"a": "2"}, means=MEANS._replace(sync=fail) if step == "sync" else MEANS)
    assert content(store) == {"a": "1"}
    write(store, {"b": "1"})
    assert content(store) == {"a": "1", "b": "1"}
    assert len(generations(store)) == 2


def test_gc_leaves_what_is_in_use(store):
    write(store, {"a": "1"})
    item = StoredItem(sort="cache", name=f"{KEY}/0", size=1, used=0.0)
    with lease_cache(store, KEY, LABEL), locks.try_exclusive(store, inventory.item_lock(item)) as acquired:
        assert not acquired
    with locks.try_exclusive(store, inventory.item_lock(item)) as acquired:
        assert acquired


def test_all_caches_together_are_bounded():
    caches = [StoredItem(sort="cache", name=f"{n}/0", size=9_000_000_000, used=float(n)) for n in range(1, 5)]
    layer = StoredItem(sort="layer", name="l", size=90_000_000_000, used=0.5)
    inventory_now = Inventory(items=(*caches, layer), sheets={}, uses=(), halves=(), rest=0)
    gone = select_removals(inventory_now, GcPolicy(now=10.0))
    assert [item.name for item in gone] == ["1/0", "2/0"]
    assert MAX_CACHES_SIZE == 20_000_000_000
    assert select_removals(inventory_now, GcPolicy(now=10.0, caches_size=1 << 40)) == ()


# ---- merging ---------------------------------------------------------------------------------------------------------

ENTRY = st.sampled_from(("file", "link", "directory", "opaque", "whiteout"))
PATHS = st.sampled_from(("a", "b", "a/a", "a/b", "b/a", "a/a/a", "a/a/b"))
TREES = st.lists(st.dictionaries(PATHS, ENTRY, max_size=6), min_size=1, max_size=4)


def make_tree(top: Path, entries: dict[str, str], number: int) -> None:
    top.mkdir()
    for name in sorted(entries):
        path, kind = top / name, entries[name]
        parents = [top / parent for parent in reversed(path.relative_to(top).parents)]
        if any(os.path.lexists(parent) and (parent.is_symlink() or not parent.is_dir()) for parent in parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "file":
            path.write_text(f"{number} {name}")
        elif kind == "link":
            path.symlink_to(f"/{number}")
        elif kind == "whiteout":
            os.mknod(path, stat.S_IFCHR | 0o600, 0)
        else:
            path.mkdir(exist_ok=True)
            if kind == "opaque":
                os.setxattr(path, "user.overlay.opaque", b"y")


def listing(top: Path) -> dict[str, str]:
    found = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if not os.path.lexists(path):  # a deletion of nothing, which the kernel lists where it merges nothing
            continue
        found[name] = f"-> {os.readlink(path)}" if path.is_symlink() else "d" if path.is_dir() else path.read_text()
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@settings(max_examples=30)
@given(TREES)
def test_a_merged_tree_is_what_the_kernel_shows(tmp_path_factory, trees):
    top = tmp_path_factory.mktemp("merge")
    for number, entries in enumerate(trees):
        make_tree(top / str(number), entries, number)
    for name in ("up", "work", "seen", "none"):
        (top / name).mkdir()
    lowers = ":".join([*(str(top / str(number)) for number in range(len(trees))), str(top / "none")])
    options = f"lowerdir={lowers},upperdir={top}/up,workdir={top}/work,userxattr"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(top / "seen")], check=True)
    try:
        expected = listing(top / "seen")
    finally:
        subprocess.run(["umount", str(top / "seen")], check=True)
    opened = [os.open(top / str(number), os.O_PATH) for number in range(len(trees))]
    parent = os.open(top, os.O_PATH)
    try:
        merge_trees(opened, parent, "merged")
    finally:
        for descriptor in (*opened, parent):
            os.close(descriptor)
    assert listing(top / "merged") == expected


def test_merged_files_are_the_same_files_with_their_directories_modes_and_times(tmp_path):
    for number, mode in ((0, 0o700), (1, 0o755)):
        directory = tmp_path / str(number) / "d"
        directory.mkdir(parents=True)
        (directory / f"f{number}").write_text("x")
        directory.chmod(mode)
        os.utime(directory, ns=(1, 5 + number))
    opened = [os.open(tmp_path / name, os.O_PATH) for name in ("0", "1", ".")]
    assert merge_trees(opened[:2], opened[2], "merged") == 3
    for descriptor in opened:
        os.close(descriptor)
    merged = tmp_path / "merged" / "d"
    assert stat.S_IMODE(merged.stat().st_mode) == 0o700
    assert merged.stat().st_mtime_ns == 5
    assert (merged / "f1").samefile(tmp_path / "1" / "d" / "f1")
