"""Keeps the results of passed tasks by key: `results/<key>/{result.json,log,outputs/}`, each moved into place complete.

Nothing is synced: a result that a crash of the machine cut short has wrong sizes or hashes, is ignored, and is
replaced. `results/of/<owner>/<key>` names the owner of a result: of each owner (a task of an env of a project) the
newest MAX_PER_OWNER stay, unless they were unused for MAX_UNUSED_AGE. Both limits are enforced when a result is added.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import BinaryIO

from envtool import keys
from envtool.fs import hashing
from envtool.fs.directory import OpenDirectory
from envtool.model import Json
from envtool.project import rundir
from envtool.store import json_documents
from envtool.store.store import Store
from envtool.store.temp_dirs import remove_tree, temp_directory

FORMAT = 1
STATEMENT = "statement"
_HASHED_FILES = ("log", STATEMENT)
MAX_PER_OWNER = 8  # results of one task of one env
MAX_UNUSED_AGE = 30 * 86400  # seconds
MAX_LOG_SIZE = 64 << 20  # bytes of a log that is kept
MAX_OUTPUTS_SIZE = 512 << 20  # bytes of all outputs together
MAX_OUTPUTS = 20_000  # number of outputs
PLAN_NAME = re.compile(r"[0-9a-f]{8}(\.(view|view\.hashes|told))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOutput:
    """A file or symlink that was copied back."""

    path: str  # relative to the project
    mode: int = 0
    size: int = 0
    mtime_ns: int = 0
    sha256: str = ""
    link: str = ""  # target, for a symlink


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """The description of a run that passed. `started` is in seconds since the epoch, `seconds` the duration."""

    env: str
    task: str
    started: float
    seconds: float
    host: str
    message: str = ""  # a message beside the outcome: about outputs that could not be copied back
    git: str = ""  # digest of git's directories, where the run opened files in them


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """A result in the store, complete by the sizes of its files."""

    key: str
    directory: str
    document: Mapping[str, Json]
    run: StoredRun
    outputs: tuple[StoredOutput, ...]
    # sha256 of those of _HASHED_FILES that exist; empty for results of older envtools
    sums: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> str:
        """Path of the log with all output."""
        return os.path.join(self.directory, "log")

    @property
    def statement(self) -> str:
        """Path of the run's provenance, whether it exists or not."""
        return os.path.join(self.directory, STATEMENT)

    def output_path(self, output: StoredOutput) -> str:
        """Returns the path of an output's copy in the store."""
        return os.path.join(self.directory, "outputs", output.path)


class TooLarge(Exception):  # noqa: N818 - a limit, no error of the user's
    """The log or the outputs of a run are larger than the store keeps."""


def find(store: Store, key: str) -> StoredResult | None:
    """Returns the result of a key; None when there is none, or it is damaged."""
    return _read(key, store.path("results", key))


