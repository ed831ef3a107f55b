"""What is meant by the words after `envtool export ENV`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.errors import UsageError
from envtool.images import target
from envtool.images.target import ExportTarget
from envtool.model import BaseSpec, Env, Where
from envtool.net.oci import reference

HERE = Where(file="envtool.yaml", line=1, column=1)


def env(group="unit", point=()):
    base = BaseSpec(name="b", kind="tarball", options={}, where=HERE)
    return Env(name=group, group=group, base=base, layers=(), tasks=(), where=HERE, point=dict(point))


@pytest.mark.parametrize(
    ("path", "form", "wanted"),
    [
        ("", "", ("docker-archive", "-")),
        ("-", "", ("docker-archive", "-")),
        ("", "oci-archive", ("oci-archive", "-")),
        ("oci-archive:-", "", ("oci-archive", "-")),
        ("unit.tar", "", ("docker-archive", "unit.tar")),
        ("unit.tar", "oci-archive", ("oci-archive", "unit.tar")),
        ("unit.tar", "oci", ("oci", "unit.tar")),
        ("images/unit", "", ("oci", "images/unit")),
        ("oci:a:b", "", ("oci", "a:b")),
        ("docker-archive:x", "docker-archive", ("docker-archive", "x")),
        ("other:x", "", ("oci", "other:x")),
        ("", "devcontainer", ("devcontainer", ".devcontainer/devcontainer.json")),
        ("x.json", "devcontainer", ("devcontainer", "x.json")),
    ],
)
def test_paths(path, form, wanted):
    assert target.parse_target(path, form) == ExportTarget(form=wanted[0], path=wanted[1])


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("oci:-", ""),
        ("-", "oci"),
        ("oci:", ""),
        ("x.tar.gz", ""),
        ("x.tar.zst", "oci-archive"),
        ("oci:x", "oci-archive"),
    ],
)
def test_what_goes_nowhere(path, form):
    with pytest.raises(UsageError) as found:
        target.parse_target(path, form)
    assert found.value.code == "export-target"


def test_a_path_is_below_where_envtool_works():
    assert str(target.parse_target("unit.tar", "").below("/p")) == "docker-archive:/p/unit.tar"
    assert target.parse_target("", "").below("/p").path == "-"
    assert target.parse_target("/x", "").below("/p").path == "/x"


@pytest.mark.parametrize(
    ("tag", "wanted"),
    [
        ("unit", "localhost/unit:latest"),
        ("team/unit:1.4", "localhost/team/unit:1.4"),
        ("localhost/unit", "localhost/unit:latest"),
        ("registry.example:5000/unit:2", "registry.example:5000/unit:2"),
    ],
)
def test_tags(tag, wanted):
    assert target.image_name(env(), tag) == wanted


@pytest.mark.parametrize("tag", ["Unit", "a b", "unit@sha256:" + "0" * 64, "unit:", "https://x/unit"])
def test_tags_that_are_none(tag):
    with pytest.raises(UsageError) as found:
        target.image_name(env(), tag)
    assert found.value.code == "export-tag"


def test_without_a_tag_it_is_called_as_the_env_is():
    assert target.image_name(env(), "") == "localhost/unit:latest"
    assert (
        target.image_name(env("Unit Tests", {"suite": "trixie", "locale": "C.UTF-8"}), "")
        == "localhost/unit-tests:trixie-C.UTF-8"
    )


@given(st.text(min_size=1, max_size=200), st.dictionaries(st.text(min_size=1), st.text(max_size=200), max_size=3))
def test_any_env_has_a_name_that_registries_take(group, point):
    name = target.image_name(env(group, point), "")
    assert str(reference.parse_reference(name)) == name
