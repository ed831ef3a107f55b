from __future__ import annotations

import json
import os
import threading
import time
import types

import pytest

from envtool import keys
from envtool.inspect import store_check
from envtool.project.snapshot import snapshot_digest
from envtool.run.result_cache import LocalCache
from envtool.store import garbage, record_results, results, snapshots
from envtool.store.collect import GcPolicy
from envtool.store.gc import gc
from envtool.store.temp_dirs import remove_tree

DOCUMENT = {"format": 1, "view": "v", "commands": [["true"]]}
KEY = keys.digest(DOCUMENT)
RUN = results.StoredRun(env="unit", task="test", started=1.7e9, seconds=2.5, host="here")


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "checkout"
    (root / "dist/sub").mkdir(parents=True)
    (root / "dist/app").write_bytes(b"\0" * 5000 + b"x")
    (root / "dist/app").chmod(0o755)
    (root / "dist/sub/b").write_text("b")
    os.symlink("app", root / "dist/link")
    (root / "log").write_text("hello\n")
    return root


def keep(store, checkout, document=DOCUMENT, owner="o", outputs=("dist/app", "dist/sub/b", "dist/link")):
    record_results.store_result(
        store, [document], RUN, owner=owner, log=str(checkout / "log"), root=str(checkout), outputs=outputs
    )
    return keys.digest(document)


def test_what_is_kept_is_found_whole(store, checkout):
    assert results.find(store, KEY) is None
    keep(store, checkout)
    found = results.find(store, KEY)
    assert (found.document, found.run) == (DOCUMENT, RUN)
    assert [each.path for each in found.outputs] == ["dist/app", "dist/link", "dist/sub/b"]
    assert found.outputs[0].mode == 0o755
    assert found.outputs[1].link == "app"
    assert results.verify(found)
    with open(found.log) as file:
        assert file.read() == "hello\n"
    assert os.listdir(store.path("tmp")) == []


@pytest.mark.parametrize("name", ["result.json", "log", "outputs/dist/app", "outputs/dist/link", "outputs/dist/sub/b"])
def test_half_a_result_is_none_and_is_replaced(store, checkout, name):
    keep(store, checkout)
    path = store.path("results", KEY, name)
    os.unlink(path)
    assert results.find(store, KEY) is None
    if not name.endswith("link"):
        with open(path, "w"):
            pass
        assert results.find(store, KEY) is None
    keep(store, checkout)
    assert results.verify(results.find(store, KEY))


def test_another_documents_result_is_none(store, checkout):
    keep(store, checkout)
    path = store.path("results", KEY, "result.json")
    with open(path) as file:
        stored = json.load(file)
    for wrong in (
        {**stored, "document": {}},
        {**stored, "format": 0},
        [],
        {**stored, "run": {}},
        {**stored, "outputs": 1},
    ):
        with open(path, "w") as file:
            json.dump(wrong, file)
        assert results.find(store, KEY) is None


def test_outputs_that_changed_are_noticed(store, checkout):
    keep(store, checkout)
    found = results.find(store, KEY)
    with open(found.output_path(found.outputs[0]), "r+b") as file:
        file.write(b"y")
    assert results.find(store, KEY) is not None, "its size is right"
    assert not results.verify(found)


def test_too_much_is_not_kept_and_leaves_nothing(store, checkout, monkeypatch):
    for name in ("MAX_LOG_SIZE", "MAX_OUTPUTS_SIZE", "MAX_OUTPUTS"):
        with monkeypatch.context() as patch:
            patch.setattr(record_results, name, 1)
            with pytest.raises(record_results.TooLarge):
                keep(store, checkout)
        assert results.find(store, KEY) is None
        assert os.listdir(store.path("tmp")) == []
    with pytest.raises(OSError):
        keep(store, checkout, outputs=["dist/none"])
    assert os.listdir(store.path("tmp")) == []


