"""Finds the spec of a directory: envtool.yaml there or above, by the rule by which git finds a repository.

In a directory such as /tmp anybody can put a file above others' directories. So a spec above the start directory counts
only if it belongs to the caller, to root, or to the owner of the start directory, and is on the same file system
(repository.find_repository has the same rule). On the fast path: imports next to nothing.
"""

from __future__ import annotations

import os

SPEC = "envtool.yaml"


class SpecSearch:
    """The spec of a directory. `path` is empty if there is none that counts: then `passed_over` is the nearest that
    does not count (empty if there is none), and `why` says why."""

    __slots__ = ("passed_over", "path", "why")

    def __init__(self, path: str, passed_over: str = "", why: str = "") -> None:
        self.path, self.passed_over, self.why = path, passed_over, why


def is_trusted_owner(owner: int, start: os.stat_result) -> bool:
    """Returns whether files of this user count for a caller who starts in a directory with the stats `began`."""
    return owner in (os.geteuid(), 0, start.st_uid)


def find_spec(directory: str) -> SpecSearch:
    """Returns the nearest spec from an absolute path upward. A spec in the start directory counts, also if another
    user owns it, since the caller chose that directory; one above counts only if it and its directory do."""
    if os.path.isfile(_spec_path(directory)):
        return SpecSearch(_spec_path(directory))
    try:
        start = os.stat(directory)
        current = directory
        while (parent := os.path.dirname(current)) != current:
            current = parent
            if os.path.isfile(_spec_path(current)):
                why = _why_untrusted(current, start)
                return SpecSearch("", _spec_path(current), why) if why else SpecSearch(_spec_path(current))
    except OSError:  # the directory was removed, or one above may not be read
        pass
    return SpecSearch("")


def _spec_path(directory: str) -> str:
    return f"{directory}/{SPEC}" if directory != "/" else f"/{SPEC}"


def _why_untrusted(parent: str, start: os.stat_result) -> str:
    """Returns why the spec of a directory above does not count; empty if it does. Of a link, its own owner and its
    target's count. Raises OSError."""
    path = _spec_path(parent)
    for subject, info in (("it", os.lstat(path)), ("it", os.stat(path)), ("its directory", os.stat(parent))):
        if not is_trusted_owner(info.st_uid, start):
            return f"{subject} belongs to user {info.st_uid}"
    return "it is on another file system" if os.stat(parent).st_dev != start.st_dev else ""
