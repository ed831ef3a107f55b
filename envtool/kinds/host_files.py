"""Scans the system directories for files that belong to no package, for the kind `host`. Reads names and states, never
the content of files.

Of everything below `/usr/local` and the directories of Python's and node's packages, and of the public files of `/etc`,
the digest has path, type, mode, size, mtime and ctime: no program can set a ctime, so that a replaced file differs,
whatever its size and mtime. The same holds for the targets of links in these directories, and of alternatives. Of the
other directories, which belong to packages, the digest has the directories down to DEPTH (a directory's mtime changes
when an entry is added, removed or replaced), and the files in the directories of commands. A file elsewhere that is
edited in place is not noticed.

Python's byte code is left out: importing a module as root does not change the machine."""

from __future__ import annotations

import bisect
import contextlib
import errno
import glob
import hashlib
import os
import stat
from collections.abc import Iterable

from envtool.lazy_dataclass import dataclass, field

# Files of /etc that belong to the machine or its administrator, not to the installed software
LEFT_OUT = frozenset(
    [
        "fstab",
        "mtab",
        "hostname",
        "hosts",
        "resolv.conf",
        "machine-id",
        "passwd",
        "group",
        "shadow",
        "gshadow",
        "passwd-",
        "group-",
        "shadow-",
        "gshadow-",
        "subuid",
        "subgid",
        "subuid-",
        "subgid-",
        "ssh",
        "sudoers",
        "sudoers.d",
        "crontab",
        "cron.d",
        "cron.daily",
        "cron.hourly",
        "cron.weekly",
        "cron.monthly",
        "apt",
        "pip.conf",
        "npmrc",
        "netrc",
        "docker",
        "containers",
        "NetworkManager",
        "network",
        "netplan",
        "systemd",
        "wireguard",
        "environment",
        "motd",
        "issue",
        ".pwd.lock",
        ".updated",
        "adjtime",
        "blkid.tab",
        "ld.so.cache~",
    ]
)
SYSTEM_TOPS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")  # those that are links are skipped
DEEP_DIRECTORIES = (
    "/usr/local",
    "/usr/lib/python3/dist-packages",
    "/usr/lib*/python3.*/site-packages",
    "/usr/lib*/python3.*/dist-packages",
    "/usr/lib/node_modules",
)
COMMANDS = ("/usr/bin", "/usr/sbin", "/bin", "/sbin")
DEPTH = 2  # levels below a top; the next level has directories with hundreds of entries (/usr/share/doc)
MAX_ENTRIES = 200_000  # more entries would take seconds in each scan
MAX_LINKS = 20  # links from one to the next
ETC = "/etc"
BYTE_CODE = "__pycache__"
_KIND = 0o170000  # the bits of a mode that say what kind of file it is
ALTERNATIVES = "/etc/alternatives"  # links that give commands, also those of no package, a second name


@dataclass(slots=True)
class HostFiles:
    """The state of the files at one moment."""

    digest: str = ""  # of all files outside of /etc; lower-case hex
    etc: str = ""  # of /etc
    states: dict[str, int] = field(default_factory=dict)  # ctime (ns) of each path that was scanned, without links
    trees: list[str] = field(default_factory=list)  # directories for which results record the files that a task opened
    unseen: str = ""  # why the scan is not complete; "" if it is


def scan_host(private: frozenset[str]) -> HostFiles:
    """Returns the present state. `private` are the names in /etc that no stack gets."""
    return _HostScan(private).scan()


