"""Resolves an image to its pins (a tag becomes a digest, an index becomes the manifest of one platform), and finds its
blobs."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from envtool.api import Fetch, FetchError, Json, Site, oci_images
from envtool.api.oci_images import Descriptor, ImageConfig, ImageIndex, Platform
from envtool.kinds.image import image_archives, pins
from envtool.kinds.image.pins import PinnedLayer
from envtool.kinds.image.source import INDEX, LAYOUT, LAYOUT_ARCHIVE, MARKER, ImageLocation

MAX_INDEX_DEPTH = 2  # indexes in an index, the same as in the registry client


def resolve_image(source: ImageLocation, platform: Platform, directory: str, site: Site, keep: Json = None) -> Json:
    """Returns the pins of the image that a source names now. `directory`: paths are relative to it; it is below the
    project. `keep` are the pins for another platform: while the image's name is the same, its index is used again.
    Raises FetchError."""
    if source.reference is not None:
        return _from_registry(source, platform, site, keep)
    path = project_path(source, directory)
    if source.scheme == LAYOUT:
        return _from_layout(path, layout_reader(path, site), source, platform, source.text)
    with image_archives.open_archive(path, source.text, site) as archive:
        if source.scheme == LAYOUT_ARCHIVE:
            return _from_layout_archive(archive, source, platform, site)
        return _from_docker_archive(archive, source, platform, site)


def project_path(source: ImageLocation, directory: str) -> str:
    """Returns the path in the project of an image that is in files."""
    return posixpath.normpath(posixpath.join(directory, source.path))


def layout_reader(path: str, site: Site) -> oci_images.Read:
    """Returns a function that opens the files of a layout of the project."""
    return lambda name: site.open(posixpath.join(path, name))


def locate_blobs(
    source: ImageLocation, manifest: str, directory: str, fetches: Sequence[Fetch], site: Site
) -> Sequence[Fetch]:
    """Returns the fetches with their URLs on this machine, or in the registry. Raises FetchError."""
    if source.reference is not None:
        return [_in_registry(source, manifest, blob, site) for blob in fetches]
    path = project_path(source, directory)
    if source.scheme == LAYOUT:
        return [replace(blob, url=site.url(oci_images.blob_path(path, f"sha256:{blob.sha256}"))) for blob in fetches]
    with image_archives.open_archive(path, source.text, site) as archive:
        names = _blob_names(archive, source)
        return [_extract_blob(archive, names, blob, site) for blob in fetches]


# ---- registries ------------------------------------------------------------------------------------------------------


def _from_registry(source: ImageLocation, platform: Platform, site: Site, keep: Json) -> Json:
    image_reference = source.reference
    assert image_reference is not None
    name = str(replace(image_reference, digest="") if image_reference.tag else image_reference)
    if keep is not None and pins.image_name(keep) == name and pins.index_digest(keep) and not image_reference.digest:
        image_reference = image_reference.with_digest(pins.index_digest(keep))  # all platforms are then of one build
    site.note(f"asking {image_reference.registry} for {image_reference.repository}")
    image = site.registries().image(image_reference, platform)
    pins.check_media_types(image.manifest.layers, str(source.reference))
    return pins.make_pins(
        name=name,
        index=image.index,
        manifest=image.document.digest,
        config=image.config,
        config_digest=image.manifest.config.digest,
        layers=pins.pair_with_diff_ids(image.manifest.layers, image.config),
    )


def _in_registry(source: ImageLocation, manifest: str, fetch: Fetch, site: Site) -> Fetch:
    assert source.reference is not None
    location, *others = site.registries().blob_locations(
        source.reference.with_digest(manifest), f"sha256:{fetch.sha256}"
    )
    mirrors = tuple(mirror.url for mirror in others)
    return replace(fetch, url=location.url, authorization=location.authorization, mirrors=mirrors)


# ---- layouts ---------------------------------------------------------------------------------------------------------


def _from_layout(directory: str, read: oci_images.Read, source: ImageLocation, platform: Platform, text: str) -> Json:
    index = oci_images.read_index(directory, read)
    top_entry = entry = _select_entry(index, source.name, platform, text)
    for _ in range(MAX_INDEX_DEPTH + 1):
        document = oci_images.read_document(oci_images.read_layout_document(directory, entry, read), text)
        if not isinstance(document, ImageIndex):
            break
        entry = oci_images.choose_manifest(document, platform, text)
    else:
        raise FetchError(f"{text}: indexes in indexes, more than {MAX_INDEX_DEPTH} deep", code="registry-document")
    config = oci_images.read_config(oci_images.read_blob(directory, document.config, read), f"{text}: its config")
    pins.check_media_types(document.layers, text)
    oci_images.check_image(document, config, text)
    config = _check_platform(config, platform, text)
    return pins.make_pins(
        name=text,
        index=top_entry.digest,
        manifest=entry.digest,
        config=config,
        config_digest=document.config.digest,
        layers=pins.pair_with_diff_ids(document.layers, config),
    )


def _select_entry(index: ImageIndex, name: str, platform: Platform, text: str) -> Descriptor:
    """Returns the entry with a name. Without a name it is the only entry, or the one for this machine if each entry has
    a platform."""
    entries = {entry.digest: entry for entry in index.manifests}
    if not name and len(entries) > 1 and all(entry.platform for entry in entries.values()):
        return oci_images.choose_manifest(index, platform, text)
    return oci_images.choose_image(index, name, text)


def _check_platform(config: ImageConfig, platform: Platform, text: str) -> ImageConfig:
    """Returns the config with its platform completed. Raises FetchError if the image is for another platform."""
    config = replace(config, platform=oci_images.fill_platform(config.platform, platform))
    if not oci_images.compatibility(platform, config.platform):
        raise FetchError(f"{text}: is for {config.platform}, not for {platform}", code="registry-platform")
    return config


def _from_layout_archive(
    archive: image_archives.ImageArchive, source: ImageLocation, platform: Platform, site: Site
) -> Json:
    """Extracts only the archive's documents, as a layout in a temporary directory; its layers stay in the archive."""
    with site.temporary_directory() as layout:
        layout_path = os.fspath(layout)
        os.makedirs(os.path.join(layout_path, "blobs", "sha256"))
        for name in archive.names():
            directory, _, digest = name.rpartition("/")
            is_blob = directory == "blobs/sha256" and oci_images.is_digest(f"sha256:{digest}")
            if (is_blob or name in (MARKER, INDEX)) and archive.size(name) <= oci_images.CONFIG_LIMIT:
                with open(os.path.join(layout_path, name), "xb") as file:
                    file.writelines(archive.chunks(name))
        try:
            return _from_layout(layout_path, oci_images.directory_opener(layout_path), source, platform, source.text)
        except FetchError as error:
            error.message = error.message.replace(layout_path, source.text)
            error.args = (error.message,)
            raise


