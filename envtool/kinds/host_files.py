"""What stands in this machine's system directories that no package database tells: looked at, never read.

Of everything below `/usr/local` and Python's and node's own directories, and of `/etc` as far as it is public: path,
type, mode, size, and both times: no program can set a ctime, so a file that was replaced is another one, whatever its
size and mtime. So counts all that a link of there, or an alternative, leads to. Of the rest, which is the packages',
the directories down to DEPTH, in which an entry that comes, goes or is replaced leaves a time, and the files where
commands are looked for. What is not seen: the content of files elsewhere that are edited in place.

Python's byte code is left out: importing something as root is no change of the machine.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

SYSTEM_TOPS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")  # as far as they are directories
DEEP_DIRECTORIES = (
    "/usr/local",
    "/usr/lib/python3/dist-packages",
    "/usr/lib*/python3.*/site-packages",
    "/usr/lib*/python3.*/dist-packages",
    "/usr/lib/node_modules",
)
COMMANDS = ("/usr/bin", "/usr/sbin", "/bin", "/sbin")
DEPTH = 2  # below a top: more are listed in their hundreds (/usr/share/doc)
MAX_ENTRIES = 200_000  # entries: beyond, it takes seconds each time
ETC = "/etc"
BYTE_CODE = "__pycache__"
ALTERNATIVES = "/etc/alternatives"  # what commands without a package are also called by


@dataclass(slots=True)
class HostFiles:
    """How it all stood at one moment."""

    digest: str = ""  # of all but /etc; lower-case hex
    etc: str = ""  # of /etc
    states: dict[str, int] = field(default_factory=dict)  # ctime (ns) of each path that was looked at, links left out
    trees: list[str] = field(default_factory=list)  # directories of whose files it counts which ones a task opened
    unseen: str = ""  # why not all could be looked at


def scan_host(private: frozenset[str]) -> HostFiles:
    """How it stands now. `private` are the names in /etc that no stack is given."""
    return _HostScan(private).look()


class _HostScan:
    def __init__(self, private: frozenset[str]) -> None:
        self._private = private
        self._found = HostFiles()
        self._rows: dict[str, str] = {}
        self._walked: set[str] = set()
        self._trees: dict[str, None] = {}
        self._links: list[str] = []

    def look(self) -> HostFiles:
        found = self._found
        tops = [top for top in SYSTEM_TOPS if os.path.isdir(top) and not os.path.islink(top)]
        for pattern in DEEP_DIRECTORIES:
            for place in sorted(glob.glob(pattern)):
                self._tree(place)
        for top in tops:
            self._shallow(top, DEPTH)
        for place in COMMANDS:
            if os.path.isdir(place) and not os.path.islink(os.path.dirname(place)) and not os.path.islink(place):
                self._files(place)
        self._etc(ETC, top=True)
        self._follow(tops)
        found.trees = [*self._trees]
        if len(self._rows) > MAX_ENTRIES:
            found.unseen = f"more than {MAX_ENTRIES:,} files lie below /usr/local and its like"
        found.digest, found.etc = (
            _digest(self._rows[path] for path in sorted(self._rows) if path.startswith(f"{ETC}/") == etc)
            for etc in (False, True)
        )
        return found

    def _note(self, path: str, state: os.stat_result, *, times: bool = True) -> None:
        if stat.S_ISLNK(state.st_mode):  # another one is another entry of its directory
            try:
                self._rows[path] = f"{path} -> {os.readlink(path)}"
            except OSError:
                self._rows[path] = f"{path} ->"
            return
        self._found.states[path] = state.st_ctime_ns
        if times:
            self._rows[path] = f"{path} {state.st_mode} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"
        else:  # what is in it has rows of its own
            self._rows[path] = f"{path} {state.st_mode}"

    def _entries(self, place: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(place) as entries:
                return list(entries)
        except FileNotFoundError:
            return []
        except OSError as error:
            if os.access(place, os.X_OK):  # a task that knows a name in it can have it
                self._found.unseen = f"{place}: {error.strerror}"
            return []

    def _tree(self, place: str) -> None:
        """Everything below a directory."""
        pending = [place]
        while pending and len(self._rows) <= MAX_ENTRIES:
            here = pending.pop()
            try:
                state = os.lstat(here)
            except OSError:
                continue
            if here in self._walked or stat.S_ISLNK(state.st_mode):
                self._links += [] if here in self._walked else [here]
                self._rows.setdefault(here, here)
                continue
            self._note(here, state, times=False)
            self._trees[here] = None
            self._walked.add(here)
            for entry in self._entries(here):
                found = self._state(entry)
                if found is None or entry.name == BYTE_CODE:
                    continue
                if stat.S_ISDIR(found.st_mode):
                    pending.append(entry.path)
                else:
                    self._note(entry.path, found)
                    if stat.S_ISLNK(found.st_mode):
                        self._links.append(entry.path)

    def _shallow(self, place: str, depth: int) -> None:
        """The directories below one, without what is in trees."""
        if place in self._found.states:
            return
        try:
            self._note(place, os.lstat(place))
        except OSError:
            return
        for entry in self._entries(place) if depth else ():
            if entry.is_dir(follow_symlinks=False) and entry.name != BYTE_CODE:
                self._shallow(entry.path, depth - 1)

    def _files(self, place: str) -> None:
        """What is not a directory in one."""
        self._hold(place)
        for entry in self._entries(place):
            state = self._state(entry)
            if state is not None and not stat.S_ISDIR(state.st_mode):
                self._note(entry.path, state)

    def _etc(self, place: str, *, top: bool = False) -> None:
        """What a base copies of /etc. Its own time is no part of the digest: other things come and go there too."""
        with contextlib.suppress(OSError):
            self._found.states.setdefault(place, os.lstat(place).st_ctime_ns)
        for entry in self._entries(place):
            state = self._state(entry)
            if state is None or (top and entry.name in self._private):
                continue
            if stat.S_ISDIR(state.st_mode):
                if state.st_mode & 0o005 == 0o005:
                    self._note(entry.path, state, times=False)
                    self._etc(entry.path)
            elif stat.S_ISLNK(state.st_mode):
                self._note(entry.path, state)
                if place == ALTERNATIVES:
                    self._links.append(entry.path)
            elif state.st_mode & 0o004:
                self._note(entry.path, state)

    def _follow(self, tops: list[str]) -> None:
        """What links of trees lead to, where it is shown and was not looked at."""
        ends: dict[str, str] = {}
        while self._links and len(self._rows) <= MAX_ENTRIES:
            link = self._links.pop()
            end = os.path.realpath(link)
            self._rows[link] += f" = {end}"  # links on the way may lie anywhere
            if end in ends or not any(end.startswith(f"{top}/") for top in tops):
                continue
            ends[end] = link
            try:
                state = os.lstat(end)
            except OSError:
                continue
            if not stat.S_ISDIR(state.st_mode):
                if end not in self._found.states:
                    self._note(end, state)
                    self._hold(os.path.dirname(end))
            elif not any(f"{top}/".startswith(f"{end}/") or os.path.dirname(end) == top for top in tops):
                self._tree(end)

    def _hold(self, place: str) -> None:
        """It is to be told which files of a directory a task opened, and whether one came or went."""
        if place not in self._trees:
            self._trees[place] = None
            with contextlib.suppress(OSError):
                self._found.states.setdefault(place, os.lstat(place).st_ctime_ns)

    @staticmethod
    def _state(entry: os.DirEntry[str]) -> os.stat_result | None:
        try:
            return entry.stat(follow_symlinks=False)
        except OSError:
            return None


def _digest(rows: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()
