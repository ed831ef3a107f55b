from __future__ import annotations

import contextlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtool.errors import FetchError
from envtool.net.oci import documents, platforms, serialize
from envtool.net.oci.documents import Descriptor, Document, ImageConfig, ImageIndex, ImageManifest, Platform

digests = st.binary(max_size=8).map(documents.sha256_digest)
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
annotations = st.dictionaries(words, words, max_size=3)
found_platforms = st.builds(Platform, os=names, architecture=names, variant=st.one_of(st.just(""), names))
descriptors = st.builds(
    Descriptor,
    media_type=names,
    digest=digests,
    size=st.integers(0, documents.SIZE_LIMIT),
    platform=st.one_of(st.none(), found_platforms),
    annotations=annotations,
    artifact_type=words,
)
several = st.lists(descriptors, max_size=4).map(tuple)
more = {
    "annotations": annotations,
    "artifact_type": words,
    "subject": st.one_of(st.none(), descriptors),
}


@given(
    st.builds(
        ImageManifest, media_type=st.sampled_from(documents.MANIFESTS), config=descriptors, layers=several, **more
    )
)
def test_manifests_are_read_as_they_are_written(manifest):
    document = serialize.manifest_document(manifest)
    assert documents.read_document(document, "x") == manifest
    assert document.digest == documents.sha256_digest(document.body)
    assert document.descriptor().size == len(document.body)


@given(st.builds(ImageIndex, media_type=st.sampled_from(documents.INDEXES), manifests=several, **more))
def test_indexes_are_read_as_they_are_written(index):
    assert documents.read_document(serialize.index_document(index), "x") == index


@given(
    st.builds(
        ImageConfig,
        platform=found_platforms,
        diff_ids=st.lists(digests, max_size=5).map(tuple),
        run=st.fixed_dictionaries(
            {}, optional={"Env": st.lists(words, max_size=3), "User": words, "Labels": st.dictionaries(names, words)}
        ),
        history=st.lists(st.dictionaries(names, words, max_size=2), max_size=3).map(tuple),
        created=words,
        author=words,
    )
)
def test_configs_are_read_as_they_are_written(config):
    body = serialize.config_bytes(config)
    assert documents.read_config(body, "x") == config
    assert serialize.config_bytes(documents.read_config(body, "x")) == body


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), words),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(
                    ["schemaVersion", "config", "layers", "manifests", "digest", "size", "mediaType", "rootfs", "os"]
                ),
                inner,
                max_size=4,
            ),
        ),
    )
)
def test_any_json_is_a_document_or_an_error(value):
    body = json.dumps(value).encode()
    for read in (
        lambda: documents.read_manifest(body, documents.OCI_MANIFEST, "x"),
        lambda: documents.read_index(body, documents.OCI_INDEX, "x"),
        lambda: documents.read_config(body, "x"),
    ):
        with contextlib.suppress(FetchError):
            read()


def test_what_go_writes_for_nothing_is_nothing():
    body = json.dumps(
        {
            "os": "linux",
            "architecture": "arm64",
            "config": {"Env": None, "Cmd": None, "Labels": None, "User": ""},
            "history": None,
            "rootfs": {"type": "layers", "diff_ids": None},
        }
    ).encode()
    assert documents.read_config(body, "x") == ImageConfig(
        platform=Platform(os="linux", architecture="arm64"), diff_ids=(), run={"User": ""}
    )


def test_history_says_what_it_knows():
    assert serialize.config_history([("", "apt", False), ("2024-01-01T00:00:00Z", "", True)]) == (
        {"created_by": "apt"},
        {"created": "2024-01-01T00:00:00Z", "empty_layer": True},
    )


# ---- platforms -----------------------------------------------------------------------------------------------------


def index(*texts):
    entries = [
        Descriptor(
            media_type=documents.OCI_MANIFEST,
            digest=documents.sha256_digest(str(number).encode()),
            size=number,
            platform=platforms.parse_platform(text) if text else None,
        )
        for number, text in enumerate(texts)
    ]
    return ImageIndex(media_type=documents.OCI_INDEX, manifests=tuple(entries))


@pytest.mark.parametrize(
    ("machine", "offered", "chosen"),
    [
        ("x86_64", ["linux/arm64", "linux/amd64"], 1),
        ("x86_64", ["windows/amd64", "linux/amd64"], 1),
        ("x86_64", ["linux/386", "linux/amd64/v2", "linux/amd64/v1"], 2),
        ("x86_64", ["linux/amd64/v2", "linux/amd64"], 1),
        ("aarch64", ["linux/amd64", "linux/arm64"], 1),
        ("aarch64", ["linux/arm64", "linux/arm64/v8"], 1),
        ("aarch64", ["linux/arm64/v9", "linux/arm64/v8"], 1),
        ("armv7l", ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], 1),
        ("armv7l", ["linux/arm/v5", "linux/arm/v6"], 1),
        ("armv6l", ["linux/arm/v7", "linux/arm/v6"], 1),
        ("armv6l", ["linux/arm/v7", "linux/arm/v5"], 1),
        ("ppc64le", ["linux/ppc64le"], 0),
        ("riscv64", ["linux/amd64", "linux/riscv64"], 1),
        ("i686", ["linux/amd64", "linux/386"], 1),
        ("x86_64", ["linux/amd64", "linux/amd64"], 0),
        ("x86_64", [""], 0),
    ],
)
def test_the_manifest_of_a_machine(machine, offered, chosen):
    assert platforms.choose_manifest(index(*offered), platforms.platform_of_machine(machine), "x").size == chosen


