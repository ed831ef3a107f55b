"""Every sort of damage is found, named, and repaired; what is whole is not touched."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from envtool import keys
from envtool.inspect import store_check
from envtool.store import answer_cache, blobs, layers, record_results, results
from envtool.store.leases import Leases


def fill(tree: Path) -> None:
    (tree / "usr").mkdir()
    (tree / "usr/tool").write_bytes(b"#!/bin/sh\n" + b"x" * 5000)
    (tree / "usr/tool").chmod(0o755)
    (tree / "usr/link").symlink_to("tool")
    os.link(tree / "usr/tool", tree / "usr/twin")
    (tree / "etc").mkdir()
    (tree / "etc/empty").write_bytes(b"")
    os.mkfifo(tree / "etc/fifo")


@pytest.fixture
def whole(store, make):
    """A store with one of each."""
    layer = make("tools", fill)
    make("others", lambda tree: (tree / "other").write_text("other"))
    content = b"a fetched file"
    source = store.path("tmp", "source")
    Path(source).write_bytes(content)
    blob = blobs.put(store, source, hashlib.sha256(content).hexdigest())
    answer_cache.put(store, {"asked": 1}, {"answer": 2})
    log = Path(store.path("tmp", "log"))
    log.write_text("passed\n")
    out = Path(store.path("tmp", "out"))
    out.write_text("made")
    run = results.StoredRun(env="unit", task="test", started=1.0, seconds=1.0, host="here")
    record_results.store_result(
        store, [{"task": "test"}], run, owner="o", log=str(log), root=store.path("tmp"), outputs=["out"]
    )
    log.unlink()
    out.unlink()
    return layer, Path(blob)


def found(store) -> list[store_check.Damage]:
    return [*store_check.check_store(store, jobs=2).damages]


def test_what_is_whole_is_whole_and_untouched(store, whole):
    layer, blob = whole
    mark = store.path("locks", layers.layer_lock_name(layer.key))
    Path(mark).touch()
    for path in (mark, blob):
        os.utime(path, (1000, 1000))
    looked: list[int] = []
    checked = store_check.check_store(store, progress=looked.append)
    assert checked.damages == ()
    assert checked.left == ()
    assert checked.counts == {"layer": 2, "file": 1, "memory": 1, "result": 1}
    assert sum(looked) == checked.size == store_check.bytes_to_check(store)
    assert {(os.stat(path).st_mtime, os.stat(path).st_atime) for path in (mark, blob)} == {(1000.0, 1000.0)}
    assert store_check.repair(store, checked) == checked


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    times = os.stat(path)
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


TREE = {
    "a flipped byte": (lambda tree: flip(tree / "usr/tool"), ["/usr/tool: content", "/usr/twin: content"]),
    "a missing file": (lambda tree: (tree / "etc/empty").unlink(), ["/etc/empty: missing"]),
    "an extra file": (lambda tree: (tree / "etc/more").write_text(""), ["/etc/more: extra"]),
    "a mode": (lambda tree: (tree / "etc/empty").chmod(0o600), ["/etc/empty: mode 0644, now 0600"]),
    "a directory's mode": (lambda tree: (tree / "etc").chmod(0o700), ["/etc: mode 0755, now 0700"]),
    "a link's target": (
        lambda tree: ((tree / "usr/link").unlink(), (tree / "usr/link").symlink_to("twin")),
        ["/usr/link: target"],
    ),
    "another type": (
        lambda tree: ((tree / "usr/link").unlink(), (tree / "usr/link").mkdir()),
        ["/usr/link: type l, now d"],
    ),
}


@pytest.mark.parametrize("fault", TREE)
def test_a_damaged_tree_is_named_and_made_again(store, whole, make, fault):
    damage, paths = TREE[fault]
    layer, _ = whole
    damage(Path(layer.tree))
    (one,) = found(store)
    assert (one.sort, one.name, [*one.paths]) == ("layer", layer.key, paths)
    mended = store_check.repair(store, store_check.check_store(store))
    assert [each.mended for each in mended.damages] == ["removed"]
    assert mended.left == ()
    assert layers.find(store, layer.key) is None
    assert found(store) == []
    assert os.listdir(store.path("tmp")) == []
    assert make("tools", fill).diff_id == layer.diff_id


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_wrong_owner(store, whole):
    layer, blob = whole
    os.chown(os.path.join(layer.tree, "etc/empty"), 3, 4)
    os.chown(blob, 3, 4)
    assert [(each.sort, each.what, each.paths) for each in found(store)] == [
        ("file", "it belongs to user id 3", ()),
        ("layer", "its tree is not what its manifest says: 1 path", ("/etc/empty: owner 0:0, now 3:4",)),
    ]
    assert store_check.repair(store, store_check.check_store(store)).left == ()
    assert found(store) == []


def test_what_a_manifest_does_not_say(store, whole):
    """Times, and which files are one: in the diff ID alone."""
    layer, _ = whole
    os.utime(os.path.join(layer.tree, "etc/empty"), (1, 1))
    (one,) = found(store)
    assert one.what.startswith("its tree is sha256:")
    assert "a time, a link or an xattr was changed" in one.what


def test_an_images_layer_keeps_its_own_diff_id(store, make):
    layer = make("image", fill, kind=store_check.ARCHIVE_KIND)
    sheet = Path(os.path.dirname(layer.tree), "layer.json")
    stored = json.loads(sheet.read_text())
    del stored["sum"]  # as an older envtool wrote it
    sheet.write_text(json.dumps(stored | {"diff_id": "sha256:" + "0" * 64, "size": 7}))
    os.utime(os.path.join(layer.tree, "etc/empty"), (1, 1))  # as its archive has it
    assert found(store) == []
    flip(Path(layer.tree, "usr/tool"))
    assert len(found(store)) == 1


SHEETS = {
    "a truncated layer.json": ("layer.json", lambda path: os.truncate(path, 40), "cannot be read"),
    "another layer.json": ("layer.json", lambda path: edit(path, name="x"), "it is not what was written"),
    "another layer.json of an older envtool": (
        "layer.json",
        lambda path: edit(path, old=True, name="x"),
        "of another layer",
    ),
    "no layer.json": ("layer.json", os.unlink, "is a half"),
    "a truncated manifest": ("manifest", lambda path: os.truncate(path, 30), "not what its manifest says"),
    "no manifest": ("manifest", os.unlink, "cannot be read"),
    "no tree": ("tree", lambda path: os.rename(path, f"{path}.gone"), "tree is missing"),
    "a manifest of nothing": ("manifest", lambda path: Path(path).write_bytes(b"junk\0"), "cannot be read"),
}


def edit(path, old=False, **changes):
    stored = json.loads(Path(path).read_text())
    if old:
        del stored["sum"]
    Path(path).write_text(json.dumps(stored | {"document": stored["document"] | changes}))


@pytest.mark.parametrize("fault", SHEETS)
def test_a_damaged_sheet(store, whole, fault):
    name, damage, words = SHEETS[fault]
    layer, _ = whole
    damage(os.path.join(os.path.dirname(layer.tree), name))
    (one,) = found(store)
    assert (one.sort, one.name) == ("layer", layer.key)
    assert words in one.what
    assert [each.mended for each in store_check.repair(store, store_check.check_store(store)).damages] == ["removed"]
    assert found(store) == []


def test_a_damaged_blob(store, whole):
    _, blob = whole
    flip(blob)
    (one,) = found(store)
    assert (one.sort, one.name, one.what[:14]) == ("file", blob.name, "its content is")
    mine = Leases()
    mine.lease_blobs(store, [blob.name])
    assert [each.mended for each in store_check.repair(store, store_check.check_store(store)).left] == [
        "kept: it is in use"
    ]
    mine.close()
    assert store_check.repair(store, store_check.check_store(store)).left == ()
    assert not blob.exists()


def test_modes_are_restored(store, whole):
    _, blob = whole
    blob.chmod(0o600)
    os.chmod(store.root, 0o755)
    os.chmod(store.path("layers"), 0o700)
    os.rmdir(store.path("plans"))
    os.rmdir(store.path("caches"))
    mended = store_check.repair(store, store_check.check_store(store))
    assert {(each.sort, each.mended) for each in mended.damages} == {("room", "restored"), ("file", "restored")}
    assert len(mended.damages) == 4
    assert stat.S_IMODE(os.stat(store.root).st_mode) == 0o700
    assert found(store) == []


def test_results_memories_views_and_plans(store, whole):
    key = keys.digest({"task": "test"})
    Path(store.path("results", key, "outputs", "out")).write_text("evil")
    for room, name in (("memo", "0" * 64 + ".json"), ("views", "1" * 64), ("plans", "01234567")):
        Path(store.path(room, name)).write_bytes(b"junk")
    asked = Path(answer_cache.path(store, {"asked": 1}))
    asked.rename(asked.with_name("2" * 64 + ".json"))
    assert {(each.sort, each.name) for each in found(store)} == {
        ("result", key),
        ("memory", "0" * 64 + ".json"),
        ("memory", "2" * 64 + ".json"),
        ("view", "1" * 64),
        ("plan", "01234567"),
    }
    assert store_check.repair(store, store_check.check_store(store)).left == ()
    assert found(store) == []


def test_what_is_in_use_is_not_removed_and_what_is_not_ours_is_left(store, whole):
    layer, _ = whole
    flip(Path(layer.tree, "usr/tool"))
    os.mkdir(store.path("layers", "mine"))
    Path(store.path("notes.txt")).write_text("")
    with layers.hold_layers(store, [layer]):
        left = {each.name: each.mended for each in store_check.repair(store, store_check.check_store(store)).left}
    assert left == {
        layer.key: "kept: it is in use",
        "mine": "left: it is nothing of envtool's",
        "notes.txt": "left: it is nothing of envtool's",
    }


def test_many_paths_are_counted_and_a_few_named(store, make):
    layer = make("many", lambda tree: [(tree / f"{number:03}").write_text("x") for number in range(100)])
    for path in Path(layer.tree).iterdir():
        path.unlink()
    (one,) = found(store)
    assert one.what == "its tree is not what its manifest says: 100 paths"
    assert one.paths[-1] == "and 80 more"
    assert len(one.paths) == store_check.MAX_PATHS + 1


def test_it_can_be_stopped(store, whole):
    class Stop(Exception):
        pass

    def stop(_):
        raise Stop

    with pytest.raises(Stop):
        store_check.check_store(store, progress=stop)


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_a_lock_that_cannot_be_had(store, whole, monkeypatch, number):
    """Nothing is taken away of a store that cannot be written; a full disk is no damage; a lock of nobody's is some."""

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(store_check.locks, "open_locked", refuse)
    if number == errno.ENOSPC:
        with pytest.raises(OSError, match="No space left"):
            found(store)
    else:
        said = [each.what for each in found(store) if each.sort == "layer"]
        assert said == ([] if number == errno.EROFS else ["its lock cannot be held: Permission denied"] * 2)
