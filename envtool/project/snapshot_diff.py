"""Two looks at a project, and what a digest is of."""

from __future__ import annotations

import os
import time

from envtool.fs import changes
from envtool.fs.beneath import open_top
from envtool.project import snapshot_cache
from envtool.project.snapshot import (
    CLOCK_GRAIN,
    MISSING_ROW,
    ROW_SIZE,
    Snapshot,
    SnapshotError,
    format_manifest,
    parent_directories,
    snapshot_digest,
    take_snapshot,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envtool.fs.changes import State


def snapshot_manifest(view: Snapshot) -> bytes:
    """What a view's digest is of: path, mode (octal) and hash (hex) of each file, each ended by a zero, sorted by path.
    Raises Unknown where the project has moved on since."""
    hashes = view.hashes
    if not hashes:
        kept = snapshot_cache.load_record(view.place, view.root)
        hashes = snapshot_cache.load_hashes(view.place, kept) if kept.get("names") == view.names else b""
    found = _rows_text(view, hashes)
    if not found:  # another process has written the record since, or half of it: only the files know
        again = take_snapshot(view.root, view.place, logs=view.logs, afresh=True)
        found = _rows_text(view, again.hashes) if again.names == view.names else b""
    if not found:
        raise SnapshotError("the project has changed since")
    return found


def _rows_text(view: Snapshot, hashes: bytes) -> bytes:
    """The text that these hashes make; empty where it is not what the digest is of."""
    if len(hashes) != 32 * len(view.names):
        return b""
    found = format_manifest(view.names, view.stats, hashes)
    return found if snapshot_digest(found) == view.digest else b""


def changed_paths(before: Snapshot, after: Snapshot) -> set[str]:
    """Paths that were touched between two moments, also those whose content came out the same; "." where something was
    that cannot be named. Raises Unknown."""
    if before.names == after.names and before.stats == after.stats:
        return set() if before.digest == after.digest else {"."}
    old, new = _rows(before), _rows(after)
    touched = {os.fsdecode(name) for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    if before.hashes:  # something was hashed so shortly after it was written that its times prove nothing
        was, now = _contents(snapshot_manifest(before)), _contents(snapshot_manifest(after))
        touched |= {os.fsdecode(name) for name in was.keys() & now.keys() if was[name] != now[name]}
    return touched


def directory_states(view: Snapshot) -> dict[bytes, State]:
    """How the directories of a view stand, the project itself (empty) among them. A change of one that is younger than
    the clock of a file system can tell is waited out. Raises OSError."""
    found: dict[bytes, State] = {}
    top = open_top(view.root)
    try:
        for path in (b"", *parent_directories(view.names)):
            try:
                state = os.stat(path or b".", dir_fd=top, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):  # a name of a file that is no more
                continue
            found[path] = changes.directory_state(state)
    finally:
        os.close(top)
    if max(ctime for *_, ctime in found.values()) > time.time_ns() - CLOCK_GRAIN:
        time.sleep(CLOCK_GRAIN / 1e9)
    return found


def changed_directory(before: dict[bytes, State], view: Snapshot) -> str:
    """A directory in which, or with which, somebody but us did something since; empty where there is none. Raises
    OSError."""
    top = open_top(view.root)
    try:
        for path, was in before.items():
            try:
                now = changes.directory_state(os.stat(path or b".", dir_fd=top, follow_symlinks=False))
            except (FileNotFoundError, NotADirectoryError):
                return os.fsdecode(path)
            if not changes.PROCESS_CHANGES.only_ours(was, now):
                return os.fsdecode(path) or "."
    finally:
        os.close(top)
    return ""


def _rows(view: Snapshot) -> dict[bytes, bytes]:
    rows = ((name, view.stats[ROW_SIZE * number : ROW_SIZE * (number + 1)]) for number, name in enumerate(view.names))
    return {name: row for name, row in rows if row != MISSING_ROW}


def _contents(rows: bytes) -> dict[bytes, bytes]:
    fields = rows.split(b"\0")
    return dict(zip(fields[:-1:3], fields[2::3], strict=True))
