"""A store as the containers of several id maps have it: apart what belongs to ids, together what does not."""

from __future__ import annotations

import json
import os
import threading

import pytest

from envtool.errors import Interrupted, SandboxError, StoreError
from envtool.inspect import remove_store, store_check
from envtool.store import answer_cache, blobs, collect, inventory, layers, leases, locks
from envtool.store import store as stores
from envtool.store.collect import GcPolicy
from envtool.store.gc import gc
from envtool.store.temp_dirs import remove_tree

SINGLE, RANGE = "single 0-1000-1 0-1000-1", "range 0-100000-65536 0-100000-65536"
KEY = "ab" * 32
NOW = 2_000_000_000.0


def at(tmp_path, idmap):
    return stores.open_store(environ={"ENVTOOL_STORE": str(tmp_path / "store")}, idmap=idmap)


@pytest.fixture
def both(tmp_path):
    """The store as its first map has it, and as another."""
    return at(tmp_path, SINGLE), at(tmp_path, RANGE)


def made(store, key=KEY, time=NOW):
    """Something that looks like a layer."""
    place = store.path("layers", key)
    os.makedirs(os.path.join(place, "tree"))
    open(os.path.join(place, "manifest"), "wb").close()
    said = {"diff_id": f"sha256:{key}", "size": 1, "entries": 1, "document": {"kind": "layer:run"}, "built": {}}
    with open(os.path.join(place, "layer.json"), "w") as file:
        json.dump(said, file)
    os.utime(os.path.join(place, "layer.json"), (time, time))
    return key


def inside(function, *arguments, at="", idmap=""):
    if idmap == "unknown":
        raise SandboxError("no such ids", code="ids")
    return function(*(os.path.join(at, each) if each == "." else each for each in arguments))


def remove(path, idmap=""):
    remove_tree(path)


def test_each_has_its_own_and_the_first_lies_where_it_always_did(both):
    first, second = both
    made(first)
    assert (first.idmap_path(), os.path.dirname(second.idmap_path())) == (first.root, os.path.join(first.root, "ids"))
    assert layers.find(first, KEY)
    assert layers.find(second, KEY) is None
    with layers.open_draft(second, KEY) as draft, layers.open_draft(first, "cd" * 32):
        assert draft.layer is None, "another map's is none"
    sha256 = os.path.basename(blobs.put_content(first, [b"hello"]))
    assert blobs.has(second, sha256)
    assert blobs.path(second, sha256) == blobs.path(first, sha256)
    assert [each.idmap for each in stores.other_idmap_stores(first)] == [RANGE]
    assert [each.idmap for each in stores.other_idmap_stores(second)] == [SINGLE]


def test_answers_are_shared_but_those_about_layers(both):
    first, second = both
    answer_cache.put(first, {"pins of": "x"}, 1)
    assert answer_cache.get(second, {"pins of": "x"}) == 1
    for question in ({"diff id of": KEY}, {"conflicts": KEY, "with": KEY}, {"opened": "layer", "of": KEY}):
        answer_cache.put(first, question, 1)
        assert answer_cache.get(second, question) is None
        answer_cache.put(second, question, 2)
        assert (answer_cache.get(first, question), answer_cache.get(second, question)) == (1, 2)
        assert not [damage for damage in store_check.check_store(second).damages if damage.sort == "memory"]


def test_a_third_and_many_at_once(tmp_path, both):
    found = []
    idmaps = [f"single 0-{number % 4}-1 0-7-1" for number in range(16)]
    threads = [threading.Thread(target=lambda idmap=each: found.append(at(tmp_path, idmap))) for each in idmaps]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len({store.ids for store in found}) == 4
    assert {each.idmap for each in stores.other_idmap_stores(both[0])} == {RANGE, *idmaps}
    assert at(tmp_path, SINGLE) == both[0]
    assert at(tmp_path, RANGE) == both[1]


@pytest.mark.parametrize("text", ["", "{", '{"format": 1, "uid": 0, "idmap": "range other"}'])
def test_a_stamp_of_one_map_that_is_damaged_is_written_anew(tmp_path, both, text):
    place = os.path.join(both[1].idmap_path(), "store.json")
    with open(place, "w") as file:
        file.write(text)
    assert at(tmp_path, RANGE) == both[1]
    assert [each.idmap for each in stores.other_idmap_stores(both[0])] == [RANGE]


def test_a_lost_stamp_gives_nobody_what_is_another_maps(tmp_path, both):
    made(both[0])
    os.unlink(os.path.join(both[0].root, "store.json"))
    assert at(tmp_path, RANGE) == both[1], "it has a place of its own, so the top is not its own"
    assert layers.find(at(tmp_path, RANGE), KEY) is None


def test_what_lies_in_ids_and_is_no_map_is_left_alone(both):
    first, _ = both
    os.mkdir(os.path.join(first.root, "ids", "thesis"))
    os.symlink("/etc", os.path.join(first.root, "ids", "range-0123456789ab"))
    assert len(stores.other_idmap_stores(first)) == 1


