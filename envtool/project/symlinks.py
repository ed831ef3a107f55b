"""Where the links of a project lead. What a link leads to is an input as the link is: who reads one reads both.

A link that leaves the project, leads to nothing or round in a circle, leads nowhere here: it is a link and no more.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from envtool.project.host_access import EntryOpener

_MOST_LINKS = 40  # as path_resolution(7) has it


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPath:
    """A path of the project, walked: the links that were met (none lies behind another link), and where it ends, by a
    path without links; "" is the project itself. `mode` is that of the end."""

    links: tuple[str, ...]
    end: str
    mode: int


def follow_path(entries: EntryOpener, path: str) -> LinkPath | None:
    """Where a path leads, every link followed, the last one too; None where it leads nowhere in the project."""
    pending, links, here, mode = _reversed_components(path), [], "", stat.S_IFDIR
    while pending:
        name = pending.pop()
        if name == "..":
            if not here:
                return None
            here = posixpath.dirname(here)
            continue
        if not stat.S_ISDIR(mode):
            return None
        place = posixpath.join(here, name)
        try:
            found, target = _stat_entry(entries, place)
        except OSError:
            return None
        if not stat.S_ISLNK(found):
            here, mode = place, found
            continue
        links.append(place)
        if target.startswith("/") or len(links) > _MOST_LINKS:
            return None
        pending += _reversed_components(target)
    return LinkPath(links=tuple(dict.fromkeys(links)), end=here, mode=mode)


def _stat_entry(entries: EntryOpener, path: str) -> tuple[int, str]:
    """The mode of what is there, and where it leads if it is a link. Raises OSError."""
    descriptor = entries.open(path)
    try:
        mode = os.fstat(descriptor).st_mode
        return mode, os.readlink("", dir_fd=descriptor) if stat.S_ISLNK(mode) else ""
    finally:
        os.close(descriptor)


def resolve_known_links(path: str, links: Mapping[str, str]) -> str:
    """Where a path leads by links that are known (path -> target), as far as they are. Pure."""
    pending, here, met = _reversed_components(path), "", 0
    while pending:
        name = pending.pop()
        place = posixpath.dirname(here) if name == ".." else posixpath.join(here, name)
        target = links.get(place, "")
        if name == ".." or not target or target.startswith("/"):
            here = place
            continue
        met += 1
        if met > _MOST_LINKS:
            return path
        pending += _reversed_components(target)
    return here


def _reversed_components(path: str) -> list[str]:
    """Components, last first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
