"""What is said to be installed is what is wanted, by names of its own, where this envtool would find it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys

import pytest

from envtool import distributions

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
