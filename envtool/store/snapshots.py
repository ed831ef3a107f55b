"""Keeps the manifests of project snapshots by digest: `views/<digest>`, compressed. A result names the digest."""

from __future__ import annotations

import os
import zlib

from envtool.fs import store_files
from envtool.project.snapshot import snapshot_digest
from envtool.store.store import Store
from envtool.store.temp_dirs import move_into_place, temp_directory

MAX_MANIFEST_SIZE = 1 << 30  # bytes of a manifest: zeros are compressed a thousand to one


def put(store: Store, digest: str, text: bytes) -> None:
    """Stores the manifest of a snapshot (`text`, as snapshot_digest takes it), by one rename. Raises OSError."""
    target = store.path("views", digest)
    if os.path.isfile(target) and not os.path.islink(target):
        os.utime(target)
        return
    with temp_directory(store) as top:
        new_file = os.path.join(top, digest)
        with open(new_file, "xb") as file:
            file.write(zlib.compress(text, 1))
        move_into_place(new_file, target)


def get(store: Store, digest: str) -> dict[str, tuple[int, str]] | None:
    """Returns, by path, (type and executable bits, sha256 of content or target) of every file of a snapshot; None when
    its manifest is gone, or damaged."""
    try:
        unpack = zlib.decompressobj()
        text = unpack.decompress(store_files.read_regular_file(store.path("views", digest)), MAX_MANIFEST_SIZE)
        if not unpack.eof or snapshot_digest(text) != digest:
            return None
        return parse_rows(text)
    except (OSError, ValueError, zlib.error):
        return None


def parse_rows(text: bytes) -> dict[str, tuple[int, str]]:
    """Parses a manifest's text into the rows that `get` returns. Raises ValueError."""
    fields = text.split(b"\0")
    return {
        os.fsdecode(path): (int(mode, 8), sha256.decode())
        for path, mode, sha256 in zip(fields[:-1:3], fields[1::3], fields[2::3], strict=True)
    }


def diff_rows(before: dict[str, tuple[int, str]], after: dict[str, tuple[int, str]]) -> dict[str, str]:
    """Returns, by path and sorted, the change of each file that differs: "new", "gone" or "changed"."""
    words: dict[str, str] = {}
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            words[path] = "new" if path not in before else "gone" if path not in after else "changed"
    return words
