"""Every example, locked and fetched, then made anew in another place with the network taken away: the same layers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.places import common_store

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.slow, pytest.mark.dear]

EXAMPLES = Path(__file__).parents[2] / "examples"
GONE = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", sorted(path.parent.name for path in EXAMPLES.glob("*/envtool.yaml")))
def test_a_locked_example_is_made_again_without_a_network(name, common):
    """The first store is the one that all tests share; what is made anew goes into another one, which all of these do."""

    def envtool(*words: str, **more) -> None:
        done = common.envtool(*words, **more)
        assert done.status == 0, f"{words}: {done.said}"

    common.copy(EXAMPLES / name)
    envtool("lock")
    envtool("fetch")
    first = common.store
    lock = common.project / "envtool.lock"
    assert "://" not in lock.read_text(), "a lock names no mirror or index"
    second = common.directory("elsewhere") / "deep"
    shutil.copytree(common.project, second, ignore=shutil.ignore_patterns(".envtool"))
    for path in (second, *second.rglob("*")):
        common.give(path)
    common.store = common_store(common.caller, "elsewhere")
    common.environ |= {"ENVTOOL_BLOBS": str(first / "blobs" / "sha256"), **GONE}
    envtool("fetch", cwd=second)
    del common.environ["ENVTOOL_BLOBS"]
    envtool("test", "--locked", "--offline", cwd=second)
    anew = common.came_out()
    layers = json.loads(lock.read_text())["entries"]
    assert {entry["diff_id"] for entry in layers if entry.get("diff_id")} <= {*anew.values()}
    common.store = first
    before = common.came_out()
    assert {key: anew[key] for key in anew if key in before}.items() <= before.items()
