from __future__ import annotations

import hashlib
import os

import pytest

from envtool.errors import FetchError, StoreError
from envtool.store import blobs

DATA = b"a" * 100, b"b" * 200
SHA256 = hashlib.sha256(b"".join(DATA)).hexdigest()


def test_what_is_kept_is_a_blob(store):
    path = blobs.put_content(store, iter(DATA))
    assert path == blobs.path(store, SHA256)
    assert blobs.has(store, SHA256, 300)
    assert blobs.put_content(store, iter(DATA), SHA256) == path
    assert not os.listdir(store.path("tmp"))


def test_another_content_leaves_nothing(store):
    with pytest.raises(FetchError) as caught:
        blobs.put_content(store, [b"other"], SHA256)
    assert caught.value.code == "fetch-hash"
    assert not blobs.has(store, hashlib.sha256(b"other").hexdigest())
    assert not os.listdir(store.path("tmp"))


def test_an_error_on_the_way_leaves_nothing(store):
    def pieces(error):
        yield DATA[0]
        raise error

    for error, raised in (
        (FetchError("cut"), FetchError),
        (OSError(28, "full"), StoreError),
        (OSError(5, "io"), OSError),
    ):
        with pytest.raises(raised):
            blobs.put_content(store, pieces(error))
    assert not os.listdir(store.path("tmp"))
