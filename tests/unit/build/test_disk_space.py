"""Room before a build: asked for at one system call, made once by many threads, never of what is needed."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from envtool.build.disk_space import DiskSpace, NoDiskSpace, detect_full_disk
from envtool.errors import BuildError, Interrupted, StoreError
from envtool.events import Finished
from envtool.store import disk_limits as space
from envtool.store.collect import GcResult
from envtool.store.inventory import Inventory, StoredItem
from envtool.store.leases import Leases
from envtool.store.store import open_store


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A store, what is asked of gc, and what it answers."""
    store = open_store(environ={"ENVTOOL_STORE": str(tmp_path / "store")})
    monkeypatch.delenv(space.KEEP_FREE_VARIABLE, raising=False)
    monkeypatch.delenv(space.SIZE_VARIABLE, raising=False)
    asked = []
    gone = [StoredItem(sort="layer", name="a", size=1 << 60, used=1.0)]

    def gc(_, policy, **__):
        asked.append(policy(Inventory(items=(), sheets={}, uses=(), halves=(), rest=0)))
        return None, GcResult(gone=tuple(gone), busy=())

    monkeypatch.setattr("envtool.store.gc.gc", gc)
    return store, asked, gone


def test_nothing_is_done_where_there_is_room(place, monkeypatch):
    store, asked, _ = place
    monkeypatch.setenv(space.KEEP_FREE_VARIABLE, "0")
    assert not DiskSpace().ensure(store, "/p", Leases(), pytest.fail)
    assert not asked


def test_it_is_made_once_whoever_asks_and_said_in_one_line(place, monkeypatch):
    store, asked, _ = place
    lacking = [5, 5, 5, 5]
    monkeypatch.setattr(space, "missing_space", lambda *_: lacking[-1])
    events = []
    one = DiskSpace()

    def emit(event):
        events.append(event)
        lacking.append(0)

    with ThreadPoolExecutor(4) as pool:
        made = [*pool.map(lambda _: one.ensure(store, "/p", Leases(), emit), range(4))]
    assert made.count(True) == len(asked) == 1
    assert [event.detail for event in events if isinstance(event, Finished)] == [
        "1 thing that was used least recently is gone, to make room"
    ]
    assert asked[0].room == 5
    assert not asked[0].by_age


def test_what_is_needed_is_spared(place, monkeypatch, tmp_path):
    store, asked, _ = place
    monkeypatch.setenv(space.KEEP_FREE_VARIABLE, "100%")
    (tmp_path / "envtool.yaml").write_text("")
    (tmp_path / "envtool.lock").write_text("b" * 64)
    claims = Leases()
    claims.lease_layer(store, "held")

    class Graph:
        def keys(self):
            return ["standing"]

    graph, gone = Graph(), Graph()
    one = DiskSpace()
    one.protect(graph.keys)
    one.protect(gone.keys)
    del gone
    one.ensure(store, str(tmp_path), claims, lambda _: None)
    assert asked[0].spare == {"held", "b" * 64, "standing"}


def test_where_nothing_is_found_it_is_not_looked_for_at_every_step(place, monkeypatch):
    store, asked, gone = place
    monkeypatch.setenv(space.KEEP_FREE_VARIABLE, "100%")
    gone.clear()
    one = DiskSpace()
    assert not any(one.ensure(store, "/p", Leases(), pytest.fail) for _ in range(5))
    assert len(asked) == 1
    assert not one.ensure(store, "/p", Leases(), pytest.fail, full=True)
    assert len(asked) == 2
    assert asked[1].room > 0


