"""Checks a path of the caller's own: whether nobody else may put another file or directory in its place."""

from __future__ import annotations

import os
import stat

from envtool.fs import store_files


def why_untrusted(path: str, what: str) -> tuple[str, str]:
    """Returns what is wrong with a path, which messages call `what`, and how to mend it; two empty texts where nothing
    is.

    The path itself must belong to the caller, and nobody else may write to it. Directories above it must be the
    caller's or root's, and nobody else may write to them unless they are sticky (/tmp). The caller's own group may
    write to the caller's own files and directories: an umask of 002 makes them so. Raises OSError.
    """
    caller, nobody = os.geteuid(), _overflow_uid()  # in a user namespace the host's root may have no id
    for component in dict.fromkeys(
        ancestor for name in (path, os.path.realpath(path)) for ancestor in _ancestors(name)
    ):
        try:
            info = os.stat(component)
        except (FileNotFoundError, NotADirectoryError):
            continue  # it is made later, or its error is raised then
        itself = component in (path, os.path.realpath(path))
        if info.st_uid != caller and (itself or info.st_uid not in (0, nobody)):
            subject = what if itself else f"{component}, which {what} is in,"
            return f"{subject} belongs to user id {info.st_uid}, not to {caller}", ""
        group = info.st_mode & stat.S_IWGRP and (itself or (info.st_uid, info.st_gid) != (caller, os.getegid()))
        if (info.st_mode & stat.S_IWOTH or group) and (itself or not info.st_mode & stat.S_ISVTX):
            subject = component if itself else f"{component}, which {what} is in"
            return f"others may write to {subject}", f"`chmod go-w {component}`"
    return "", ""


def _ancestors(path: str) -> list[str]:
    """Returns a path and all directories above it."""
    paths = [path]
    while (parent := os.path.dirname(paths[-1])) != paths[-1]:
        paths.append(parent)
    return paths


def _overflow_uid() -> int:
    try:
        return int(store_files.read_regular_file("/proc/sys/kernel/overflowuid", most=100) or b"65534")
    except (OSError, ValueError):
        return 65534
