"""The merged files of a stack, read without a container: layers bottom to top, as an overlay shows them.

Which files there are is known from the layers' manifests; contents are read as container root, who owns them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence

from envtool import globs
from envtool.container import ids
from envtool.store.canonical import records
from envtool.store.layers import Layer

LIMIT = 64 << 20  # bytes of one file; what is larger tells of no package
DIRECTORIES = b"do"


class StackTree:
    """`api.Tree` for made layers, bottom first."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self._files = merged([list(records(layer.manifest)) for layer in layers])

    def find(self, pattern: str) -> list[str]:
        """See api.Tree."""
        match = re.compile(globs.expression(pattern.lstrip("/"))).fullmatch
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
            found |= ids.inside(_read, names, at=self._layers[at].tree)
        return {f"/{name}": found[name] for name in sorted(found)}


def merged(layers: Sequence[Sequence[tuple[bytes, bytes]]]) -> dict[str, int]:
    """Path of each regular file that is seen -> index of the layer it is in. `layers`: (path, fields) of each entry,
    as manifests have them."""
    seen: dict[bytes, tuple[bytes, int]] = {}  # path -> letter, layer
    for index, entries in enumerate(layers):
        hiding = {path for path, fields in entries if fields[:1] != b"d"}
        # what hides something: a deletion, an opaque directory, anything else than a directory where one was
        hiding &= {path for path, (letter, _) in seen.items() if letter in DIRECTORIES}
        hiding |= {path for path, fields in entries if fields[:1] == b"w"}
        if hiding:
            seen = {path: value for path, value in seen.items() if not _hidden(path, hiding)}
        for path, fields in entries:
            letter = fields[:1]
            if letter != b"w":
                seen[path] = (letter, index)
    return {os.fsdecode(path): index for path, (letter, index) in seen.items() if letter == b"f"}


def _hidden(path: bytes, hiding: set[bytes]) -> bool:
    if path in hiding:
        return True
    end = path.rfind(b"/")
    while end > 0:
        if path[:end] in hiding:
            return True
        end = path.rfind(b"/", 0, end)
    return False


def _read(names: list[str]) -> dict[str, bytes]:
    """Runs as container root in the layer's tree: a name's parents are directories there, so it leads nowhere else."""
    found = {}
    for name in names:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                found[name] = file.read(LIMIT)
    return found
