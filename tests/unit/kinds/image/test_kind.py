"""The kind on layouts and archives; registries are in tests/e2e."""

from __future__ import annotations

import gzip
import json
import lzma
from dataclasses import replace
from pathlib import Path

import pytest

from envtool.api import FetchError, SpecError
from envtool.build import context
from envtool.kinds.image import image_archives
from envtool.kinds.image import pins as pinned
from envtool.kinds.image.base import LAYER, ImageBase
from envtool.net.oci import documents
from envtool.testing import MemorySite, check_kind, check_refused, request
from tests.unit.kinds.image.layouts import Layout, config, digest, docker_archive, dumps, packed
from tests.unit.store.archives import gz, member, tar

ONE, TWO = tar(member("one", b"1")), tar(member("two", b"2"))
KIND = ImageBase()


def asked(options, **more):
    return replace(request(options), **more)


def settled(site, options, **more):
    return KIND.resolve(asked(options, **more), site)


@pytest.fixture
def site(tmp_path) -> MemorySite:
    return MemorySite(project=str(tmp_path))


@pytest.fixture
def layout(tmp_path) -> Layout:
    return Layout(tmp_path / "img")


def test_a_layout(layout, site):
    run = {"Env": ["A=b"], "User": "33", "Labels": {"name": "n", "version": "v"}}
    layout.add(layout.image(ONE, TWO, packed=[gz(ONE), gz(TWO)], media_type=documents.OCI_LAYER_GZIP, **run), "v1")
    layout.write()
    pins = check_kind(KIND, "oci:img:v1", site=site, wrong=[3, [], {"tag": "x"}, {"name": "a", "platform": "linux"}])
    assert [layer.diff_id for layer in pinned.layers(pins)] == [digest(ONE), digest(TWO)]
    assert KIND.image_config(asked("oci:img:v1"), pins) == run
    assert KIND.variables(asked("oci:img:v1"), pins) == {"A": "b"}
    assert KIND.epoch(pins) == 1706933106
    assert KIND.build(asked("oci:img:v1"), pins).archive.diff_id == digest(ONE)
    (part,) = KIND.parts(asked("oci:img:v1"), pins)
    assert (part.below, part.kind.build(asked(part.options), None).archive.diff_id) == ((), digest(TWO))
    (found,) = LAYER.locate(asked(part.options), None, LAYER.fetches(asked(part.options), None), site)
    assert Path(found.url.removeprefix("file://")).read_bytes() == gz(TWO)
    assert KIND.summary(asked("oci:img:v1"), pins).startswith("oci:img:v1, 2 layers, ")
    assert str(site.project) not in json.dumps(pins)


def test_the_same_image_in_archives_is_the_same_layers(layout, site, tmp_path):
    layout.add(layout.image(ONE, TWO), "v1")
    top = layout.write()
    packed(top, tmp_path / "a.tar")
    body = config([digest(ONE), digest(TWO)])
    image = (["team/app:v1"], body, [("x/layer.tar", ONE), ("y/layer.tar", TWO)])
    for name, pack in (("d.tar", None), ("d.tar.gz", gzip.compress), ("d.tar.xz", lzma.compress)):
        docker_archive(tmp_path / "d.tar", [image])
        if pack:
            (tmp_path / name).write_bytes(pack((tmp_path / "d.tar").read_bytes()))
    from envtool.store import blobs, store

    class Site(MemorySite):
        def keep(self, pieces, *, sha256=""):
            return Path(
                blobs.put_content(store.open_store(environ={"ENVTOOL_STORE": str(tmp_path / "store")}), pieces, sha256)
            )

    site = Site(project=str(tmp_path))
    found = []
    for text in ("oci:img:v1", "oci-archive:a.tar", "docker-archive:d.tar", "docker-archive:d.tar.gz",
                 "docker-archive:d.tar.xz", "docker-archive:d.tar:docker.io/team/app:v1"):  # fmt: skip
        pins = settled(site, text)
        found.append([layer.diff_id for layer in pinned.layers(pins)])
        for each, data in zip(
            [asked(text), *(asked(p.options) for p in KIND.parts(asked(text), pins))], (ONE, TWO), strict=True
        ):
            kind = KIND if each.options == text else LAYER
            (place,) = kind.locate(each, pins, kind.fetches(each, pins), site)
            assert Path(place.url.removeprefix("file://")).read_bytes() == data
    assert all(each == found[0] for each in found)


