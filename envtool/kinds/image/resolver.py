"""An image is asked for, once, and written down: a tag becomes a digest, an index one machine's manifest."""

from __future__ import annotations

import json
import os
import posixpath
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from envtool.api import Fetch, FetchError, Json, Site
from envtool.kinds.image import image_archives, pins
from envtool.kinds.image.pins import PinnedLayer
from envtool.kinds.image.source import INDEX, LAYOUT, LAYOUT_ARCHIVE, MARKER, ImageLocation
from envtool.net.oci import documents, layout, platforms, reference
from envtool.net.oci.documents import Descriptor, ImageConfig, ImageIndex, Platform
from envtool.net.oci.registry import RegistryClient

MAX_INDEX_DEPTH = 2  # indexes in an index, as the registry's client has it


def resolve_image(source: ImageLocation, platform: Platform, directory: str, site: Site, keep: Json = None) -> Json:
    """The pins of the image that a source names now. `directory` is what paths are relative to, below the project.
    `keep`: the answer of another platform, whose index is taken again while the name is the same. Raises FetchError."""
    if source.reference is not None:
        return _from_registry(source, platform, site, keep)
    path = project_path(source, directory)
    if source.scheme == LAYOUT:
        return _from_layout(path, layout_reader(path, site), source, platform, source.text)
    with image_archives.open_archive(path, source.text, site) as archive:
        if source.scheme == LAYOUT_ARCHIVE:
            return _from_layout_archive(archive, source, platform)
        return _from_docker_archive(archive, source, platform, site)


def project_path(source: ImageLocation, directory: str) -> str:
    """The path in the project of an image that is in files."""
    return posixpath.normpath(posixpath.join(directory, source.path))


def layout_reader(path: str, site: Site) -> layout.Read:
    """What opens the files of a layout of the project."""
    return lambda name: site.open(posixpath.join(path, name))


def locate_blobs(
    source: ImageLocation, manifest: str, directory: str, fetches: Sequence[Fetch], site: Site
) -> Sequence[Fetch]:
    """The same blobs with where they are for this machine. Raises FetchError."""
    if source.reference is not None:
        return [_in_registry(source, manifest, each, site) for each in fetches]
    path = project_path(source, directory)
    if source.scheme == LAYOUT:
        return [replace(each, url=site.url(layout.blob_path(path, f"sha256:{each.sha256}"))) for each in fetches]
    with image_archives.open_archive(path, source.text, site) as archive:
        names = _blob_names(archive, source)
        return [_extract_blob(archive, names, each, site) for each in fetches]


# ---- registries ------------------------------------------------------------------------------------------------------


def client(site: Site) -> RegistryClient:
    return site.shared("image:registries", lambda: RegistryClient(cancelled=site.cancelled))


def _from_registry(source: ImageLocation, platform: Platform, site: Site, keep: Json) -> Json:
    asked = source.reference
    assert asked is not None
    name = str(replace(asked, digest="") if asked.tag else asked)
    if keep is not None and pins.image_name(keep) == name and pins.index_digest(keep) and not asked.digest:
        asked = asked.with_digest(pins.index_digest(keep))  # both platforms of one build
    site.note(f"asking {asked.registry} for {asked.repository}")
    image = client(site).image(asked, platform)
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
    first, *others = client(site).blob_locations(source.reference.with_digest(manifest), f"sha256:{fetch.sha256}")
    mirrors = tuple(place.url for place in others)
    return replace(fetch, url=first.url, authorization=first.authorization, mirrors=mirrors)


# ---- layouts ---------------------------------------------------------------------------------------------------------


def _from_layout(directory: str, read: layout.Read, source: ImageLocation, platform: Platform, what: str) -> Json:
    index = layout.read_index(directory, read)
    top = entry = _select_entry(index, source.name, platform, what)
    for _ in range(MAX_INDEX_DEPTH + 1):
        document = documents.read_document(layout.read_document(directory, entry, read), what)
        if not isinstance(document, ImageIndex):
            break
        entry = platforms.choose_manifest(document, platform, what)
    else:
        raise FetchError(f"{what}: indexes in indexes, more than {MAX_INDEX_DEPTH} deep", code="registry-document")
    config = documents.read_config(layout.read_blob(directory, document.config, read), f"{what}: its config")
    pins.check_media_types(document.layers, what)
    documents.check_image(document, config, what)
    config = _check_platform(config, platform, what)
    return pins.make_pins(
        name=what,
        index=top.digest,
        manifest=entry.digest,
        config=config,
        config_digest=document.config.digest,
        layers=pins.pair_with_diff_ids(document.layers, config),
    )


def _select_entry(index: ImageIndex, name: str, platform: Platform, what: str) -> Descriptor:
    """The entry of a name; of several without one, that of this machine, where each says what it is for."""
    entries = {each.digest: each for each in index.manifests}
    if not name and len(entries) > 1 and all(each.platform for each in entries.values()):
        return platforms.choose_manifest(index, platform, what)
    return layout.choose_image(index, name, what)