def _read(key: str, directory: str) -> StoredResult | None:
    try:
        stored = json_documents.load(os.path.join(directory, "result.json"))
        result = StoredResult(
            key=key,
            directory=directory,
            document=stored["document"],
            run=StoredRun(**stored["run"]),
            outputs=tuple(StoredOutput(**output) for output in stored["outputs"]),
            sums=stored.get("sums", {}),
        )
        is_valid = stored["format"] == FORMAT and keys.digest(stored["document"]) == key
        is_valid = (
            is_valid and isinstance(result.document, dict) and isinstance(result.sums, dict) and _is_well_formed(result)
        )
        is_valid = is_valid and _has_size(result.log, stored["log"])
        is_valid = is_valid and all(
            _has_size(result.output_path(output), output.size, link=bool(output.link)) for output in result.outputs
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return result if is_valid else None


def _is_well_formed(result: StoredResult) -> bool:
    """Whether the values about a run and its outputs have the right types, and the outputs' paths stay in the
    project."""
    run = result.run
    texts: list[object] = [run.env, run.task, run.host, run.message, run.git]
    for output in result.outputs:
        texts += [output.path, output.sha256, output.link]
        if not (
            json_documents.is_count(output.mode)
            and json_documents.is_count(output.size)
            and type(output.mtime_ns) is int
        ):
            return False
        if not isinstance(output.path, str) or not _is_inside(output.path):
            return False
    return (
        all(isinstance(text, str) for text in texts)
        and json_documents.is_time(run.started)
        and json_documents.is_time(run.seconds)
    )


def _has_size(path: str, size: int, *, link: bool = False) -> bool:
    info = os.lstat(path)
    return stat.S_ISLNK(info.st_mode) if link else stat.S_ISREG(info.st_mode) and info.st_size == size


def results_of_owner(store: Store, owner: str) -> list[StoredResult]:
    """Returns the results of an owner that are complete."""
    results = [find(store, key) for key in _names(store.path("results", "of", owner))]
    return [result for result in results if result is not None]


def verify(result: StoredResult, check: Callable[[], None] | None = None) -> bool:
    """Whether outputs, log and provenance of a result still have their hashes. Calls `check` often, and raises what it
    raises."""
    try:
        return all(
            os.readlink(result.output_path(output)) == output.link
            if output.link
            else _hash(result.output_path(output), check) == output.sha256
            for output in result.outputs
        ) and all(
            _hash(os.path.join(result.directory, name), check) == result.sums[name]
            for name in _HASHED_FILES
            if name in result.sums
        )
    except OSError:
        return False


def mark_used(store: Store, result: StoredResult, owner: str) -> None:
    """Notes that a result was used now, so that it stays longer."""
    for path in (result.directory, store.path("results", "of", owner, result.key)):
        try:
            os.utime(path)
        except OSError:
            continue  # another process removed it


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
    check: Callable[[], None] | None = None,
) -> None:
    """Stores a run under the key of each document (one, or a second for the project with the run's own outputs in it).
    `statement` is its provenance, empty where there is none; `outputs` are paths relative to the project `root`. Calls
    `check` often. Raises OSError, TooLarge, and what `check` raises."""
    with temp_directory(store) as top:
        for document in keyed:
            key = keys.digest(dict(document))
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
                    name: _hash(path) for name in _HASHED_FILES if os.path.exists(path := os.path.join(directory, name))
                },
                "outputs": [
                    asdict(output) for output in _copy_outputs(root, outputs, os.path.join(directory, "outputs"), check)
                ],
            }
            with open(os.path.join(directory, "result.json"), "wb") as file:
                file.write(json_documents.dumps(result))
            _move_result(directory, store.path("results", key), os.path.join(top, f"{key}.old"))
            _add_to_owner(store, owner, key)
    _trim_owner(store, owner)
    _sweep_daily(store)


def adopt(store: Store, key: str, directory: str, owner: str) -> bool:
    """Moves the result of another machine, in a directory on the store's file system, into the store. False where it is
    not a complete result of this key. Raises OSError."""
    result = _read(key, directory)
    if result is None or not all(_is_inside(output.path) for output in result.outputs) or not verify(result):
        return False
    _move_result(directory, store.path("results", key), f"{directory}.old")
    _add_to_owner(store, owner, key)
    _trim_owner(store, owner)
    return True


def _is_inside(path: str) -> bool:
    return not path.startswith("/") and ".." not in path.split("/")


def remove_result(store: Store, key: str) -> None:
    """Removes a result."""
    with contextlib.suppress(OSError):
        remove_tree(store.path("results", key))


def _copy_log(path: str, target: str) -> int:
    """Copies the log of a run; returns its size. Raises OSError, TooLarge."""
    with rundir.open_file(path) as file, open(target, "xb") as copy:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_LOG_SIZE:
            raise TooLarge
        shutil.copyfileobj(file, copy, 1 << 20)
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


def _hash(path: str, check: Callable[[], None] | None = None) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        return hashing.sha256_of_file(file, check)


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
        os.rename(directory, target)


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
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        remove_tree(path)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644))
    os.utime(path)


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
    """Once a day, removes results and plans that were unused for long, and snapshots that no result names."""
    stamp = store.path("results", "of", ".swept")
    now = time.time()
    try:
        if now - os.stat(stamp).st_mtime < 86400:
            return
    except OSError:
        pass
    _touch(stamp)
    snapshots = {name for name in _names(store.path("views")) if _age(store.path("views", name), now) > 3600}
    for key in _names(store.path("results")):
        if key == "of":
            continue
        if _age(store.path("results", key), now) > MAX_UNUSED_AGE:
            remove_result(store, key)
        elif result := find(store, key):
            snapshots.discard(str(result.document.get("view")))
    for name in snapshots:
        _unlink(store.path("views", name))
    for name in _names(store.path("plans")):  # plans of the fast path: half written, or unused for long
        path = store.path("plans", name)
        if _age(path, now) > (MAX_UNUSED_AGE if PLAN_NAME.fullmatch(name) else 3600):
            _unlink(path)
    for owner in _names(store.path("results", "of")):
        directory = store.path("results", "of", owner)
        for key in _names(directory):
            if not os.path.isdir(store.path("results", key)):
                _unlink(os.path.join(directory, key))
        try:
            os.rmdir(directory)
        except OSError:
            continue  # not empty


def _age(path: str, now: float) -> float:
    try:
        return now - os.stat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        remove_tree(path)
