from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.api import FetchError
from envtool.kinds.image.source import parse_source, source_of_options, target_platform


@pytest.mark.parametrize(
    ("text", "scheme", "path", "name"),
    [
        ("oci:build/image", "oci", "build/image", ""),
        ("oci:./image/:v1.2", "oci", "image", "v1.2"),
        ("oci:image:name:with:colons", "oci", "image", "name:with:colons"),
        ("oci-archive:a.tar", "oci-archive", "a.tar", ""),
        ("docker-archive:d/a.tar.gz:alpine:3.20", "docker-archive", "d/a.tar.gz", "alpine:3.20"),
    ],
)
def test_files_of_the_project(text, scheme, path, name):
    found = parse_source(text)
    assert (found.scheme, found.path, found.name, found.reference) == (scheme, path, name, None)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("oci:5000", "docker.io/library/oci:5000"),  # a tag of digits: no directory would be meant
        ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
        ("docker/x", "docker.io/docker/x:latest"),
    ],
)
def test_registries(text, whole):
    assert str(parse_source(text).reference) == whole
    assert not parse_source(text).files


def test_what_says_which_image_it_is():
    assert parse_source("oci:a/b:c").files == ("a/b/oci-layout", "a/b/index.json")
    assert parse_source("oci-archive:x.tar").files == ("x.tar",)
    assert source_of_options({"name": "alpine", "platform": "linux/386"})[1] == "linux/386"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("docker://alpine", "`alpine`"),
        ("containers-storage:x", "skopeo copy containers-storage:x"),
        ("https://host/image", "leave https:// out: `host/image`"),
        ("oci:/abs", "inside the project"),
        ("oci:../up", "inside the project"),
        ("oci-archive:", "inside the project"),
        ("Alpine", "lower case"),
        ("alpine@sha256:abc", "64 hex"),
    ],
)
def test_what_is_neither(text, word):
    with pytest.raises(FetchError) as caught:
        parse_source(text)
    assert word in caught.value.message + caught.value.hint
    assert caught.value.code in ("reference", "image-transport")


@given(st.text(max_size=60))
def test_any_text_is_a_source_or_an_error(text):
    try:
        found = parse_source(text)
    except FetchError:
        return
    assert bool(found.scheme) != bool(found.reference)


def test_levels_that_this_processor_has(monkeypatch):
    monkeypatch.setattr("envtool.net.oci.platforms.amd64_level", lambda: 3)
    for platform in ("linux/amd64/v1", "linux/amd64/v2", "linux/amd64/v3"):
        assert str(target_platform(platform, "x86_64")) == platform
    for platform in ("linux/amd64/v4", "linux/amd64/v77"):
        with pytest.raises(FetchError) as caught:
            target_platform(platform, "x86_64")
        assert (caught.value.code, "amd64/v3" in caught.value.message) == ("image-platform", True)


def test_platforms_that_this_machine_runs():
    assert str(target_platform("", "x86_64")) == "linux/amd64"
    assert str(target_platform("linux/386", "x86_64")) == "linux/386"
    assert str(target_platform("linux/arm/v7", "aarch64")) == "linux/arm/v7"
    for platform, machine in (("linux/arm64", "x86_64"), ("windows/amd64", "x86_64"), ("linux/386", "aarch64")):
        with pytest.raises(FetchError) as caught:
            target_platform(platform, machine)
        assert caught.value.code == "image-platform"
        assert machine in caught.value.message