def test_the_size_of_the_store_is_looked_at_once(place, monkeypatch):
    store, asked, _ = place
    monkeypatch.setenv(space.KEEP_FREE_VARIABLE, "0")
    monkeypatch.setenv(space.SIZE_VARIABLE, "20GB")
    one = DiskSpace()
    for _ in range(3):
        one.ensure(store, "/p", Leases(), lambda _: None)
    assert [policy.keep_size for policy in asked] == [20 * 10**9]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "no space"), StoreError("no", code="store-space"), BuildError("exit 1")]
)
def test_an_error_on_a_full_disk_is_one_of_room(place, monkeypatch, error):
    store, _, _ = place
    if not isinstance(error, OSError):
        monkeypatch.setattr(space, "is_nearly_full", lambda _: True)
    with pytest.raises(NoDiskSpace) as caught, detect_full_disk(store):
        raise error
    assert caught.value.error is error


def test_other_errors_are_what_they_are(place, monkeypatch):
    store, _, _ = place
    for error in (BuildError("exit 1"), OSError(errno.ENOENT, "gone")):
        with pytest.raises(type(error)), detect_full_disk(store):
            raise error
    monkeypatch.setattr(space, "is_nearly_full", lambda _: True)
    with pytest.raises(Interrupted), detect_full_disk(store):
        raise Interrupted
    assert os.path.isdir(store.root)


@pytest.fixture
def disk(place, monkeypatch):
    """The store on a disk with so much free: a list of one number; and what is said."""
    free, said = [100], []
    monkeypatch.setattr(space, "free_space", lambda _: (free[0], 1000))

    def making(one, what, fetched, missing):
        return one.making(place[0], what, fetched, missing, lambda event: said.append(event.text))

    return free, said, making


def test_what_is_made_at_one_time_is_added_up(disk):
    _, said, making = disk
    one = DiskSpace()
    with making(one, "base `a`", 15, 15):
        assert not said, "alone it has room"
        with making(one, "base `b`", 15, 15):
            ending = "takes about 150 B, and the disk of the store has 100 B free"
            assert [text.partition(": /")[0] for text in said] == [
                f"base `b`, with what is being made beside it, {ending}"
            ]
            with (
                pytest.raises(
                    NoDiskSpace, match="base `c`, with what is being made beside it, takes 102 B at least"
                ) as no,
                making(one, "base `c`", 21, 21),
            ):
                pytest.fail("it was begun")
            assert no.value.sure
            assert no.value.full.code == "store-space"
        assert len(said) == 1
    with making(one, "base `c`", 21, 21):
        assert len(said) == 1, "it is said once"


def test_what_the_others_have_written_is_counted_once(disk):
    free, said, making = disk
    one = DiskSpace()
    with making(one, "base `a`", 10, 10):
        free[0] = 60  # most of `a` is there
        with making(one, "base `b`", 10, 10):
            assert not said
        free[0] = 200  # somebody made room
        with making(one, "base `b`", 25, 25):
            assert not said
    free[0] = 60
    with making(one, "base `b`", 13, 13):
        assert len(said) == 1, "what has ended is part of what is not free"


def test_a_layer_of_nothing_that_is_fetched_is_begun_on_any_disk(disk):
    free, said, making = disk
    free[0] = 0
    with making(DiskSpace(), "layer `x`", 0, 0):
        assert not said


def test_it_is_known_when_nothing_more_can_go(place, monkeypatch):
    store, asked, gone = place
    one = DiskSpace()
    assert not one.barren(store, "/p", Leases())
    assert asked[0].room > 1 << 60, "all that can go"
    assert not asked[0].by_age
    gone[:] = [StoredItem(sort="result", name="a", size=37_000, used=1.0)]
    assert one.barren(store, "/p", Leases())
    monkeypatch.setattr("envtool.store.gc.gc", lambda *_, **__: (_ for _ in ()).throw(StoreError("busy", code="x")))
    assert not one.barren(store, "/p", Leases()), "nobody looked"


def test_room_is_made_for_all_that_is_being_made(place, monkeypatch):
    store, asked, _ = place
    monkeypatch.setattr(space, "free_space", lambda _: (100, 1000))
    one = DiskSpace()
    with pytest.raises(NoDiskSpace), one.making(store, "a", 500, 500, pytest.fail):
        pass
    one.ensure(store, "/p", Leases(), lambda _: None, full=True)
    assert asked[0].room == 500 + 4 * 500 - 100
