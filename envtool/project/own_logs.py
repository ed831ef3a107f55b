"""Finds the project's files into which this run's own output goes. They are no part of what tasks see.

    envtool test > log.txt           the file behind a standard descriptor of envtool
    envtool test 2>&1 | tee log.txt  the file that the reader of envtool's pipe writes, and the reader of its pipe …

They grow while tasks run, and differ after each run: a project with one in it would never be unchanged. A process is
inspected (proc_pid_fd(5)) only if it reads envtool's output. On the fast path of `envtool test`, if there is such a
file.
"""

from __future__ import annotations

import os

_KIND, _FILE, _PIPE = 0o170000, 0o100000, 0o010000
_MAX_DESCRIPTORS = 256  # descriptors of one process that are inspected
_MAX_PIPES = 8  # pipes in a row


def find_all(root: str, reports: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the files of `find`, and those `reports` (files that this run writes) that are below `root`; all relative
    to it."""
    from envtool.fs.beneath import real_path

    top = real_path(root).rstrip("/") + "/"
    paths = (os.path.join(os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path)) for path in reports)
    return tuple(dict.fromkeys((*find(root), *(path[len(top) :] for path in paths if path.startswith(top)))))


def find(root: str) -> tuple[str, ...]:
    """Returns the paths of such files below `root`, relative to it, sorted. Never raises: files that cannot be
    inspected are left out."""
    top = os.path.realpath(root).rstrip("/") + "/"
    files: set[str] = set()
    pipes: list[str] = []
    for descriptor in ("1", "2"):
        _add("self", descriptor, top, files, pipes)
    known_pipes: set[str] = set()
    for _ in range(_MAX_PIPES):
        new_pipes = {pipe for pipe in pipes if pipe not in known_pipes}
        if not new_pipes:
            break
        known_pipes |= new_pipes
        for process in _readers(new_pipes):
            for descriptor in _list(f"/proc/{process}/fd")[:_MAX_DESCRIPTORS]:
                _add(process, descriptor, top, files, pipes if descriptor == "1" else [])
    return tuple(sorted(files))


def _add(process: str, descriptor: str, top: str, files: set[str], pipes: list[str]) -> None:
    """Adds the file that a descriptor writes if it is in the project, or the pipe."""
    link = f"/proc/{process}/fd/{descriptor}"
    try:
        info, path = os.stat(link), os.readlink(link)
        if info.st_mode & _KIND == _PIPE:
            pipes.append(path)
        elif info.st_mode & _KIND == _FILE and path.startswith(top) and os.lstat(link).st_mode & 0o200:
            named = os.lstat(path)  # the name may belong to another file by now
            if (named.st_dev, named.st_ino) == (info.st_dev, info.st_ino):
                files.add(path[len(top) :])
    except OSError:
        pass


def _readers(pipes: set[str]) -> list[str]:
    """Returns the processes whose standard input is one of these pipes."""
    processes = []
    for name in _list("/proc"):
        try:
            if name.isdigit() and os.readlink(f"/proc/{name}/fd/0") in pipes:
                processes.append(name)
        except OSError:
            continue
    return processes


def _list(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
