"""Keeps what `envtool list` printed, for the next call: every file that decided it is compared by stat(2).

The text depends on the spec, on the project's files that plugins read, on the names of all files where a plugin asked
for names, and on the code of envtool and its plugins. `write` stores the text with the stat signatures of these files
and the names; `read` returns it while none has changed. git is asked for the names each time: many files decide what it
ignores, in the project, above it and in the user's configuration.
"""

from __future__ import annotations

import os
import sys
import time

from envtool.fs import store_files
from envtool.project import git, listing
from envtool.run import fast_exec, fast_test

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from envtool.project.source_files import ProjectFiles

VERB = "list"
CLOCK_MARGIN = 1_000_000_000  # ns: a file that changed less than that before it was read may change unseen
MAX_WATCHED = 20_000
MAX_NAMES = 4 << 20  # bytes


def read(store: str, spec: str, look: tuple[str, ...]) -> str | None:
    """Returns what `list` printed of a spec; None if that is not known, or anything that decided it has changed. `look`
    is how the output looks: JSON, or colour and width."""
    path = fast_test.plan_path(store, spec, VERB, look)
    try:
        plan = store_files.decode_with_checksum(store_files.read_regular_file(path))[0]
        if plan["version"] != fast_test.plan_version() or (plan["spec"], plan["look"]) != (spec, look):
            return None
        if plan["switches"] != fast_test.switches(os.environ):
            return None
        if not all(fast_exec.stat_signature(watched) == state for watched, state in plan["watch"]):
            return None
        if plan["names"] is not None and _list_names(plan["root"], plan["repositories"]) != plan["names"]:
            return None
        os.utime(path)
        text: str = plan["text"]
    except (OSError, ValueError, EOFError, TypeError, LookupError, git.RepositoryError):
        return None
    return text


def _list_names(root: str, repositories: Sequence[tuple[str, str]]) -> bytes:
    """Returns the names of a project's files: as git lists them in its repositories (prefix and directory of each), or
    without a repository as a walk finds them. Raises OSError, RepositoryError; LookupError if it has another repository
    now, or one less."""
    query = listing.start(root, [os.fsencode(prefix) for prefix, _ in repositories] or [b""])
    try:
        outputs = listing.end_gits(query)
        if listing.is_in_repository(query, outputs) != bool(repositories) or len(outputs) < len(repositories):
            raise LookupError(root)
        return b"\0\0".join(outputs.values()) if repositories else b"\0".join(listing.walk_names(query))
    finally:
        query.cancel()


def _are_known(names: bytes, repositories: Sequence[tuple[str, str]], files: ProjectFiles) -> bool:
    """Returns whether each of these names was there when the spec was read, or is not there now."""
    from envtool.project.source_files import is_own_path

    known = {*files.listed()}
    listings = names.split(b"\0\0")
    for (prefix, _), output in zip(repositories or [("", "")], listings, strict=False):
        for name in output.split(b"\0"):
            path = prefix + os.fsdecode(name)
            if not name or path in known or is_own_path(path):
                continue
            full_path = os.path.join(files.root, path)
            directory = os.path.dirname(full_path)
            if os.path.realpath(directory) == directory and (os.path.islink(full_path) or os.path.isfile(full_path)):
                return False
    return True


def write(
    store: str,
    spec: str,
    look: tuple[str, ...],
    text: str,
    *,
    files: ProjectFiles,
    read_paths: Iterable[str],
    repositories: Sequence[tuple[str, str]] | None,
    code: Sequence[str],
    began: int,
) -> None:
    """Stores what `list` printed, unless a file changed while the spec was read, or just before. Never raises OSError.

    `read_paths` are the spec and what it includes, `repositories` the prefix and directory of each repository of the
    project (None: no plugin asked for names of files), `code` the modules of the plugins, `began` the time at which
    reading began (ns since the epoch).
    """
    names = None
    if repositories is not None:
        try:
            names = _list_names(files.root, repositories)
        except (OSError, LookupError, git.RepositoryError):
            return
        if len(names) > MAX_NAMES or not _are_known(names, repositories, files):
            return
    watched = {seen.path: tuple(seen.state) for seen in files.seen()}
    for path in (*read_paths, *sys.path, *code, fast_exec.permissions_path()):
        watched.setdefault(path, fast_exec.stat_signature(path))
    newest = max((max(state[4:]) for state in watched.values() if state), default=0)
    if len(watched) > MAX_WATCHED or newest > min(began, time.time_ns()) - CLOCK_MARGIN:
        return
    plan = {
        "version": fast_test.plan_version(),
        "spec": spec,
        "look": look,
        "switches": fast_test.switches(os.environ),
        "watch": sorted(watched.items()),
        "root": files.root,
        "repositories": repositories,
        "names": names,
        "text": text,
    }
    store_files.replace_if_possible(
        fast_test.plan_path(store, spec, VERB, look), store_files.encode_with_checksum(plan)
    )
