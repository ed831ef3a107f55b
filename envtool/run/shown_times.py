"""Decides which mtimes a task sees of files, so that its caches never make a stale build. Pure.

cargo, make and ninja compare times: what a file was made from must be newer than the file, if it changed. A checkout
gives no such times: another worktree, an old commit or a clamped layer has other content with an older time. So each
cache records the content and the time of each file with which it was used last, and then:

    the content is the recorded one   the file has the recorded time
    else, and always without one      its own time, if that lies between the last use and now; else now

By induction, whatever a cache holds is older than each file that had another content when it was made. With several
caches the latest of their times counts: a time that is too new only costs work.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

# What may be copied only to show an older time: without it, less is reused.
MAX_OLDER_FILES, MAX_OLDER_BYTES = 20_000, 256 << 20


class FileState(NamedTuple):
    """A file, link or directory of the project now."""

    digest: bytes  # of its mode and content, of a link's target, of the names in a directory
    size: int
    mtime: int  # nanoseconds
    kind: str = "file"  # or "link", "directory"


class CacheRecord(NamedTuple):
    """With what a cache was used last. `files`: path -> (digest, time that it was seen with), both as they are now."""

    used: int  # when that use ended, in nanoseconds
    files: Mapping[str, tuple[bytes, int]]


def find_changed(
    files: Mapping[str, FileState], record: CacheRecord, read_link: Callable[[str], str]
) -> frozenset[str]:
    """Returns the paths whose content the cache was not used with last, and what changed links lead to now: a program
    that follows one sees other files, whose own content and time are the same as ever."""
    changed = {path for path, state in files.items() if (record.files.get(path) or (b"",))[0] != state.digest}
    pending = [path for path in changed if files[path].kind == "link"]
    while pending:
        link = pending.pop()
        target = posixpath.normpath(posixpath.join(posixpath.dirname(link), read_link(link)))
        if target.startswith(("/", "../")) or target in (".", ".."):
            continue
        new = {path for path in files if path == target or path.startswith(f"{target}/")} - changed
        changed |= new
        pending += [path for path in new if files[path].kind == "link"]
    return frozenset(changed)


def shown_times(
    files: Mapping[str, FileState], records: Sequence[tuple[CacheRecord, frozenset[str]]], moment: int
) -> dict[str, int]:
    """Returns the time that the task sees of each file. `records` are those of its caches that hold something, each
    with the paths that changed; `moment` is now, after each of their last uses."""
    times: dict[str, int] = {}
    for path, state in files.items():
        candidates = [
            record.files[path][1]
            if path not in changed
            else (state.mtime if record.used < state.mtime < moment else moment)
            for record, changed in records
        ]
        times[path] = max(candidates) if candidates else state.mtime
    older = [path for path, time in times.items() if time < files[path].mtime]
    size = sum(files[path].size for path in older if files[path].kind == "file")
    if len(older) > MAX_OLDER_FILES or size > MAX_OLDER_BYTES:
        times |= {path: files[path].mtime for path in older}
    return times


def directories_of(paths: Iterable[str]) -> dict[str, list[str]]:
    """Returns the names in each directory of these paths, sorted; the project itself is "."."""
    names: dict[str, set[str]] = {}
    for path in paths:
        entry = path
        while entry:
            parent, _, name = entry.rpartition("/")
            known = names.setdefault(parent or ".", set())
            if name in known:
                break
            known.add(name)
            entry = parent
    return {directory: sorted(found) for directory, found in names.items()}
