"""Follows the symlinks of a project. The target of a link is an input as the link is: a program that reads the link
reads both.

A link that leaves the project, whose target does not exist, or that is part of a circle leads nowhere here: it counts
only as a link.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Mapping

from envtool.lazy_dataclass import dataclass
from envtool.project.host_access import EntryOpener

_MAX_LINKS = 40  # the limit of path_resolution(7)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPath:
    """A resolved path of the project: the links on it (none is behind another link), and its end, as a path without
    links; "" is the project itself. `mode` is that of the end."""

    links: tuple[str, ...]
    end: str
    mode: int


def follow_path(entries: EntryOpener, path: str) -> LinkPath | None:
    """Follows every link of a path, also the last. Returns None if it leads nowhere in the project."""
    pending, links, current, mode = _reversed_components(path), [], "", stat.S_IFDIR
    while pending:
        name = pending.pop()
        if name == "..":
            if not current:
                return None
            current = posixpath.dirname(current)
            continue
        if not stat.S_ISDIR(mode):
            return None
        candidate = posixpath.join(current, name)
        try:
            entry_mode, target = _stat_entry(entries, candidate)
        except OSError:
            return None
        if not stat.S_ISLNK(entry_mode):
            current, mode = candidate, entry_mode
            continue
        links.append(candidate)
        if target.startswith("/") or len(links) > _MAX_LINKS:
            return None
        pending += _reversed_components(target)
    return LinkPath(links=tuple(dict.fromkeys(links)), end=current, mode=mode)


def _stat_entry(entries: EntryOpener, path: str) -> tuple[int, str]:
    """Returns the mode of a path, and the target if it is a link. Raises OSError."""
    descriptor = entries.open(path)
    try:
        mode = os.fstat(descriptor).st_mode
        return mode, os.readlink("", dir_fd=descriptor) if stat.S_ISLNK(mode) else ""
    finally:
        os.close(descriptor)


def resolve_known_links(path: str, links: Mapping[str, str]) -> str:
    """Resolves a path as far as these links (path -> target) lead. Pure."""
    pending, current, count = _reversed_components(path), "", 0
    while pending:
        name = pending.pop()
        candidate = posixpath.dirname(current) if name == ".." else posixpath.join(current, name)
        target = links.get(candidate, "")
        if name == ".." or not target or target.startswith("/"):
            current = candidate
            continue
        count += 1
        if count > _MAX_LINKS:
            return path
        pending += _reversed_components(target)
    return current


def _reversed_components(path: str) -> list[str]:
    """Returns the components of a path, last first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
