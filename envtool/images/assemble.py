"""Puts the blobs and the manifest of an image together: decides which bytes each exported layer has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from envtool.build.context import Cancel
from envtool.container.runner import Runner
from envtool.images import image_blobs
from envtool.images.image_blobs import Blob
from envtool.images.image_config import ExportedImage, ImageLayerContent
from envtool.lazy_dataclass import dataclass
from envtool.net.oci import serialize
from envtool.net.oci.documents import OCI_CONFIG, OCI_MANIFEST, Descriptor, Document, ImageManifest
from envtool.net.oci.layout import NAME_ANNOTATION
from envtool.store.packing import Compression


@dataclass(frozen=True, slots=True, kw_only=True)
class AssembledImage:
    """What is written: `layers` bottom first, one for each layer of the image; `config` and `manifest` name them
    all."""

    image: ExportedImage
    layers: tuple[Blob, ...]
    config: Blob
    manifest: Document

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """All blobs, each digest once, in the order in which they are written: the manifest last."""
        last = Blob(descriptor=self.manifest.descriptor(), data=self.manifest.body)
        return tuple({blob.descriptor.digest: blob for blob in (*self.layers, self.config, last)}.values())

    @property
    def size(self) -> int:
        """The bytes of all blobs together."""
        return sum(blob.descriptor.size for blob in self.blobs)


def assemble_uncompressed(image: ExportedImage) -> AssembledImage:
    """Returns the image with every layer as its tar, also those that came compressed: for docker-archive, which names
    layers by diff ID."""
    return _assemble(image, [image_blobs.uncompressed_blob(content) for content in image.contents], keep_origin=False)


def assemble_local(
    image: ExportedImage, form: Compression, directory: str, cancel: Cancel, runner: Runner, *, jobs: int = 0
) -> AssembledImage:
    """Returns the image with the layers of its base image as those came, and envtool's own compressed as `form` says.
    Compressed layers are written to `directory`. Raises StoreError, Interrupted."""

    def pack(number: int, content: ImageLayerContent) -> Blob:
        if content.blob:
            return image_blobs.original_blob(content)
        return (
            image_blobs.compress_layer(content, form, os.path.join(directory, str(number)), cancel, runner)
            if form
            else image_blobs.uncompressed_blob(content)
        )

    with ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0)), thread_name_prefix="layer") as pool:
        return assemble_image(image, [*pool.map(pack, range(len(image.contents)), image.contents)])


def assemble_image(image: ExportedImage, layers: Sequence[Blob]) -> AssembledImage:
    """Returns the image with these layers. If the image is the unchanged base image, it keeps that image's manifest."""
    return _assemble(image, layers, keep_origin=image.origin is not None)


def _assemble(image: ExportedImage, layers: Sequence[Blob], *, keep_origin: bool) -> AssembledImage:
    config = Blob(descriptor=serialize.descriptor_of(image.config, OCI_CONFIG), data=image.config)
    manifest = image.origin if keep_origin else None
    if manifest is None:
        new_manifest = ImageManifest(
            media_type=OCI_MANIFEST,
            config=config.descriptor,
            layers=tuple(layer.descriptor for layer in layers),
            annotations=image.annotations,
        )
        manifest = serialize.manifest_document(new_manifest)
    return AssembledImage(image=image, layers=tuple(layers), config=config, manifest=manifest)


def index_descriptor(assembled: AssembledImage) -> Descriptor:
    """Returns the entry of an index for the image: with its platform and its name."""
    document = assembled.manifest
    name = assembled.image.name
    return Descriptor(
        media_type=document.media_type,
        digest=document.digest,
        size=len(document.body),
        platform=assembled.image.platform,
        # the first is OCI's own (image-layout.md); containerd and podman read the second before it
        annotations={NAME_ANNOTATION: name, "io.containerd.image.name": name},
    )