def test_an_image_without_layers(layout, site):
    layout.add(layout.image())
    layout.write()
    pins = check_kind(KIND, "oci:img", site=site)
    assert KIND.build(asked("oci:img"), pins).archive is None
    assert not KIND.parts(asked("oci:img"), pins)


def test_a_layer_that_comes_twice_is_stacked_once_at_its_upper_place(layout, site):
    layout.add(layout.image(ONE, TWO, ONE))
    layout.write()
    pins = settled(site, "oci:img")
    assert [layer.diff_id for layer in pinned.layers(pins)] == [digest(ONE), digest(TWO), digest(ONE)]
    assert [layer.diff_id for layer in pinned.stacked_layers(pins)] == [digest(TWO), digest(ONE)]


@pytest.mark.parametrize("nested", [False, True])
def test_of_many_platforms_that_of_this_machine(layout, site, nested):
    layout.add(layout.image(TWO, architecture="arm64"), architecture="arm64")
    layout.add(layout.image(ONE), architecture="amd64")
    attestation = layout.document({"schemaVersion": 2}, documents.OCI_MANIFEST)
    attestation["annotations"] = {"vnd.docker.reference.type": "attestation-manifest"}
    attestation["platform"] = {"os": "unknown", "architecture": "unknown"}
    layout.entries.append(attestation)
    if nested:
        inner = layout.document(layout.index(), documents.OCI_INDEX)
        layout.entries = []
        layout.add(inner, "v1")
    layout.write()
    assert [layer.diff_id for layer in pinned.layers(settled(site, "oci:img"))] == [digest(ONE)]
    assert [layer.diff_id for layer in pinned.layers(settled(site, "oci:img", arch="aarch64"))] == [digest(TWO)]
    error = check_refused(
        KIND, "oci:img", "linux/s390x", "linux/amd64, linux/arm64", site=site, asked=asked("oci:img", arch="s390x")
    )
    assert error.code == "registry-platform"


def test_a_platform_that_is_asked_for(layout, site):
    layout.add(layout.image(TWO, architecture="386"), architecture="386")
    layout.add(layout.image(ONE), architecture="amd64")
    layout.write()
    pins = settled(site, {"name": "oci:img", "platform": "linux/386"})
    assert [layer.diff_id for layer in pinned.layers(pins)] == [digest(TWO)]
    with pytest.raises(SpecError) as caught:
        settled(site, {"name": "oci:img", "platform": "linux/arm64"})
    assert caught.value.problems[0].code == "image-platform"


def test_names_are_told(layout, site):
    for name in ("v1", "v2"):
        layout.add(layout.image(tar(member(name))), name)
    layout.write()
    check_refused(KIND, "oci:img", "2 images", "v1, v2", site=site)
    check_refused(KIND, "oci:img:v3", "no image 'v3'", "v1, v2", site=site)
    check_refused(KIND, "oci:nowhere", "nowhere/oci-layout", site=site)


@pytest.mark.parametrize(
    ("media_type", "word"),
    [
        (documents.OCI_LAYER_GZIP + "+encrypted", "is encrypted"),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "foreign"),
        ("application/vnd.oci.image.layer.v1.tar+bzip2", "tar, gzip and zstd are read"),
    ],
)
def test_layers_that_nobody_can_read(layout, site, media_type, word):
    layout.add(layout.image(ONE, media_type=media_type))
    layout.write()
    assert check_refused(KIND, "oci:img", word, "sha256:", site=site).code == "image-layer"


