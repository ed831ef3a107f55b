from __future__ import annotations

import pytest

from envtool.store.store import Store, open_store


@pytest.fixture
def store(tmp_path) -> Store:
    return open_store(environ={"ENVTOOL_STORE": str(tmp_path / "store")})
