"""Images of the OCI: names, platforms, documents and layouts, for kinds of base that are images. Pure: the registries
themselves are asked by `Site.registries`.

The readers take what strangers wrote: they check the form, sizes and depth of what they read, and raise FetchError with
`what`, the name of the image, in the message.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from envtool.net.oci.documents import (
        CONFIG_LIMIT,
        DOCKER_CONFIG,
        DOCKER_MANIFEST,
        DOCUMENT_LIMIT,
        OCI_MANIFEST,
        Descriptor,
        Document,
        ImageConfig,
        ImageIndex,
        ImageManifest,
        Platform,
        check_image,
        count_layers,
        read_config,
        read_document,
        read_manifest,
        sha256_digest,
    )
    from envtool.net.oci.layout import (
        Read,
        blob_path,
        choose_image,
        directory_opener,
        read_blob,
        read_index,
    )
    from envtool.net.oci.layout import read_document as read_layout_document
    from envtool.net.oci.media_types import LAYERS, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
    from envtool.net.oci.platforms import (
        amd64_level,
        choose_manifest,
        compatibility,
        fill_platform,
        parse_platform,
        platform_of_machine,
    )
    from envtool.net.oci.reference import Reference, is_digest, parse_reference
    from envtool.net.oci.registry import BlobLocation, RegistryImage

__all__ = [
    "CONFIG_LIMIT", "DOCKER_CONFIG", "DOCKER_MANIFEST", "DOCUMENT_LIMIT", "LAYERS", "OCI_LAYER", "OCI_LAYER_GZIP",
    "OCI_LAYER_ZSTD", "OCI_MANIFEST", "Descriptor", "Document", "ImageConfig", "ImageIndex", "ImageManifest",
    "Platform", "Read", "Reference", "Registries", "amd64_level", "blob_path", "check_image", "choose_image",
    "choose_manifest", "compatibility", "count_layers", "directory_opener", "fill_platform", "is_digest",
    "parse_platform", "parse_reference", "platform_of_machine", "read_blob", "read_config", "read_document",
    "read_index", "read_layout_document", "read_manifest", "sha256_digest",
]  # fmt: skip

_PLACES = {  # a name's module is imported when it is first used: every command that reads a spec imports this one
    "documents": (
        "CONFIG_LIMIT", "DOCKER_CONFIG", "DOCKER_MANIFEST", "DOCUMENT_LIMIT", "OCI_MANIFEST", "Descriptor",
        "Document", "ImageConfig", "ImageIndex", "ImageManifest", "Platform", "check_image", "count_layers",
        "read_config", "read_document", "read_manifest", "sha256_digest",
    ),
    "layout": ("Read", "blob_path", "choose_image", "directory_opener", "read_blob", "read_index"),
    "media_types": ("LAYERS", "OCI_LAYER", "OCI_LAYER_GZIP", "OCI_LAYER_ZSTD"),
    "platforms": (
        "amd64_level", "choose_manifest", "compatibility", "fill_platform", "parse_platform", "platform_of_machine",
    ),
    "reference": ("Reference", "is_digest", "parse_reference"),
}  # fmt: skip
_NAMES = {name: (module, name) for module, names in _PLACES.items() for name in names}
_NAMES["read_layout_document"] = ("layout", "read_document")


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, own_name = _NAMES[name]
    value = globals()[name] = getattr(import_module(f"envtool.net.oci.{module}"), own_name)
    return value


class Registries(Protocol):
    """Reads images in registries, with this machine's mirrors, certificates and credentials. Threads may share it. The
    methods raise FetchError."""

    def image(self, reference: Reference, platform: Platform) -> RegistryImage:
        """Returns the image of a platform: `index` (the digest of the document that the reference names), `document`
        (the manifest, byte for byte), `manifest` and `config`. All digests are checked."""

    def document(self, reference: Reference) -> Document:
        """Returns a manifest or index, by digest, else by tag."""

    def blob(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """Returns a small blob, such as a config. Its size and digest are checked."""

    def blob_locations(self, reference: Reference, digest: str) -> tuple[BlobLocation, ...]:
        """Returns where this machine gets a blob, in the order to be tried: the `url` and `authorization` of a Fetch.
        Neither belongs into pins."""
