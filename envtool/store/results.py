"""Keeps the results of passed tasks by key: `results/<key>/{result.json,log,outputs/}`, each moved into place complete.

Nothing is synced: a result that a crash of the machine cut short has wrong sizes or hashes, is ignored, and is
replaced. `results/of/<owner>/<key>` names the owner of a result: a task of an env of a project. This module reads
results; record_results writes them.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from envtool import keys
from envtool.fs import hashing, store_files
from envtool.lazy_dataclass import dataclass, field
from envtool.model import Json
from envtool.store import json_documents
from envtool.store.store import Store
from envtool.store.temp_dirs import remove_tree

FORMAT = 1
STATEMENT = "statement"
HASHED_FILES = ("log", STATEMENT)


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


class StoredReads(NamedTuple):
    """Which files of the project a run read: all but those that are `unread`, by themselves or with a directory."""

    read: int  # number of files
    total: int  # of all files of the project
    unread: tuple[str, ...] | None = None  # relative to the project; None: not known, and so all files count
    reason: str = ""  # why it is not known


class StoredUsage(NamedTuple):
    """What a run used: as in events.Finished."""

    memory: int = 0
    cpu_seconds: float = 0.0
    written: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """A result in the store, complete by the sizes of its files."""

    key: str
    directory: str
    document: Mapping[str, Json]
    run: StoredRun
    outputs: tuple[StoredOutput, ...]
    # sha256 of those of HASHED_FILES that exist; empty for results of older envtools
    sums: Mapping[str, str] = field(default_factory=dict)
    reads: StoredReads | None = None  # None: an older envtool stored it
    usage: StoredUsage = StoredUsage()

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


def find(store: Store, key: str) -> StoredResult | None:
    """Returns the result of a key; None when there is none, or it is damaged. Nobody holds a lock on a result: one that
    another process replaces meanwhile is read again."""
    directory = store.path("results", key)
    identity = read_identity(store, key)
    while identity is not None:
        if (result := read(key, directory)) is not None:
            return result
        found, identity = identity, read_identity(store, key)
        if identity == found:
            break
    return None


def read_identity(store: Store, key: str) -> tuple[int, int] | None:
    """Returns what tells the result of a key from one that replaces it; None where there is none, or cannot be."""
    try:
        return store_files.read_identity(store.path("results", key))
    except OSError:
        return None


def read(key: str, directory: str) -> StoredResult | None:
    """Reads a result from a directory; None where it is damaged, or of another key."""
    try:
        stored = json_documents.load(os.path.join(directory, "result.json"))
        result = StoredResult(
            key=key,
            directory=directory,
            document=stored["document"],
            run=StoredRun(**stored["run"]),
            outputs=tuple(StoredOutput(**output) for output in stored["outputs"]),
            sums=stored.get("sums", {}),
            reads=_parse_reads(stored.get("reads")),
            usage=_parse_usage(stored.get("usage")),
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


def _parse_reads(value: Any) -> StoredReads | None:
    """Raises TypeError, LookupError for a value that no envtool wrote."""
    if value is None:
        return None
    read, total, unread, reason = (value[name] for name in StoredReads._fields)
    if not (json_documents.is_count(read) and json_documents.is_count(total) and isinstance(reason, str)):
        raise TypeError
    if unread is not None and not (isinstance(unread, list) and all(isinstance(path, str) for path in unread)):
        raise TypeError
    return StoredReads(read, total, None if unread is None else tuple(unread), reason)


def _parse_usage(value: Any) -> StoredUsage:
    """Raises TypeError, LookupError for a value that no envtool wrote."""
    if value is None:
        return StoredUsage()
    memory, cpu_seconds, written = (value[name] for name in StoredUsage._fields)
    if not (
        json_documents.is_count(memory) and json_documents.is_time(cpu_seconds) and json_documents.is_count(written)
    ):
        raise TypeError
    return StoredUsage(memory, float(cpu_seconds), written)


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
        if not isinstance(output.path, str) or not is_inside(output.path):
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
    results = [find(store, key) for key in list_names(store.path("results", "of", owner))]
    return [result for result in results if result is not None]


def verify(result: StoredResult, check: Callable[[], None] | None = None) -> bool:
    """Whether outputs, log and provenance of a result still have their hashes. Calls `check` often, and raises what it
    raises."""
    try:
        return all(
            os.readlink(result.output_path(output)) == output.link
            if output.link
            else hash_file(result.output_path(output), check) == output.sha256
            for output in result.outputs
        ) and all(
            hash_file(os.path.join(result.directory, name), check) == result.sums[name]
            for name in HASHED_FILES
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


def is_inside(path: str) -> bool:
    """Whether a relative path stays below the directory that it starts in."""
    return not path.startswith("/") and ".." not in path.split("/")


def remove_result(store: Store, key: str) -> None:
    """Removes a result."""
    with contextlib.suppress(OSError):
        remove_tree(store.path("results", key))


def hash_file(path: str, check: Callable[[], None] | None = None) -> str:
    """Returns the sha256 of a regular file, without following a link. Calls `check` often. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        return hashing.sha256_of_file(file, check)


def list_names(directory: str) -> list[str]:
    """Returns the names in a directory; empty where it does not exist."""
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
