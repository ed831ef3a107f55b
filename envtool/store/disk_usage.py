"""Measures disk usage in blocks, not lengths, with each hard-linked file counted once.

A layer's tree never changes, so it is measured once, and its size is kept beside it (`layers/<key>/usage`).
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

RunAsRoot: TypeAlias = Callable[..., Any]  # container.userns.run_as_root: container root calls a function in `at`
USAGE_FILE = "usage"
BLOCK = 512  # bytes of a unit of st_blocks, stat(2)
PAGE = 4096


def measure_tree(top: str) -> int:
    """Returns the bytes that a tree takes, its top included. Raises OSError."""
    return _measure_blocks(os.fsencode(top))


def measure_changing(top: str) -> int:
    """Returns the bytes of a tree that another process may be filling or removing: an entry that is gone meanwhile, or
    cannot be read, counts as 0."""
    return _measure_blocks(os.fsencode(top), suppress(OSError))


def _measure_blocks(top: bytes, guard: AbstractContextManager[Any] | None = None) -> int:
    total = 0
    seen: set[tuple[int, int]] = set()
    guard = guard or nullcontext()
    with guard:
        total = os.lstat(top).st_blocks
    pending = [top] if os.path.isdir(top) and not os.path.islink(top) else []
    while pending:
        with guard, os.scandir(pending.pop()) as names:
            for item in names:
                with guard:
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
    """Returns the bytes of each layer. Layers that were never measured are measured in parallel."""
    sizes: dict[str, int] = {}
    unmeasured: list[str] = []
    for key in keys:
        size = _read_size(store, key)
        if size is None:
            unmeasured.append(key)
        else:
            sizes[key] = size

    def measure(key: str) -> int:
        return _measure_layer(store, key, inside)

    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)), thread_name_prefix="usage") as pool:
        return sizes | dict(zip(unmeasured, pool.map(measure, unmeasured), strict=True))


def _read_size(store: Store, key: str) -> int | None:
    try:
        size = int(store_files.read_regular_file(store.path("layers", key, USAGE_FILE), most=100))
    except (OSError, ValueError):
        return None
    return size if 0 <= size < 1 << 63 else None


def _measure_layer(store: Store, key: str, inside: RunAsRoot) -> int:
    directory = store.path("layers", key)
    try:
        size: int = inside(measure_tree, ".", at=os.path.join(directory, "tree"))
    except (OSError, EnvtoolError, RuntimeError):
        return estimate(os.path.join(directory, "manifest"))
    size += sum(disk_size(os.path.join(directory, name)) for name in ("", "layer.json", "manifest"))
    new_file = os.path.join(directory, f".{USAGE_FILE}.{os.urandom(4).hex()}")
    try:
        with open(new_file, "x", encoding="ascii") as file:
            file.write(f"{size}\n")
        os.rename(new_file, os.path.join(directory, USAGE_FILE))
    except OSError:  # the layer is gone meanwhile, or the disk is full: the next caller measures again
        pass
    return size


def disk_size(path: str) -> int:
    """Returns the bytes that a file takes; 0 where it cannot be read."""
    try:
        return os.lstat(path).st_blocks * BLOCK
    except OSError:
        return 0


def estimate(manifest: str) -> int:
    """Returns the bytes of a layer by its manifest, where its tree cannot be read."""
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
