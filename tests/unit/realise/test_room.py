"""Room before a build: asked for at one system call, made once by many threads, never of what is needed."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from envtool.errors import BuildError, Interrupted, StoreError
from envtool.events import Finished
from envtool.realise.room import NoRoom, Room, watched
from envtool.store import room as space
from envtool.store.claims import Claims
from envtool.store.collect import Collected
from envtool.store.store import locate
from envtool.store.survey import Item, Survey


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A store, what is asked of gc, and what it answers."""
    store = locate(environ={"ENVTOOL_STORE": str(tmp_path / "store")})
    monkeypatch.delenv(space.FREE, raising=False)
    monkeypatch.delenv(space.SIZE, raising=False)
    asked = []
    gone = [Item(sort="layer", name="a", size=1 << 60, used=1.0)]

    def gc(_, policy, **__):
        asked.append(policy(Survey(items=(), sheets={}, uses=(), halves=(), rest=0)))
        return None, Collected(gone=tuple(gone), busy=())

    monkeypatch.setattr("envtool.store.gc.gc", gc)
    return store, asked, gone


def test_nothing_is_done_where_there_is_room(place, monkeypatch):
    store, asked, _ = place
    monkeypatch.setenv(space.FREE, "0")
    assert not Room().ensure(store, "/p", Claims(), pytest.fail)
    assert not asked


def test_it_is_made_once_whoever_asks_and_said_in_one_line(place, monkeypatch):
    store, asked, _ = place
    lacking = [5, 5, 5, 5]
    monkeypatch.setattr(space, "lacking", lambda *_: lacking[-1])
    events = []
    one = Room()

    def emit(event):
        events.append(event)
        lacking.append(0)

    with ThreadPoolExecutor(4) as pool:
        made = [*pool.map(lambda _: one.ensure(store, "/p", Claims(), emit), range(4))]
    assert made.count(True) == len(asked) == 1
    assert [event.detail for event in events if isinstance(event, Finished)] == [
        "1 thing that was used least recently is gone, to make room"
    ]
    assert asked[0].room == 5
    assert not asked[0].by_age


def test_what_is_needed_is_spared(place, monkeypatch, tmp_path):
    store, asked, _ = place
    monkeypatch.setenv(space.FREE, "100%")
    (tmp_path / "envtool.yaml").write_text("")
    (tmp_path / "envtool.lock").write_text("b" * 64)
    claims = Claims()
    claims.layer(store, "held")

    class Graph:
        def keys(self):
            return ["standing"]

    graph, gone = Graph(), Graph()
    one = Room()
    one.need(graph.keys)
    one.need(gone.keys)
    del gone
    one.ensure(store, str(tmp_path), claims, lambda _: None)
    assert asked[0].spare == {"held", "b" * 64, "standing"}


def test_where_nothing_is_found_it_is_not_looked_for_at_every_step(place, monkeypatch):
    store, asked, gone = place
    monkeypatch.setenv(space.FREE, "100%")
    gone.clear()
    one = Room()
    assert not any(one.ensure(store, "/p", Claims(), pytest.fail) for _ in range(5))
    assert len(asked) == 1
    assert not one.ensure(store, "/p", Claims(), pytest.fail, full=True)
    assert len(asked) == 2
    assert asked[1].room > 0


def test_the_size_of_the_store_is_looked_at_once(place, monkeypatch):
    store, asked, _ = place
    monkeypatch.setenv(space.FREE, "0")
    monkeypatch.setenv(space.SIZE, "20GB")
    one = Room()
    for _ in range(3):
        one.ensure(store, "/p", Claims(), lambda _: None)
    assert [policy.keep_size for policy in asked] == [20 * 10**9]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "no space"), StoreError("no", code="store-space"), BuildError("exit 1")]
)
def test_an_error_on_a_full_disk_is_one_of_room(place, monkeypatch, error):
    store, _, _ = place
    if not isinstance(error, OSError):
        monkeypatch.setattr(space, "full", lambda _: True)
    with pytest.raises(NoRoom) as caught, watched(store):
        raise error
    assert caught.value.error is error


def test_other_errors_are_what_they_are(place, monkeypatch):
    store, _, _ = place
    for error in (BuildError("exit 1"), OSError(errno.ENOENT, "gone")):
        with pytest.raises(type(error)), watched(store):
            raise error
    monkeypatch.setattr(space, "full", lambda _: True)
    with pytest.raises(Interrupted), watched(store):
        raise Interrupted
    assert os.path.isdir(store.root)
