"""What is written of an image: archives and layouts that agree with themselves, and with each other."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envtool.build.context import Cancel
from envtool.errors import StoreError, UsageError
from envtool.images import assemble, image_blobs, tar_archive
from envtool.images import layout as layouts
from envtool.images.image_config import ExportedImage, ImageLayerContent
from envtool.net.oci import documents, layout, serialize
from envtool.net.oci.documents import ImageConfig, Platform, sha256_digest
from envtool.testing import FakeRunner

AMD64 = Platform(os="linux", architecture="amd64")
RUNNER = FakeRunner()


@pytest.fixture(scope="module")
def cancel():
    made = Cancel.make()
    yield made
    made.close()


def image(texts, name="localhost/unit:latest"):
    """An image of layers that are in memory."""
    found = tuple(
        ImageLayerContent(name=str(number), diff_id=sha256_digest(text), size=len(text), data=text)
        for number, text in enumerate(texts)
    )
    config = ImageConfig(platform=AMD64, diff_ids=tuple(each.diff_id for each in found), created="2020-01-01T00:00:00Z")
    return ExportedImage(
        name=name, epoch=1577836800, platform=AMD64, config=serialize.config_bytes(config), contents=found
    )


def members(item, cancel, *, docker):
    with tempfile.TemporaryFile() as file:
        tar_archive.write_archive(item, file.fileno(), cancel, RUNNER, docker=docker)
        file.seek(0)
        data = file.read()
        file.seek(0)
        with tarfile.open(fileobj=file) as tar:
            return data, {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}


layers = st.lists(st.binary(min_size=1, max_size=3000), max_size=5)


@settings(deadline=None, max_examples=25)
@given(layers, st.sampled_from(["", "gzip", "zstd"]))
def test_archives_hold_what_they_name(cancel, texts, form):
    for docker in (False, True):
        with tempfile.TemporaryDirectory() as work:
            item = (
                assemble.assemble_uncompressed(image(texts))
                if docker
                else assemble.assemble_local(image(texts), form, work, cancel, RUNNER)
            )
            data, found = members(item, cancel, docker=docker)
            assert members(item, cancel, docker=docker)[0] == data
        blobs = {name: text for name, text in found.items() if name.startswith("blobs/")}
        assert all(name == f"blobs/sha256/{hashlib.sha256(text).hexdigest()}" for name, text in blobs.items())
        index = documents.read_index(found["index.json"], documents.OCI_INDEX, "index.json")
        (entry,) = index.manifests
        manifest = documents.read_manifest(blobs[layout.blob_path("", entry.digest)], entry.media_type, "manifest")
        config = documents.read_config(blobs[layout.blob_path("", manifest.config.digest)], "config")
        documents.check_image(manifest, config, "image")
        assert config.diff_ids == tuple(sha256_digest(text) for text in texts)
        assert {layer.size for layer in manifest.layers} <= {len(text) for text in blobs.values()}
        if docker:
            (said,) = json.loads(found["manifest.json"])
            assert [found[name] for name in said["Layers"]] == texts
            assert documents.sha256_digest(found[said["Config"]]) == manifest.config.digest
            assert said["RepoTags"] == ["localhost/unit:latest"]
            top = hashlib.sha256(texts[-1]).hexdigest() if texts else ""
            assert json.loads(found["repositories"]) == {"localhost/unit": {"latest": top}}


def test_a_layout_is_read_by_our_own_reader_and_grows(cancel, tmp_path):
    place = str(tmp_path / "layout")
    for name in ("localhost/a:1", "localhost/b:1", "localhost/a:1"):
        layouts.write_layout(
            assemble.assemble_uncompressed(image([b"one", name.encode()], name)), place, cancel, RUNNER
        )
    read = layout.directory_opener(place)
    index = layout.read_index(place, read)
    assert [entry.annotations[layout.NAME_ANNOTATION] for entry in index.manifests] == [
        "localhost/b:1",
        "localhost/a:1",
    ]
    for entry in index.manifests:
        manifest = documents.read_document(layout.read_document(place, entry, read), "manifest")
        assert layout.read_blob(place, manifest.layers[0], read) == b"one"
    assert not [path for path in Path(place).rglob("*") if path.name.startswith(".")]


def test_a_layout_that_is_none_is_left_alone(cancel, tmp_path):
    item = assemble.assemble_uncompressed(image([b"one"]))
    for name, text in (("oci-layout", "{}"), ("index.json", "[]"), ("note", "mine")):
        place = tmp_path / name
        place.mkdir()
        (place / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}') if name == "index.json" else None
        (place / name).write_text(text)
        (place / "index.json").touch() if name == "oci-layout" else None
        before = sorted(path.name for path in place.iterdir())
        with pytest.raises(UsageError) as found:
            layouts.write_layout(item, str(place), cancel, RUNNER)
        assert found.value.code == "export-target"
        assert sorted(path.name for path in place.iterdir()) == before


def test_what_is_not_what_it_is_called_does_not_go_out(cancel, tmp_path):
    lie = ImageLayerContent(name="x", diff_id=sha256_digest(b"other"), size=3, data=b"one")
    with pytest.raises(StoreError, match="no longer the layer") as found, tempfile.TemporaryFile() as file:
        image_blobs.write_blob(image_blobs.uncompressed_blob(lie), file.fileno(), cancel, RUNNER)
    assert found.value.code == "layer-damaged"
    blob = tmp_path / hashlib.sha256(b"one").hexdigest()
    blob.write_bytes(b"two")
    came = image_blobs.original_blob(ImageLayerContent(name="x", diff_id=sha256_digest(b"one"), size=3, blob=str(blob)))
    with pytest.raises(StoreError) as found, tempfile.TemporaryFile() as file:
        image_blobs.write_blob(came, file.fileno(), cancel, RUNNER)
    assert found.value.code == "blob-damaged"
    blob.write_bytes(b"\x1f\x8bno gzip")
    packed = ImageLayerContent(name="x", diff_id=sha256_digest(b"one"), size=3, blob=str(blob))
    with pytest.raises(StoreError, match="cannot be unpacked"), tempfile.TemporaryFile() as file:
        image_blobs.write_blob(image_blobs.uncompressed_blob(packed), file.fileno(), cancel, RUNNER)
