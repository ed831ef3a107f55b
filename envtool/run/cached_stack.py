"""Which files of a stack changed since a cache was used last: a package that was updated has older times than what was
compiled from the one before.

A record has the layers of the stack, and eight bytes of a hash of each of its files. As long as the layers are the
same, nothing of it is read. Where too much changed, it is another toolchain, and the caches begin anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from envtool.store import layers, overlay_view

if TYPE_CHECKING:
    from envtool.build.scheduler import Stack
    from envtool.run.task_request import TaskRequest

MAX_CHANGED_FILES, MAX_CHANGED_BYTES = 20_000, 256 << 20  # each is copied, to memory, to have a new time
_HASH = 8  # bytes


class StackState:
    """The stack of a task. `to_record` and `changed_paths` read its manifests only if they have to."""

    def __init__(self, stack: Stack, layer_ids: list[list[str]]) -> None:
        self._stack, self._ids = stack, layer_ids
        self._hashes: bytes | None = None

    @classmethod
    def of(cls, stack: Stack, request: TaskRequest) -> StackState:
        """Returns the stack of a request."""
        return cls(stack, [[*layer] for layer in request.stack])

    def to_record(self) -> dict[str, Any]:
        """Returns what a record says of the stack. Raises StoreError for a damaged layer."""
        if self._hashes is None:
            hashes = {_hash(path, fields) for path, (fields, _) in self._visible().items()}
            self._hashes = b"".join(sorted(hashes))
        return {"layers": self._ids, "stack": self._hashes}

    def changed_paths(self, record: Mapping[str, Any]) -> list[str] | None:
        """Returns the absolute paths of the files that changed since; None if that is not known, or too much. Raises
        StoreError for a damaged layer."""
        if record["layers"] == self._ids:
            self._hashes = record["stack"]
            return []
        if any(key for _, key in (*record["layers"], *self._ids)):  # this machine's own system: its files are not known
            return None
        old = record["stack"]
        known = {old[start : start + _HASH] for start in range(0, len(old), _HASH)}
        changed, size = [], 0
        for path, (fields, _) in self._visible().items():
            if fields[:1] in (b"f", b"l") and _hash(path, fields) not in known:
                changed.append(f"/{os.fsdecode(path)}")
                size += overlay_view.parse_record(fields).size
        return changed if len(changed) <= MAX_CHANGED_FILES and size <= MAX_CHANGED_BYTES else None

    def _visible(self) -> dict[bytes, tuple[bytes, int]]:
        return overlay_view.merge_layers([layers.read_records(made.layer) for made in self._stack.layers])


def _hash(path: bytes, fields: bytes) -> bytes:
    return hashlib.sha256(path + b"\0" + fields).digest()[:_HASH]
