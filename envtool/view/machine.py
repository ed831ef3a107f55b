"""How files of this machine stand, by their ctimes alone: no program can set one. On the warm way of `test`."""

from __future__ import annotations

import os
from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def pack(states: Mapping[str, int]) -> tuple[bytes, bytes]:
    """Paths, each ended by a zero, and their ctimes (ns), as `stands` takes them."""
    names = b"".join(os.fsencode(path) + b"\0" for path in states)
    return names, array("q", states.values()).tobytes()


def stands(names: bytes, states: bytes) -> bool:
    """Whether each path is there, with the ctime that it had."""
    lstat = os.lstat
    try:
        return array("q", [lstat(name).st_ctime_ns for name in names.split(b"\0")[:-1]]).tobytes() == states
    except (OSError, OverflowError):
        return False


def reached(states: Mapping[str, int], trees: Iterable[str], opened: frozenset[str] | None) -> dict[str, int]:
    """Of what was looked at, all but those files in `trees` that nothing opened; all where that is not known (None).
    A directory's ctime tells that an entry came, went or was replaced; what was opened may be edited in place."""
    if opened is None:
        return dict(states)
    inside = {*trees}
    return {
        path: state
        for path, state in states.items()
        if path in opened or path in inside or path.rpartition("/")[0] not in inside
    }
