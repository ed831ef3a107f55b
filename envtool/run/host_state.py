"""How files of this machine stand, by their ctimes alone: no program can set one. On the warm way of `test`."""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


MANY = 200  # directories
_RUNTIME, _NEAR = 4, 5  # components of a path


def pack(states: Mapping[str, int]) -> tuple[bytes, bytes]:
    """Paths, each ended by a zero, and their ctimes (ns), as `stands` takes them."""
    names = b"".join(os.fsencode(path) + b"\0" for path in states)
    return names, struct.pack(f"{len(states)}q", *states.values())


def is_unchanged(names: bytes, states: bytes) -> bool:
    """Whether each path is there, with the ctime that it had."""
    lstat = os.lstat
    try:
        found = [lstat(name).st_ctime_ns for name in names.split(b"\0")[:-1]]
        return struct.pack(f"{len(found)}q", *found) == states
    except (OSError, struct.error):
        return False


def decisive_states(states: Mapping[str, int], trees: Iterable[str], opened: frozenset[str] | None) -> dict[str, int]:
    """Of what was looked at, what decides for a task that opened these files and directories; all of it where that is
    not known (None).

    Of the files in `trees` it is those that were opened: they may be edited in place. Directories tell by their ctimes
    that an entry came, went or was replaced, also one that was looked for and not there. Only of a runtime of more than
    MANY directories of which nothing was opened it is those near its top: stat(2) leaves no trace, and to look at all
    of them would cost each unchanged `test` milliseconds.
    """
    if opened is None:
        return dict(states)
    inside = {*trees}
    sizes: dict[str, int] = {}
    for path in inside:
        runtime = _runtime(path)
        sizes[runtime] = sizes.get(runtime, 0) + 1
    idle = {runtime for runtime, size in sizes.items() if size > MANY} - {_runtime(path) for path in opened}

    def counts(path: str) -> bool:
        if path in opened:
            return True
        if path in inside:
            return path.count("/") <= _NEAR or _runtime(path) not in idle
        return path.rpartition("/")[0] not in inside

    return {path: state for path, state in states.items() if counts(path)}


def _runtime(path: str) -> str:
    """What is installed as one, roughly: `/usr/local/go/src`, `/usr/local/lib/ruby`."""
    return "/".join(path.split("/", _RUNTIME + 1)[: _RUNTIME + 1])
