"""What goes and what stays, and that whatever stays is whole, whenever it is killed."""

from __future__ import annotations

import contextlib
import json
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool import keys
from envtool.fs import store_files
from envtool.store import answer_cache, blobs, caches, collect, disk_usage, inventory, layers, leases, locks
from envtool.store.collect import MAX_UNUSED_AGE, GcPolicy, select_removals
from envtool.store.gc import gc
from envtool.store.inventory import Inventory, LastUse, StoredItem, digests_in_locks
from envtool.store.leases import Leases
from envtool.store.temp_dirs import remove_tree

NOW = 1_800_000_000.0
DAY = 86400.0


def here(function, *arguments, at):
    """Stands in for container.ids.inside: these trees belong to whoever runs the tests."""
    before = os.getcwd()
    os.chdir(at)
    try:
        return function(*arguments)
    finally:
        os.chdir(before)


@pytest.fixture(autouse=True)
def _one_worker(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})  # `here` changes the directory of the process


def content(name: str) -> str:
    return f"sha256:{keys.digest(name)}"


def make(store, name: str, *, below=(), files=(), used=0.0, project="", size=5000) -> str:
    """A layer whose diff ID is `content(name)`; its key."""
    document = {
        "kind": "layer:run",
        "name": name,
        "below": [*map(content, below)],
        "files": [[sha, sha] for sha in files],
    }
    key = keys.digest(document)
    tree = store.path("layers", key, "tree")
    os.makedirs(tree)
    with open(os.path.join(tree, "file"), "wb") as file:
        file.write(b"x" * size)
    with open(store.path("layers", key, "manifest"), "wb") as file:
        file.write(b"f 644 0 0 %d:0 file\0" % size)
    stored = {"diff_id": content(name), "size": 1, "entries": 1, "document": document, "built": {"project": project}}
    with open(store.path("layers", key, "layer.json"), "w") as file:
        json.dump(stored, file)
    os.close(layers.hold_layer(store, key))
    for path in (store.path("layers", key, "layer.json"), store.path("locks", layers.layer_lock_name(key))):
        os.utime(path, (used, used))
    return key


def blob(store, content: bytes, used: float) -> str:
    import hashlib

    sha256 = hashlib.sha256(content).hexdigest()
    source = f"{store.root}.blob"  # not in tmp/, where gc removes what has no lock
    with open(source, "wb") as file:
        file.write(content)
    path = blobs.put(store, source, sha256)
    os.utime(path, (used, used))
    return sha256


def run(store, *, dry_run=False, **how):
    return gc(
        store,
        lambda found: GcPolicy(now=NOW, named=digests_in_locks(found.projects), **how),
        inside=here,
        remove=remove_tree,
        dry_run=dry_run,
    )


def standing(store) -> set[str]:
    return {*os.listdir(store.path("layers"))}


# ---- deciding ------------------------------------------------------------------------------------------------------

ITEMS = st.lists(
    st.builds(
        StoredItem,
        sort=st.sampled_from(["layer", "file", "result"]),
        name=st.integers(0, 40).map(str),
        size=st.integers(0, 1000),
        used=st.integers(0, 100).map(lambda days: NOW - days * DAY),
        height=st.integers(0, 5),
    ),
    unique_by=lambda item: item.name,
)


def whole(items) -> Inventory:
    return Inventory(items=tuple(items), sheets={}, uses=(), halves=(), rest=7)


@given(ITEMS, st.sets(st.integers(0, 40).map(str)), st.sets(st.integers(0, 40).map(str)), st.integers(0, 5000))
def test_a_size_is_kept_by_what_is_of_least_use(items, lock, spare, limit):
    policy = GcPolicy(now=NOW, by_age=False, keep_size=limit, named=frozenset(lock), spare=frozenset(spare))
    gone = select_removals(whole(items), policy)
    stays = [item for item in items if item not in gone]
    assert not {item.name for item in gone} & spare
    if sum(item.size for item in stays) + 7 > limit:
        assert {item.name for item in stays} <= spare
    elif gone:  # not one more than it takes
        assert sum(item.size for item in stays) + 7 + gone[-1].size > limit
    ranks = [collect.removal_order(item, policy) for item in gone]
    assert ranks == sorted(ranks)
    free = [collect.removal_order(item, policy) for item in stays if item.name not in spare]
    assert not gone or not free or max(ranks) < min(free)


