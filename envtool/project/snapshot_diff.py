"""Compares two snapshots of a project, and returns the text that a digest is of."""

from __future__ import annotations

import os
import time

from envtool.fs import changes
from envtool.fs.beneath import open_top
from envtool.project.listing import MISSING_ROW, ROW_SIZE, parent_directories, read_rows
from envtool.project.snapshot import (
    CLOCK_GRAIN,
    Snapshot,
    SnapshotError,
    format_manifest,
    load_hashes,
    load_record,
    snapshot_digest,
    take_snapshot,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envtool.fs.changes import State

_CTIME = 4  # of the five numbers of a row


def snapshot_manifest(snapshot: Snapshot) -> bytes:
    """Returns the text that a snapshot's digest is of: path, mode (octal) and hash (hex) of each file, each ended by a
    zero byte, sorted by path. Raises SnapshotError if the project has changed since."""
    hashes = snapshot.hashes
    if not hashes:
        record = load_record(snapshot.place, snapshot.root)
        is_same = bool(record) and record["listing"].names == snapshot.names
        hashes = load_hashes(snapshot.place, record) if is_same else b""
    text = _manifest_of_hashes(snapshot, hashes)
    if not text:  # another process has replaced the record, or half of it: the files have to be hashed again
        again = take_snapshot(snapshot.root, snapshot.place, logs=snapshot.logs, afresh=True)
        text = _manifest_of_hashes(snapshot, again.hashes) if again.names == snapshot.names else b""
    if not text:
        raise SnapshotError("the project has changed since")
    return text


def _manifest_of_hashes(snapshot: Snapshot, hashes: bytes) -> bytes:
    """Returns the text for these hashes; empty if the digest is of another text."""
    if len(hashes) != 32 * len(snapshot.names):
        return b""
    text = format_manifest(snapshot.names, snapshot.stats, hashes)
    return text if snapshot_digest(text) == snapshot.digest else b""


def changed_paths(before: Snapshot, after: Snapshot) -> set[str]:
    """Returns the paths that were touched between two snapshots, also those whose content is the same; "." for a change
    that cannot be attributed to a path. Raises SnapshotError."""
    if before.names == after.names and before.stats == after.stats:
        return set() if before.digest == after.digest else {"."}
    old, new = _rows(before), _rows(after)
    touched = {os.fsdecode(name) for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    if before.hashes:  # some files were hashed so soon after they were written that their times prove nothing
        old_hashes, new_hashes = _contents(snapshot_manifest(before)), _contents(snapshot_manifest(after))
        touched |= {
            os.fsdecode(name) for name in old_hashes.keys() & new_hashes.keys() if old_hashes[name] != new_hashes[name]
        }
    return touched


def list_present(snapshot: Snapshot) -> list[str]:
    """Returns the files of a snapshot, without those that git lists and that are missing."""
    return [os.fsdecode(name) for name in _rows(snapshot)]


def directory_states(snapshot: Snapshot) -> dict[bytes, State]:
    """Returns the states of the directories of a snapshot, with the project itself as "". Waits if one changed so
    recently that another change might not move its ctime. Raises OSError."""
    states: dict[bytes, State] = {}
    top = open_top(snapshot.root)
    try:
        for path in (b"", *parent_directories(snapshot.names)):
            try:
                state = os.stat(path or b".", dir_fd=top, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):  # the parent of a file that was deleted
                continue
            states[path] = changes.directory_state(state)
    finally:
        os.close(top)
    if max(ctime for *_, ctime in states.values()) > time.time_ns() - CLOCK_GRAIN:
        time.sleep(CLOCK_GRAIN / 1e9)
    return states


def has_same_stats(snapshot: Snapshot) -> bool:
    """Returns whether each file of a snapshot has the numbers that it had then. Whether there are others, the states of
    the directories and git tell. Raises OSError."""
    top = open_top(snapshot.root)
    try:
        return read_rows(top, snapshot.names) == snapshot.stats
    finally:
        os.close(top)


def newest_change(snapshot: Snapshot, directories: dict[bytes, State]) -> int:
    """Returns a time, in nanoseconds since the epoch, after which nothing of a project has changed: neither its files
    nor its `directories` (`directory_states`)."""
    numbers = memoryview(snapshot.stats).cast("q").tolist()[_CTIME :: ROW_SIZE // 8]
    return max([*numbers, *(ctime for *_, ctime in directories.values())], default=0) + CLOCK_GRAIN


def changed_directory(before: dict[bytes, State], snapshot: Snapshot) -> str:
    """Returns a directory in which another process changed something since, or that it replaced; empty if there is
    none. Raises OSError."""
    top = open_top(snapshot.root)
    try:
        for path, old in before.items():
            try:
                new = changes.directory_state(os.stat(path or b".", dir_fd=top, follow_symlinks=False))
            except (FileNotFoundError, NotADirectoryError):
                return os.fsdecode(path)
            if not changes.PROCESS_CHANGES.only_ours(old, new):
                return os.fsdecode(path) or "."
    finally:
        os.close(top)
    return ""


def _rows(snapshot: Snapshot) -> dict[bytes, bytes]:
    rows = (
        (name, snapshot.stats[ROW_SIZE * number : ROW_SIZE * (number + 1)])
        for number, name in enumerate(snapshot.names)
    )
    return {name: row for name, row in rows if row != MISSING_ROW}


def _contents(rows: bytes) -> dict[bytes, bytes]:
    fields = rows.split(b"\0")
    return dict(zip(fields[:-1:3], fields[2::3], strict=True))
