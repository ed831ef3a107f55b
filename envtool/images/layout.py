"""A directory in the OCI image layout (image-layout.md): blobs by digest, and an index that names images.

One that is there already gets one more image, as skopeo does it; an image of the same name is replaced. Each file takes
its place by a rename and the index comes last, so that whoever is stopped leaves a layout as it was.
"""

from __future__ import annotations

import hashlib
import os

from envtool.build.context import Cancel
from envtool.errors import FetchError, StoreError, UsageError
from envtool.fs.caller_paths import reached
from envtool.fs.directory import OpenDirectory
from envtool.images import image_blobs
from envtool.images.assemble import AssembledImage, described
from envtool.net.oci import layout, serialize
from envtool.net.oci.documents import OCI_INDEX, Descriptor, ImageIndex
from envtool.net.oci.layout import NAME

MARK = "oci-layout"
MARK_TEXT = b'{"imageLayoutVersion":"%s"}' % layout.VERSION.encode()
INDEX = "index.json"
MODE = 0o644  # whatever the umask: others read the directory


def write(item: AssembledImage, path: str, cancel: Cancel, project: str = "") -> None:
    """Write it there; `project`: see drafts.reached. Raises UsageError where there is something else, StoreError,
    Interrupted."""
    before = _before(path)
    try:
        with reached(path, project) as top:
            for blob in item.blobs:
                cancel.check()
                with top.open_below(os.path.dirname(place(blob.descriptor)), make=True) as inner:
                    name = os.path.basename(place(blob.descriptor))
                    if not _holds(inner, name, blob.descriptor):
                        with inner.atomic_write(name, MODE) as out:
                            image_blobs.write(blob, out.fileno(), cancel)
            with top.atomic_write(MARK, MODE) as out:
                out.write(MARK_TEXT)
            with top.atomic_write(INDEX, MODE) as out:
                out.write(index(described(item), before))
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}", code="export-write") from error


def index(entry: Descriptor, before: tuple[Descriptor, ...] = ()) -> bytes:
    """The index with one more image."""
    kept = tuple(other for other in before if other.annotations.get(NAME) != entry.annotations[NAME])
    return serialize.index_document(ImageIndex(media_type=OCI_INDEX, manifests=(*kept, entry))).body


def place(descriptor: Descriptor) -> str:
    """Where a layout has a blob, relative to its top."""
    return layout.blob_path("", descriptor.digest)


def _before(path: str) -> tuple[Descriptor, ...]:
    """The images that are there."""
    if not os.path.lexists(path) or (os.path.isdir(path) and not os.listdir(path)):
        return ()
    if not os.path.isfile(os.path.join(path, MARK)):
        what = "holds other things" if os.path.isdir(path) else "is no directory"
        hint = "name a new directory, or one with an OCI layout; `unit.tar` makes an archive"
        raise UsageError(f"{path} {what}", code="export-target", hint=hint)
    if not os.path.exists(os.path.join(path, INDEX)):
        return ()  # whoever began it was stopped
    try:
        return layout.read_index(path, layout.plain(path)).manifests
    except FetchError as error:
        raise UsageError(error.message, code="export-target", hint="name another directory") from error


def _holds(inner: OpenDirectory, name: str, descriptor: Descriptor) -> bool:
    try:
        with inner.read(name) as file:
            if os.fstat(file.fileno()).st_size != descriptor.size:
                return False
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == descriptor.digest
    except OSError:  # nothing, or no file
        return False
