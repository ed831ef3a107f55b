from __future__ import annotations

import pytest

from envtool.store.store import Store, locate


@pytest.fixture
def store(tmp_path) -> Store:
    return locate(environ={"ENVTOOL_STORE": str(tmp_path / "store")})