# ---- archives of `docker save` ---------------------------------------------------------------------------------------


def _from_docker_archive(
    archive: image_archives.ImageArchive, source: ImageLocation, platform: Platform, site: Site
) -> Json:
    entry = docker_save_entry(archive, source)
    config_document = archive.read(str(entry["Config"]), oci_images.CONFIG_LIMIT)
    config = oci_images.read_config(config_document, f"{source.text}: its config")
    config = _check_platform(config, platform, source.text)
    names = [str(name) for name in entry["Layers"]]
    if len(names) != len(config.diff_ids):
        archive.wrong(f"it has {oci_images.count_layers(len(names), len(config.diff_ids))}")
    layers = []
    for name, diff_id in zip(names, config.diff_ids, strict=True):
        media_type = archive.layer_type(name)
        digest, size = diff_id, archive.size(name)
        if media_type != oci_images.OCI_LAYER:  # no document has the digest of the compressed layer
            digest = f"sha256:{site.keep(archive.chunks(name)).name}"
        layers.append(PinnedLayer(digest=digest, size=size, media_type=media_type, diff_id=diff_id))
    return pins.make_pins(
        name=source.text,
        index="",
        manifest="",
        config=config,
        config_digest=oci_images.sha256_digest(config_document),
        layers=layers,
    )


def docker_save_entry(archive: image_archives.ImageArchive, source: ImageLocation) -> dict[str, Any]:
    """Returns the entry of manifest.json with the source's name, or the only one. Raises FetchError."""
    try:
        entries = json.loads(archive.read("manifest.json", oci_images.DOCUMENT_LIMIT))
        images = [dict(entry) for entry in entries]
        tags = [[oci_images.parse_reference(str(tag)) for tag in entry.get("RepoTags") or []] for entry in images]
        for entry in images:
            if not isinstance(entry["Config"], str) or not isinstance(entry["Layers"], list):
                archive.wrong("manifest.json: an entry without Config or Layers")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FetchError(f"{source.text}: manifest.json is not what docker writes", code="image-archive") from error
    if source.name:
        image_reference = oci_images.parse_reference(source.name)
        images = [entry for entry, names in zip(images, tags, strict=True) if image_reference in names]
    if len(images) != 1:
        available = ", ".join(sorted({name.familiar_name() for names in tags for name in names})[:12])
        why = f"no image {source.name!r} in it" if source.name else f"{len(images)} images in it: name one"
        archive.wrong(why, f"it has {available}" if available else "none of its images has a name")
    return images[0]


def _blob_names(archive: image_archives.ImageArchive, source: ImageLocation) -> dict[str, str]:
    """Returns the member's name of each layer, by the sha256 of the blob in a layout or of the diff ID in an archive of
    `docker save`."""
    if source.scheme == LAYOUT_ARCHIVE:
        return {name.rpartition("/")[2]: name for name in archive.names() if name.startswith("blobs/sha256/")}
    entry = docker_save_entry(archive, source)
    config = oci_images.read_config(archive.read(str(entry["Config"]), oci_images.CONFIG_LIMIT), source.text)
    names = [str(name) for name in entry["Layers"]]
    return {diff_id.removeprefix("sha256:"): name for name, diff_id in zip(names, config.diff_ids, strict=False)}


def _extract_blob(archive: image_archives.ImageArchive, names: dict[str, str], fetch: Fetch, site: Site) -> Fetch:
    name = names.get(fetch.sha256)
    if name is not None:
        return replace(fetch, url=site.keep(archive.chunks(name), sha256=fetch.sha256).as_uri())
    for layer_name in names.values():  # the sha256 of a compressed layer is known only after reading it
        if archive.layer_type(layer_name) != oci_images.OCI_LAYER:
            path = site.keep(archive.chunks(layer_name))
            if path.name == fetch.sha256:
                return replace(fetch, url=path.as_uri())
    archive.wrong(f"layer sha256:{fetch.sha256[:12]} is not in it any more")
    raise AssertionError