def test_archives_that_are_none(site, tmp_path, monkeypatch):
    monkeypatch.setattr(image_archives, "UNLIMITED_SIZE", 1 << 20)
    body = config([digest(ONE)])
    named = [(["a/b:1"], body, [("l", ONE)]), (["a/c:2"], config([digest(TWO)]), [("m", TWO)])]
    docker_archive(tmp_path / "two.tar", named)
    docker_archive(tmp_path / "less.tar", [(["a"], body, [("../../etc/passwd", None)])])
    docker_archive(tmp_path / "count.tar", [(["a"], body, [])])
    docker_archive(tmp_path / "loop.tar", [(["a"], body, [("l", None)])], linked=[("l", "m"), ("m", "l")])
    (tmp_path / "text.tar").write_text("hello" * 300)
    (tmp_path / "cut.tar.gz").write_bytes(gzip.compress((tmp_path / "two.tar").read_bytes())[:-20])
    (tmp_path / "z.tar").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(bytes(8 << 20), 9))
    (tmp_path / "json.tar").write_bytes(tar(member("manifest.json", b"{}[")))
    (tmp_path / "fields.tar").write_bytes(tar(member("manifest.json", dumps([{"Config": 3, "Layers": "x"}]))))
    for name, word in {
        "two.tar": "2 images in it",
        "two.tar:a/d:3": "a/b:1, a/c:2",
        "less.tar": "../../etc/passwd is not in it",
        "count.tar": "0 layers",
        "loop.tar": "no regular file",
        "text.tar": "not an archive",
        "cut.tar.gz": "not an archive",
        "z.tar": "zstd -d",
        "bomb.tar.gz": "unpacks to more than",
        "json.tar": "not what docker writes",
        "fields.tar": "without Config or Layers",
        "missing.tar": "there is no file",
    }.items():
        assert check_refused(KIND, f"docker-archive:{name}", word, site=site).code == "image-archive"


def test_links_between_the_layers_of_a_docker_archive(site, tmp_path):
    image = (["a"], config([digest(ONE)]), [("b/layer.tar", None)])
    docker_archive(tmp_path / "d.tar", [image, (["c"], config([digest(ONE)]), [("a/layer.tar", ONE)])],
                   linked=[("b/layer.tar", "../a/layer.tar")])  # fmt: skip
    pins = settled(site, "docker-archive:d.tar:a")
    KIND.locate(asked("docker-archive:d.tar:a"), pins, KIND.fetches(asked("docker-archive:d.tar:a"), pins), site)
    assert site.kept == {digest(ONE)[7:]: ONE}


def test_an_archive_that_lies_about_its_layer(site, tmp_path):
    docker_archive(tmp_path / "d.tar", [(["a"], config([digest(TWO)]), [("l", ONE)])])
    pins = settled(site, "docker-archive:d.tar")
    with pytest.raises(FetchError) as caught:
        KIND.locate(asked("docker-archive:d.tar"), pins, KIND.fetches(asked("docker-archive:d.tar"), pins), site)
    assert caught.value.code == "fetch-hash"


def test_a_name_that_is_none_is_an_error_in_the_spec(site):
    for text in ("docker://alpine", "UPPER", "oci:../x"):
        assert not KIND.inputs(text)
        with pytest.raises(FetchError):
            KIND.judge(text)
        with pytest.raises(SpecError) as caught:
            settled(site, text)
        assert caught.value.problems[0].where.file == "envtool.yaml"


# ---- what is written down --------------------------------------------------------------------------------------------


def pins_of(**about):
    return pinned.make_pins(
        name="n",
        index="",
        manifest="sha256:m",
        config=documents.read_config(config([], **about), "c"),
        config_digest="sha256:c",
        layers=[],
    )


def test_the_environment():
    env = ["A=1=2", "EMPTY=", "NAKED", "HOME=/root", "USER=x", "TERM=xterm", "LANG=C", "=x"]
    assert pinned.image_variables(pins_of(Env=env)) == {"A": "1=2", "EMPTY": "", "LANG": "C"}


def test_the_path_is_what_the_image_adds():
    assert context.PATH == pinned.PATH
    for path, found in {
        pinned.PATH: {},
        f"/opt/bin:{pinned.PATH}": {"PATH": "/opt/bin"},
        "/usr/bin:/bin": {"PATH": "/usr/bin:/bin"},
        f"/opt{pinned.PATH}": {"PATH": f"/opt{pinned.PATH}"},
        "": {},
    }.items():
        assert pinned.image_variables(pins_of(Env=[f"PATH={path}"])) == found


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-02-03T04:05:06Z", 1706933106),
        ("2024-02-03T04:05:06.999999999Z", 1706933106),
        ("2024-02-03T05:05:06.1+01:00", 1706933106),
        ("0001-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59Z", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_when_it_was_made(text, seconds):
    assert pinned.created_epoch(pins_of(created=text)) == seconds
