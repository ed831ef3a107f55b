"""Keeps what `envtool list` printed, for the next call: every file that decided it is compared by stat(2).

The text depends on the spec, on the project's files that plugins read, and on the code of envtool and its plugins.
`write` stores the text with the stat signatures of all of them, `read` returns it while none has changed.
"""

from __future__ import annotations

import os
import sys
import time

from envtool.fs import store_files
from envtool.run import fast_exec, fast_test

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from envtool.project.source_files import ProjectFiles

VERB = "list"
CLOCK_MARGIN = 1_000_000_000  # ns: a file that changed less than that before it was read may change unseen
MAX_WATCHED = 20_000


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
        os.utime(path)
        text: str = plan["text"]
    except (OSError, ValueError, EOFError, TypeError, LookupError):
        return None
    return text


def write(
    store: str,
    spec: str,
    look: tuple[str, ...],
    text: str,
    *,
    files: ProjectFiles,
    read_paths: Iterable[str],
    code: Sequence[str],
    began: int,
) -> None:
    """Stores what `list` printed. `read_paths` are the spec and what it includes, `code` the modules of the plugins,
    `began` when reading began (ns since the epoch). Stores nothing if a file was changed since, or just before. Never
    raises OSError."""
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
        "text": text,
    }
    store_files.replace_if_possible(
        fast_test.plan_path(store, spec, VERB, look), store_files.encode_with_checksum(plan)
    )
