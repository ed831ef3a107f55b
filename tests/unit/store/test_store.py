from __future__ import annotations

import dataclasses
import errno
import json
import os
import stat
import subprocess
import sys
import threading
import time

import pytest

from envtool import keys
from envtool.errors import Interrupted, StoreError
from envtool.fs import removal
from envtool.store import answer_cache, blobs, canonical, layers, locks
from envtool.store.store import Store, file_system_type, open_store, store_directory
from envtool.store.temp_dirs import REMOVAL_SUFFIX, sweep, temp_directory

KEY = "ab" * 32
HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def code(call, *args, **kwargs) -> str:
    with pytest.raises(StoreError) as caught:
        call(*args, **kwargs)
    return caught.value.code


def test_where_it_is():
    assert store_directory({"ENVTOOL_STORE": "/a/b/"}) == "/a/b"
    assert store_directory({"XDG_CACHE_HOME": "/c"}) == "/c/envtool"
    assert store_directory({"XDG_CACHE_HOME": "relative"}).endswith("/.cache/envtool")
    assert code(store_directory, {"ENVTOOL_STORE": "relative"}) == "store-path"


def test_it_is_private_but_can_be_walked_inside_whatever_the_umask(tmp_path):
    old = os.umask(0o077)
    try:
        store = open_store(environ={"ENVTOOL_STORE": str(tmp_path / "s")})
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(store.root).st_mode) == 0o700
    assert {stat.S_IMODE(os.stat(store.path(room)).st_mode) for room in ("layers", "blobs/sha256", "tmp")} == {0o755}


def test_a_store_of_another_format_is_refused(tmp_path):
    environ = {"ENVTOOL_STORE": str(tmp_path / "s")}
    store = open_store(environ=environ, idmap="range 100000")
    assert open_store(environ=environ, idmap="range 100000") == store
    assert open_store(environ=environ, idmap="single 1000").root == store.root
    with open(store.path("store.json")) as file:
        stamp = json.load(file)
    del stamp["sum"]  # as an older envtool wrote it
    with open(store.path("store.json"), "w") as file:
        json.dump(stamp | {"uid": 4711}, file)  # who has another number in another user namespace
    assert open_store(environ=environ, idmap="range 100000") == store
    with open(store.path("store.json"), "w") as file:
        json.dump(stamp | {"format": 99}, file)
    assert code(open_store, environ=environ) == "store-format"
    with open(store.path("store.json"), "w") as file:
        file.write("{")
    assert code(open_store, environ=environ) == "store-format"


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    assert code(open_store, environ={"ENVTOOL_STORE": str(tmp_path)}) == "store-path"
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_file_system_by_mountinfo(tmp_path):
    device = os.stat(tmp_path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 0:1 / / rw - ext4 /dev/a rw\n"
        f"2 1 {number} / {str(tmp_path).replace(' ', chr(92) + '040')} rw shared:1 - nfs4 host:/x rw\n"
    )
    assert file_system_type(str(tmp_path), str(table)) == "nfs4"
    assert file_system_type(str(tmp_path), "/nonexistent") == ""


def test_many_may_make_it_at_once(tmp_path):
    root = str(tmp_path / "s")
    program = "from envtool.store.store import open_store; open_store(idmap='x')"
    running = [
        subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"ENVTOOL_STORE": root}) for _ in range(4)
    ]
    assert [process.wait() for process in running] == [0] * 4
    assert os.listdir(os.path.join(root, "tmp")) == []


# ---- locks ----


@pytest.mark.skipif(os.geteuid() == 0, reason="root opens files of every mode")
@pytest.mark.parametrize("mode", [0, 0o400, 0o200])
def test_a_lock_whose_mode_was_changed_is_taken(store, mode):
    path = store.path("locks", "x")
    with locks.exclusive(store, "x"):
        os.chmod(path, mode)
        with locks.try_exclusive(store, "x") as free:
            assert not free, "it is the same file, which is held"
    with locks.exclusive(store, "x"):
        assert os.stat(path).st_mode & 0o777 == 0o600


def test_locks_hold_between_threads_and_say_who_waits(store):
    said, order = [], []
    held = threading.Event()

    def other():
        with locks.exclusive(store, "x", waiting=said.append):
            order.append("other")

    with locks.exclusive(store, "x"):
        thread = threading.Thread(target=other)
        thread.start()
        held.wait(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]
    assert said == [], "we do not wait for another envtool"


def test_shared_locks_do_not_exclude_each_other(store):
    with locks.shared(store, "x"), locks.shared(store, "x"):
        with pytest.raises(Interrupted), locks.exclusive(store, "x", cancelled=lambda: True):
            pass