def test_only_the_newest_of_an_owner_stay(store, checkout):
    keys_kept = []
    for number in range(record_results.MAX_PER_OWNER + 3):
        keys_kept.append(keep(store, checkout, {**DOCUMENT, "number": number}))
        stamp = 1e9 + number
        os.utime(store.path("results", "of", "o", keys_kept[-1]), (stamp, stamp))
    other = keep(store, checkout, {**DOCUMENT, "number": "other"}, owner="p")
    keep(store, checkout, {**DOCUMENT, "number": "last"})
    there = [results.find(store, key) is not None for key in keys_kept]
    assert there == [False] * 4 + [True] * (record_results.MAX_PER_OWNER - 1)
    assert results.find(store, other)


def test_what_was_used_stays_longer(store, checkout):
    first = keep(store, checkout, {**DOCUMENT, "number": "first"})
    os.utime(store.path("results", "of", "o", first), (1e9, 1e9))
    results.mark_used(store, results.find(store, first), "o")
    for number in range(record_results.MAX_PER_OWNER - 1):
        key = keep(store, checkout, {**DOCUMENT, "number": number})
        os.utime(store.path("results", "of", "o", key), (2e9 - 1e8 - number, 2e9 - 1e8 - number))
    assert results.find(store, first)


def test_once_a_day_what_nobody_used_goes(store, checkout):
    text = b"a\x00100644\x00" + b"0" * 64 + b"\0"
    used = snapshot_digest(text)
    old = keep(store, checkout, {**DOCUMENT, "number": "old"}, owner="p")
    snapshots.put(store, used, text)
    snapshots.put(store, "unused", text)
    key = keep(store, checkout, {**DOCUMENT, "view": used})
    past = time.time() - garbage.MAX_UNUSED_AGE - 60
    os.utime(store.path("results", old), (past, past))
    for name in (used, "unused"):
        os.utime(store.path("views", name), (past, past))
    keep(store, checkout, {**DOCUMENT, "view": used, "number": 2})
    assert results.find(store, old), "it was looked after today"
    os.utime(store.path("results", "of", ".swept"), (past, past))
    for name in ("0badcafe.view", "0badcafe", "0badcafe.view.12ab34cd"):
        with open(store.path("plans", name), "w"):
            pass
        os.utime(store.path("plans", name), (time.time() - 7200,) * 2)
    os.utime(store.path("plans", "0badcafe"), (past, past))
    keep(store, checkout, {**DOCUMENT, "view": used, "number": 3})
    assert os.listdir(store.path("plans")) == ["0badcafe.view"]
    assert results.find(store, old) is None
    assert results.find(store, key)
    assert os.listdir(store.path("views")) == [used]
    assert sorted(os.listdir(store.path("results", "of"))) == [".swept", "o"]


def test_many_at_once_leave_one_whole_result(store, checkout):
    """None of them fails, though each moves what the others have just stored."""
    errors = []

    def work():
        for _ in range(20):
            try:
                keep(store, checkout)
            except OSError as error:
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.verify(results.find(store, KEY))
    assert errors == []
    assert os.listdir(store.path("tmp")) == []


def moved_once(monkeypatch, store, name, value, then):
    """Another process moves the result away, and does `then`, while a function of `results` looks at it, which returns
    a value the first time."""
    function, target = getattr(results, name), store.path("results", KEY)

    def looking(*words):
        monkeypatch.setattr(results, name, function)
        os.rename(target, store.path("tmp", "away"))
        then()
        return value

    monkeypatch.setattr(results, name, looking)


@pytest.mark.parametrize("again", [False, True], ids=["removed", "replaced"])
@pytest.mark.parametrize(("name", "value"), [("read", None), ("verify", False)])
def test_a_result_that_is_moved_during_a_look_is_no_damaged_one(store, checkout, monkeypatch, name, value, again):
    keep(store, checkout)
    moved_once(monkeypatch, store, name, value, lambda: keep(store, checkout) if again else None)
    assert store_check.check_result(store, KEY) is None
    assert os.path.isdir(store.path("results", KEY)) == again


