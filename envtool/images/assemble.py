"""An image -> its blobs and its manifest: which bytes each layer has when it is given away."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from envtool.build.context import Cancel
from envtool.images import image_blobs
from envtool.images.image_blobs import Blob
from envtool.images.image_config import ExportedImage, ImageLayerContent
from envtool.net.oci import serialize
from envtool.net.oci.documents import OCI_CONFIG, OCI_MANIFEST, Descriptor, Document, ImageManifest
from envtool.net.oci.layout import NAME_ANNOTATION
from envtool.store.packing import Compression


@dataclass(frozen=True, slots=True, kw_only=True)
class AssembledImage:
    """What is written: `layers` bottom first, one for each of the image's; `config` and `manifest` name them all."""

    image: ExportedImage
    layers: tuple[Blob, ...]
    config: Blob
    manifest: Document

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Everything by its digest, each once, in the order in which it is written: the manifest last."""
        last = Blob(descriptor=self.manifest.descriptor(), data=self.manifest.body)
        return tuple({blob.descriptor.digest: blob for blob in (*self.layers, self.config, last)}.values())

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(blob.descriptor.size for blob in self.blobs)


def assemble_uncompressed(image: ExportedImage) -> AssembledImage:
    """Every layer as its tar, also what came compressed: for docker-archive, which names layers by diff ID."""
    return _assemble(image, [image_blobs.uncompressed_blob(each) for each in image.contents], came=False)


def assemble_local(
    image: ExportedImage, form: Compression, directory: str, cancel: Cancel, *, jobs: int = 0
) -> AssembledImage:
    """Layers of images as those images had them, ours as `form` says; what has to be packed for that is put into
    `directory`. Raises StoreError, Interrupted."""

    def pack(number: int, each: ImageLayerContent) -> Blob:
        if each.blob:
            return image_blobs.original_blob(each)
        return (
            image_blobs.compress_layer(each, form, os.path.join(directory, str(number)), cancel)
            if form
            else image_blobs.uncompressed_blob(each)
        )

    with ThreadPoolExecutor(jobs or os.cpu_count() or 1, thread_name_prefix="layer") as pool:
        return assemble_image(image, [*pool.map(pack, range(len(image.contents)), image.contents)])


def assemble_image(image: ExportedImage, layers: Sequence[Blob]) -> AssembledImage:
    """The image with these layers. Where it is the very image that its base names, it has that one's manifest."""
    return _assemble(image, layers, came=image.origin is not None)


def _assemble(image: ExportedImage, layers: Sequence[Blob], *, came: bool) -> AssembledImage:
    config = Blob(descriptor=serialize.descriptor_of(image.config, OCI_CONFIG), data=image.config)
    manifest = image.origin if came else None
    if manifest is None:
        named = ImageManifest(
            media_type=OCI_MANIFEST,
            config=config.descriptor,
            layers=tuple(layer.descriptor for layer in layers),
            annotations=image.annotations,
        )
        manifest = serialize.manifest_document(named)
    return AssembledImage(image=image, layers=tuple(layers), config=config, manifest=manifest)


def index_descriptor(item: AssembledImage) -> Descriptor:
    """How an index names it: with its platform, and the name under which it was given away."""
    document = item.manifest
    name = item.image.name
    return Descriptor(
        media_type=document.media_type,
        digest=document.digest,
        size=len(document.body),
        platform=item.image.platform,
        # the first is OCI's own (image-layout.md), the second is what containerd and podman read before it
        annotations={NAME_ANNOTATION: name, "io.containerd.image.name": name},
    )
