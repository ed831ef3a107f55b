"""Against Debian's docker-registry, open, behind a password, behind TLS and behind signed tokens; skopeo must agree."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from envtool import net
from envtool.errors import FetchError
from envtool.net.oci import documents, layout, platforms, reference, serialize
from envtool.net.oci.documents import Descriptor, ImageConfig, ImageIndex, ImageManifest
from envtool.net.oci.registry import RegistryClient

AMD64 = platforms.platform_of_machine("x86_64")


def image(layers=(b"one layer", b"another"), platform=AMD64, **more):
    """Blobs and manifest of an image (its layers are no archives: nobody unpacks them here)."""
    config = serialize.config_bytes(
        ImageConfig(platform=platform, diff_ids=tuple(map(documents.sha256_digest, layers)), **more)
    )
    layers = [gzip.compress(layer, 1, mtime=0) for layer in layers]
    manifest = ImageManifest(
        media_type=documents.OCI_MANIFEST,
        config=serialize.descriptor_of(config, documents.OCI_CONFIG),
        layers=tuple(serialize.descriptor_of(layer, documents.OCI_LAYER_GZIP) for layer in layers),
    )
    return [config, *layers], serialize.manifest_document(manifest)


def push(client, ref, blobs, document):
    for blob in blobs:
        client.push_blob(ref, documents.sha256_digest(blob), len(blob), blob)
    return client.push_document(ref, document.body, document.media_type)


@pytest.fixture
def let_in(monkeypatch, tmp_path):
    """Settings of this host that let us into a registry."""

    def settle(found):
        for name, value in found.variables.items():
            monkeypatch.setenv(name, value)
        if found.username:
            monkeypatch.setenv("DOCKER_CONFIG", found.docker_config(tmp_path / "docker"))
        if found.authority:
            place = tmp_path / "certs.d" / found.host
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(found.authority, place / "ca.crt")
        return found

    return settle


@pytest.mark.parametrize("kind", ["registry", "password_registry", "tls_registry", "token_registry"])
def test_what_is_pushed_is_pulled(request, let_in, tmp_path, kind):
    found = let_in(request.getfixturevalue(kind))
    ref = reference.parse_reference(found.name("pushed/app", "1"))
    blobs, document = image((b"small", os.urandom(9 << 20)), run={"Env": ["A=b"]})
    large = blobs[2]
    (tmp_path / "large").write_bytes(large)
    client, moved = RegistryClient(), []
    sent = [client.push_blob(ref, documents.sha256_digest(blob), len(blob), blob) for blob in blobs[:2]]
    digest = documents.sha256_digest(large)
    sent.append(client.push_blob(ref, digest, len(large), str(tmp_path / "large"), progress=moved.append))
    assert sent == ["sent"] * 3
    assert sum(moved) == len(large)
    assert client.push_blob(ref, digest, len(large), str(tmp_path / "large")) == "present"
    assert (
        client.push_blob(
            reference.parse_reference(found.name("pushed/b")), digest, len(large), large, mount=["pushed/app"]
        )
        == "mounted"
    )
    assert client.find(ref) is None
    assert client.push_document(ref, document.body, document.media_type) == document.digest

    fresh = RegistryClient()
    taken = fresh.image(ref, AMD64)
    assert taken.document == document
    assert taken.config.run == {"Env": ["A=b"]}
    fresh.pull_blob(taken.reference, taken.manifest.layers[1], str(tmp_path / "pulled"))
    assert (tmp_path / "pulled").read_bytes() == large
    assert fresh.tags(ref) == ["1"]
    assert fresh.has_blob(ref, digest)
    assert not fresh.has_blob(ref, documents.sha256_digest(b"no such thing"))

    place = RegistryClient().blob_locations(taken.reference, digest)[0]
    assert bool(place.authorization) == bool(found.username)
    net.download_file(place.url, str(tmp_path / "again"), digest=digest, authorization=place.authorization)
    assert place.authorization not in repr(place) or not place.authorization


@pytest.mark.parametrize("kind", ["password_registry", "tls_registry", "token_registry"])
def test_nobody_else_is_let_in(request, let_in, monkeypatch, tmp_path, kind):
    found = let_in(request.getfixturevalue(kind))
    blobs, document = image()
    ref = reference.parse_reference(found.name("private/app"))
    push(RegistryClient(), ref, blobs, document)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "nothing"))
    with pytest.raises(FetchError) as caught:
        RegistryClient().image(ref, AMD64)
    assert caught.value.code == "registry-denied"
    assert f"docker login {found.host}" in caught.value.hint
    with pytest.raises(FetchError) as caught:
        RegistryClient().push_blob(ref, documents.sha256_digest(b"x"), 1, b"x")
    assert caught.value.code == "registry-denied"


def test_where_plain_http_is_allowed_https_is_spoken_all_the_same(tls_registry, let_in, monkeypatch):
    found = let_in(tls_registry)
    monkeypatch.setenv("ENVTOOL_INSECURE_REGISTRIES", found.host)
    blobs, document = image((b"allowed and not needed",))
    ref = reference.parse_reference(found.name("team/allowed"))
    assert push(RegistryClient(), ref, blobs, document) == document.digest
    assert RegistryClient().blob_locations(ref, document.digest)[0].url.startswith("https://")


def test_anybody_may_pull_what_is_public(token_registry, let_in, monkeypatch, tmp_path):
    found = let_in(token_registry)
    blobs, document = image()
    ref = reference.parse_reference(found.name("public/app"))
    push(RegistryClient(), ref, blobs, document)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "nothing"))
    stranger = RegistryClient()
    assert stranger.image(ref, AMD64).document == document
    with pytest.raises(FetchError) as caught:
        push(stranger, ref, [b"more"], document)
    assert caught.value.code == "registry-denied"


def test_the_image_of_a_platform(registry, let_in):
    found = let_in(registry)
    ref = reference.parse_reference(found.name("many/platforms"))
    client, entries = RegistryClient(), []
    for text in ("linux/arm64/v8", "linux/amd64"):
        platform = platforms.parse_platform(text)
        blobs, document = image((text.encode(),), platform)
        push(client, ref.with_tag(""), blobs, document)
        entry = document.descriptor()
        entries.append(Descriptor(media_type=entry.media_type, digest=entry.digest, size=entry.size, platform=platform))
    index = serialize.index_document(ImageIndex(media_type=documents.OCI_INDEX, manifests=tuple(entries)))
    client.push_document(ref, index.body, index.media_type)
    for entry, text in zip(entries, ("linux/arm64", "linux/amd64"), strict=True):
        taken = client.image(ref, platforms.parse_platform(text))
        assert (taken.reference.digest, taken.index) == (entry.digest, index.digest)
        assert client.image(ref.with_digest(index.digest), platforms.parse_platform(text)) == taken
    with pytest.raises(FetchError) as caught:
        client.image(ref, platforms.parse_platform("linux/s390x"))
    assert caught.value.code == "registry-platform"


def test_many_push_at_once(registry, let_in):
    found = let_in(registry)
    client = RegistryClient()
    blobs, document = image((os.urandom(1 << 20), b"shared by all"))
    start = threading.Barrier(8)

    def one(number):
        start.wait()
        try:
            return push(client, reference.parse_reference(found.name("busy/app", f"t{number % 2}")), blobs, document)
        finally:
            net.close_session()

    with ThreadPoolExecutor(8) as pool:
        assert {*pool.map(one, range(8))} == {document.digest}
    assert client.image(reference.parse_reference(found.name("busy/app", "t1")), AMD64).document == document
    assert sorted(client.tags(reference.parse_reference(found.name("busy/app")))) == ["t0", "t1"]


def test_what_refers_to_an_image(registry, let_in):
    found = let_in(registry)
    client = RegistryClient()
    blobs, document = image()
    ref = reference.parse_reference(found.name("signed/app"))
    pinned = ref.with_digest(push(client, ref, blobs, document))
    assert client.referrers(pinned) == ()
    for kind in ("application/x.signature", "application/x.bill"):
        artifact = serialize.manifest_document(
            ImageManifest(
                media_type=documents.OCI_MANIFEST,
                config=serialize.descriptor_of(b"{}", documents.OCI_EMPTY),
                layers=(serialize.descriptor_of(kind.encode(), kind),),
                artifact_type=kind,
                subject=document.descriptor(),
            )
        )
        push(client, ref.with_tag(""), [b"{}", kind.encode()], artifact)
    assert [entry.artifact_type for entry in client.referrers(pinned)] == [
        "application/x.signature",
        "application/x.bill",
    ]
    assert [entry.digest for entry in client.referrers(pinned, "application/x.bill")] == [artifact.digest]


def test_what_is_deleted_is_gone(registry, let_in):
    found = let_in(registry)
    client = RegistryClient()
    blobs, document = image((b"to be deleted",))
    ref = reference.parse_reference(found.name("deleted/app"))
    push(client, ref, blobs, document)
    assert client.delete(ref.with_digest(document.digest))
    assert client.find(ref) is None
    assert client.delete(ref.with_digest(document.digest))


def test_what_is_not_there_is_told(registry, let_in, tmp_path):
    found = let_in(registry)
    client = RegistryClient()
    ref = reference.parse_reference(found.name("absent/app", "none"))
    assert client.find(ref) is None
    assert client.tags(ref) == []
    with pytest.raises(FetchError) as caught:
        client.image(ref, AMD64)
    assert caught.value.code == "registry-missing"
    assert str(ref) in str(caught.value)
    with pytest.raises(FetchError) as caught:
        client.pull_blob(ref, serialize.descriptor_of(b"x", documents.OCI_LAYER), str(tmp_path / "x"))
    assert caught.value.code == "fetch-gone"


# ---- skopeo --------------------------------------------------------------------------------------------------------


def written(directory, blobs, document, name="1"):
    """An OCI layout of one image."""
    for blob in (*blobs, document.body):
        path = layout.blob_path(str(directory), documents.sha256_digest(blob))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(blob)
    entry = serialize.descriptor_json(document.descriptor()) | {"annotations": {layout.NAME_ANNOTATION: name}}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return directory


def test_what_skopeo_pushes_we_pull_and_the_other_way_round(registry, let_in, tmp_path):
    found = let_in(registry)
    blobs, document = image((b"by skopeo", b"again"))
    written(tmp_path / "a", blobs, document)
    found.skopeo("copy", f"oci:{tmp_path}/a:1", f"docker://{found.name('peer/skopeo')}")
    client = RegistryClient()
    taken = client.image(reference.parse_reference(found.name("peer/skopeo")), AMD64)
    assert taken.document == document
    for layer, blob in zip(taken.manifest.layers, blobs[1:], strict=True):
        assert client.blob(taken.reference, layer) == blob

    push(client, reference.parse_reference(found.name("peer/ours")), blobs, document)
    found.skopeo("copy", f"docker://{found.name('peer/ours')}", f"oci:{tmp_path}/b:x")
    index = layout.read_index("b", layout.directory_opener(str(tmp_path / "b")))
    assert layout.choose_image(index, "x", "b").digest == document.digest
    assert (
        layout.read_document("b", layout.choose_image(index, "", "b"), layout.directory_opener(str(tmp_path / "b")))
        == document
    )
    assert layout.read_blob("b", taken.manifest.config, layout.directory_opener(str(tmp_path / "b"))) == blobs[0]
    inspected = json.loads(found.skopeo("inspect", f"docker://{found.name('peer/ours')}").stdout)
    assert inspected["Digest"] == document.digest


def test_dockers_own_media_types_come_from_skopeo(registry, let_in, tmp_path):
    found = let_in(registry)
    blobs, document = image((b"in another dress",))
    written(tmp_path / "a", blobs, document)
    found.skopeo("copy", "--format", "v2s2", f"oci:{tmp_path}/a:1", f"docker://{found.name('peer/docker')}")
    taken = RegistryClient().image(reference.parse_reference(found.name("peer/docker")), AMD64)
    assert taken.manifest.media_type == documents.DOCKER_MANIFEST
    assert documents.LAYERS[taken.manifest.layers[0].media_type] == "gzip"
    assert taken.config.diff_ids == (documents.sha256_digest(b"in another dress"),)


# ---- layouts, imports ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("oci-layout", None, "registry-missing"),
        ("oci-layout", "{}", "registry-document"),
        ("oci-layout", '{"imageLayoutVersion": "2"}', "registry-document"),
        ("index.json", None, "registry-missing"),
        ("index.json", "[", "registry-document"),
        ("index.json", '{"schemaVersion": 2, "layers": []}', "registry-document"),
    ],
)
def test_a_directory_that_is_no_layout(tmp_path, name, text, code):
    written(tmp_path, *image())
    (tmp_path / name).unlink() if text is None else (tmp_path / name).write_text(text)
    with pytest.raises(FetchError) as caught:
        layout.read_index(str(tmp_path), layout.directory_opener(str(tmp_path)))
    assert caught.value.code == code
    assert name in str(caught.value)


def test_a_layout_that_lies(tmp_path):
    blobs, document = image()
    index = layout.read_index("x", layout.directory_opener(str(written(tmp_path, blobs, document))))
    path = layout.blob_path(str(tmp_path), document.digest)
    for body in (document.body[:-1], document.body + b" ", b"?" * len(document.body)):
        with open(path, "wb") as file:
            file.write(body)
        with pytest.raises(FetchError):
            layout.read_document(str(tmp_path), index.manifests[0], layout.directory_opener(str(tmp_path)))
    os.unlink(path)
    os.mkfifo(path)
    with pytest.raises(FetchError):
        layout.read_document(str(tmp_path), index.manifests[0], layout.directory_opener(str(tmp_path)))


def test_images_of_a_layout_are_named(tmp_path):
    entry = Descriptor(media_type=documents.OCI_MANIFEST, digest=documents.sha256_digest(b""), size=0)
    others = Descriptor(media_type=documents.OCI_MANIFEST, digest=documents.sha256_digest(b"1"), size=1, annotations={layout.NAME_ANNOTATION: "b"})  # fmt: skip
    index = ImageIndex(media_type=documents.OCI_INDEX, manifests=(entry, entry, others))
    assert layout.choose_image(index, "b", "x") == others
    for name in ("", "c"):
        with pytest.raises(FetchError) as caught:
            layout.choose_image(index, name, "x")
        assert caught.value.code == "registry-missing"
        assert caught.value.hint == "it has b"


def test_importing_the_client_brings_no_http_library():
    code = "import envtool.net.oci.registry, sys; print({'requests', 'urllib3', 'ssl', 'tomllib', 'http.client'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