class _HostScan:
    def __init__(self, private: frozenset[str]) -> None:
        self._private = private
        self._result = HostFiles()
        self._rows: dict[str, str] = {}
        self._walked: set[str] = set()
        self._trees: dict[str, None] = {}
        self._links: list[str] = []
        self._real_directories: dict[str, str] = {}  # path of a directory -> the same without links

    def scan(self) -> HostFiles:
        files = self._result
        tops = [top for top in SYSTEM_TOPS if os.path.isdir(top) and not os.path.islink(top)]
        for pattern in DEEP_DIRECTORIES:
            for directory in sorted(glob.glob(pattern)):
                self._tree(directory)
        for top in tops:
            self._shallow(top, DEPTH)
        for directory in COMMANDS:
            if (
                os.path.isdir(directory)
                and not os.path.islink(os.path.dirname(directory))
                and not os.path.islink(directory)
            ):
                self._files(directory)
        self._etc(ETC, top=True)
        self._follow(tops)
        files.trees = [*self._trees]
        if len(self._rows) > MAX_ENTRIES:
            files.unseen = f"more than {MAX_ENTRIES:,} files are below /usr/local and similar directories"
        paths = sorted(self._rows)
        first, end = bisect.bisect_left(paths, f"{ETC}/"), bisect.bisect_left(paths, f"{ETC}0")  # "0" comes after "/"
        rows = [*map(self._rows.__getitem__, paths)]
        files.etc = _digest(rows[first:end])
        files.digest = _digest(rows[:first] + rows[end:])
        return files

    def _note(self, path: str, status: os.stat_result, *, times: bool = True) -> None:
        if stat.S_ISLNK(status.st_mode):  # a link is replaced, never changed: its directory's times show it
            try:
                self._rows[path] = f"{path} -> {os.readlink(path)}"
            except OSError:
                self._rows[path] = f"{path} ->"
            return
        self._result.states[path] = status.st_ctime_ns
        if times:
            self._rows[path] = f"{path} {status.st_mode} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        else:  # the entries of the directory have their own rows
            self._rows[path] = f"{path} {status.st_mode}"

    def _entries(self, directory: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(directory) as entries:
                return list(entries)
        except OSError as error:
            self._note_unlisted(directory, error)
            return []

    def _note_unlisted(self, directory: str, error: OSError) -> None:
        """Notes a directory that cannot be listed, but for one that is gone."""
        if not isinstance(error, FileNotFoundError) and os.access(directory, os.X_OK):
            self._result.unseen = f"{directory}: {error.strerror}"  # a task can open a file in it whose name it knows

    def _tree(self, top: str) -> None:
        """Scans everything below a directory."""
        try:
            pending = [(top, os.lstat(top))]
        except OSError:
            return
        while pending and len(self._rows) <= MAX_ENTRIES:
            directory, status = pending.pop()
            if directory in self._walked or stat.S_ISLNK(status.st_mode):
                self._links += [] if directory in self._walked else [directory]
                self._rows.setdefault(directory, directory)
                continue
            self._note(directory, status, times=False)
            self._trees[directory] = None
            self._walked.add(directory)
            self._tree_entries(directory, pending)

    def _tree_entries(self, directory: str, pending: list[tuple[str, os.stat_result]]) -> None:
        """Scans the entries of a directory; adds those that are directories to `pending`. There may be a hundred
        thousand: of a file it does what `_note` does, without the call, and the kernel looks up its name alone, in the
        open directory, instead of its whole path."""
        rows, states, read_status = self._rows, self._result.states, os.stat
        descriptor = -1
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            names = os.listdir(descriptor)
        except OSError as error:
            self._note_unlisted(directory, error)
            names = []
        try:
            for name in names:
                if name == BYTE_CODE:
                    continue
                try:
                    status = read_status(name, dir_fd=descriptor, follow_symlinks=False)
                except OSError:
                    continue
                path, mode = f"{directory}/{name}", status.st_mode
                kind = mode & _KIND
                if kind == stat.S_IFDIR:
                    pending.append((path, status))
                elif kind == stat.S_IFLNK:
                    self._note(path, status)
                    self._links.append(path)
                else:
                    states[path] = changed = status.st_ctime_ns
                    rows[path] = f"{path} {mode} {status.st_size} {status.st_mtime_ns} {changed}"
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _shallow(self, directory: str, depth: int) -> None:
        """Scans a directory and those below it down to `depth`, without those that `_tree` has scanned."""
        if directory in self._result.states:
            return
        try:
            self._note(directory, os.lstat(directory))
        except OSError:
            return
        for entry in self._entries(directory) if depth else ():
            if entry.is_dir(follow_symlinks=False) and entry.name != BYTE_CODE:
                self._shallow(entry.path, depth - 1)

    def _files(self, directory: str) -> None:
        """Scans the entries of a directory that are not directories."""
        self._hold(directory)
        for entry in self._entries(directory):
            status = self._state(entry)
            if status is not None and not stat.S_ISDIR(status.st_mode):
                self._note(entry.path, status)

    def _etc(self, directory: str, *, top: bool = False) -> None:
        """Scans the entries of /etc that a base copies. The times of directories are no part of the digest: private
        files are added and removed there too."""
        with contextlib.suppress(OSError):
            self._result.states.setdefault(directory, os.lstat(directory).st_ctime_ns)
        for entry in self._entries(directory):
            status = self._state(entry)
            if status is None or (top and entry.name in self._private):
                continue
            if stat.S_ISDIR(status.st_mode):
                if status.st_mode & 0o005 == 0o005:
                    self._note(entry.path, status, times=False)
                    self._etc(entry.path)
            elif stat.S_ISLNK(status.st_mode):
                self._note(entry.path, status)
                if directory == ALTERNATIVES:
                    self._links.append(entry.path)
            elif status.st_mode & 0o004:
                self._note(entry.path, status)

    def _follow(self, tops: list[str]) -> None:
        """Scans the targets of links that are mounted and not scanned yet."""
        targets: dict[str, str] = {}
        while self._links and len(self._rows) <= MAX_ENTRIES:
            link = self._links.pop()
            target = self._real_path(link)
            self._rows[link] += f" = {target}"  # the target also depends on links on the way, which are not scanned
            if target in targets or not any(target.startswith(f"{top}/") for top in tops):
                continue
            targets[target] = link
            try:
                status = os.lstat(target)
            except OSError:
                continue
            if not stat.S_ISDIR(status.st_mode):
                if target not in self._result.states:
                    self._note(target, status)
                    self._hold(os.path.dirname(target))
            elif not any(f"{top}/".startswith(f"{target}/") or os.path.dirname(target) == top for top in tops):
                self._tree(target)

    def _real_path(self, link: str) -> str:
        """Returns os.path.realpath of a link. Hundreds of links lead into few directories, each resolved once."""
        path = link
        for _ in range(MAX_LINKS):
            directory, name = os.path.split(path)
            if name in ("", ".", ".."):
                break
            try:
                if directory not in self._real_directories:
                    self._real_directories[directory] = os.path.realpath(directory, strict=True)
                path = os.path.join(self._real_directories[directory], name)
                if path in self._result.states:  # scanned, and no link
                    return path
                path = os.path.join(self._real_directories[directory], os.readlink(path))
            except OSError as error:
                if error.errno == errno.EINVAL:  # no link: the end
                    return path
                break  # a loop, or nothing is there
        return os.path.realpath(link)

    def _hold(self, directory: str) -> None:
        """Adds a directory to `trees`, so that results depend on the files that a task opens in it, and on its
        entries."""
        if directory not in self._trees:
            self._trees[directory] = None
            with contextlib.suppress(OSError):
                self._result.states.setdefault(directory, os.lstat(directory).st_ctime_ns)

    @staticmethod
    def _state(entry: os.DirEntry[str]) -> os.stat_result | None:
        try:
            return entry.stat(follow_symlinks=False)
        except OSError:
            return None


def _digest(rows: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()
