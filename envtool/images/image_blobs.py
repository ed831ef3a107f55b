"""Writes the bytes of an image's layers to descriptors, and checks them meanwhile: no blob is written completely that
does not match its digest. Trees are read as container root, who owns them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from envtool.build.context import Cancel
from envtool.container.runner import Runner
from envtool.errors import BuildError, Interrupted, StoreError
from envtool.images.image_config import ImageLayerContent
from envtool.lazy_dataclass import dataclass
from envtool.net.oci.documents import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor
from envtool.store import decompress, packing
from envtool.store.packing import Compression, PackedLayer

CHUNK = 1 << 20
HINT_REPAIR = "`envtool store verify --repair` removes what is damaged; it is then built or fetched again"
MEDIA_TYPES: dict[Compression, str] = {"": OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A blob of an image, not written yet. Its bytes are `data`, the file `path`, or the tar of `content`."""

    descriptor: Descriptor
    data: bytes | None = None
    path: str = ""
    content: ImageLayerContent | None = None


def uncompressed_blob(content: ImageLayerContent) -> Blob:
    """Returns a layer as its tar, whatever its compression."""
    return Blob(descriptor=Descriptor(media_type=OCI_LAYER, digest=content.diff_id, size=content.size), content=content)


def original_blob(content: ImageLayerContent) -> Blob:
    """Returns the layer of an image as that image had it. Raises StoreError."""
    form = packing.detect_compression(content.blob)
    name = os.path.basename(content.blob)
    size = os.path.getsize(content.blob)
    return Blob(
        descriptor=Descriptor(media_type=MEDIA_TYPES[form], digest=f"sha256:{name}", size=size), path=content.blob
    )


def compress_layer(content: ImageLayerContent, form: Compression, path: str, cancel: Cancel, runner: Runner) -> Blob:
    """Compresses a layer into the new file `path`. Raises StoreError, Interrupted."""
    packing.prepare(form)
    try:
        with open(path, "xb") as file:
            answer = _write_layer(content, file.fileno(), form, cancel, runner)
    except OSError as error:
        raise StoreError(f"layer `{content.name}` could not be packed: {error}", code="store-space") from error
    return Blob(descriptor=Descriptor(media_type=MEDIA_TYPES[form], digest=answer[2], size=answer[3]), path=path)


def write_blob(blob: Blob, out: int, cancel: Cancel, runner: Runner) -> None:
    """Writes a blob to a descriptor. Raises StoreError if the blob does not match its descriptor (after some of it has
    been written), OSError, Interrupted."""
    descriptor = blob.descriptor
    if blob.content is not None:
        _, _, digest, size = _write_layer(blob.content, out, "", cancel, runner)
    else:
        sink = packing.CompressedWriter(out, "", cancel.reader)
        with _translate_errors(), _open_blob(blob) as pieces:
            for piece in pieces:
                sink.write(piece)
            _, _, digest, size = sink.close()
    if (digest, size) != (descriptor.digest, descriptor.size):
        name = blob.path or descriptor.digest
        raise StoreError(
            f"{name} is not what its name says", code="blob-damaged", hint="`envtool store verify` mends it"
        )


def _write_layer(
    content: ImageLayerContent, out: int, form: Compression, cancel: Cancel, runner: Runner
) -> PackedLayer:
    """Writes a layer's tar, compressed by `form`, and checks it against the layer's diff ID."""
    with _translate_errors():
        if content.tree:
            answer: PackedLayer = runner.as_root(packing.pack, ".", out, form, cancel.reader, at=content.tree)
        else:
            sink = packing.CompressedWriter(out, form, cancel.reader)
            for piece in _read_tar(content):
                sink.write(piece)
            answer = sink.close()
    if answer[0] != content.diff_id:
        raise StoreError(
            f"{content.tree or content.blob or content.tar} is no longer the layer {content.diff_id}",
            code="layer-damaged",
            hint=HINT_REPAIR,
        )
    return answer


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ECANCELED:
            raise Interrupted from error
        raise
    except RuntimeError as error:  # an error of the process that ran as container root
        raise StoreError(str(error), code="layer-damaged", hint=HINT_REPAIR) from error


@contextmanager
def _open_blob(blob: Blob) -> Iterator[Iterator[bytes]]:
    if blob.data is not None:
        yield iter((blob.data,))
        return
    with open(blob.path, "rb") as file:
        yield iter(lambda: file.read(CHUNK), b"")


def _read_tar(content: ImageLayerContent) -> Iterator[bytes]:
    if content.data:
        yield content.data
        return
    with open(content.blob or content.tar, "rb") as file:
        try:
            yield from decompress.decompress_layer(file.fileno())
        except BuildError as error:
            text = f"{content.blob} cannot be unpacked: {error.message}"
            raise StoreError(text, code="blob-damaged", hint=HINT_REPAIR) from error
