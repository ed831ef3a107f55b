"""What may be shared, and what the lock has to say against a signature."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from envtool.api import Archive, Bind, Recipe, Secret
from envtool.build import shared_layers
from envtool.teamcache.statement import LAYER, Statement

KEY, DIFF_ID = "a" * 64, f"sha256:{'b' * 64}"
SAID = Statement(
    sort=LAYER, key=KEY, ids="range", diff_id=DIFF_ID, size=1, entries=1, blob=f"sha256:{'c' * 64}", blob_size=1,
    media_type="x",
)  # fmt: skip


class Share:
    def __init__(self, *, network=False):
        self.network = network
        self.refused = []

    def ask(self, key, name):
        return SAID

    def refuse(self, key, name, refused):
        self.refused.append((key, name, refused.code))


def resolved(recipe=None, *, pinned=True):
    kind = SimpleNamespace(build=lambda request, pins: recipe or Recipe())
    node = SimpleNamespace(kind=kind, subject="layer", is_pinned=pinned)
    return SimpleNamespace(node=node, request=SimpleNamespace(name="deps"), pins=None, key=KEY)


def setting(share=None, *entries):
    return SimpleNamespace(share=share, lock=SimpleNamespace(entries=entries))


@pytest.mark.parametrize(
    ("recipe", "network", "wanted"),
    [
        (Recipe(), False, True),
        (Recipe(network=True), False, False),
        (Recipe(network=True), True, True),
        (Recipe(shown=(Secret(id="token", env="TOKEN"),)), False, False),
        (Recipe(shown=(Secret(id="token", env="TOKEN"),)), True, True),
        (Recipe(archive=Archive(name="x", diff_id=DIFF_ID)), True, False),
        (Recipe(mounts=(Bind(source="/usr", target="/usr"),)), True, False),
    ],
)
def test_what_is_shared(recipe, network, wanted):
    one = resolved(recipe)
    assert shared_layers.is_shareable(one, resolved(), setting(Share(network=network))) is wanted


def test_nothing_on_this_machines_own_system_is_shared():
    assert not shared_layers.is_shareable(resolved(), resolved(pinned=False), setting(Share()))
    assert not shared_layers.is_shareable(resolved(pinned=False), resolved(pinned=False), setting(Share()))


def test_without_a_cache_nothing_is_shared():
    assert not shared_layers.is_shareable(resolved(), resolved(), setting())
    assert shared_layers.find_statement(resolved(), setting()) is None


@pytest.mark.parametrize(("key", "diff_id", "used"), [(KEY, DIFF_ID, True), (KEY, "sha256:0", False), ("d" * 64, "sha256:0", True), (KEY, "", True)])  # fmt: skip
def test_the_lock_outweighs_a_signature(key, diff_id, used):
    share = Share()
    found = shared_layers.find_statement(resolved(), setting(share, SimpleNamespace(key=key, diff_id=diff_id)))
    assert (found == SAID) is used
    assert share.refused == ([] if used else [(KEY, "layer deps", "locked")])