def test_a_dead_holder_holds_nothing(store):
    program = (
        "import sys, os\nfrom envtool.store import locks\nfrom envtool.store.store import Store\n"
        f"with locks.exclusive(Store(root={store.root!r}), 'x'):\n print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    descriptor = os.open(store.path("locks", "x"), os.O_RDWR)
    assert not locks.try_lock(descriptor)
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    with locks.exclusive(store, "x", cancelled=lambda: False):
        pass
    os.close(descriptor)


# ---- scratch ----


def test_a_sweeper_that_comes_between_is_outrun(store, monkeypatch):
    mkdir = os.mkdir
    swept = []

    def made_and_swept(path, *rest):
        mkdir(path, *rest)
        if not swept:
            swept.append(path)
            os.rmdir(path)

    monkeypatch.setattr(os, "mkdir", made_and_swept)
    with temp_directory(store) as path:
        assert os.path.isdir(path)
        assert swept != [path]


def test_scratch_ends_with_its_owner(store):
    with temp_directory(store) as path:
        open(os.path.join(path, "f"), "w").close()
        assert sweep(store) == 0
        assert os.path.exists(path)
    assert not os.path.exists(path)
    dead = store.path("tmp", "dead")
    os.makedirs(os.path.join(dead, "deep"))
    assert sweep(store) == 1
    assert os.listdir(store.path("tmp")) == []


def test_sweep_uses_the_given_remover_where_ours_cannot(store, monkeypatch):
    dead = store.path("tmp", "dead")
    os.makedirs(dead)
    real = removal.remove_tree
    calls = []

    def refuse(path):
        if not calls:
            raise PermissionError
        real(path)

    monkeypatch.setattr(removal, "remove_tree", refuse)
    assert sweep(store) == 0  # without help nothing happens, and nothing breaks
    assert sweep(store, remove=calls.append) == 1
    assert calls == [dead + REMOVAL_SUFFIX]
    assert not os.path.exists(dead)


# ---- blobs, memo ----


def test_blobs(store, tmp_path):
    assert not blobs.has(store, HELLO)
    (tmp_path / "f").write_bytes(b"hello")
    path = blobs.put(store, str(tmp_path / "f"), HELLO)
    assert blobs.has(store, HELLO)
    assert blobs.has(store, HELLO, 5)
    assert not blobs.has(store, HELLO, 6)
    assert blobs.verify(store, HELLO)
    with open(path, "ab") as file:
        file.write(b"!")
    assert not blobs.verify(store, HELLO)
    assert not blobs.has(store, HELLO)
    assert code(blobs.path, store, "../../etc/passwd") == "blob-name"


def test_memo(store):
    question = {"what": ["a", 1]}
    assert answer_cache.get(store, question) is None
    answer_cache.put(store, question, {"pins": None})
    assert answer_cache.get(store, question) == {"pins": None}
    assert answer_cache.get(store, {"what": ["a", 2]}) is None
    path = store.path("memo", f"{keys.digest(question)}.json")
    with open(path, "w") as file:
        file.write("{")
    assert answer_cache.get(store, question) is None
    assert os.listdir(store.path("tmp")) == []


def test_a_question_is_asked_once(store):
    asked = []

    def one():
        with answer_cache.lock_question(store, "q"):
            if answer_cache.get(store, "q") is None:
                asked.append(1)
                time.sleep(0.02)
                answer_cache.put(store, "q", 42)

    threads = [threading.Thread(target=one) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert asked == [1]


# ---- layers ----


def build(store, key, **kwargs):
    with layers.open_draft(store, key, **kwargs) as draft:
        if draft.layer is None:
            with open(os.path.join(draft.upper, "f"), "w") as file:
                file.write("x")
            draft.commit(canonical.capture(draft.upper, 0, (), draft.manifest), {"kind": "test"})
        return draft.layer


def test_a_layer_appears_whole(store):
    assert layers.find(store, KEY) is None
    made = build(store, KEY)
    assert made == layers.find(store, KEY)
    assert made.diff_id.startswith("sha256:")
    assert (made.entries, made.document) == (1, {"kind": "test"})
    assert os.listdir(made.tree) == ["f"]
    assert os.path.getsize(made.manifest) > 0
    assert os.listdir(store.path("tmp")) == []


def test_a_build_that_fails_leaves_nothing(store):
    with pytest.raises(RuntimeError), layers.open_draft(store, KEY) as draft:
        assert os.path.isdir(draft.work)
        raise RuntimeError
    assert layers.find(store, KEY) is None
    assert os.listdir(store.path("tmp")) == os.listdir(store.path("layers")) == []


def test_ten_builders_build_once(store):
    built = []
    said = []

    def one():
        with layers.open_draft(store, KEY, waiting=said.append) as draft:
            if draft.layer is None:
                built.append(1)
                time.sleep(0.05)
                draft.commit(canonical.capture(draft.upper, 0, (), draft.manifest), {})

    threads = [threading.Thread(target=one) for _ in range(10)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert built == [1]
    assert said == []


def test_a_builder_does_not_wait_for_users(store):
    made = build(store, KEY)
    with layers.hold_layers(store, [made, made]), layers.hold_layers(store, [made]):
        assert build(store, KEY, cancelled=lambda: True).key == KEY
        with pytest.raises(Interrupted), locks.exclusive(store, f"layer-{KEY}", cancelled=lambda: True):
            pass
    with locks.exclusive(store, f"layer-{KEY}", cancelled=lambda: True):
        pass


def test_using_what_is_gone_or_damaged(store):
    made = build(store, KEY)
    gone = dataclasses.replace(made, key="cd" * 32)
    with pytest.raises(StoreError) as caught, layers.hold_layers(store, [gone]):
        pass
    assert caught.value.code == "layer-gone"
    with open(os.path.join(os.path.dirname(made.tree), "layer.json"), "w") as file:
        file.write("{")
    assert code(layers.find, store, KEY) == "layer-damaged"


@pytest.mark.parametrize("again", [False, True], ids=["gone", "built-again"])
@pytest.mark.parametrize("read_first", [False, True], ids=["before-layer.json-is-read", "after"])
def test_a_layer_that_gc_takes_while_it_is_looked_at_is_no_damaged_one(store, monkeypatch, read_first, again):
    made = build(store, KEY)
    directory, read = store.path("layers", KEY), layers.read_layer_json

    def taken_meanwhile(*words):
        monkeypatch.setattr(layers, "read_layer_json", read)
        layer = read(*words)
        os.rename(directory, store.path("tmp", "gone"))
        if again:
            assert build(store, KEY) == made
        if read_first:
            return layer
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", os.path.join(directory, "layer.json"))

    monkeypatch.setattr(layers, "read_layer_json", taken_meanwhile)
    assert layers.find(store, KEY) == (made if again else None)


def test_a_layer_is_whole_or_not_there_for_whoever_holds_no_lock(store):
    """One thread moves it away and back, as gc and builds do; the other looks."""
    directory, away, end = store.path("layers", KEY), store.path("tmp", "away"), threading.Event()
    made = build(store, KEY)

    def moving():
        while not end.is_set():
            os.rename(directory, away)
            os.rename(away, directory)

    mover = threading.Thread(target=moving)
    mover.start()
    try:
        looks = [layers.find(store, KEY) for _ in range(3000)]
    finally:
        end.set()
        mover.join()
    assert made in looks
    assert all(look in (made, None) for look in looks)


def test_a_store_can_be_made_while_another_sweeps_it(tmp_path, monkeypatch):
    root = tmp_path / "new"
    setxattr = os.setxattr

    def swept_first(*arguments):
        sweep(Store(root=str(root)))
        setxattr(*arguments)

    monkeypatch.setattr(os, "setxattr", swept_first)
    assert open_store(environ={"ENVTOOL_STORE": str(root)}).root == str(root)


def test_rooms_that_are_gone_are_made_again(tmp_path):
    environ = {"ENVTOOL_STORE": str(tmp_path / "s")}
    open_store(environ=environ)
    for room in ("locks", "memo", "blobs", "tmp", "plans"):
        subprocess.run(["rm", "-r", str(tmp_path / "s" / room)], check=True)
        open_store(environ=environ)
        assert stat.S_IMODE((tmp_path / "s" / room).stat().st_mode) == 0o755
    (tmp_path / "s" / "tmp").rmdir()
    (tmp_path / "s" / "tmp").symlink_to("/tmp")
    assert code(open_store, environ=environ) == "store-damaged"


@pytest.mark.parametrize(
    "stamp",
    ["", "[]", "{}", '{"format": "1", "uid": 0, "idmap": ""}', "[" * 100_000, "9" * 10_000, '{"uid": NaN}', "\0"],
)
def test_a_damaged_stamp_says_what_to_do(tmp_path, stamp):
    environ = {"ENVTOOL_STORE": str(tmp_path / "s")}
    open_store(environ=environ)
    path = tmp_path / "s" / "store.json"
    path.write_text(stamp)
    with pytest.raises(StoreError, match=r"store.json is damaged") as caught:
        open_store(environ=environ)
    assert "remove it" in caught.value.hint
    path.unlink()
    path.mkdir()
    assert code(open_store, environ=environ) == "store-format"
    path.rmdir()
    open_store(environ=environ)


def test_what_others_may_write_to_is_refused(tmp_path):
    environ = {"ENVTOOL_STORE": str(tmp_path / "above" / "s")}
    (tmp_path / "above").mkdir()
    open_store(environ=environ)
    for mode, where in ((0o777, "above"), (0o707, "above"), (0o770, "above/s"), (0o1777, "above/s")):
        (tmp_path / where).chmod(mode)
        assert code(open_store, environ=environ) == "store-owner", (mode, where)
        (tmp_path / where).chmod(0o700)
    for mode in (0o1777, 0o775):  # /tmp, and what an umask of 002 makes
        (tmp_path / "above").chmod(mode)
        open_store(environ=environ)
