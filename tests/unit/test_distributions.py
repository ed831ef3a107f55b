"""What is said to be installed is what is wanted, by names of its own, where this envtool would find it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from types import SimpleNamespace

import pytest

from envtool import distributions
from envtool.errors import UsageError

LINES = ["click>=8", "cyclonedx-python-lib>=11; extra == 'sbom'", 'spdx-tools>=0.8; extra == "sbom"', "x; extra == 'y'"]


@pytest.fixture(autouse=True)
def metadata(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: LINES)


def test_an_extra_is_told_by_what_it_requires():
    assert distributions.extra_requirements("sbom") == ("cyclonedx-python-lib>=11", "spdx-tools>=0.8")
    assert distributions.extra_requirements("none") == ()


@pytest.mark.parametrize(
    ("file", "pip", "said"),
    [
        ("pipx_metadata.json", True, "pipx inject envtool-core 'cyclonedx-python-lib>=11' 'spdx-tools>=0.8'"),
        ("", True, "/opt/x/bin/python -m pip install 'cyclonedx-python-lib>=11' 'spdx-tools>=0.8'"),
        ("", False, "uv pip install --python /opt/x/bin/python 'cyclonedx-python-lib>=11' 'spdx-tools>=0.8'"),
    ],
)
def test_it_goes_where_this_envtool_is(monkeypatch, tmp_path, file, pip, said):
    prefix = tmp_path / "envtool-core"
    prefix.mkdir()
    if file:
        (prefix / file).touch()
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr(sys, "executable", "/opt/x/bin/python")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if pip else None)
    assert distributions.install_command("sbom") == said


def test_where_nothing_is_known_of_us_nothing_is_asked_for(monkeypatch):
    def nothing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", nothing)
    assert distributions.extra_requirements("sbom") == ()


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("envtool-motd", ["other"]),
        ("Envtool_Motd", ["other"]),
        ("motd", ["other"]),
        ("moment", ["other"]),
        ("bell", ["moment", "ring"]),
        ("envtool-bell", ["moment", "ring"]),
    ],
)
def test_a_plugin_is_left_out_by_each_of_its_names(name, left, monkeypatch):
    """Not by the name of its verb, which may be another plugin's language."""

    def point(name, group, owner):
        return SimpleNamespace(name=name, group=group, value=name, dist=SimpleNamespace(name=owner, version="1"))

    entries = [
        point("moment", "envtool", "envtool-motd"),
        point("ring", "envtool.verbs", "envtool-motd"),
        point("other", "envtool", "envtool-bell"),
    ]
    monkeypatch.setattr(distributions, "entry_points_of", lambda *groups: [e for e in entries if e.group in groups])
    monkeypatch.setenv(distributions.EXCLUDED, "")
    distributions.exclude([f"no:{name}"])
    assert [entry.name for entry in distributions.used_entry_points("envtool", "envtool.verbs")] == left
    assert distributions.plugin_names() == ["envtool-bell", "envtool-motd"]
    with pytest.raises(UsageError, match="no plugin has this name"):
        distributions.exclude(["no:ring"])
