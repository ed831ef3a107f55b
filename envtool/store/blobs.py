"""Keeps fetched files by the sha256 of their content: `blobs/sha256/ab/<hex>`; partial files in
`blobs/partial/<hex>`."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress

from envtool.errors import FetchError, StoreError
from envtool.store import disk_errors
from envtool.store.store import Store
from envtool.store.temp_dirs import make_directory, move_into_place, remove_tree, temp_directory


def path(store: Store, sha256: str) -> str:
    """Returns the absolute path of a blob, whether it exists or not. `sha256` is lower-case hex; raises StoreError
    (code blob-name) for anything else."""
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise StoreError(f"not a sha256 in lower-case hex: {sha256}", code="blob-name")
    return store.path("blobs", "sha256", sha256[:2], sha256)


def partial_path(store: Store, sha256: str) -> str:
    """Returns the absolute path of a partial blob, whether it exists or not: the next process resumes from it."""
    directory = store.path("blobs", "partial")
    partial = os.path.join(directory, os.path.basename(path(store, sha256)))
    make_directory(directory)
    if os.path.lexists(partial) and not stat.S_ISREG(os.lstat(partial).st_mode):
        remove_tree(partial)
    return partial


def remove_stale_partials(store: Store, *, older: float = 7 * 86400.0) -> None:
    """Removes partial blobs that were not written to for `older` seconds."""
    directory = store.path("blobs", "partial")
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        partial = os.path.join(directory, name)
        try:
            if os.lstat(partial).st_mtime < time.time() - older:
                remove_tree(partial)
        except FileNotFoundError:
            continue  # finished meanwhile


def has(store: Store, sha256: str, size: int = 0) -> bool:
    """Whether the blob exists and is a regular file. With a known `size` (bytes), also whether it has that size: a
    crash of the machine may have cut it short."""
    try:
        info = os.lstat(path(store, sha256))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(info.st_mode) and (not size or info.st_size == size)


def list_digests(store: Store) -> frozenset[str]:
    """Returns the sha256 of every blob of the store, in hex."""
    digests: set[str] = set()
    top = store.path("blobs", "sha256")
    for prefix in os.listdir(top) if os.path.isdir(top) else ():
        with suppress(FileNotFoundError, NotADirectoryError):  # removed meanwhile, or no directory of ours
            digests.update(os.listdir(os.path.join(top, prefix)))
    return frozenset(digests)


def put(store: Store, source: str, sha256: str) -> str:
    """Moves a file (on the store's file system) whose content was checked into the store. Returns the blob's path."""
    target = path(store, sha256)
    os.chmod(source, 0o644)  # builds see it as another user
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    parent = os.path.dirname(target)
    make_directory(parent)
    move_into_place(source, target)
    return target


def put_content(store: Store, pieces: Iterable[bytes], sha256: str = "") -> str:
    """Writes content into the store under its own sha256. Returns the blob's path. Raises FetchError (code fetch-hash)
    where the content does not have the `sha256` given, StoreError when the disk is full."""
    digest = hashlib.sha256()
    with temp_directory(store) as top:
        path = os.path.join(top, "blob")
        try:
            with open(path, "xb", buffering=0) as out:
                for piece in pieces:
                    digest.update(piece)
                    view = memoryview(piece)
                    while view:
                        view = view[out.write(view) :]
        except OSError as error:
            if error.errno not in disk_errors.DISK_FULL_ERRNOS:
                raise
            raise disk_errors.disk_full_error(store.root, error.errno) from error
        actual = digest.hexdigest()
        if sha256 and actual != sha256:
            raise FetchError(f"its sha256 is {actual}, and should be {sha256}", code="fetch-hash")
        return put(store, path, actual)


def verify(store: Store, sha256: str) -> bool:
    """Whether the blob's content still has its sha256. A damaged blob is renamed to `<name>.corrupt`, so that it is
    fetched again."""
    blob = path(store, sha256)
    descriptor = os.open(blob, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        intact = regular and hashlib.file_digest(file, "sha256").hexdigest() == sha256
    if not intact:
        move_into_place(blob, f"{blob}.corrupt")
    return intact
