"""Parses the documents of images: manifests, indexes and configs. Strict, because they come from strangers. Pure.

Sources: OCI image specification 1.1 (manifest.md, image-index.md, config.md, descriptor.md) and docker's schema 2,
which has the same fields under other media types. `serialize` writes these documents.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import NoReturn

from envtool.errors import FetchError
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Json
from envtool.net.oci.media_types import DOCKER_LAYER as DOCKER_LAYER  # noqa: PLC0414 - they are words of these documents
from envtool.net.oci.media_types import DOCKER_LAYER_GZIP as DOCKER_LAYER_GZIP  # noqa: PLC0414 - they are words of these documents
from envtool.net.oci.media_types import LAYERS as LAYERS  # noqa: PLC0414 - they are words of these documents
from envtool.net.oci.media_types import OCI_LAYER as OCI_LAYER  # noqa: PLC0414 - they are words of these documents
from envtool.net.oci.media_types import OCI_LAYER_GZIP as OCI_LAYER_GZIP  # noqa: PLC0414 - they are words of these documents
from envtool.net.oci.media_types import OCI_LAYER_ZSTD as OCI_LAYER_ZSTD  # noqa: PLC0414 - they are words of these documents
from envtool.net.oci.reference import is_digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
SCHEMA1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)

MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_INDEX)
ACCEPTED = (*MANIFESTS, *INDEXES)  # for the header Accept
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)

DOCUMENT_LIMIT = 4 << 20  # bytes of a manifest or index; the distribution specification lets registries refuse more
CONFIG_LIMIT = 8 << 20  # bytes of a config, and of any other blob that is read into memory
LAYER_LIMIT = 300  # layers of an image: overlayfs stacks 500, and the env adds its own (docker's limit is 127)
ENTRY_LIMIT = 2000  # manifests of an index
SIZE_LIMIT = 1 << 42  # bytes of one blob
DEPTH_LIMIT = 64  # nesting of arrays and objects: far more than these documents need


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The platform of an image, in the names of Go: "linux", "amd64", and a variant ("v7"); "" for none."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A reference to a blob or manifest: its media type, digest, and size in bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""
    urls: tuple[str, ...] = ()  # of a layer that may not be distributed; envtool never fetches them


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageManifest:
    """One image for one platform, or an artifact, whose config and layers may be anything."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""
    subject: Descriptor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIndex:
    """Several manifests under one name: one for each platform."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""
    subject: Descriptor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """An image's config. `run` is its `config` object ("Env", "User", "Entrypoint", "Cmd", "WorkingDir" …), unchanged;
    the types of known fields are checked."""

    platform: Platform
    diff_ids: tuple[str, ...]  # of the uncompressed layers, bottom first
    run: Mapping[str, Json] = field(default_factory=dict)
    history: tuple[Mapping[str, Json], ...] = ()
    created: str = ""  # RFC 3339
    author: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A manifest or index as bytes: `digest` is that of `body`."""

    media_type: str
    digest: str
    body: bytes

    def descriptor(self) -> Descriptor:
        """Returns the descriptor of this document."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.body))


def sha256_digest(body: bytes) -> str:
    """Returns the digest of bytes: "sha256:<hex>"."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


# ---- reading: each raises FetchError (code registry-document); `what` names the document in the message


def read_document(document: Document, what: str) -> ImageManifest | ImageIndex:
    """Returns a manifest or an index, by its media type, which must be in ACCEPTED and agree with the body's own."""
    if document.media_type in INDEXES:
        return read_index(document.body, document.media_type, what)
    return read_manifest(document.body, document.media_type, what)


def read_manifest(body: bytes, media_type: str, what: str) -> ImageManifest:
    """Returns a manifest. A media type in the body must be `media_type`."""
    if media_type not in MANIFESTS:
        reject_media_type(what, media_type, "a manifest")
    reader = _JsonReader(what)
    top = reader.top(body, media_type)
    if "manifests" in top or "fsLayers" in top:
        reader.fail_document("it says that it is a manifest, but has the fields of something else")
    layers = reader.array(top, "layers", LAYER_LIMIT)
    return ImageManifest(
        media_type=media_type,
        config=reader.descriptor(top.get("config"), "config"),
        layers=tuple(reader.descriptor(layer, f"layers[{number}]") for number, layer in enumerate(layers)),
        annotations=reader.strings(top, "annotations"),
        artifact_type=reader.text(top, "artifactType"),
        subject=reader.descriptor(top["subject"], "subject") if top.get("subject") is not None else None,
    )


