"""Stores the results of passed tasks, and bounds their number.

Of each owner (a task of an env of a project, `results/of/<owner>/<key>`) the newest MAX_PER_OWNER results stay, and
none that was unused for MAX_UNUSED_AGE: both limits are enforced when a result is added."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import BinaryIO

from envtool import keys
from envtool.fs import hashing
from envtool.fs.directory import OpenDirectory
from envtool.model import Json
from envtool.project import rundir
from envtool.store import json_documents
from envtool.store.results import (
    FORMAT,
    HASHED_FILES,
    STATEMENT,
    StoredOutput,
    StoredReads,
    StoredRun,
    StoredUsage,
    hash_file,
    is_inside,
    read,
    remove_result,
    verify,
)
from envtool.store.store import Store
from envtool.store.temp_dirs import remove_tree, temp_directory

MAX_PER_OWNER = 8  # results of one task of one env
MAX_LOG_SIZE = 64 << 20  # bytes of a log that is kept
MAX_OUTPUTS_SIZE = 512 << 20  # bytes of all outputs together
MAX_OUTPUTS = 20_000  # number of outputs
SWEEP_INTERVAL = 86400.0  # seconds between two sweeps


class TooLarge(Exception):  # noqa: N818 - a limit, no error of the user's
    """The log or the outputs of a run are larger than the store keeps."""


def store_result(
    store: Store,
    keyed: Sequence[Mapping[str, Json]],
    run: StoredRun,
    *,
    owner: str,
    log: str,
    statement: bytes = b"",
    root: str,
    outputs: Iterable[str],
    reads: StoredReads | None = None,
    usage: StoredUsage = StoredUsage(),  # noqa: B008 - a tuple
    check: Callable[[], None] | None = None,
) -> list[str]:
    """Stores a run under the key of each document (one, or a second for the project with the run's own outputs in it);
    returns the keys. `statement` is its provenance, empty where there is none; `outputs` are paths relative to the
    project `root`. Calls `check` often. Raises OSError, TooLarge, and what `check` raises."""
    stored_keys = [keys.digest(dict(document)) for document in keyed]
    with temp_directory(store) as top:
        for document, key in zip(keyed, stored_keys, strict=True):
            directory = os.path.join(top, key)
            os.mkdir(directory, 0o755)
            size = _copy_log(log, os.path.join(directory, "log"))
            if statement:
                with open(os.path.join(directory, STATEMENT), "xb") as file:
                    file.write(statement)
            result: dict[str, Json] = {
                "format": FORMAT,
                "document": dict(document),
                "run": asdict(run),
                "log": size,
                "sums": {
                    name: hash_file(path)
                    for name in HASHED_FILES
                    if os.path.exists(path := os.path.join(directory, name))
                },
                "usage": usage._asdict(),
                "outputs": [
                    asdict(output) for output in _copy_outputs(root, outputs, os.path.join(directory, "outputs"), check)
                ],
            }
            if reads is not None:
                result["reads"] = {**reads._asdict(), "unread": None if reads.unread is None else [*reads.unread]}
            with open(os.path.join(directory, "result.json"), "wb") as file:
                file.write(json_documents.dumps(result))
            _move_result(directory, store.path("results", key), os.path.join(top, f"{key}.old"))
            _add_to_owner(store, owner, key)
    _trim_owner(store, owner)
    _sweep_daily(store)
    return stored_keys


def adopt(store: Store, key: str, directory: str, owner: str) -> bool:
    """Moves the result of another machine, in a directory on the store's file system, into the store. False where it is
    not a complete result of this key. Raises OSError."""
    result = read(key, directory)
    if result is None or not all(is_inside(output.path) for output in result.outputs) or not verify(result):
        return False
    _move_result(directory, store.path("results", key), f"{directory}.old")
    _add_to_owner(store, owner, key)
    _trim_owner(store, owner)
    return True


def _copy_log(path: str, target: str) -> int:
    """Copies the log of a run; returns its size. Raises OSError, TooLarge."""
    with rundir.open_file(path) as file, open(target, "xb") as copy:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_LOG_SIZE:
            raise TooLarge
        while piece := file.read(1 << 20):  # shutil imports three libraries of compression, for each run
            copy.write(piece)
    return size


def _copy_outputs(
    root: str, outputs: Iterable[str], target: str, check: Callable[[], None] | None
) -> list[StoredOutput]:
    copied: list[StoredOutput] = []
    remaining = MAX_OUTPUTS_SIZE
    for path in sorted(set(outputs)):
        copy_path = os.path.join(target, path)
        os.makedirs(os.path.dirname(copy_path), exist_ok=True)
        directory, name = os.path.split(path)  # its directories may have been swapped since
        with OpenDirectory.open(root) as project, project.open_below(directory) as parent:
            info = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
            remaining -= info.st_size
            if remaining < 0 or len(copied) >= MAX_OUTPUTS:
                raise TooLarge
            if stat.S_ISLNK(info.st_mode):
                link = os.readlink(name, dir_fd=parent.fd)
                os.symlink(link, copy_path)
                copied.append(StoredOutput(path=path, link=link))
                continue
            with parent.read(name) as file, open(copy_path, "xb") as copy:
                info = os.fstat(file.fileno())
                digest = _copy(file, copy, MAX_OUTPUTS_SIZE, check)
        copied.append(
            StoredOutput(
                path=path,
                mode=stat.S_IMODE(info.st_mode),
                size=os.path.getsize(copy_path),
                mtime_ns=info.st_mtime_ns,
                sha256=digest,
            )
        )
    return copied


def _copy(file: BinaryIO, copy: BinaryIO, most: int, check: Callable[[], None] | None) -> str:
    """Copies a file, with zeros as holes; returns its sha256. Raises TooLarge for a file that has grown past `most`
    bytes."""
    digest = hashlib.sha256()
    size = 0
    while piece := file.read(hashing.CHUNK_SIZE):
        if check is not None:
            check()
        digest.update(piece)
        size += len(piece)
        if size > most:
            raise TooLarge
        if piece.count(0) == len(piece):
            copy.seek(len(piece), os.SEEK_CUR)
        else:
            copy.write(piece)
    copy.truncate(size)
    return digest.hexdigest()


def _move_result(directory: str, target: str, old: str) -> None:
    os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
    try:
        os.rename(directory, target)
    except OSError:  # an older result is there, or a damaged one
        with contextlib.suppress(FileNotFoundError):
            os.rename(target, old)
        try:
            os.rename(directory, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another process stored the same result just now
                raise


# ---- bounds --------------------------------------------------------------------------------------------------------


def _add_to_owner(store: Store, owner: str, key: str) -> None:
    directory = store.path("results", "of", owner)
    for path in (os.path.dirname(directory), directory):
        if not os.path.isdir(path):
            remove_tree(path)
            os.makedirs(path, mode=0o755, exist_ok=True)
    _touch(os.path.join(directory, key))


def _touch(path: str) -> None:
    """Makes an empty file, or sets the time of an existing one to now."""
    with contextlib.suppress(FileNotFoundError):  # another process may remove it at any moment
        if not stat.S_ISREG(os.lstat(path).st_mode):
            remove_tree(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)


def _trim_owner(store: Store, owner: str) -> None:
    """Removes all but the newest MAX_PER_OWNER results of an owner."""
    directory = store.path("results", "of", owner)
    ages: list[tuple[float, str]] = []
    for name in os.listdir(directory):
        try:
            ages.append((os.stat(os.path.join(directory, name)).st_mtime, name))
        except FileNotFoundError:
            continue
    for _, key in sorted(ages)[:-MAX_PER_OWNER]:
        remove_result(store, key)
        _unlink(os.path.join(directory, key))


def _sweep_daily(store: Store) -> None:
    """Once a day, removes the results that were unused for long, and the garbage that results leave."""
    stamp = store.path("results", "of", ".swept")
    try:
        if time.time() - os.stat(stamp).st_mtime < SWEEP_INTERVAL:
            return
    except OSError:
        pass
    _touch(stamp)
    from envtool.store import garbage  # once a day

    garbage.sweep_results(store)


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        remove_tree(path)
