"""The merged files of a stack, read without a container: layers bottom to top, as an overlay shows them.

Which files there are is known from the layers' manifests; contents are read as container root, who owns them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence

from envtool.container import userns
from envtool.fs import globs
from envtool.store.layers import Layer, read_records
from envtool.store.overlay_view import Entries
from envtool.store.overlay_view import merge_layers as overlaid

MAX_FILE_SIZE = 64 << 20  # bytes of one file; what is larger tells of no package


class StackTree:
    """`api.Tree` for made layers, bottom first."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self._files = visible_files([read_records(layer) for layer in layers])

    def find(self, pattern: str) -> list[str]:
        """See api.Tree."""
        match = re.compile(globs.to_regex(pattern.lstrip("/"))).fullmatch
        return sorted(f"/{path}" for path in self._files if match(path))

    def read(self, paths: Iterable[str]) -> dict[str, bytes]:
        """See api.Tree."""
        wanted: dict[int, list[str]] = {}
        for path in dict.fromkeys(paths):
            at = self._files.get(path.lstrip("/"))
            if at is not None:
                wanted.setdefault(at, []).append(path.lstrip("/"))
        found: dict[str, bytes] = {}
        for at, names in sorted(wanted.items()):
            found |= userns.run_as_root(_read, names, at=self._layers[at].tree)
        return {f"/{name}": found[name] for name in sorted(found)}


def visible_files(layers: Sequence[Entries]) -> dict[str, int]:
    """Path of each regular file that is seen -> index of the layer it is in."""
    return {os.fsdecode(path): index for path, (fields, index) in overlaid(layers).items() if fields[:1] == b"f"}


def _read(names: list[str]) -> dict[str, bytes]:
    """Runs as container root in the layer's tree: a name's parents are directories there, so it leads nowhere else."""
    found = {}
    for name in names:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                found[name] = file.read(MAX_FILE_SIZE)
    return found