def test_a_damaged_result_that_is_replaced_during_a_look_is_not_removed(store, checkout, monkeypatch):
    keep(store, checkout)
    context = types.SimpleNamespace(store=store, cancel=types.SimpleNamespace(check=lambda: None))
    moved_once(monkeypatch, store, "verify", False, lambda: keep(store, checkout))
    assert LocalCache(context, ()).find_key(KEY) == results.find(store, KEY)
    with open(results.find(store, KEY).log, "r+") as log:
        log.write("J")
    assert LocalCache(context, ()).find_key(KEY) is None  # one that is damaged is still removed
    assert not os.path.exists(store.path("results", KEY))


@pytest.mark.parametrize("name", ["open", "lstat"])
def test_an_owners_entry_may_be_removed_at_any_moment(store, checkout, monkeypatch, name):
    """Each of two processes keeps the newest of an owner, and removes the other's entries."""
    keep(store, checkout)
    path, function = store.path("results", "of", "o", KEY), getattr(os, name)

    def removing(*words, **more):
        if name == "lstat":
            os.unlink(path)
            monkeypatch.undo()
        value = function(*words, **more)
        if name == "open":
            os.unlink(path)
        return value

    monkeypatch.setattr(record_results.os, name, removing)
    record_results._touch(path)
    monkeypatch.undo()
    assert os.path.exists(path) == (name == "lstat")


def test_a_manifest_names_what_changed(store):
    def text(**files):
        return b"".join(b"%s\x00100644\0%s\0" % (name.encode(), sha * 64) for name, sha in sorted(files.items()))

    one, other = text(a=b"1", b=b"2", d=b"4"), text(a=b"1", b=b"3", c=b"5")
    for each in (one, other):
        snapshots.put(store, snapshot_digest(each), each)
        snapshots.put(store, snapshot_digest(each), each)
    before, after = snapshots.get(store, snapshot_digest(one)), snapshots.get(store, snapshot_digest(other))
    assert before["a"] == (0o100644, "1" * 64)
    assert snapshots.diff_rows(before, after) == {"b": "changed", "c": "new", "d": "gone"}
    with open(store.path("views", snapshot_digest(one)), "wb") as file:
        file.write(b"junk")
    assert snapshots.get(store, snapshot_digest(one)) is None
    assert snapshots.get(store, "none") is None


@pytest.mark.parametrize("collector", ["gc", "sweep"])
def test_both_collectors_find_the_same_garbage(store, checkout, collector):
    text = b"a\x00100644\x00" + b"0" * 64 + b"\0"
    used = snapshot_digest(text)
    snapshots.put(store, used, text)
    snapshots.put(store, "unused", text)
    snapshots.put(store, "new", text)
    gone = keep(store, checkout, {**DOCUMENT, "number": "gone"}, owner="p")
    keep(store, checkout, {**DOCUMENT, "number": "gone too"})
    for key in os.listdir(store.path("results")):
        if key != "of":
            results.remove_result(store, key)
    key = keep(store, checkout, {**DOCUMENT, "view": used})
    hours_ago, months_ago = time.time() - 7200, time.time() - garbage.MAX_UNUSED_AGE - 60
    for name in (used, "unused"):
        os.utime(store.path("views", name), (hours_ago, hours_ago))
    for name, then in {"0badcafe": months_ago, "0badcafe.view": hours_ago, "0badcafe.view.12ab": hours_ago}.items():
        with open(store.path("plans", name), "w"):
            os.utime(store.path("plans", name), (then, then))
    with open(store.path("plans", "0badcafe.view.new"), "w"):
        pass
    if collector == "gc":
        policy = GcPolicy(now=time.time())
        gc(store, lambda _: policy, inside=lambda function, *args, at: function(*args), remove=remove_tree)
    else:
        garbage.sweep_results(store)
    assert sorted(os.listdir(store.path("plans"))) == ["0badcafe.view", "0badcafe.view.new"]
    assert sorted(os.listdir(store.path("views"))) == sorted([used, "new"])
    assert gone not in os.listdir(store.path("results"))
    assert sorted(os.listdir(store.path("results", "of"))) == [".swept", "o"]
    assert os.listdir(store.path("results", "of", "o")) == [key]
