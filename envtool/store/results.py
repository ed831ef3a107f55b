"""Remembered results, by key: `results/<key>/{result.json,log,outputs/}`, each there whole or not at all.

Nothing is synced: what a crash of the machine cut short is noticed by its sizes and hashes, ignored, and replaced.
`results/of/<owner>/<key>` says whose a result is: of each owner (a task of an env of a project) the newest KEPT stay,
and none that was not used for AGE. Both are looked after when a result is added.
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
    """What is said of a run that passed. Times are seconds since the epoch."""

    env: str
    task: str
    started: float
    seconds: float
    host: str
    message: str = ""  # what was said beside the outcome: of outputs that could not be copied back
    git: str = ""  # digest of git's directories, where it opened something in them


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """A result in the store, whole as far as sizes tell."""

    key: str
    directory: str
    document: Mapping[str, Json]
    run: StoredRun
    outputs: tuple[StoredOutput, ...]
    sums: Mapping[str, str] = field(
        default_factory=dict
    )  # sha256 of those of _SUMMED that are there; empty for results of older envtools

    @property
    def log(self) -> str:
        """Path of the whole output."""
        return os.path.join(self.directory, "log")

    @property
    def statement(self) -> str:
        """Path of the provenance of the run, there or not."""
        return os.path.join(self.directory, STATEMENT)

    def output_path(self, output: StoredOutput) -> str:
        """Path of the remembered file."""
        return os.path.join(self.directory, "outputs", output.path)


class TooLarge(Exception):  # noqa: N818 - it is what it is
    """More than is worth remembering."""


def find(store: Store, key: str) -> StoredResult | None:
    """The result under a key; None when there is none, or none that is whole."""
    return _read(key, store.path("results", key))


def _read(key: str, directory: str) -> StoredResult | None:
    try:
        stored = json_documents.load(os.path.join(directory, "result.json"))
        found = StoredResult(
            key=key,
            directory=directory,
            document=stored["document"],
            run=StoredRun(**stored["run"]),
            outputs=tuple(StoredOutput(**each) for each in stored["outputs"]),
            sums=stored.get("sums", {}),
        )
        right = stored["format"] == FORMAT and keys.digest(stored["document"]) == key
        right = right and isinstance(found.document, dict) and isinstance(found.sums, dict) and _is_well_formed(found)
        right = right and _has_size(found.log, stored["log"])
        right = right and all(
            _has_size(found.output_path(each), each.size, link=bool(each.link)) for each in found.outputs
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return found if right else None


def _is_well_formed(found: StoredResult) -> bool:
    """Whether all that is said of a run and its outputs can be."""
    run = found.run
    texts: list[object] = [run.env, run.task, run.host, run.message, run.git]
    for each in found.outputs:
        texts += [each.path, each.sha256, each.link]
        if not (
            json_documents.is_count(each.mode) and json_documents.is_count(each.size) and type(each.mtime_ns) is int
        ):
            return False
        if not isinstance(each.path, str) or not _is_inside(each.path):
            return False
    return (
        all(isinstance(text, str) for text in texts)
        and json_documents.is_time(run.started)
        and json_documents.is_time(run.seconds)
    )


def _has_size(path: str, size: int, *, link: bool = False) -> bool:
    state = os.lstat(path)
    return stat.S_ISLNK(state.st_mode) if link else stat.S_ISREG(state.st_mode) and state.st_size == size


def results_of_owner(store: Store, owner: str) -> list[StoredResult]:
    """All results of an owner that are whole."""
    found = [find(store, key) for key in _names(store.path("results", "of", owner))]
    return [each for each in found if each is not None]


def verify(found: StoredResult, check: Callable[[], None] | None = None) -> bool:
    """Whether the remembered outputs, log and provenance still are what they were. Raises what `check` raises, which is
    called often."""
    try:
        return all(
            os.readlink(found.output_path(each)) == each.link
            if each.link
            else _hash(found.output_path(each), check) == each.sha256
            for each in found.outputs
        ) and all(
            _hash(os.path.join(found.directory, name), check) == found.sums[name]
            for name in _HASHED_FILES
            if name in found.sums
        )
    except OSError:
        return False


def mark_used(store: Store, found: StoredResult, owner: str) -> None:
    """Note that it was of use: it stays for longer."""
    for path in (found.directory, store.path("results", "of", owner, found.key)):
        try:
            os.utime(path)
        except OSError:
            continue  # somebody swept it: then it is not there next time


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
    """Remember a run under the keys of documents (one, or also that of the project with the run's own outputs in it).
    `statement` is its provenance, empty where there is none; `outputs` are project-relative paths below `root`. Raises
    OSError, TooLarge, and what `check` raises, which is called often."""
    with temp_directory(store) as top:
        for decided in keyed:
            key = keys.digest(dict(decided))
            made = os.path.join(top, key)
            os.mkdir(made, 0o755)
            size = _copy_log(log, os.path.join(made, "log"))
            if statement:
                with open(os.path.join(made, STATEMENT), "xb") as file:
                    file.write(statement)
            stored: dict[str, Json] = {
                "format": FORMAT,
                "document": dict(decided),
                "run": asdict(run),
                "log": size,
                "sums": {
                    name: _hash(path) for name in _HASHED_FILES if os.path.exists(path := os.path.join(made, name))
                },
                "outputs": [
                    asdict(each) for each in _copy_outputs(root, outputs, os.path.join(made, "outputs"), check)
                ],
            }
            with open(os.path.join(made, "result.json"), "wb") as file:
                file.write(json_documents.dumps(stored))
            _move_result(made, store.path("results", key), os.path.join(top, f"{key}.old"))
            _add_to_owner(store, owner, key)
    _trim_owner(store, owner)
    _sweep_daily(store)


def adopt(store: Store, key: str, made: str, owner: str) -> bool:
    """Take over what another machine remembered, from a directory on the store's file system; False where it is not a
    whole result of this key. Raises OSError."""
    found = _read(key, made)
    if found is None or not all(_is_inside(each.path) for each in found.outputs) or not verify(found):
        return False
    _move_result(made, store.path("results", key), f"{made}.old")
    _add_to_owner(store, owner, key)
    _trim_owner(store, owner)
    return True


def _is_inside(path: str) -> bool:
    return not path.startswith("/") and ".." not in path.split("/")


def remove_result(store: Store, key: str) -> None:
    """Take a result away."""
    with contextlib.suppress(OSError):
        remove_tree(store.path("results", key))


def _copy_log(path: str, target: str) -> int:
    """Copy a file of the run; its size. Raises OSError, TooLarge."""
    with rundir.open_file(path) as file, open(target, "xb") as copy:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_LOG_SIZE:
            raise TooLarge
        shutil.copyfileobj(file, copy, 1 << 20)
    return size


def _copy_outputs(
    root: str, outputs: Iterable[str], target: str, check: Callable[[], None] | None
) -> list[StoredOutput]:
    taken: list[StoredOutput] = []
    room = MAX_OUTPUTS_SIZE
    for path in sorted(set(outputs)):
        place = os.path.join(target, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        directory, name = os.path.split(path)  # its directories may have been swapped since
        with OpenDirectory.open(root) as project, project.open_below(directory) as parent:
            state = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
            room -= state.st_size
            if room < 0 or len(taken) >= MAX_OUTPUTS:
                raise TooLarge
            if stat.S_ISLNK(state.st_mode):
                link = os.readlink(name, dir_fd=parent.fd)
                os.symlink(link, place)
                taken.append(StoredOutput(path=path, link=link))
                continue
            with parent.read(name) as file, open(place, "xb") as copy:
                state = os.fstat(file.fileno())
                digest = _copy(file, copy, MAX_OUTPUTS_SIZE, check)
        taken.append(
            StoredOutput(
                path=path,
                mode=stat.S_IMODE(state.st_mode),
                size=os.path.getsize(place),
                mtime_ns=state.st_mtime_ns,
                sha256=digest,
            )
        )
    return taken


def _hash(path: str, check: Callable[[], None] | None = None) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        return hashing.sha256_of_file(file, check)


def _copy(file: BinaryIO, copy: BinaryIO, most: int, check: Callable[[], None] | None) -> str:
    """Copy a file, its holes left holes; its sha256. Raises TooLarge for one that grows meanwhile past `most` bytes."""
    state = hashlib.sha256()
    size = 0
    while piece := file.read(hashing.CHUNK_SIZE):
        if check is not None:
            check()
        state.update(piece)
        size += len(piece)
        if size > most:
            raise TooLarge
        if piece.count(0) == len(piece):
            copy.seek(len(piece), os.SEEK_CUR)
        else:
            copy.write(piece)
    copy.truncate(size)
    return state.hexdigest()


def _move_result(made: str, target: str, old: str) -> None:
    os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
    try:
        os.rename(made, target)
    except OSError:  # one stands there: an older one, a damaged one
        with contextlib.suppress(FileNotFoundError):
            os.rename(target, old)
        os.rename(made, target)


# ---- bounds --------------------------------------------------------------------------------------------------------


def _add_to_owner(store: Store, owner: str, key: str) -> None:
    directory = store.path("results", "of", owner)
    for path in (os.path.dirname(directory), directory):
        if not os.path.isdir(path):
            remove_tree(path)
            os.makedirs(path, mode=0o755, exist_ok=True)
    _touch(os.path.join(directory, key))


def _touch(path: str) -> None:
    """An empty file whose time is now."""
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        remove_tree(path)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644))
    os.utime(path)


def _trim_owner(store: Store, owner: str) -> None:
    """Forget all but the newest few of an owner."""
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
    """Once a day: forget what nobody used for long, manifests that no result names, and plans."""
    stamp = store.path("results", "of", ".swept")
    now = time.time()
    try:
        if now - os.stat(stamp).st_mtime < 86400:
            return
    except OSError:
        pass
    _touch(stamp)
    views = {name for name in _names(store.path("views")) if _age(store.path("views", name), now) > 3600}
    for key in _names(store.path("results")):
        if key == "of":
            continue
        if _age(store.path("results", key), now) > MAX_UNUSED_AGE:
            remove_result(store, key)
        elif found := find(store, key):
            views.discard(str(found.document.get("view")))
    for name in views:
        _unlink(store.path("views", name))
    for name in _names(store.path("plans")):  # short cuts: what is half written, and what was long of no use
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
