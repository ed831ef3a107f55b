"""One tar file that tools load: `oci-archive`, an OCI layout in a tar, and `docker-archive`, what `docker save` writes.

The latter is an OCI layout too, as docker's own has been since its version 25: its `manifest.json` names the layout's
files, so that each tool finds what it looks for. Files with names of their own come first, then blobs; times are the
image's epoch, owners root, whoever writes it. Sizes are known before anything is written, so it can be a pipe.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from envtool.build.context import Cancel
from envtool.images import image_blobs, layout
from envtool.images.assemble import AssembledImage, index_descriptor
from envtool.keys import canonical_json
from envtool.store import tar_write


def write_archive(item: AssembledImage, out: int, cancel: Cancel, *, docker: bool) -> None:
    """Write it to a descriptor. Raises StoreError, OSError, Interrupted; then what was written is no archive."""
    tar = _TarWriter(out, item.image.epoch)
    named = {layout.LAYOUT_FILE: layout.LAYOUT_TEXT, layout.INDEX_FILE: layout.make_index(index_descriptor(item))}
    if docker:
        named |= _docker_files(item)
    for name, text in sorted(named.items()):
        tar.data(name, text)
    for directory in ("blobs/", "blobs/sha256/"):
        tar.directory(directory)
    for blob in sorted(item.blobs, key=lambda blob: blob.descriptor.size):
        cancel.check()
        fill = partial(image_blobs.write_blob, blob, cancel=cancel)
        tar.member(layout.relative_blob_path(blob.descriptor), blob.descriptor.size, fill)
    tar.end()


def _docker_files(item: AssembledImage) -> dict[str, bytes]:
    """What docker reads (moby's image/tarexport; image/spec/v1.2.md): config and layers by their paths, and in
    `repositories` what versions before 1.10 looked for."""
    layers = [layout.relative_blob_path(layer.descriptor) for layer in item.layers]
    repository, _, tag = item.image.name.rpartition(":")
    top = os.path.basename(layers[-1]) if layers else ""
    config = layout.relative_blob_path(item.config.descriptor)
    return {
        "manifest.json": canonical_json([{"Config": config, "Layers": [*layers], "RepoTags": [item.image.name]}]),
        "repositories": canonical_json({repository: {tag: top}}),
    }


class _TarWriter:
    """Members one after the other, straight to a descriptor."""

    def __init__(self, out: int, epoch: int) -> None:
        self._out = out
        self._epoch = epoch

    def data(self, name: str, text: bytes) -> None:
        self.member(name, len(text), lambda out: _write_all(out, text))

    def directory(self, name: str) -> None:
        _write_all(self._out, tar_write.header(name.encode(), tar_write.DIRECTORY, mode=0o755, mtime=self._epoch))

    def member(self, name: str, size: int, fill: Callable[[int], None]) -> None:
        _write_all(
            self._out, tar_write.header(name.encode(), tar_write.REGULAR, mode=0o644, size=size, mtime=self._epoch)
        )
        fill(self._out)
        _write_all(self._out, tar_write.padding(size))

    def end(self) -> None:
        _write_all(self._out, tar_write.END)


def _write_all(out: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(out, view) :]
