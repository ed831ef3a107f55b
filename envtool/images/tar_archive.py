"""Writes an image as one tar file: `oci-archive`, an OCI layout in a tar, or `docker-archive`, the format of `docker
save`.

The latter is an OCI layout too, as docker's own has been since version 25: its `manifest.json` names the layout's
files, so that each tool finds its own. Named files come first, then blobs; all times are the image's epoch, all owners
root. Sizes are known before anything is written, so the output can be a pipe.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from envtool.build.context import Cancel
from envtool.container.runner import Runner
from envtool.images import image_blobs, layout
from envtool.images.assemble import AssembledImage, index_descriptor
from envtool.keys import canonical_json
from envtool.store import tar_write


def write_archive(assembled: AssembledImage, out: int, cancel: Cancel, runner: Runner, *, docker: bool) -> None:
    """Writes the archive to a descriptor. Raises StoreError, OSError, Interrupted; the output is then not a complete
    archive."""
    tar = _TarWriter(out, assembled.image.epoch)
    files = {layout.LAYOUT_FILE: layout.LAYOUT_TEXT, layout.INDEX_FILE: layout.make_index(index_descriptor(assembled))}
    if docker:
        files |= _docker_files(assembled)
    for name, text in sorted(files.items()):
        tar.data(name, text)
    for directory in ("blobs/", "blobs/sha256/"):
        tar.directory(directory)
    for blob in sorted(assembled.blobs, key=lambda blob: blob.descriptor.size):
        cancel.check()
        fill = partial(image_blobs.write_blob, blob, cancel=cancel, runner=runner)
        tar.member(layout.relative_blob_path(blob.descriptor), blob.descriptor.size, fill)
    tar.end()


def _docker_files(assembled: AssembledImage) -> dict[str, bytes]:
    """Returns the files that docker reads (moby's image/tarexport; image/spec/v1.2.md): config and layers by their
    paths, and `repositories` for versions before 1.10."""
    layers = [layout.relative_blob_path(layer.descriptor) for layer in assembled.layers]
    repository, _, tag = assembled.image.name.rpartition(":")
    top = os.path.basename(layers[-1]) if layers else ""
    config = layout.relative_blob_path(assembled.config.descriptor)
    return {
        "manifest.json": canonical_json([{"Config": config, "Layers": [*layers], "RepoTags": [assembled.image.name]}]),
        "repositories": canonical_json({repository: {tag: top}}),
    }


class _TarWriter:
    """Writes members one after the other to a descriptor."""

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
