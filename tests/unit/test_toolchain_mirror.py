"""`toolchain: {NAME: {version: …, mirror: URL}}`: which values it takes, and what it adds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envtool import api
from tests.unit import test_toolchain_key as key

URL = "https://mirror.example.org/rust"


class Forge(api.MirroredToolchainKind):
    name = "anvil-toolchain"
    tool = "anvil"
    title = "Anvil"


@pytest.fixture(autouse=True)
def mirrored(monkeypatch):
    """The toolchain `anvil` of the other module, from servers."""
    monkeypatch.setattr(key, "Anvil", Forge)
    make = key.plugin

    def with_mirror(*, envtool_toolchains, **hooks):
        offers = [replace(offer, mirror="anvils") for offer in envtool_toolchains()]
        return make(**hooks, envtool_toolchains=lambda: offers)

    monkeypatch.setattr(key, "plugin", with_mirror)


def test_a_version_may_stand_beside_a_server():
    (env,) = key.expand(f'toolchain: {{anvil: {{version: "1.2", mirror: "{URL}"}}}}')
    assert env.layers[0].options == {"version": "1.2", "mirror": URL}
    (env,) = key.expand(f"toolchain: {{anvil: {{mirror: {URL}}}}}", {".anvil": "3.1\n"})
    assert env.layers[0].options == {"version": "3.1", "origin": ".anvil", "mirror": URL}
    (env,) = key.expand('toolchain: {anvil: "1.2"}')
    assert env.layers[0].options == {"version": "1.2"}
    envs = key.expand(
        f'matrix: {{v: ["1", "2"]}}, toolchain: {{anvil: {{version: "{{{{ matrix.v }}}}", mirror: {URL}}}}}'
    )
    assert [env.layers[0].options["version"] for env in envs] == ["1", "2"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{version: '1'}", "needs `mirror`"),
        (f"{{mirror: {URL}, more: 1}}", "unknown key `more`"),
        ("{mirror: /srv/anvils}", "expected a URL of http or https"),
        ("{mirror: 'file:///etc'}", "expected a URL of http or https"),
        (f"{{mirror: {URL}, version: new}}", "expected a version, as in"),
        (f"{{mirror: {URL}, version: 1.20}}", "expected a string or nothing, got the number 1.2"),
    ],
)
def test_what_is_no_version_beside_a_server(value, message):
    assert message in key.problem(f"toolchain: {{anvil: {value}}}").message


def test_other_toolchains_have_none(monkeypatch):
    monkeypatch.undo()
    assert "expected a string" in key.problem(f"toolchain: {{anvil: {{mirror: {URL}}}}}").message


def test_a_kind_without_mirrors_is_refused(monkeypatch):
    class Plain(api.ToolchainKind):
        name = "anvil-toolchain"
        tool = "anvil"

    monkeypatch.setattr(key, "Anvil", Plain)
    (fault,) = key.registry().faults
    assert "of the kind `anvil-toolchain`, which is no MirroredToolchainKind" in fault.message
