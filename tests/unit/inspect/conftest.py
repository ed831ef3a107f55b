"""Stores with layers in them, whose trees belong to whoever runs the tests."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from envtool import keys
from envtool.container import userns
from envtool.store import canonical, layers
from envtool.store.store import Store, open_store

_turn = threading.Lock()


def here(function, *arguments, at, cancel=-1):
    """Stands in for container.ids.inside."""
    with _turn:
        before = os.getcwd()
        os.chdir(at)
        try:
            return function(*arguments)
        finally:
            os.chdir(before)


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setattr(userns, "run_as_root", here)
    monkeypatch.setattr(userns, "remove_as_root", lambda path: None)
    return open_store(environ={"ENVTOOL_STORE": str(tmp_path / "store")})


@pytest.fixture
def make(store):
    """Make a layer: `fill` writes into its tree."""

    def make(name: str, fill, *, below=(), kind="layer:run", **built) -> layers.Layer:
        document = {"kind": kind, "name": name, "below": [*below], "files": []}
        key = keys.digest(document)
        with layers.open_draft(store, key) as draft:
            fill(Path(draft.upper))
            os.rmdir(draft.work)
            captured = canonical.capture(draft.upper, 1_600_000_000, (), draft.manifest)
            return draft.commit(captured, document, {"name": name, **built})

    return make
