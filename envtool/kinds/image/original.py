"""Returns an image's own manifest and config, byte for byte, so that an image can be exported as it was imported. The
store keeps both documents."""

from __future__ import annotations

import json
from collections.abc import Callable

from envtool.api import Fetch, FetchError, Json, Original, ResolveError, Site, oci_images
from envtool.api.oci_images import Document
from envtool.kinds.image import image_archives, pins
from envtool.kinds.image.resolver import docker_save_entry, project_path
from envtool.kinds.image.source import DOCKER_ARCHIVE, LAYOUT, ImageLocation

Get = Callable[[str, int], bytes]  # (digest, maximal number of bytes) -> content


def read_original(source: ImageLocation, pinned: Json, directory: str, site: Site) -> Original:
    """Returns the documents of a pinned image. `directory`: paths are relative to it; it is below the project. Raises
    FetchError."""
    path = project_path(source, directory)
    text = source.text
    if source.reference is not None:
        return _read(pinned, site, text, lambda digest, _limit: _from_registry(source, pinned, digest, site))
    if source.scheme == LAYOUT:
        return _read(pinned, site, text, lambda digest, limit: _from_layout(path, digest, limit, site))
    with image_archives.open_archive(path, text, site) as archive:
        if source.scheme == DOCKER_ARCHIVE:
            config = archive.read(str(docker_save_entry(archive, source)["Config"]), oci_images.CONFIG_LIMIT)
            return _read(pinned, site, text, lambda _digest, _limit: config)
        blobs = "blobs/sha256/"
        return _read(
            pinned, site, text, lambda digest, limit: archive.read(blobs + digest.removeprefix("sha256:"), limit)
        )


def _read(pinned: Json, site: Site, text: str, get: Get) -> Original:
    manifest = pins.manifest_digest(pinned)
    document = _fetch_document(site, manifest, oci_images.DOCUMENT_LIMIT, get, text) if manifest else b""
    config = _fetch_document(site, pins.digest_of_config(pinned), oci_images.CONFIG_LIMIT, get, text)
    return Original(manifest=document, media_type=_media_type(document) if document else "", config=config)


def _media_type(manifest: bytes) -> str:
    """Returns a manifest's media type: its own field, or else derived from the media type of its config."""
    top = json.loads(manifest)
    docker = top.get("config", {}).get("mediaType") == oci_images.DOCKER_CONFIG
    return str(top.get("mediaType") or (oci_images.DOCKER_MANIFEST if docker else oci_images.OCI_MANIFEST))


def _fetch_document(site: Site, digest: str, limit: int, get: Get, text: str) -> bytes:
    """Returns a document from the store, or gets it with `get` and stores it."""
    sha256 = digest.removeprefix("sha256:")
    try:
        (path,) = site.fetch([Fetch(sha256=sha256, name="document")])
    except FetchError as error:
        if error.code == "offline":
            raise
        body = get(digest, limit)
        if oci_images.sha256_digest(body) != digest:
            raise FetchError(f"{text}: {digest} is not what its name says", code="registry-digest") from error
        site.keep([body], sha256=sha256)
        return body
    return path.read_bytes()


def _from_registry(source: ImageLocation, pinned: Json, digest: str, site: Site) -> bytes:
    assert source.reference is not None
    document: Document = site.registries().document(source.reference.with_digest(pins.manifest_digest(pinned)))
    if digest == document.digest:
        return document.body
    manifest = oci_images.read_manifest(document.body, document.media_type, source.text)
    return site.registries().blob(source.reference, manifest.config)


def _from_layout(directory: str, digest: str, limit: int, site: Site) -> bytes:
    path = oci_images.blob_path(directory, digest)
    try:
        with site.open(path) as file:
            return file.read(limit)
    except (ResolveError, OSError) as error:
        raise FetchError(f"{path}: {error}", code="registry-missing") from error
