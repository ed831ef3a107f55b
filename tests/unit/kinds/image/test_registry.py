"""What the kind makes of a registry's answers; the registry itself is in tests/unit/net/oci and tests/e2e."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envtool.api import FetchError
from envtool.kinds.image import pins as pinned
from envtool.kinds.image.base import LAYER, ImageBase
from envtool.net.oci import documents
from envtool.net.oci.documents import Descriptor, Document, ImageManifest
from envtool.net.oci.registry import BlobLocation
from envtool.net.oci.registry import RegistryImage as Found
from envtool.testing import MemorySite, check_kind, request
from tests.unit.kinds.image.layouts import config, digest

KIND = ImageBase()
ONE, TWO, INDEX, OTHER = (digest(text) for text in (b"1", b"2", b"index", b"other index"))


class Client:
    """Has one image, under any name; `asked` records for which."""

    def __init__(self, media_type=documents.OCI_LAYER_ZSTD, places=()):
        self.asked = []
        self.media_type = media_type
        self.found = places or (BlobLocation(url="https://r.invalid/v2/a/blobs/x", authorization="Bearer secret"),)

    def image(self, reference, platform):
        self.asked.append((str(reference), str(platform)))
        layers = tuple(Descriptor(media_type=self.media_type, digest=digest(name.encode()), size=3) for name in "ab")
        config_descriptor = Descriptor(media_type=documents.OCI_CONFIG, digest=digest(b"c"), size=1)
        return Found(
            reference=reference.with_digest(digest(b"manifest")),
            index=reference.digest or INDEX,
            document=Document(media_type=documents.OCI_MANIFEST, digest=digest(b"manifest"), body=b""),
            manifest=ImageManifest(media_type=documents.OCI_MANIFEST, config=config_descriptor, layers=layers),
            config=documents.read_config(config([ONE, TWO], Env=["A=1"]), "c"),
        )

    def blob_locations(self, reference, blob):
        self.asked.append((str(reference), blob))
        return self.found


def site(client) -> MemorySite:
    made = MemorySite()
    made.images = client
    return made


def test_a_tag_becomes_digests():
    client = Client()
    pins = check_kind(KIND, "r.invalid/team/app:v1", site=site(client))
    assert client.asked[0] == ("r.invalid/team/app:v1", "linux/amd64")
    assert (pinned.image_name(pins), pinned.index_digest(pins), pinned.manifest_digest(pins)) == (
        "r.invalid/team/app:v1",
        INDEX,
        digest(b"manifest"),
    )
    assert [layer.diff_id for layer in pinned.layers(pins)] == [ONE, TWO]
    assert "secret" not in repr(pins)


def test_layers_are_asked_for_by_what_was_pinned():
    client = Client()
    asked = request("r.invalid/team/app:v1")
    pins = KIND.resolve(asked, site(client))
    (part,) = KIND.parts(asked, pins)
    part_asked = replace(asked, options=part.options)
    (found,) = LAYER.locate(part_asked, None, LAYER.fetches(part_asked, None), site(client))
    assert client.asked[-1] == (f"r.invalid/team/app@{digest(b'manifest')}", digest(b"b"))
    assert (found.url, found.authorization, found.size) == (client.found[0].url, "Bearer secret", 3)
    assert "Bearer" not in repr(part.options)


def test_mirrors_come_first_and_keep_no_credentials_of_others():
    places = (
        BlobLocation(url="https://mirror.invalid/x"),
        BlobLocation(url="https://r.invalid/x", authorization="Basic secret"),
    )
    client = Client(places=places)
    asked = request("r.invalid/team/app:v1")
    pins = KIND.resolve(asked, site(client))
    (found,) = KIND.locate(asked, pins, KIND.fetches(asked, pins), site(client))
    assert (found.url, found.authorization, found.mirrors) == (places[0].url, "", (places[1].url,))


def test_a_second_platform_takes_the_index_of_the_first():
    client = Client()
    kept = KIND.resolve(request("r.invalid/app:v1"), site(client))
    asked = replace(request("r.invalid/app:v1"), arch="aarch64", keep=kept)
    KIND.resolve(asked, site(client))
    assert client.asked[-1] == (f"r.invalid/app:v1@{INDEX}", "linux/arm64/v8")
    KIND.resolve(replace(asked, options="r.invalid/app:v2"), site(client))  # another question
    assert client.asked[-1] == ("r.invalid/app:v2", "linux/arm64/v8")
    KIND.resolve(replace(asked, options=f"r.invalid/app:v1@{OTHER}"), site(client))
    assert client.asked[-1] == (f"r.invalid/app:v1@{OTHER}", "linux/arm64/v8")


def test_foreign_layers_are_refused_by_name():
    client = Client(media_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    with pytest.raises(FetchError) as caught:
        KIND.resolve(request("r.invalid/app:v1"), site(client))
    assert "r.invalid/app:v1" in caught.value.message
    assert "foreign" in caught.value.message
