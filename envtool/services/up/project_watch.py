"""Finds the files of the project that changed, for `envtool up --watch`. Files that git ignores do not count.

Events of the kernel only start a comparison: the changed files are the difference of two snapshots
(project/snapshot.py). So a file that is written with the same content is no change.
"""

from __future__ import annotations

import hashlib
import os
import select
import time
from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

from envtool.errors import MakeError
from envtool.project import snapshot, snapshot_diff
from envtool.services.up.tree_watch import TreeEvent, TreeWatch

QUIET = 0.1  # seconds without an event, after which the snapshot is taken
LONGEST = 1.0  # seconds after the first event, after which it is taken in any case
_LOOKS = 10  # snapshots at most, until all directories are watched
RETRY = 1.0  # seconds until the next snapshot, if the last one failed (git held its index)

Entries: TypeAlias = Mapping[bytes, tuple[bytes, bytes]]  # path -> mode and hash


class ProjectWatch:
    """Watches the project until the descriptor `stop` is readable. The thread that calls `run` also calls `on_change`,
    with the paths that changed, and `on_error`."""

    def __init__(
        self,
        root: str,
        record: str,  # of the snapshots: snapshot.cache_path
        stop: int,
        on_change: Callable[[set[str]], None],
        on_error: Callable[[MakeError], None],
    ) -> None:
        self._root, self._record, self._stop = root, record, stop
        self._on_change, self._on_error = on_change, on_error
        self._new: set[str] = set()  # directories that appeared since the last look

    def run(self) -> None:
        """Watches. Raises SandboxError if the kernel allows no more watches."""
        with TreeWatch(self._root) as watch:
            last = self._look(watch)
            while self._wait(watch, None if last is not None else RETRY):
                found = self._look(watch)
                if found is None:
                    continue
                if last is not None and (changed := _differences(last, found)):
                    self._on_change(changed)
                last = found

    def _look(self, watch: TreeWatch) -> Entries | None:
        """Returns the project's files, once all its directories are watched; None if they cannot be read now."""
        for _ in range(_LOOKS):  # a directory that appears meanwhile has to be watched before it is read
            try:
                found = snapshot.take_snapshot(self._root, self._record, self._stop)
                entries = _entries(snapshot_diff.snapshot_manifest(found))
            except snapshot.SnapshotError as error:
                if not self._is_stopped():
                    self._on_error(MakeError(f"the project cannot be read: {error}", code="project-git"))
                return None
            if not watch.keep(self._directories(found)):
                break
        return entries

    def _directories(self, found: snapshot.Snapshot) -> set[str]:
        names = {os.fsdecode(name) for name in found.names}
        directories = {""}
        for name in names:
            while (name := os.path.dirname(name)) not in directories:
                directories.add(name)
        self._new = {path for path in self._new if path not in directories and self._is_empty(path)}
        return directories | self._new

    def _is_empty(self, directory: str) -> bool:
        """Whether a directory without files of the project is still empty: files may be added."""
        try:
            return not any(True for _ in os.scandir(os.path.join(self._root, directory)))
        except OSError:
            return False

    def _is_stopped(self) -> bool:
        return bool(select.select([self._stop], [], [], 0)[0])

    def _wait(self, watch: TreeWatch, seconds: float | None) -> bool:
        """Waits for changes. Returns True when a snapshot is due, False at the end."""
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        poll.register(watch, select.POLLIN)
        first = 0.0
        while True:
            pause = seconds if not first else max(0.0, min(QUIET, first + LONGEST - time.monotonic()))
            ready = [descriptor for descriptor, _ in poll.poll(None if pause is None else pause * 1000)]
            if self._stop in ready:
                return False
            if not ready:
                return True
            if events := watch.read():
                self._note(events)
                first = first or time.monotonic()
                if time.monotonic() - first >= LONGEST:
                    return True

    def _note(self, events: list[TreeEvent]) -> None:
        self._new.update(event.path for event in events if event.is_new_directory)


def project_digest(root: str, record: str, files: Collection[str]) -> str:
    """Returns a digest of the project's files, without `files`; "" if they cannot be read now. `record` is as in
    ProjectWatch."""
    try:
        found = snapshot.take_snapshot(root, record)
        entries = _entries(snapshot_diff.snapshot_manifest(found))
    except snapshot.SnapshotError:
        return ""
    digest = hashlib.sha256()
    for name, (mode, content) in sorted(entries.items()):
        if os.fsdecode(name) not in files:
            digest.update(b"%s\0%s\0%s\0" % (name, mode, content))
    return digest.hexdigest()


def _entries(manifest: bytes) -> Entries:
    fields = manifest.split(b"\0")
    return dict(zip(fields[:-1:3], zip(fields[1::3], fields[2::3], strict=False), strict=False))


def _differences(before: Entries, after: Entries) -> set[str]:
    names = before.keys() | after.keys()
    return {os.fsdecode(name) for name in names if before.get(name) != after.get(name)}
