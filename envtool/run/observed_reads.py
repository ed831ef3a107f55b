"""Which files of the project a task read, and whether its result still holds where only others changed.

Of every task that passes it is noted which files its container never looked up (container/looked_up_names.py). Under
`inputs: observed` a result holds as long as everything else that decides it is the same, the project has the same files
of the same types, executable bits and targets of links, and each file that was read has the same content. It is found
in two steps: a key of all but the files gives the results, and each result gives the files that count for it.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from envtool import keys
from envtool.container.looked_up_names import is_below
from envtool.errors import EnvtoolError
from envtool.model import ReadFiles
from envtool.project import snapshot_diff
from envtool.project.snapshot import SnapshotError
from envtool.store import answer_cache, snapshots
from envtool.store.results import StoredReads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from envtool.build.context import Context
    from envtool.model import Json
    from envtool.project.snapshot import Snapshot
    from envtool.run.host_inputs import HostInputs
    from envtool.run.task_request import TaskRequest
    from envtool.store.results import StoredResult
    from envtool.store.store import Store

    Files = Mapping[str, tuple[int, str]]  # path -> (type and executable bits, sha256 of content or target)

MAX_RESULTS = 8  # for one key without files
_KIND, _LINK = 0o170000, 0o120000
# File systems of this machine whose names the kernel never has to ask for again (statfs(2)): ext2 to ext4, xfs, btrfs,
# tmpfs, f2fs.
_LOCAL_FILE_SYSTEMS = frozenset((0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0xF2F52010))
_REDIRECTS = "/sys/module/overlay/parameters/redirect_dir"


def measure_reads(manifest: bytes, reach: HostInputs, context: Context) -> tuple[StoredReads, ReadFiles]:
    """Returns what a task read, once it has ended, in numbers and by name; `manifest` are the project's files when it
    began."""
    files = _parse_rows(manifest)
    unread, reason = reach.unread, reach.unread_reason
    if unread is not None and (reason := context.shared.get("observed", lambda: _refusal(context.root))):
        unread = None
    if unread is None:
        return StoredReads(len(files), len(files), None, reason), ReadFiles(len(files), len(files), (), reason)
    paths = read_paths(files, unread)
    return StoredReads(len(paths), len(files), unread), ReadFiles(len(paths), len(files), paths)


_parse_rows = functools.lru_cache(maxsize=2)(snapshots.parse_rows)  # the tasks of a run begin with the same files


def read_paths(files: Iterable[str], unread: Sequence[str]) -> tuple[str, ...]:
    """Returns the files that were read, sorted."""
    names = {*unread}
    return tuple(sorted(path for path in files if not is_below(path, names)))


def note_results(store: Store, requests: Sequence[TaskRequest], result_keys: Sequence[str]) -> None:
    """Notes the results of requests under the keys without files. Raises OSError."""
    for request, key in zip(requests, result_keys, strict=True):
        question = _question(request.document())
        known = [other for other in _noted_keys(store, question) if other != key]
        answer_cache.put(store, question, [*known[1 - MAX_RESULTS :], key])


def find_result(
    document: Mapping[str, Json],
    project: Snapshot,
    context: Context,
    find_key: Callable[[str], StoredResult | None],
) -> StoredResult | None:
    """Returns a stored result that holds for the project as it is now, the newest of several; `document` is that of the
    request, and `find_key` returns the verified result of a key (result_cache.LocalCache). None if there is none.
    Raises Interrupted."""
    noted = _noted_keys(context.store, _question(document))
    if not noted:
        return None
    try:
        now = snapshots.parse_rows(snapshot_diff.snapshot_manifest(project))
    except (SnapshotError, OSError):
        return None
    for key in reversed(noted):
        stored = find_key(key)
        before = snapshots.get(context.store, str(stored.document.get("view"))) if stored is not None else None
        if stored is not None and before is not None and holds(stored.reads, before, now):
            return stored
    return None


def holds(reads: StoredReads | None, before: Files, now: Files) -> bool:
    """Returns whether a result with these reads, computed from the files `before`, is that of the files `now`."""
    if reads is None or reads.unread is None or before.keys() != now.keys():
        return before == now
    unread = {*reads.unread}
    for path, row in before.items():
        if row == now[path]:
            continue
        mode = row[0]
        if mode != now[path][0] or mode & _KIND == _LINK or not is_below(path, unread):
            return False
    return True


def forget_results(document: Mapping[str, Json], context: Context) -> None:
    """Removes all notes of results under the key without files: one of them was found to be wrong."""
    with_notes = _question(document)
    if _noted_keys(context.store, with_notes):
        answer_cache.put(context.store, with_notes, [])


def reads_of(stored: StoredResult, context: Context) -> ReadFiles | None:
    """Returns what the run of a stored result read, by name; None if an older envtool stored it."""
    reads = stored.reads
    if reads is None:
        return None
    files = snapshots.get(context.store, str(stored.document.get("view"))) if reads.unread is not None else None
    names = read_paths(files, reads.unread or ()) if files is not None else ()
    return ReadFiles(reads.read, reads.total, names, reads.reason)


def is_unread(path: str, stored: StoredResult) -> bool:
    """Returns whether the run of a stored result is known not to have read a file of the project."""
    unread = stored.reads.unread if stored.reads is not None else None
    return unread is not None and is_below(path, {*unread})


def _question(document: Mapping[str, Json]) -> Json:
    return {"observed results of": keys.digest({**document, "view": ""})}


def _noted_keys(store: Store, question: Json) -> list[str]:
    answer = answer_cache.get(store, question)
    return [key for key in answer if isinstance(key, str)] if isinstance(answer, list) else []


def _refusal(root: str) -> str:
    """Returns why the kernel's names say nothing about this project; empty if they do."""
    from envtool.container import syscalls

    try:
        if syscalls.file_system_type(root) not in _LOCAL_FILE_SYSTEMS:
            return "the project is not on a local file system of Linux (ext4, xfs, btrfs, f2fs, tmpfs)"
        with open(_REDIRECTS, encoding="ascii") as file:
            if file.read(16).strip() not in ("N", "0"):
                return "this machine's overlays can rename directories (redirect_dir)"
    except (EnvtoolError, OSError, ValueError) as error:
        return f"it cannot be found out: {error}"
    return ""
