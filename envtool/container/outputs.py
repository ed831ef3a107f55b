"""Evidence out of a container that is ending: collected inside as its root, written outside as the caller.

The stream between the two is a row of frames, each a 4-byte length and a marshalled tuple; a "data" frame is
followed by its bytes. The receiver takes nothing on trust: no path leaves its directory, no symlink is followed, and
what decides what git or envtool do is not written (see protected.py).
"""

from __future__ import annotations

import fnmatch
import marshal
import os
import re
import stat

from envtool.container.protected import Protection
from envtool.directory import Directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from envtool.directory.drafts import Draft

_CHUNK = 1 << 18


# ---- inside, after everything but pid 1 has ended ------------------------------------------------------------------


def collect(project: str, patterns: tuple[str, ...], pipe: int) -> None:
    """Send what matches `patterns` (relative to `project`; `*`, `?`, `[]` and `**`), directories whole, once each."""
    sent: set[str] = set()
    try:
        os.chdir(project)
        for pattern in patterns:
            parts = [part for part in pattern.split("/") if part not in ("", ".")]
            if ".." in parts or pattern.startswith("/"):
                _frame(pipe, ("note", f"{pattern}: leaves the project, not copied"))
                continue
            found = sorted(set(_matches("", parts)))
            if not found:
                _frame(pipe, ("note", f"{pattern}: nothing matches"))
            for path in found:
                _send(pipe, path, sent)
    except BrokenPipeError:
        return
    except OSError as error:
        _frame(pipe, ("note", f"{error.filename or project}: {error.strerror}, not copied"))
    finally:
        os.close(pipe)


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory or "."))
    except OSError:
        return []


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path or ".").st_mode)
    except OSError:
        return False


def _matches(directory: str, parts: list[str]) -> Iterator[str]:
    """Paths below `directory` (empty: here) that match the parts, symlinked directories not entered."""
    if not parts:
        if directory:
            yield directory
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        if rest:
            yield from _matches(directory, rest)
        for name in _names(directory):
            path = f"{directory}/{name}" if directory else name
            if _is_directory(path):
                yield from _matches(path, parts)
            elif not rest:
                yield path
        return
    if any(c in first for c in "*?["):
        fits = re.compile(fnmatch.translate(first)).match
        names = [n for n in _names(directory) if fits(n) and (not n.startswith(".") or first.startswith("."))]
    else:
        names = [first]
    for name in names:
        path = f"{directory}/{name}" if directory else name
        if os.path.lexists(path) and (not rest or _is_directory(path)):
            yield from _matches(path, rest)


def _send(pipe: int, path: str, sent: set[str]) -> None:
    if path in sent:
        return
    sent.add(path)
    try:
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode):
            _frame(pipe, ("directory", path, stat.S_IMODE(found.st_mode)))
            for name in _names(path):
                _send(pipe, f"{path}/{name}", sent)
        elif stat.S_ISLNK(found.st_mode):
            _frame(pipe, ("link", path, os.readlink(path)))
        elif stat.S_ISREG(found.st_mode):
            _send_file(pipe, path, found)
        else:
            _frame(pipe, ("note", f"{path}: not a file, directory or symlink, not copied"))
    except BrokenPipeError:
        raise
    except OSError as error:
        _frame(pipe, ("note", f"{path}: {error.strerror}, not copied"))


def _send_file(pipe: int, path: str, found: os.stat_result) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _frame(pipe, ("file", path, stat.S_IMODE(found.st_mode), found.st_mtime_ns, found.st_size))
        position = 0
        while position < found.st_size:
            try:
                begin = os.lseek(descriptor, position, os.SEEK_DATA)
            except OSError:  # ENXIO: a hole to the end
                break
            end = min(os.lseek(descriptor, begin, os.SEEK_HOLE), found.st_size)
            position = begin
            while position < end:
                data = os.pread(descriptor, min(_CHUNK, end - position), position)
                if not data:
                    break
                _frame(pipe, ("data", position, len(data)), data)
                position += len(data)
            position = max(position, end)
        _frame(pipe, ("end",))
    finally:
        os.close(descriptor)


def _frame(pipe: int, frame: tuple[Any, ...], data: bytes = b"") -> None:
    head = marshal.dumps(frame)
    rest = memoryview(len(head).to_bytes(4, "little") + head + data)
    while rest:
        rest = rest[os.write(pipe, rest) :]


# ---- outside -------------------------------------------------------------------------------------------------------


