"""Fetched files, by the sha256 of their content: `blobs/sha256/ab/<hex>`; what is on its way, `blobs/partial/<hex>`."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable

from envtool.errors import FetchError, StoreError
from envtool.store import disk_errors
from envtool.store.store import Store
from envtool.store.temp_dirs import make_directory, move_into_place, remove_tree, temp_directory


def path(store: Store, sha256: str) -> str:
    """Absolute path of a blob, there or not. `sha256` is lower-case hex."""
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise StoreError(f"not a sha256 in lower-case hex: {sha256}", code="blob-name")
    return store.path("blobs", "sha256", sha256[:2], sha256)


def partial_path(store: Store, sha256: str) -> str:
    """Absolute path of what has arrived of a blob so far, there or not: the next process goes on from it."""
    directory = store.path("blobs", "partial")
    place = os.path.join(directory, os.path.basename(path(store, sha256)))
    make_directory(directory)
    if os.path.lexists(place) and not stat.S_ISREG(os.lstat(place).st_mode):
        remove_tree(place)
    return place


def remove_stale_partials(store: Store, *, older: float = 7 * 86400.0) -> None:
    """Remove partial blobs that nobody has gone on with for so many seconds."""
    directory = store.path("blobs", "partial")
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        place = os.path.join(directory, name)
        try:
            if os.lstat(place).st_mtime < time.time() - older:
                remove_tree(place)
        except FileNotFoundError:
            continue  # finished meanwhile


def has(store: Store, sha256: str, size: int = 0) -> bool:
    """Whether it is there, and a file; with a known `size` (bytes), also not cut short by a crash of the machine."""
    try:
        found = os.lstat(path(store, sha256))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(found.st_mode) and (not size or found.st_size == size)


def put(store: Store, source: str, sha256: str) -> str:
    """Move a file whose content was checked (on the store's file system) to its place; the path of the blob."""
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
    """Put content into the store under its own sha256; the path of the blob. Raises FetchError (code fetch-hash) where
    it is not the one given, StoreError when the disk is full."""
    digest = hashlib.sha256()
    with temp_directory(store) as top:
        place = os.path.join(top, "blob")
        try:
            with open(place, "xb", buffering=0) as out:
                for piece in pieces:
                    digest.update(piece)
                    view = memoryview(piece)
                    while view:
                        view = view[out.write(view) :]
        except OSError as error:
            if error.errno not in disk_errors.DISK_FULL_ERRNOS:
                raise
            raise disk_errors.disk_full_error(store.root, error.errno) from error
        found = digest.hexdigest()
        if sha256 and found != sha256:
            raise FetchError(f"its sha256 is {found}, and should be {sha256}", code="fetch-hash")
        return put(store, place, found)


def verify(store: Store, sha256: str) -> bool:
    """Whether its content still has its name; what has not is moved out of the way, to be fetched again."""
    where = path(store, sha256)
    descriptor = os.open(where, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        right = regular and hashlib.file_digest(file, "sha256").hexdigest() == sha256
    if not right:
        move_into_place(where, f"{where}.corrupt")
    return right
