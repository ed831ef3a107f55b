"""Every example, locked and fetched, then made anew in another place with the network taken away: the same layers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() == 0 and not os.environ.get("ENVTOOL_SLOW"),
        reason="an ordinary user is missing, who does it in .ci/run once for all: ENVTOOL_SLOW=1 does it as root",
    ),
]

REPOSITORY = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join([str(REPOSITORY), *(str(path) for path in REPOSITORY.glob("plugins/*/src"))])
EXAMPLES = sorted(path.parent.name for path in REPOSITORY.glob("examples/*/envtool.yaml"))


GONE = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")


def envtool(project: Path, store: Path, *words: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "envtool", *words],
        cwd=project,
        env={**os.environ, "ENVTOOL_STORE": str(store), "PYTHONPATH": PYTHONPATH, **environ},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def came_out(store: Path) -> dict[str, str]:
    """Key -> diff ID of every layer."""
    return {path.parent.name: json.loads(path.read_text())["diff_id"] for path in store.glob("layers/*/layer.json")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_locked_example_is_made_again_without_a_network(name, tmp_path):
    first, second = tmp_path / name, tmp_path / "elsewhere" / "deep"
    shutil.copytree(REPOSITORY / "examples" / name, first, ignore=shutil.ignore_patterns(".envtool", "dist"))
    stores = tmp_path / "store", tmp_path / "other"
    try:
        envtool(first, stores[0], "lock")
        envtool(first, stores[0], "fetch")
        assert "://" not in (first / "envtool.lock").read_text(), "a lock names no mirror or index"
        shutil.copytree(first, second, ignore=shutil.ignore_patterns(".envtool"))
        envtool(second, stores[1], "fetch", ENVTOOL_BLOBS=str(stores[0] / "blobs" / "sha256"), **GONE)
        envtool(second, stores[1], "test", "--locked", "--offline", **GONE)
        anew = came_out(stores[1])
        assert anew
        assert anew.items() <= came_out(stores[0]).items()
    finally:
        from envtool.container import ids

        for store in stores:
            ids.remove(str(store))