def read_index(body: bytes, media_type: str, what: str) -> ImageIndex:
    """Returns an index. A media type in the body must be `media_type`."""
    if media_type not in INDEXES:
        reject_media_type(what, media_type, "an index")
    reader = _JsonReader(what)
    top = reader.top(body, media_type)
    if "config" in top or "layers" in top or "fsLayers" in top:
        reader.fail_document("it says that it is an index, but has the fields of something else")
    entries = reader.array(top, "manifests", ENTRY_LIMIT)
    return ImageIndex(
        media_type=media_type,
        manifests=tuple(reader.descriptor(entry, f"manifests[{number}]") for number, entry in enumerate(entries)),
        annotations=reader.strings(top, "annotations"),
        artifact_type=reader.text(top, "artifactType"),
        subject=reader.descriptor(top["subject"], "subject") if top.get("subject") is not None else None,
    )


def read_config(body: bytes, what: str) -> ImageConfig:
    """Returns the config of an image (not of an artifact). Its platform may be incomplete: see
    platforms.fill_platform."""
    reader = _JsonReader(what)
    top = reader.object(body)
    fields = {name: reader.text(top, name) for name in ("os", "architecture", "variant", "created", "author")}
    rootfs = reader.mapping(top, "rootfs")
    if rootfs.get("type") != "layers":
        reader.fail_document(f'rootfs.type is {_truncate(rootfs.get("type"))}, not "layers"')
    diff_ids = reader.array(rootfs, "diff_ids", LAYER_LIMIT)
    for diff_id in diff_ids:
        if not isinstance(diff_id, str) or not is_digest(diff_id):
            reader.fail_document(f"a diff ID is {_truncate(diff_id)}, not sha256: and 64 hex digits")
    history = reader.array(top, "history", 8 * LAYER_LIMIT)
    return ImageConfig(
        platform=Platform(os=fields["os"], architecture=fields["architecture"], variant=fields["variant"]),
        diff_ids=tuple(str(diff_id) for diff_id in diff_ids),
        run=_check_run_config(reader, reader.mapping(top, "config")),
        history=tuple(item for item in history if isinstance(item, dict)),
        created=fields["created"],
        author=fields["author"],
    )


def check_image(manifest: ImageManifest, config: ImageConfig, what: str) -> None:
    """Checks that manifest and config belong together, and that the layers have a known media type. Raises FetchError
    (code registry-document)."""
    reader = _JsonReader(what)
    if manifest.config.media_type not in CONFIGS:
        reader.fail_document(f"it is no image but an artifact: its config is {_truncate(manifest.config.media_type)}")
    for layer in manifest.layers:
        if layer.media_type not in LAYERS:
            known = "tar, gzip and zstd are read"
            reader.fail_document(f"a layer is {_truncate(layer.media_type)}, which is not known: {known}")
    if len(manifest.layers) != len(config.diff_ids):
        reader.fail_document(f"its manifest has {count_layers(len(manifest.layers), len(config.diff_ids))}")


def count_layers(layers: int, diff_ids: int) -> str:
    """Returns "2 layers, its config 1 diff ID", for an error about two numbers that should be the same."""
    return f"{layers} layer{'s' if layers != 1 else ''}, its config {diff_ids} diff ID{'s' if diff_ids != 1 else ''}"


def _check_run_config(reader: _JsonReader, run: dict[str, Json]) -> dict[str, Json]:
    for name in ("User", "WorkingDir", "StopSignal"):
        reader.text(run, name)
    for name in ("Env", "Entrypoint", "Cmd", "OnBuild", "Shell"):
        for item in reader.array(run, name, 10_000):
            if not isinstance(item, str):
                reader.fail_document(f"config.{name} holds {_truncate(item)}, which is not text")
    for name in ("ExposedPorts", "Volumes"):
        reader.mapping(run, name)
    reader.strings(run, "Labels")
    return {name: value for name, value in run.items() if value is not None}