@given(ITEMS, st.sets(st.integers(0, 40).map(str)))
def test_by_default_goes_what_is_old_and_in_no_lock(items, lock):
    gone = select_removals(whole(items), GcPolicy(now=NOW, named=frozenset(lock)))
    assert {*gone} == {item for item in items if item.used < NOW - MAX_UNUSED_AGE and item.name not in lock}
    assert {*select_removals(whole(items), GcPolicy(now=NOW, named=frozenset(lock), older_than=5 * DAY))} == {
        item for item in items if item.used < NOW - 5 * DAY
    }


@given(ITEMS, st.integers(0, 3000))
def test_room_is_made_and_no_more(items, wanted):
    gone = select_removals(whole(items), GcPolicy(now=NOW, by_age=False, room=wanted))
    assert sum(item.size for item in gone) >= min(wanted, sum(item.size for item in items))
    assert not gone or sum(item.size for item in gone[:-1]) < wanted


def test_what_a_layer_stands_on_is_used_whenever_it_is(store):
    base = make(store, "a", used=NOW - 50 * DAY)
    middle = make(store, "b", below=["a"], used=NOW - 60 * DAY)
    top = make(store, "c", below=["a", "b"], used=NOW - 70 * DAY)
    with open(store.path("plans", "00000000"), "wb") as file:
        place = store.path("layers", top, "layer.json")
        file.write(store_files.encode_with_checksum({"spec": "/p/envtool.yaml", "env": "unit", "watch": [(place, ())]}))
    os.utime(file.name, (NOW - DAY, NOW - DAY))
    found = inventory.take_inventory(store, here)
    assert {item.name: item.used for item in found.items} == dict.fromkeys([base, middle, top], NOW - DAY)
    # and so the top of an unused stack goes before the rest of it
    first = select_removals(found, GcPolicy(now=NOW, by_age=False, keep_size=found.size - 1))
    assert [item.name for item in first] == [top]


def test_locks_name_what_stays(tmp_path):
    one, two, three = "a" * 64, "b" * 64, "c" * 64
    (tmp_path / "envtool.yaml").write_text("")
    (tmp_path / "envtool.lock").write_text(f'{{"key": "{one}", "diff_id": "sha256:{two}"}} {three}0')
    (tmp_path / "uv.lock").write_text(three)  # not ours: there is no uv.yaml
    assert digests_in_locks([str(tmp_path), "/nowhere"]) == {one, two}


# ---- removing ------------------------------------------------------------------------------------------------------


