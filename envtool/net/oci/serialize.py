"""Writes manifests, indexes and configs as canonical JSON, so that equal images have one digest everywhere. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envtool.keys import canonical_json
from envtool.model import Json
from envtool.net.oci.documents import (
    Descriptor,
    Document,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    Platform,
    sha256_digest,
)


def manifest_document(manifest: ImageManifest) -> Document:
    """Returns a manifest as a document with its digest."""
    top: dict[str, Json] = {
        "schemaVersion": 2,
        "mediaType": manifest.media_type,
        "config": descriptor_json(manifest.config),
        "layers": [descriptor_json(layer) for layer in manifest.layers],
    }
    _add_optional(top, manifest.annotations, manifest.artifact_type, manifest.subject)
    return _document(top, manifest.media_type)


def index_document(index: ImageIndex) -> Document:
    """Returns an index as a document with its digest."""
    top: dict[str, Json] = {
        "schemaVersion": 2,
        "mediaType": index.media_type,
        "manifests": [descriptor_json(entry) for entry in index.manifests],
    }
    _add_optional(top, index.annotations, index.artifact_type, index.subject)
    return _document(top, index.media_type)


def config_bytes(config: ImageConfig) -> bytes:
    """Returns an image's config as JSON."""
    top: dict[str, Json] = {
        **_platform(config.platform),
        "rootfs": {"type": "layers", "diff_ids": list(config.diff_ids)},
    }
    optional: Mapping[str, Json] = {
        "config": dict(config.run),
        "history": [dict(item) for item in config.history],
        "created": config.created,
        "author": config.author,
    }
    return canonical_json(top | {name: value for name, value in optional.items() if value})


def descriptor_of(body: bytes, media_type: str) -> Descriptor:
    """Returns the descriptor of some bytes."""
    return Descriptor(media_type=media_type, digest=sha256_digest(body), size=len(body))


def descriptor_json(item: Descriptor) -> dict[str, Json]:
    """Returns a descriptor as JSON, without embedded data and foreign URLs."""
    members: dict[str, Json] = {"mediaType": item.media_type, "digest": item.digest, "size": item.size}
    if item.platform is not None:
        members["platform"] = dict(_platform(item.platform))
    if item.annotations:
        members["annotations"] = dict(item.annotations)
    if item.artifact_type:
        members["artifactType"] = item.artifact_type
    return members


def config_history(entries: Sequence[tuple[str, str, bool]]) -> tuple[Mapping[str, Json], ...]:
    """Returns a config's history from (created, created_by, empty_layer); empty texts are left out."""
    return tuple(
        {
            **({"created": created} if created else {}),
            **({"created_by": created_by} if created_by else {}),
            **({"empty_layer": True} if empty else {}),
        }
        for created, created_by, empty in entries
    )


def _document(top: dict[str, Json], media_type: str) -> Document:
    body = canonical_json(top)
    return Document(media_type=media_type, digest=sha256_digest(body), body=body)


def _platform(platform: Platform) -> dict[str, Json]:
    members: dict[str, Json] = {"os": platform.os, "architecture": platform.architecture}
    if platform.variant:
        members["variant"] = platform.variant
    return members


def _add_optional(
    top: dict[str, Json], annotations: Mapping[str, str], artifact_type: str, subject: Descriptor | None
) -> None:
    if annotations:
        top["annotations"] = dict(annotations)
    if artifact_type:
        top["artifactType"] = artifact_type
    if subject is not None:
        top["subject"] = descriptor_json(subject)
