"""The logs of this run: files of the project that our own output goes into, which are no part of what tasks see.

    envtool test > log.txt           the file behind a standard descriptor of ours
    envtool test 2>&1 | tee log.txt  what the reader of our pipe writes, and the reader of its pipe …

They grow while tasks run, and are another file each time: a project with one in it would never be what it was. A
process is asked (proc_pid_fd(5)) only if it reads our output. On the warm way of `envtool test`, where there is one.
"""

from __future__ import annotations

import os

_KIND, _FILE, _PIPE = 0o170000, 0o100000, 0o010000
_MAX_DESCRIPTORS = 256  # descriptors of one process that are looked at
_MAX_PIPES = 8  # pipes after each other


def find_all(root: str, reports: tuple[str, ...]) -> tuple[str, ...]:
    """Such files, and those of `reports` (paths of files that this run writes) that are below `root`: all relative to
    it."""
    from envtool.fs.beneath import real_path

    top = real_path(root).rstrip("/") + "/"
    paths = (os.path.join(os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path)) for path in reports)
    return tuple(dict.fromkeys((*find(root), *(path[len(top) :] for path in paths if path.startswith(top)))))


def find(root: str) -> tuple[str, ...]:
    """Paths of such files below `root`, relative to it, sorted. Never raises: what cannot be seen is none."""
    top = os.path.realpath(root).rstrip("/") + "/"
    found: set[str] = set()
    pipes: list[str] = []
    for descriptor in ("1", "2"):
        _add("self", descriptor, top, found, pipes)
    read: set[str] = set()
    for _ in range(_MAX_PIPES):
        new = {pipe for pipe in pipes if pipe not in read}
        if not new:
            break
        read |= new
        for process in _readers(new):
            for descriptor in _list(f"/proc/{process}/fd")[:_MAX_DESCRIPTORS]:
                _add(process, descriptor, top, found, pipes if descriptor == "1" else [])
    return tuple(sorted(found))


def _add(process: str, descriptor: str, top: str, found: set[str], pipes: list[str]) -> None:
    """Note the file that a descriptor writes, if it is one of the project, or the pipe."""
    place = f"/proc/{process}/fd/{descriptor}"
    try:
        state, path = os.stat(place), os.readlink(place)
        if state.st_mode & _KIND == _PIPE:
            pipes.append(path)
        elif state.st_mode & _KIND == _FILE and path.startswith(top) and os.lstat(place).st_mode & 0o200:
            there = os.lstat(path)  # a name may have been given to another file since
            if (there.st_dev, there.st_ino) == (state.st_dev, state.st_ino):
                found.add(path[len(top) :])
    except OSError:
        pass


def _readers(pipes: set[str]) -> list[str]:
    """Processes whose standard input is one of these pipes."""
    found = []
    for name in _list("/proc"):
        try:
            if name.isdigit() and os.readlink(f"/proc/{name}/fd/0") in pipes:
                found.append(name)
        except OSError:
            continue
    return found


def _list(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