@pytest.mark.parametrize(
    ("machine", "offered"),
    [
        ("x86_64", ["linux/arm64"]),
        ("armv6l", ["linux/arm/v7"]),
        ("x86_64", ["", ""]),
        ("x86_64", []),
    ],
)
def test_none_for_this_machine(machine, offered):
    with pytest.raises(FetchError) as caught:
        platforms.choose_manifest(index(*offered), platforms.platform_of_machine(machine), "some/image")
    assert caught.value.code == "registry-platform"
    assert all(text in str(caught.value) for text in offered)


@pytest.mark.parametrize(
    ("level", "asked", "offered", "chosen"),
    [
        (3, "linux/amd64", ["linux/amd64/v3", "linux/amd64/v2"], 1),  # the lowest, so that all machines pin the same
        (4, "linux/amd64", ["linux/amd64/v4", "linux/amd64/v3", "linux/amd64/v1"], 2),
        (3, "linux/amd64", ["linux/arm64", "linux/amd64/v3"], 1),
        (2, "linux/amd64", ["linux/amd64/v3"], None),
        (1, "linux/amd64", ["linux/amd64/v2"], None),
        (3, "linux/amd64/v3", ["linux/amd64/v1", "linux/amd64/v3", "linux/amd64/v2"], 1),
        (3, "linux/amd64/v3", ["linux/amd64", "linux/amd64/v2"], 1),
        (3, "linux/amd64/v2", ["linux/amd64/v3"], None),
        (4, "linux/amd64", ["linux/amd64/v9"], None),
    ],
)
def test_levels_of_amd64(monkeypatch, level, asked, offered, chosen):
    monkeypatch.setattr(platforms, "amd64_level", lambda: level)
    if chosen is None:
        with pytest.raises(FetchError) as caught:
            platforms.choose_manifest(index(*offered), platforms.parse_platform(asked), "x")
        assert f"amd64/v{level}" in caught.value.hint
    else:
        assert platforms.choose_manifest(index(*offered), platforms.parse_platform(asked), "x").size == chosen


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ("flags\t\t: fpu sse2 lm", 1),
        (f"processor : 0\nflags\t: {platforms.LEVELS[0]}", 2),
        (f"flags : {' '.join(platforms.LEVELS[:2])} avx512f", 3),
        (f"flags : {' '.join(platforms.LEVELS[:2]).replace('movbe', '')}", 2),
        (f"flags : {' '.join(platforms.LEVELS)}", 4),
        (f"flags : {platforms.LEVELS[1]}", 1),
        ("Features\t: fp asimd", 4),
        ("", 4),
    ],
)
def test_the_level_of_a_processor(monkeypatch, flags, wanted):
    monkeypatch.setattr("builtins.open", lambda *_, **__: io.StringIO(flags))
    assert platforms.amd64_level.__wrapped__() == wanted


def test_what_buildkit_puts_beside_is_no_image():
    found = index("linux/amd64", "unknown/unknown")
    attestation = Descriptor(
        media_type=documents.OCI_MANIFEST,
        digest=documents.sha256_digest(b"a"),
        size=9,
        annotations={"vnd.docker.reference.type": "attestation-manifest"},
    )
    plain = ImageIndex(media_type=documents.OCI_INDEX, manifests=(attestation, index("").manifests[0]))
    assert platforms.choose_manifest(plain, platforms.platform_of_machine("x86_64"), "x").size == 0
    assert platforms.choose_manifest(found, platforms.platform_of_machine("x86_64"), "x").size == 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        (" Linux/ARM64/v8 ", "linux/arm64/v8"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/aarch64", "linux/arm64"),
    ],
)
def test_platforms_as_people_write_them(text, found):
    assert str(platforms.parse_platform(text)) == found


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "linux/arm/", "linux/arm/v7/x"])
def test_what_is_no_platform(text):
    with pytest.raises(FetchError) as caught:
        platforms.parse_platform(text)
    assert caught.value.code == "registry-platform"


def test_a_document_of_an_unknown_type_is_refused():
    with pytest.raises(FetchError):
        documents.read_document(Document(media_type="x", digest="", body=b"{}"), "x")


@pytest.mark.parametrize(
    ("layers", "diff_ids", "text"),
    [
        (1, 2, "1 layer, its config 2 diff IDs"),
        (2, 1, "2 layers, its config 1 diff ID"),
        (0, 3, "0 layers, its config 3 diff IDs"),
    ],
)
def test_layers_and_diff_ids_are_counted(layers, diff_ids, text):
    assert documents.count_layers(layers, diff_ids) == text
