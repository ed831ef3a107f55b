"""Reads the merged files of a stack without a container: layers bottom to top, as overlayfs shows them.

The layers' manifests say which files there are; container root, who owns the files, reads their contents.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence

from envtool.container.runner import LocalRunner, Runner
from envtool.fs import globs
from envtool.store.layers import Layer, read_records
from envtool.store.overlay_view import Entries
from envtool.store.overlay_view import merge_layers as overlaid

MAX_FILE_SIZE = 64 << 20  # bytes of one file; files of package managers are smaller


class StackTree:
    """`api.Tree` for layers, bottom first."""

    def __init__(self, layers: Sequence[Layer], runner: Runner | None = None) -> None:
        self._layers = layers
        self._runner: Runner = runner or LocalRunner()
        self._files = visible_files([read_records(layer) for layer in layers])

    def find(self, pattern: str) -> list[str]:
        """See api.Tree."""
        match = re.compile(globs.to_regex(pattern.lstrip("/"))).fullmatch
        return sorted(f"/{path}" for path in self._files if match(path))

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """See api.Tree."""
        wanted: dict[int, list[str]] = {}
        for path in dict.fromkeys(paths):
            index = self._files.get(path.lstrip("/"))
            if index is not None:
                wanted.setdefault(index, []).append(path.lstrip("/"))
        contents: dict[str, bytes] = {}
        for index, names in sorted(wanted.items()):
            contents |= self._runner.as_root(_read, names, at=self._layers[index].tree)
        return {f"/{name}": contents[name] for name in sorted(contents)}


def visible_files(layers: Sequence[Entries]) -> dict[str, int]:
    """Returns path -> index of its layer, for each regular file that no upper layer hides."""
    return {os.fsdecode(path): index for path, (fields, index) in overlaid(layers).items() if fields[:1] == b"f"}


def _read(names: list[str]) -> dict[str, bytes]:
    """Runs as container root in the layer's tree. All parents of a name in a manifest are directories there, so that no
    name leads out of the tree."""
    contents = {}
    for name in names:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                contents[name] = file.read(MAX_FILE_SIZE)
    return contents