def _check_platform(config: ImageConfig, platform: Platform, what: str) -> ImageConfig:
    """The config, with its platform. Raises FetchError."""
    config = replace(config, platform=platforms.fill_platform(config.platform, platform))
    if not platforms.compatibility(platform, config.platform):
        raise FetchError(f"{what}: is for {config.platform}, not for {platform}", code="registry-platform")
    return config


def _from_layout_archive(archive: image_archives.ImageArchive, source: ImageLocation, platform: Platform) -> Json:
    """Its documents are put where a layout's would be; its layers stay where they are."""
    with tempfile.TemporaryDirectory(prefix="envtool-image-") as top:
        os.makedirs(os.path.join(top, "blobs", "sha256"))
        for name in archive.names():
            place, _, last = name.rpartition("/")
            blob = place == "blobs/sha256" and reference.is_digest(f"sha256:{last}")
            if (blob or name in (MARKER, INDEX)) and archive.size(name) <= documents.CONFIG_LIMIT:
                with open(os.path.join(top, name), "xb") as out:
                    out.writelines(archive.pieces(name))
        try:
            return _from_layout(top, layout.directory_opener(top), source, platform, source.text)
        except FetchError as error:
            error.message = error.message.replace(top, source.text)
            error.args = (error.message,)
            raise


# ---- what `docker save` writes ---------------------------------------------------------------------------------------


def _from_docker_archive(
    archive: image_archives.ImageArchive, source: ImageLocation, platform: Platform, site: Site
) -> Json:
    entry = docker_save_entry(archive, source)
    body = archive.small(str(entry["Config"]), documents.CONFIG_LIMIT)
    config = documents.read_config(body, f"{source.text}: its config")
    config = _check_platform(config, platform, source.text)
    names = [str(name) for name in entry["Layers"]]
    if len(names) != len(config.diff_ids):
        archive.wrong(f"it has {documents.count_layers(len(names), len(config.diff_ids))}")
    layers = []
    for name, diff_id in zip(names, config.diff_ids, strict=True):
        media_type = archive.layer_type(name)
        digest, size = diff_id, archive.size(name)
        if media_type != documents.OCI_LAYER:  # nobody has written down what the packed one is
            digest = f"sha256:{site.keep(archive.pieces(name)).name}"
        layers.append(PinnedLayer(digest=digest, size=size, media_type=media_type, diff_id=diff_id))
    return pins.make_pins(
        name=source.text,
        index="",
        manifest="",
        config=config,
        config_digest=documents.sha256_digest(body),
        layers=layers,
    )


def docker_save_entry(archive: image_archives.ImageArchive, source: ImageLocation) -> dict[str, Any]:
    """The image of manifest.json that a source names, or its only one."""
    try:
        entries = json.loads(archive.small("manifest.json", documents.DOCUMENT_LIMIT))
        found = [dict(entry) for entry in entries]
        tags = [[reference.parse_reference(str(tag)) for tag in entry.get("RepoTags") or []] for entry in found]
        for entry in found:
            if not isinstance(entry["Config"], str) or not isinstance(entry["Layers"], list):
                archive.wrong("manifest.json: an entry without Config or Layers")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FetchError(f"{source.text}: manifest.json is not what docker writes", code="image-archive") from error
    if source.name:
        wanted = reference.parse_reference(source.name)
        found = [entry for entry, names in zip(found, tags, strict=True) if wanted in names]
    if len(found) != 1:
        known = ", ".join(sorted({name.familiar_name() for names in tags for name in names})[:12])
        why = f"no image {source.name!r} in it" if source.name else f"{len(found)} images in it: name one"
        archive.wrong(why, f"it has {known}" if known else "none of its images has a name")
    return found[0]


def _blob_names(archive: image_archives.ImageArchive, source: ImageLocation) -> dict[str, str]:
    """The member of each layer, by the sha256 that the layer is known by."""
    if source.scheme == LAYOUT_ARCHIVE:
        return {name.rpartition("/")[2]: name for name in archive.names() if name.startswith("blobs/sha256/")}
    entry = docker_save_entry(archive, source)
    config = documents.read_config(archive.small(str(entry["Config"]), documents.CONFIG_LIMIT), source.text)
    names = [str(name) for name in entry["Layers"]]
    return {diff_id.removeprefix("sha256:"): name for name, diff_id in zip(names, config.diff_ids, strict=False)}


def _extract_blob(archive: image_archives.ImageArchive, names: dict[str, str], fetch: Fetch, site: Site) -> Fetch:
    name = names.get(fetch.sha256)
    if name is not None:
        return replace(fetch, url=site.keep(archive.pieces(name), sha256=fetch.sha256).as_uri())
    for packed in names.values():  # a packed one: known by its own digest, which only reading tells
        if archive.layer_type(packed) != documents.OCI_LAYER:
            path = site.keep(archive.pieces(packed))
            if path.name == fetch.sha256:
                return replace(fetch, url=path.as_uri())
    archive.wrong(f"layer sha256:{fetch.sha256[:12]} is not in it any more")
    raise AssertionError
