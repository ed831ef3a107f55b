"""What things take on the disk: blocks, not lengths, and a file with many names once.

A layer's tree never changes, so it is measured once; the answer lies beside it (`layers/<key>/usage`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, TypeAlias

from envtool.errors import EnvtoolError
from envtool.fs import store_files
from envtool.store.canonical import read_manifest
from envtool.store.store import Store

RunAsRoot: TypeAlias = Callable[
    ..., Any
]  # runs a function as container root, in the directory `at`: container.ids.inside
USAGE_FILE = "usage"
BLOCK = 512  # bytes of a unit of st_blocks, stat(2)
PAGE = 4096


def measure_tree(top: str) -> int:
    """Bytes that a tree takes, its top too. Raises OSError."""
    return _measure_blocks(os.fsencode(top))


def measure_changing(top: str) -> int:
    """The same of a tree that somebody may be filling, or taking away: what is gone meanwhile takes nothing, and
    neither does what cannot be looked at."""
    return _measure_blocks(os.fsencode(top), suppress(OSError))


def _measure_blocks(top: bytes, passing: AbstractContextManager[Any] | None = None) -> int:
    total = 0
    seen: set[tuple[int, int]] = set()
    passing = passing or nullcontext()
    with passing:
        total = os.lstat(top).st_blocks
    pending = [top] if os.path.isdir(top) and not os.path.islink(top) else []
    while pending:
        with passing, os.scandir(pending.pop()) as names:
            for item in names:
                with passing:
                    info = item.stat(follow_symlinks=False)
                    if stat.S_ISDIR(info.st_mode):
                        pending.append(item.path)
                    elif info.st_nlink > 1:
                        if (info.st_dev, info.st_ino) in seen:
                            continue
                        seen.add((info.st_dev, info.st_ino))
                    total += info.st_blocks
    return total * BLOCK


def layer_sizes(store: Store, keys: Iterable[str], inside: RunAsRoot, *, workers: int = 0) -> Mapping[str, int]:
    """Bytes of each layer. What was not measured before is, side by side."""
    found: dict[str, int] = {}
    fresh: list[str] = []
    for key in keys:
        known = _read_size(store, key)
        if known is None:
            fresh.append(key)
        else:
            found[key] = known

    def one(key: str) -> int:
        return _measure_layer(store, key, inside)

    with ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="usage") as pool:
        return found | dict(zip(fresh, pool.map(one, fresh), strict=True))


def _read_size(store: Store, key: str) -> int | None:
    try:
        size = int(store_files.read_regular_file(store.path("layers", key, USAGE_FILE), most=100))
    except (OSError, ValueError):
        return None
    return size if 0 <= size < 1 << 63 else None


def _measure_layer(store: Store, key: str, inside: RunAsRoot) -> int:
    where = store.path("layers", key)
    try:
        size: int = inside(measure_tree, ".", at=os.path.join(where, "tree"))
    except (OSError, EnvtoolError, RuntimeError):
        return estimate(os.path.join(where, "manifest"))
    size += sum(_disk_size(os.path.join(where, name)) for name in ("", "layer.json", "manifest"))
    mine = os.path.join(where, f".{USAGE_FILE}.{os.urandom(4).hex()}")
    try:
        with open(mine, "x", encoding="ascii") as file:
            file.write(f"{size}\n")
        os.rename(mine, os.path.join(where, USAGE_FILE))
    except OSError:  # it is gone meanwhile, or the disk is full: it is measured again
        pass
    return size


def _disk_size(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * BLOCK
    except OSError:
        return 0


def estimate(manifest: str) -> int:
    """The same by what a manifest says, where the tree cannot be looked at."""
    total = 0
    try:
        for _, fields in read_manifest(manifest):
            if fields[:1] == b"d":
                total += PAGE
            elif fields[:1] == b"f":
                length = int(fields.split(b" ")[4].partition(b":")[0].replace(b"-", b"0"))
                total += -(-length // PAGE) * PAGE
    except (OSError, ValueError, IndexError):
        return total
    return total
