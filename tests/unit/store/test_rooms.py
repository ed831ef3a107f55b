"""Directories of the store that are gone are made again, by many at once, and nothing that one puts there is lost."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading

import pytest

from envtool.store import blobs
from envtool.store.store import Store
from envtool.store.temp_dirs import make_directory


def test_many_at_once_lose_nothing(tmp_path, depth):
    store = Store(root=str(tmp_path / "store"))
    names = [hashlib.sha256(bytes([number])).hexdigest() for number in range(8)]
    for _ in depth.times(30, 2000):
        shutil.rmtree(store.path("blobs"), ignore_errors=True)
        barrier = threading.Barrier(len(names))

        def begin(name: str, barrier=barrier) -> None:
            barrier.wait()
            with open(blobs.partial_path(store, name), "w") as file:
                file.write(name)

        threads = [threading.Thread(target=begin, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(os.listdir(store.path("blobs", "partial"))) == sorted(names)


def test_what_is_no_directory_makes_room(tmp_path):
    place = tmp_path / "a/b"
    (tmp_path / "a").mkdir()
    for instead in (lambda: place.write_text("x"), lambda: place.symlink_to("nowhere"), lambda: os.mkfifo(place)):
        instead()
        make_directory(str(place))
        assert place.is_dir()
        assert not place.is_symlink()
        place.rmdir()


def test_a_directory_stays_with_all_in_it(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("kept")
    make_directory(str(tmp_path / "a"))
    assert (tmp_path / "a/file").read_text() == "kept"


def test_a_file_in_the_way_above_is_an_error(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(NotADirectoryError):
        make_directory(str(tmp_path / "a/b"))