class _JsonReader:
    """Reads fields of JSON objects, and raises FetchError with the document's name if one has the wrong type. A field
    that is null counts as missing: Go writes both."""

    def __init__(self, what: str) -> None:
        self.what = what

    def fail_document(self, why: str) -> NoReturn:
        raise FetchError(f"{self.what}: {why}", code="registry-document")

    def object(self, body: bytes) -> dict[str, Json]:
        """Returns a JSON object. Refuses duplicate names, NaN, and excessive nesting."""
        try:
            value = json.loads(body.decode("utf-8"), object_pairs_hook=self._unique, parse_constant=self._constant)
            json.dumps(value, ensure_ascii=False).encode()  # raises for half a surrogate pair, which is no text
        except (ValueError, RecursionError) as error:
            self.fail_document(f"not JSON: {str(error)[:200]}")
        if not isinstance(value, dict):
            self.fail_document("not a JSON object")
        if _is_deeper(value, DEPTH_LIMIT):
            self.fail_document(f"JSON that is more than {DEPTH_LIMIT} deep")
        return value

    def top(self, body: bytes, media_type: str) -> dict[str, Json]:
        """Returns the object of a manifest or index; its schemaVersion must be 2, and a media type in it
        `media_type`."""
        top = self.object(body)
        version = top.get("schemaVersion")
        if version == 1 and not isinstance(version, bool):
            reject_media_type(self.what, SCHEMA1[0], "a manifest")
        if version != 2 or isinstance(version, bool):
            self.fail_document(f"schemaVersion is {_truncate(version)}, not 2")
        own_type = self.text(top, "mediaType")
        if own_type and own_type != media_type:
            self.fail_document(f"it came as {media_type}, but says that it is {_truncate(own_type)}")
        return top

    def text(self, top: Mapping[str, Json], name: str) -> str:
        value = top.get(name)
        if value is None:
            return ""
        if not isinstance(value, str) or "\0" in value:
            self.fail_document(f"{name} is {_truncate(value)}, not text")
        return value

    def array(self, top: Mapping[str, Json], name: str, limit: int) -> list[Json]:
        value = top.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.fail_document(f"{name} is {_truncate(value)}, not an array")
        if len(value) > limit:
            self.fail_document(f"{name} has {len(value)} entries, more than {limit}")
        return value

    def mapping(self, top: Mapping[str, Json], name: str) -> dict[str, Json]:
        value = top.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.fail_document(f"{name} is {_truncate(value)}, not an object")
        return value

    def strings(self, top: Mapping[str, Json], name: str) -> dict[str, str]:
        value = self.mapping(top, name)
        return {key: self.text(value, key) for key in value}

    def descriptor(self, value: Json, where: str) -> Descriptor:
        if not isinstance(value, dict):
            self.fail_document(f"{where} is {_truncate(value)}, not a descriptor")
        inner = _JsonReader(f"{self.what}: {where}")
        digest, size = inner.text(value, "digest"), value.get("size")
        if not is_digest(digest):
            inner.fail_document(f"its digest is {_truncate(digest)}, not sha256: and 64 hex digits")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= SIZE_LIMIT:
            inner.fail_document(f"its size is {_truncate(size)}")
        media_type = inner.text(value, "mediaType")
        if not media_type:
            inner.fail_document("it has no mediaType")
        urls = inner.array(value, "urls", 100)
        return Descriptor(
            media_type=media_type,
            digest=digest,
            size=size,
            platform=inner.platform(inner.mapping(value, "platform")),
            annotations=inner.strings(value, "annotations"),
            artifact_type=inner.text(value, "artifactType"),
            urls=tuple(url for url in urls if isinstance(url, str)),
        )

    def platform(self, value: dict[str, Json]) -> Platform | None:
        fields = {name: self.text(value, name) for name in ("os", "architecture", "variant")}
        return Platform(**fields) if fields["os"] or fields["architecture"] else None

    def _unique(self, pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise ValueError("a name comes twice in one object")
        return members

    def _constant(self, text: str) -> NoReturn:
        raise ValueError(f"{text} is no JSON")


def _is_deeper(value: Json, limit: int) -> bool:
    members = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return limit == 0 or any(_is_deeper(item, limit - 1) for item in members)


def reject_media_type(what: str, media_type: str, wanted: str) -> NoReturn:
    """Raises FetchError for a media type that is not `wanted`, which is a noun with its article."""
    hint = ""
    if media_type in SCHEMA1:
        hint = "docker's first schema has no digests that could be pinned: pull and push it again with a newer tool"
    text = f"{what}: not {wanted} that is known, but {_truncate(media_type)}"
    raise FetchError(text, code="registry-document", hint=hint)


def _truncate(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str) if value is not None else "missing"
    return text if len(text) <= 100 else text[:97] + "…"