def test_a_file_that_another_map_claims_stays(both):
    first, second = both
    sha256 = os.path.basename(blobs.put_content(first, [b"hello"]))
    held = leases.Leases()
    held.lease_blobs(second, [sha256])
    item = inventory.StoredItem(sort="file", name=sha256, size=5, used=0.0)
    assert collect.remove_items(first, [item], remove=remove) == ([], [item])
    held.close()
    assert collect.remove_items(first, [item], remove=remove) == ([item], [])


def test_gc_takes_what_another_map_left_by_its_age_alone(both):
    first, second = both
    made(first, time=NOW - 40 * 86400)
    made(second, time=NOW - 40 * 86400)
    made(first, "cd" * 32, time=NOW)
    policy = GcPolicy(now=NOW, named=frozenset([KEY]))  # a lock names it: that is of use to the map of here alone
    found, done = gc(second, lambda _: policy, inside=inside, remove=remove, dry_run=True)
    assert [(item.name, item.ids) for item in done.gone] == [(KEY, "")]
    assert {item.ids for item in found.items if item.sort == "layer"} == {"", second.ids}
    _, done = gc(second, lambda _: policy, inside=inside, remove=remove)
    assert [(item.name, item.ids) for item in done.gone] == [(KEY, "")]
    assert layers.find(second, KEY)
    assert layers.find(first, KEY) is None
    assert layers.find(first, "cd" * 32)


def test_gc_holds_what_another_map_uses(both):
    first, second = both
    layer = layers.find(second, made(second, time=NOW - 40 * 86400))
    with layers.hold_layers(second, [layer]):
        _, done = gc(first, lambda _: GcPolicy(now=NOW, older_than=0.0), inside=inside, remove=remove)
    assert [(item.name, item.ids) for item in done.busy][:1] == [(KEY, second.ids)]
    assert layers.find(second, KEY)


def test_what_only_root_can_delete_is_told_and_left(both, monkeypatch):
    first, second = both
    made(second)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with open(os.path.join(second.idmap_path(), "store.json"), "w") as file:
        file.write("{")
    found, done = gc(first, lambda _: GcPolicy(now=NOW, older_than=0.0), inside=inside, remove=remove)
    assert [each.ids for each in found.stuck] == [second.ids]
    assert not done.gone
    assert os.path.isdir(second.path("layers", KEY))


# ---- removing --------------------------------------------------------------------------------------------------------


def away(store, cancelled=lambda: False, said=None):
    return remove_store.remove(
        store, progress=lambda _: None, waiting=(said if said is not None else []).append, cancelled=cancelled
    )


@pytest.fixture
def _plain(monkeypatch):
    monkeypatch.setattr(remove_store.userns, "run_as_root", inside)
    monkeypatch.setattr(remove_store.userns, "remove_as_root", remove)


@pytest.mark.usefixtures("_plain")
def test_the_whole_store_goes(both):
    first, second = both
    made(first)
    made(second)
    answer_cache.put(second, {"diff id of": KEY}, 1)
    blobs.put_content(second, [b"hello"])
    assert away(second).stuck == ()
    assert not os.path.exists(first.root)


@pytest.mark.usefixtures("_plain")
def test_what_is_none_of_ours_stays(both):
    first, _ = both
    with open(os.path.join(first.root, "thesis.tex"), "w"):
        pass
    assert away(first).foreign == (os.path.join(first.root, "thesis.tex"),)
    assert os.listdir(first.root) == ["thesis.tex"]


@pytest.mark.usefixtures("_plain")
@pytest.mark.parametrize("which", [0, 1])
def test_whoever_uses_it_is_waited_for(both, which):
    made(both[0])
    made(both[1])
    said = []
    with locks.exclusive(both[which], f"build-{KEY}"), pytest.raises(Interrupted):
        away(both[0], cancelled=lambda: bool(said), said=said)
    assert said == [f"pid {os.getpid()}"]
    held = leases.Leases()
    held.lease_blobs(both[which], ["ab" * 32])
    with pytest.raises(Interrupted):
        away(both[0], cancelled=lambda: len(said) > 1, said=said)
    held.close()
    assert layers.find(both[0], KEY)
    assert layers.find(both[1], KEY)
    away(both[0])
    assert not os.path.exists(both[0].root)


@pytest.mark.usefixtures("_plain")
def test_a_removal_that_was_ended_is_gone_on_with(tmp_path, both, monkeypatch):
    first, _ = both
    for number in range(4):
        made(first, f"{number}" * 64)
    left = 2

    def progress(_):
        nonlocal left
        left -= 1
        if not left:
            raise Interrupted

    with pytest.raises(Interrupted):
        remove_store.remove(first, progress=progress, waiting=print, cancelled=lambda: False)
    monkeypatch.setenv("ENVTOOL_STORE", str(tmp_path / "store"))
    assert stores.find_store(SINGLE) == first, "it is known as a store"
    away(first)
    assert not os.path.exists(first.root)
    assert stores.find_store(SINGLE) is None


def test_no_store_is_none_to_be_removed(tmp_path, monkeypatch):
    (tmp_path / "thesis.tex").write_text("")
    monkeypatch.setenv("ENVTOOL_STORE", str(tmp_path))
    assert stores.find_store(SINGLE) is None
    (tmp_path / "store.json").write_text("{}")
    with pytest.raises(StoreError, match="damaged"):
        stores.find_store(SINGLE)
