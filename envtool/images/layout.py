"""Writes an image into a directory in the OCI image layout (image-layout.md): blobs by digest, and an index that names
images.

An existing layout gets one more image, as skopeo does it; an image of the same name is replaced. Each file appears by a
rename and the index is written last, so an interrupted export leaves the layout as it was.
"""

from __future__ import annotations

import hashlib
import os

from envtool.build.context import Cancel
from envtool.container.runner import Runner
from envtool.errors import FetchError, StoreError, UsageError
from envtool.fs.caller_paths import open_directory
from envtool.fs.directory import OpenDirectory
from envtool.images import image_blobs
from envtool.images.assemble import AssembledImage, index_descriptor
from envtool.net.oci import layout, serialize
from envtool.net.oci.documents import OCI_INDEX, Descriptor, ImageIndex
from envtool.net.oci.layout import NAME_ANNOTATION

LAYOUT_FILE = "oci-layout"
LAYOUT_TEXT = b'{"imageLayoutVersion":"%s"}' % layout.VERSION.encode()
INDEX_FILE = "index.json"
FILE_MODE = 0o644  # whatever the umask: others read the directory


def write_layout(assembled: AssembledImage, path: str, cancel: Cancel, runner: Runner, project: str = "") -> None:
    """Writes the image to the directory `path`; `project`: see caller_paths.open_directory. Raises UsageError if the
    directory holds other files, StoreError, Interrupted."""
    existing = _read_existing(path)
    try:
        with open_directory(path, project) as top:
            for blob in assembled.blobs:
                cancel.check()
                with top.open_below(os.path.dirname(relative_blob_path(blob.descriptor)), make=True) as inner:
                    name = os.path.basename(relative_blob_path(blob.descriptor))
                    if not _has_blob(inner, name, blob.descriptor):
                        with inner.atomic_write(name, FILE_MODE) as out:
                            image_blobs.write_blob(blob, out.fileno(), cancel, runner)
            with top.atomic_write(LAYOUT_FILE, FILE_MODE) as out:
                out.write(LAYOUT_TEXT)
            with top.atomic_write(INDEX_FILE, FILE_MODE) as out:
                out.write(make_index(index_descriptor(assembled), existing))
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}", code="export-write") from error


def make_index(entry: Descriptor, existing: tuple[Descriptor, ...] = ()) -> bytes:
    """Returns the index with one more image."""
    others = tuple(
        other for other in existing if other.annotations.get(NAME_ANNOTATION) != entry.annotations[NAME_ANNOTATION]
    )
    return serialize.index_document(ImageIndex(media_type=OCI_INDEX, manifests=(*others, entry))).body


def relative_blob_path(descriptor: Descriptor) -> str:
    """Returns the path of a blob in a layout, relative to its top."""
    return layout.blob_path("", descriptor.digest)


def _read_existing(path: str) -> tuple[Descriptor, ...]:
    """Returns the images that the layout has."""
    if not os.path.lexists(path) or (os.path.isdir(path) and not os.listdir(path)):
        return ()
    if not os.path.isfile(os.path.join(path, LAYOUT_FILE)):
        what = "holds other things" if os.path.isdir(path) else "is no directory"
        hint = "name a new directory, or one with an OCI layout; `unit.tar` makes an archive"
        raise UsageError(f"{path} {what}", code="export-target", hint=hint)
    if not os.path.exists(os.path.join(path, INDEX_FILE)):
        return ()  # an export that began it was interrupted
    try:
        return layout.read_index(path, layout.directory_opener(path)).manifests
    except FetchError as error:
        raise UsageError(error.message, code="export-target", hint="name another directory") from error


def _has_blob(inner: OpenDirectory, name: str, descriptor: Descriptor) -> bool:
    try:
        with inner.read(name) as file:
            if os.fstat(file.fileno()).st_size != descriptor.size:
                return False
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == descriptor.digest
    except OSError:  # it does not exist, or is not a file
        return False