def test_what_is_old_goes_whole_and_what_is_used_stays(store, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    old = make(store, "old", used=NOW - 40 * DAY, project=str(project))
    locked = make(store, "locked", used=NOW - 41 * DAY, project=str(project))
    new = make(store, "new", used=NOW - DAY)
    (project / "envtool.yaml").write_text("")
    (project / "envtool.lock").write_text(locked)
    stale, fresh = blob(store, b"stale", NOW - 40 * DAY), blob(store, b"fresh", NOW - DAY)
    before, would = run(store, dry_run=True)
    assert standing(store) == {old, locked, new}
    assert {item.name for item in would.gone} == {old, stale}
    found, done = run(store)
    assert found.size == before.size
    assert done.gone == would.gone
    assert done.freed == sum(item.size for item in done.gone) > 8192
    assert standing(store) == {locked, new}
    assert not blobs.has(store, stale)
    assert blobs.has(store, fresh)
    assert os.listdir(store.path("tmp")) == []
    assert {item.name for item in run(store, older_than=0.0)[1].gone} == {locked, new, fresh}


def test_what_is_held_stays(store):
    held, free = make(store, "a"), make(store, "b")
    wanted, other = blob(store, b"wanted", 0.0), blob(store, b"other", 0.0)
    mine = Leases()
    assert mine.find_layer(store, held) is not None
    mine.lease_blobs(store, [wanted])
    for path in (store.path("locks", layers.layer_lock_name(held)), blobs.path(store, wanted)):
        os.utime(path, (0, 0))
    assert {item.name for item in run(store, dry_run=True)[1].busy} == {held, wanted}
    done = run(store)[1]
    assert {item.name for item in done.busy} == {held, wanted}
    assert {item.name for item in done.gone} == {free, other}
    assert standing(store) == {held}
    mine.close()
    assert {item.name for item in run(store)[1].gone} == {held, wanted}
    assert os.listdir(store.path("tmp")) == []


def test_something_else_goes_for_what_is_held(store):
    held = make(store, "a", used=1.0, size=100_000)
    others = [make(store, f"{n}", used=2.0 + n, size=100_000) for n in range(4)]
    mine = Leases()
    mine.lease_layer(store, held)
    os.utime(store.path("locks", layers.layer_lock_name(held)), (1, 1))
    done = run(store, by_age=False, room=150_000)[1]
    assert [item.name for item in done.gone] == others[:2]
    assert standing(store) == {held, *others[2:]}


def test_a_dead_claim_claims_nothing(store):
    wanted = blob(store, b"wanted", 0.0)
    os.mkdir(store.path("tmp", "dead"))
    with open(store.path("tmp", "dead", leases.LEASE_FILE), "w") as file:
        file.write(f"{wanted}\n")
    assert leases.leased_blobs(store) == set()
    with open(store.path("tmp", "dead", leases.LEASE_FILE)):
        mine = Leases()
        mine.lease_blobs(store, [wanted, "0" * 64])
        mine.lease_blobs(store, ["1" * 64])
        assert leases.leased_blobs(store) == {wanted, "0" * 64, "1" * 64}
    del mine
    assert leases.leased_blobs(store) == set()


def test_whoever_claims_and_looks_is_never_deceived(store):
    """A claim and a collection side by side, many times: what is claimed and seen stays."""
    import threading

    contents = [b"%d" % number for number in range(60)]
    names = [blob(store, content, 0.0) for content in contents]
    end = threading.Event()

    def collecting():
        while not end.is_set():
            run(store, older_than=0.0)

    thread = threading.Thread(target=collecting)
    thread.start()
    try:
        mine = Leases()
        for name, content in zip(names, contents, strict=True):
            mine.lease_blobs(store, [name])
            if not blobs.has(store, name):
                assert blob(store, content, 0.0) == name
            time.sleep(0.001)
            assert blobs.has(store, name)
        assert all(blobs.has(store, name) for name in names)
    finally:
        end.set()
        thread.join()


def test_litter_goes(store):
    key = make(store, "a", used=NOW)
    os.mkdir(store.path("layers", "f" * 64))  # a half: no sheet
    os.makedirs(store.path("blobs", "partial"))
    litter = [
        store.path("blobs", "partial", "0" * 64),
        store.path("views", "1" * 64),
        store.path("plans", "01234567"),
    ]
    for path in litter:
        with open(path, "wb") as file:
            file.write(
                store_files.encode_with_checksum(
                    {"spec": "/p/s", "env": "e", "watch": [(store.path("layers", "gone", "l"), ())]}
                )
            )
        os.utime(path, (NOW - 2 * DAY, NOW - 2 * DAY))
    for name, days in (("young", 1), ("old", 200)):
        os.makedirs(store.path("one-off", name))
        with open(store.path("one-off", name, "one-off.yaml"), "w") as file:
            file.write("version: 1\n")
        os.utime(store.path("one-off", name), (NOW - days * DAY, NOW - days * DAY))
    gone, kept = {"conflicts": "gone", "with": key}, {"conflicts": key, "with": key}
    for question in (gone, kept, {"other": 1}):
        answer_cache.put(store, question, {"paths": []})
        os.utime(answer_cache.path(store, question), (NOW - DAY, NOW - DAY))
    answer_cache.put(store, {"long": "ago"}, 1)
    os.utime(answer_cache.path(store, {"long": "ago"}), (NOW - 200 * DAY, NOW - 200 * DAY))
    with locks.exclusive(store, "held"), locks.exclusive(store, "young"):
        pass
    os.utime(store.path("locks", "held"), (1, 1))
    with open(store.path("locks", "held")) as file:
        locks.try_lock(file.fileno())
        done = run(store)[1]
    assert standing(store) == {key}
    assert not [path for path in litter if os.path.exists(path)]
    assert os.listdir(store.path("one-off")) == ["young"]
    assert answer_cache.get(store, gone) is None
    assert answer_cache.get(store, {"long": "ago"}) is None
    assert answer_cache.get(store, kept) == {"paths": []}
    assert answer_cache.get(store, {"other": 1}) == {"paths": []}
    assert {"held", "young", layers.layer_lock_name(key)} <= {*os.listdir(store.path("locks"))}
    assert done.litter >= 6
    assert not done.gone


def test_a_pruned_lock_is_no_lock(store):
    """Whoever had it open when it was unlinked opens the new one."""
    with locks.exclusive(store, "a"):
        pass
    os.utime(store.path("locks", "a"), (1, 1))
    real = locks.wait_for_lock
    pruned = []

    def slow(descriptor, *rest, **more):
        if not pruned:
            pruned.append(locks.prune(store, older=1.0, keep=lambda name: name != "a"))
        real(descriptor, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "wait_for_lock", slow)
        with locks.exclusive(store, "a"):
            assert pruned == [1]
            with locks.try_exclusive(store, "a") as mine:
                assert not mine


def test_killed_between_any_two_steps_it_leaves_nothing_half(store, monkeypatch):
    """As a kill would: it ends in the middle of what changes something, and the next run goes on."""

    class Killed(BaseException):
        pass

    for step in range(12):
        for number in range(3):
            make(store, f"{step}.{number}")
        blob(store, b"%d" % step, 0.0)
        left = step

        def count(function):
            def counted(*arguments, **more):
                nonlocal left
                left -= 1
                if left < 0:
                    raise Killed
                return function(*arguments, **more)

            return counted

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", count(os.rename))
            patch.setattr(os, "unlink", count(os.unlink))
            patch.setattr(collect, "remove_tree", count(remove_tree))
            patch.setattr("envtool.store.temp_dirs.remove_tree", lambda *_: None)  # a dead process tidies nothing
            with contextlib.suppress(Killed):
                run(store)
        for key in standing(store):
            assert {"layer.json", "manifest", "tree"} <= {*os.listdir(store.path("layers", key))}
            assert os.listdir(store.path("layers", key, "tree")) == ["file"]
        run(store)
        assert standing(store) == set()
        assert os.listdir(store.path("tmp")) == []


def test_sizes_are_those_of_the_disk(tmp_path):
    (tmp_path / "tree").mkdir()
    top = tmp_path / "tree"
    (top / "one").write_bytes(b"x" * 100_000)
    os.link(top / "one", top / "two")
    with open(top / "sparse", "wb") as file:
        file.truncate(10_000_000)
    told = disk_usage.measure_tree(str(top))
    assert 100_000 <= told < 150_000
    manifest = tmp_path / "manifest"
    manifest.write_bytes(b"d 755 0 0 - a\0f 644 0 0 5000:ab a/b\0l 777 0 0 ff a/c\0")
    assert disk_usage.estimate(str(manifest)) == 3 * 4096


def test_a_layer_is_measured_once(store):
    key = make(store, "a")
    first = disk_usage.layer_sizes(store, [key], here)
    assert disk_usage.layer_sizes(store, [key], lambda *_, **__: pytest.fail("measured again")) == first
    os.unlink(store.path("layers", key, disk_usage.USAGE_FILE))
    assert disk_usage.layer_sizes(store, [key], lambda *_, **__: (_ for _ in ()).throw(OSError)) == {key: 8192}


def test_a_use_in_a_plan_that_is_told(store):
    key = make(store, "a", used=1.0)
    with open(store.path("plans", "00000000.told"), "wb") as file:
        file.write(
            store_files.encode_with_checksum(
                {"spec": "/p/envtool.yaml", "watch": [(store.path("layers", key, "layer.json"), ())]}
            )
        )
    assert [*inventory.read_uses(store)] == [
        LastUse(
            path=file.name,
            spec="/p/envtool.yaml",
            env="",
            layers=frozenset([key]),
            time=os.stat(file.name).st_mtime,
        )
    ]
    with open(store.path("plans", "00000001"), "wb") as file:
        file.write(b"junk")
    assert len([*inventory.read_uses(store)]) == 1


@pytest.mark.parametrize("removed", [True, False])
def test_a_layer_that_is_removed_meanwhile_is_no_half_one(store, monkeypatch, removed):
    directory = store.path("layers", "ab" * 32)
    os.mkdir(directory)

    def reading(*_):
        if removed:
            os.rmdir(directory)

    monkeypatch.setattr(inventory, "_read_sheet", reading)
    halves = inventory.take_inventory(store, lambda function, *words, **_: function(*words)).halves
    assert [item.name for item in halves] == ([] if removed else ["ab" * 32])


def test_a_cache_goes_unless_it_is_in_use(store):
    with caches.lock_cache(store, "pip", "locked") as (path, fresh):
        assert fresh
        with open(os.path.join(path, "wheel"), "wb") as file:
            file.write(b"x" * 5000)
        os.utime(path, (1, 1))
        os.utime(store.path("locks", f"cache-{'-'.join(path.split('/')[-2:])}"), (1, 1))
        assert [item.sort for item in run(store)[1].busy] == ["cache"]
        assert os.path.exists(os.path.join(path, "wheel"))
    os.utime(path, (1, 1))
    os.utime(store.path("locks", f"cache-{'-'.join(path.split('/')[-2:])}"), (1, 1))
    done = run(store)[1]
    assert [item.sort for item in done.gone] == ["cache"]
    assert done.freed > 5000
    assert not os.path.exists(path)
    with caches.lock_cache(store, "pip", "locked") as (_, fresh):
        assert fresh