class Receiver:
    """Writes the stream below one directory. `owned`: give everything to that directory's owner (caller root).
    `protected` are paths below it that are no outputs unless one of `patterns` is the very path."""

    def __init__(
        self, directory: str, *, owned: bool, protected: tuple[str, ...] = (), patterns: tuple[str, ...] = ()
    ) -> None:
        self._root = Directory.open(directory)
        self._root.owner = self._root.owner if owned else None
        self._protection = Protection(protected, patterns)
        self._refused: set[str] = set()
        self._swept: set[str] = set()
        self._buffer = bytearray()
        self._paths: list[str] = []
        self._notes: list[str] = []
        self._draft: Draft | None = None
        self._attributes: tuple[str, int, int, int] = ("", 0, 0, 0)

    def feed(self, pipe: int) -> bool:
        """Take what the pipe has (blocks when there is nothing); False at its end."""
        data = os.read(pipe, _CHUNK)
        if not data:
            return False
        self._buffer += data
        while len(self._buffer) >= 4:
            size = 4 + int.from_bytes(self._buffer[:4], "little")
            if len(self._buffer) < size:
                break
            frame = marshal.loads(self._buffer[4:size])
            extra = frame[2] if frame[0] == "data" else 0
            if len(self._buffer) < size + extra:
                break
            payload = bytes(self._buffer[size : size + extra])
            del self._buffer[: size + extra]
            self._take(frame, payload)
        return True

    def copy(self, source: str, path: str, mode: int, mtime_ns: int) -> None:
        """Write a file of the host at `path`, as if it came down the stream. What goes wrong is a note."""
        try:
            self._abandon()
            with open(source, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                self._begin(("file", path, mode, mtime_ns, size))
                position = 0
                while data := file.read(_CHUNK):
                    if data.strip(b"\0"):  # holes stay holes
                        self._write(data, position)
                    position += len(data)
            self._complete()
        except OSError as error:
            self._abandon()
            self._notes.append(f"{path}: {(error.strerror or str(error)).lower()}, not copied")

    def link(self, path: str, target: str) -> None:
        """Make a symlink, as if it came down the stream."""
        self._take(("link", path, target), b"")

    def finish(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The paths that were written and the notes about what was not."""
        self._abandon()
        self._root.close()
        return tuple(self._paths), tuple(self._notes)

    def _take(self, frame: tuple[object, ...], payload: bytes) -> None:
        kind, path = str(frame[0]), str(frame[1]) if len(frame) > 1 else ""
        try:
            if kind == "note":
                self._notes.append(path)
            elif kind == "data":
                if self._draft is not None:
                    self._write(payload, int(path))
            elif kind == "end":
                self._complete()
            elif kind == "file":
                self._abandon()
                self._begin(frame)
            elif kind == "directory" and not self._refuses(path, kind):
                self._root.below(path, make=True).close()
            elif kind == "link" and not self._refuses(path, kind):
                self._link(path, str(frame[2]))
        except OSError as error:
            what = path if kind != "data" and path else self._attributes[0]
            self._abandon()
            self._notes.append(f"{what}: {(error.strerror or str(error)).lower()}, not copied")

    def _refuses(self, path: str, kind: str) -> bool:
        """Whether this may be no output; said once of each directory or file that is refused."""
        found = self._protection.refusal(path, literal=kind == "file")
        if found is None:
            return False
        what, why = found
        if what not in self._refused:
            self._refused.add(what)
            self._notes.append(f"{what}: {why}, not copied")
        return True

    def _enter(self, path: str) -> tuple[Directory, str]:
        """The directory that a path is in, made where it is missing, and its name there."""
        parents, slash, name = path.rpartition("/")
        if name in ("", ".", "..") or (slash and not parents):
            raise OSError(22, "leaves the project")
        directory = self._root.below(parents, make=True)
        if parents not in self._swept:
            self._swept.add(parents)
            directory.sweep()
        return directory, name

    def _begin(self, frame: tuple[object, ...]) -> None:
        path, mode, mtime, size = str(frame[1]), int(str(frame[2])), int(str(frame[3])), int(str(frame[4]))
        if self._refuses(path, "file"):
            return
        self._attributes = (path, mode, mtime, size)
        directory, _ = self._enter(path)
        with directory:
            self._draft = directory.begin(0o600)

    def _write(self, payload: bytes, position: int) -> None:
        if self._draft is None:
            return
        rest = memoryview(payload)
        while rest:
            count = os.pwrite(self._draft.fd, rest, position)
            rest, position = rest[count:], position + count

    def _complete(self) -> None:
        if self._draft is None:
            return
        path, mode, mtime, size = self._attributes
        os.ftruncate(self._draft.fd, size)
        os.utime(self._draft.fd, ns=(mtime, mtime))
        self._draft.place(path.rpartition("/")[2], mode & 0o777 | 0o600)
        self._paths.append(path)
        self._abandon()

    def _abandon(self) -> None:
        if self._draft is not None:
            self._draft.drop()
            self._draft = None

    def _link(self, path: str, target: str) -> None:
        parents = path.split("/")[:-1]
        if target.startswith("/") or _leaves(parents, target.split("/")):
            self._notes.append(f"{path}: a symlink that leaves the project ({target}), not copied")
            return
        if self._protection.within(f"{'/'.join(parents)}/{target}"):
            self._notes.append(f"{path}: a symlink into what decides what git or envtool do ({target}), not copied")
            return
        directory, name = self._enter(path)
        with directory:
            directory.link(name, target)
        self._paths.append(path)


def _leaves(parents: list[str], parts: list[str]) -> bool:
    """`..` may only lead, since what stands before it may itself be a symlink, and not above the project."""
    depth = len(parents)
    named = False
    for part in parts:
        if part == "..":
            depth -= 1
            if named or depth < 0:
                return True
        elif part not in ("", "."):
            named = True
    return False
