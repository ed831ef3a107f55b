"""Caches of builds: one directory an id, shared, locked or private."""

from __future__ import annotations

import os
import threading

import pytest

from envtool.errors import Interrupted
from envtool.store import caches
from envtool.store.store import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(environ={"ENVTOOL_STORE": str(tmp_path / "store")})


def test_what_is_put_there_stays(store):
    with caches.lock_cache(store, "/root/.cache", "shared") as (path, fresh):
        assert fresh
        (open(os.path.join(path, "kept"), "w")).close()
    with caches.lock_cache(store, "/root/.cache", "locked") as (again, fresh):
        assert (again, fresh) == (path, False)
        assert os.listdir(again) == ["kept"]
    with caches.lock_cache(store, "other", "shared") as (another, fresh):
        assert fresh
        assert another != path
    label = os.path.join(os.path.dirname(path), "id")
    with open(label) as file:
        assert file.read() == "/root/.cache\n"


def test_sharers_are_there_together_and_the_locked_are_not(store):
    with caches.lock_cache(store, "c", "shared") as (one, _), caches.lock_cache(store, "c", "shared") as (two, _):
        assert one == two
        told = []
        with pytest.raises(Interrupted):
            with caches.lock_cache(store, "c", "locked", waiting=told.append, cancelled=lambda: True):
                pass
        assert told


def test_the_private_have_their_own_while_they_need_it(store):
    with caches.lock_cache(store, "c", "private") as (one, _):
        with caches.lock_cache(store, "c", "private") as (two, fresh):
            assert fresh
            assert one != two
    with caches.lock_cache(store, "c", "private") as (again, fresh):
        assert (again, fresh) == (one, False)


def test_many_at_once(store):
    """Those that are alone never see each other, and one alone finds the directory new."""
    inside, seen, news = [], [], []

    def work() -> None:
        with caches.lock_cache(store, "c", "locked") as (path, fresh):
            inside.append(1)
            seen.append(len(inside))
            news.append(fresh)
            assert os.path.isdir(path)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert seen == [1] * 8
    assert sorted(news) == [False] * 7 + [True]
