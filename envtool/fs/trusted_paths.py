"""Whether a path of the caller's own can be believed: nobody else may put another file or directory in its place."""

from __future__ import annotations

import os
import stat

from envtool.fs import store_files


def why_untrusted(path: str, what: str) -> tuple[str, str]:
    """What is wrong with a path, which messages call `what`, and how that is mended; empty where nothing is.

    What is there belongs to the caller and nobody else may write to it. Above it, directories are the caller's or
    root's, and nobody else writes to them but with the sticky bit (/tmp). A caller's own may be written to by the
    caller's own group: an umask of 002 makes them so. Raises OSError.
    """
    ours, nobody = os.geteuid(), _overflow()  # where ids are mapped, the host's root may have no name here
    for place in dict.fromkeys(each for start in (path, os.path.realpath(path)) for each in _way(start)):
        try:
            found = os.stat(place)
        except (FileNotFoundError, NotADirectoryError):
            continue  # it is made, or its error is said, later
        itself = place in (path, os.path.realpath(path))
        if found.st_uid != ours and (itself or found.st_uid not in (0, nobody)):
            which = what if itself else f"{place}, which {what} is in,"
            return f"{which} belongs to user id {found.st_uid}, not to {ours}", ""
        group = found.st_mode & stat.S_IWGRP and (itself or (found.st_uid, found.st_gid) != (ours, os.getegid()))
        if (found.st_mode & stat.S_IWOTH or group) and (itself or not found.st_mode & stat.S_ISVTX):
            which = place if itself else f"{place}, which {what} is in"
            return f"others may write to {which}", f"`chmod go-w {place}`"
    return "", ""


def _way(path: str) -> list[str]:
    """A path and all directories above it."""
    found = [path]
    while (parent := os.path.dirname(found[-1])) != found[-1]:
        found.append(parent)
    return found


def _overflow() -> int:
    try:
        return int(store_files.read_regular_file("/proc/sys/kernel/overflowuid", most=100) or b"65534")
    except (OSError, ValueError):
        return 65534
