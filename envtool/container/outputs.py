"""Evidence out of a container that is ending: collected inside as its root, written outside as the caller.

The stream between the two is a row of frames, each a 4-byte length and a message of messages.py; a "data" frame is
followed by its bytes. The receiver takes nothing on trust: no path leaves its directory, no symlink is followed, and
what decides what git or envtool do is not written (see protected.py). Sizes, times and counts are bounded. Holes stay
holes.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat

from envtool.container import messages
from envtool.container.protected_paths import Protection, is_repository, is_repository_sign
from envtool.fs.changes import PROCESS_CHANGES
from envtool.fs.directory import OpenDirectory
from envtool.fs.sizes import format_limit, format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from envtool.fs.directory import NewFile

_CHUNK = 1 << 18
_FRAME = 1 << 16  # bytes of a frame's head: two paths and a few numbers
_NOTES = 100  # of what could not be copied
MAX_ENTRIES = 100_000  # files, links and directories that are copied back
MAX_DEPTH = 200  # directories in each other
_MTIME_RANGE = (-(1 << 63), (1 << 63) - 1)  # nanoseconds that the project's own files can be known by


# ---- inside, after everything but pid 1 has ended ------------------------------------------------------------------


class _OutputSender:
    """What goes out, and how much more may."""

    __slots__ = ("entries", "pipe", "room", "sent")

    def __init__(self, pipe: int, limit: int) -> None:
        self.pipe = pipe
        self.room = limit  # bytes, holes and all
        self.entries = MAX_ENTRIES
        self.sent: set[str] = set()


def send_outputs(project: str, patterns: tuple[str, ...], pipe: int, limit: int) -> None:
    """Send what matches `patterns` (relative to `project`; `*`, `?`, `[]` and `**`), directories whole, once each.
    `limit` is the most that all files together may have, in bytes."""
    to = _OutputSender(pipe, limit)
    try:
        os.chdir(project)
        for pattern in patterns:
            parts = [part for part in pattern.split("/") if part not in ("", ".")]
            if ".." in parts or pattern.startswith("/"):
                _send_frame(pipe, ("note", f"{pattern}: leaves the project, not copied"))
                continue
            found, deep = _find_matches(parts or ["*"])  # `.` is all that is there
            if deep:
                _send_frame(pipe, ("note", f"{deep}: more than {MAX_DEPTH} directories deep, not copied"))
            if not found and not deep:
                _send_frame(pipe, ("note", f"{pattern}: nothing matches"))
            for path in sorted(found):
                _send(to, path)
                if to.entries < 0:
                    return
    except BrokenPipeError:
        return
    except OSError as error:
        _send_frame(pipe, ("note", f"{error.filename or project}: {error.strerror}, not copied"))
    finally:
        os.close(pipe)


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory or "."))
    except OSError:
        return []


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _find_matches(parts: list[str]) -> tuple[set[str], str]:
    """Paths that match the parts, symlinked directories not entered, and a directory that was too deep to be. Each is
    looked at once, whatever the pattern: with it goes the set of those parts that may be what comes next."""
    found: set[str] = set()
    deep = ""
    tests = [_compile_part(part) for part in parts]
    pending: list[tuple[str, set[int]]] = [("", _next_parts(0, parts))]
    while pending and len(found) <= MAX_ENTRIES:
        directory, places = pending.pop()
        if directory.count("/") >= MAX_DEPTH:
            deep = deep or directory
            continue
        listed = any(tests[place] for place in places)
        for name in _names(directory) if listed else dict.fromkeys(parts[place] for place in places):
            path = f"{directory}/{name}" if directory else name
            fitting = [place for place in places if _part_matches(tests[place], parts[place], name)]
            if not fitting or not os.path.lexists(path):
                continue
            inner = _is_directory(path)
            below: set[int] = set()
            for place in fitting:
                wild, last = parts[place] == "**", place == len(parts) - 1
                if last and not (wild and inner):
                    found.add(path)
                if inner and (wild or not last):
                    below |= _next_parts(place if wild else place + 1, parts)
            if below:
                pending.append((path, below))
    return found, deep


def matches_pattern(pattern: str, path: str) -> bool:
    """Whether a path, or a directory that it is in, is what a pattern of outputs means."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")] or ["*"]
    places = _next_parts(0, parts)
    for name in path.split("/"):
        fitting = [place for place in places if _part_matches(_compile_part(parts[place]), parts[place], name)]
        if len(parts) - 1 in fitting:
            return True
        places = {
            each for place in fitting for each in _next_parts(place if parts[place] == "**" else place + 1, parts)
        }
    return False


def _next_parts(place: int, parts: list[str]) -> set[int]:
    """The parts that a name may match where `place` comes next: a `**` may stand for no directory at all."""
    places = {place} if parts else set()
    while places and parts[place] == "**" and place + 1 < len(parts):
        place += 1
        places.add(place)
    return places


def _compile_part(part: str) -> Any:
    """None for a part that is a name; `fnmatch` makes expressions that never try twice."""
    return re.compile(fnmatch.translate(part)).match if any(c in part for c in "*?[") else None


def _part_matches(test: Any, part: str, name: str) -> bool:
    if test is None:
        return part == name
    if part == "**":
        return True
    return test(name) is not None and (not name.startswith(".") or part.startswith("."))


def _send(to: _OutputSender, path: str) -> None:
    if path in to.sent:
        return
    to.sent.add(path)
    to.entries -= 1
    if to.entries < 0:
        _send_frame(to.pipe, ("many", path))
        return
    try:
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode) and path.count("/") >= MAX_DEPTH:
            _send_frame(to.pipe, ("note", f"{path}: more than {MAX_DEPTH} directories deep, not copied"))
        elif stat.S_ISDIR(found.st_mode):
            _send_frame(to.pipe, ("directory", path, stat.S_IMODE(found.st_mode)))
            for name in _names(path):
                _send(to, f"{path}/{name}")
                if to.entries < 0:
                    return
        elif stat.S_ISLNK(found.st_mode):
            _send_frame(to.pipe, ("link", path, os.readlink(path)))
        elif stat.S_ISREG(found.st_mode) and found.st_size > to.room:
            _send_frame(to.pipe, ("large", path, found.st_size))
        elif stat.S_ISREG(found.st_mode):
            to.room -= found.st_size
            _send_file(to.pipe, path, found)
        else:
            _send_frame(to.pipe, ("note", f"{path}: not a file, directory or symlink, not copied"))
    except BrokenPipeError:
        raise
    except OSError as error:
        _send_frame(to.pipe, ("note", f"{path}: {error.strerror}, not copied"))


def _send_file(pipe: int, path: str, found: os.stat_result) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        moment = min(max(found.st_mtime_ns, _MTIME_RANGE[0]), _MTIME_RANGE[1])
        _send_frame(pipe, ("file", path, stat.S_IMODE(found.st_mode), moment, found.st_size))
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
                _send_frame(pipe, ("data", position, len(data)), data)
                position += len(data)
            position = max(position, end)
        _send_frame(pipe, ("end",))
    finally:
        os.close(descriptor)


def _send_frame(pipe: int, frame: tuple[Any, ...], data: bytes = b"") -> None:
    head = messages.pack(*frame)
    rest = memoryview(len(head).to_bytes(4, "little") + head + data)
    while rest:
        rest = rest[os.write(pipe, rest) :]


# ---- outside -------------------------------------------------------------------------------------------------------


class OutputReceiver:
    """Writes the stream below one directory. `owned`: give everything to that directory's owner (caller root).
    `protected` are paths below it that are no outputs unless one of `patterns` is the very path. `limit`: bytes of all
    files together."""

    def __init__(
        self,
        directory: str,
        *,
        owned: bool,
        protected: tuple[str, ...] = (),
        patterns: tuple[str, ...] = (),
        limit: int = 1 << 62,
    ) -> None:
        self._root = OpenDirectory.open(directory)
        self._root.owner = self._root.owner if owned else None
        self._root.changes = PROCESS_CHANGES
        self._protection = Protection(protected, patterns)
        self._refused: set[str] = set()
        self._swept: set[str] = set()
        self._not_repositories: set[str] = set()  # directories that are no repositories
        self._buffer = bytearray()
        self._paths: list[str] = []
        self._notes: list[str] = []
        self._more = 0  # notes beyond those
        self._limit = self._bytes_left = limit
        self._entries = MAX_ENTRIES
        self.lost = ""  # the first output that did not come back, and why: too large, or the system did not let us
        self._draft: NewFile | None = None
        self._attributes: tuple[str, int, int, int] = ("", 0, 0, 0)

    def feed(self, pipe: int) -> bool:
        """Take what the pipe has (blocks when there is nothing); False at its end."""
        data = os.read(pipe, _CHUNK)
        if not data:
            return False
        self._buffer += data
        while len(self._buffer) >= 4:
            size = 4 + int.from_bytes(self._buffer[:4], "little")
            if size > _FRAME:
                return self._reject_stream()
            if len(self._buffer) < size:
                break
            try:
                frame = messages.unpack(self._buffer[4:size])
                extra = _check_number(frame[2], 0, _CHUNK) if frame[0] == "data" else 0
            except (ValueError, EOFError, TypeError, IndexError, OSError):
                return self._reject_stream()
            if len(self._buffer) < size + extra:
                break
            payload = bytes(self._buffer[size : size + extra])
            del self._buffer[: size + extra]
            try:
                self._handle_frame(frame, payload)
            except (ValueError, TypeError, IndexError):
                return self._reject_stream()
        return True

    def _reject_stream(self) -> bool:
        self._note("the container sent what is no output: nothing more is copied")
        return False

    def _note(self, text: str) -> None:
        if len(self._notes) < _NOTES:
            self._notes.append(text)
        else:
            self._more += 1

    def copy(self, source: str, path: str, mode: int, mtime_ns: int, check: Callable[[], None] | None = None) -> None:
        """Write a file of the host at `path`, as if it came down the stream. What goes wrong is a note. `check` may
        raise, to stop it."""
        try:
            self._abandon()
            with open(source, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                self._begin(("file", path, mode, mtime_ns, size))
                position = 0
                while data := file.read(_CHUNK):
                    if check is not None:
                        check()
                    if data.strip(b"\0"):  # holes stay holes
                        self._write(data, position)
                    position += len(data)
            self._complete()
        except OSError as error:
            self._abandon()
            self._note_failure(path, error)

    def link(self, path: str, target: str) -> None:
        """Make a symlink, as if it came down the stream."""
        self._handle_frame(("link", path, target), b"")

    def finish(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The paths that were written and the notes about what was not."""
        self._abandon()
        self._root.close()
        more = [f"and {self._more} more that were not copied"] if self._more else []
        return tuple(self._paths), (*self._notes, *more)

    def _handle_frame(self, frame: tuple[object, ...], payload: bytes) -> None:
        kind, path = str(frame[0]), str(frame[1])[:_FRAME] if len(frame) > 1 else ""
        try:
            if kind == "note":
                self._note(path)
            elif kind in ("file", "directory", "link") and self._too_many(path):
                self._abandon()
            elif kind == "many":
                self._entries = 0
                self._too_many(path)
            elif kind == "large":
                self._note_too_large(path, _check_number(frame[2], 0))
            elif kind == "data":
                if self._draft is not None:
                    self._write(payload, _check_number(frame[1], 0, self._attributes[3] - len(payload)))
            elif kind == "end":
                self._complete()
            elif kind == "file":
                self._abandon()
                self._begin(frame)
            elif kind == "directory" and not self._is_refused(path, kind):
                self._root.open_below(path, make=True).close()
            elif kind == "link" and not self._is_refused(path, kind):
                self._link(path, str(frame[2]))
        except OSError as error:
            what = path if kind != "data" and path else self._attributes[0]
            self._abandon()
            self._note_failure(what, error)

    def _note_failure(self, path: str, error: OSError) -> None:
        """Note what was not written. What cannot be (EINVAL) is the container's fault, all else is that of this machine
        or of what is in the way here: then an output is missing."""
        text = f"{path}: {(error.strerror or str(error)).lower()}, not copied"
        if error.errno == errno.EINVAL or self.lost:
            self._note(text)
        else:
            self.lost = text

    def _too_many(self, path: str) -> bool:
        """Whether it is one too many."""
        self._entries -= 1
        if self._entries < 0 and not self.lost:
            self.lost = f"{path}: there are more than {MAX_ENTRIES:,} outputs, and no more are copied; name fewer"
        return self._entries < 0

    def _note_too_large(self, path: str, size: int) -> None:
        if not self.lost:
            self.lost = (
                f"{path}: {format_size(size)}, with which the outputs would be larger than"
                f" {format_limit(self._limit)} together;"
                " not copied: name fewer, or raise `outputs_limit` of the task"
            )

    def _is_refused(self, path: str, kind: str) -> bool:
        """Whether this may be no output; said once of each directory or file that is refused."""
        found = self._protection.refusal_reason(path, literal=kind == "file") or self._repository_part(path)
        if found is None:
            return False
        what, why = found
        if what not in self._refused:
            self._refused.add(what)
            self._note(f"{what}: {why}, not copied")
        return True

    def _repository_part(self, path: str) -> tuple[str, str] | None:
        """The part of a path that is in a bare repository, or would make one of a directory, and why it may not be.
        Raises OSError."""
        parts = path.split("/")
        for count, name in enumerate(parts):
            directory, sign = "/".join(parts[:count]), is_repository_sign(name)
            if directory in self._not_repositories and not sign:
                continue
            names = self._repository_signs(directory)
            if is_repository(names) or (sign and is_repository((*names, name))):
                return "/".join(
                    parts[: count + 1]
                ), f"with it `{directory or '.'}` is a repository, whose configuration git obeys"
            self._not_repositories.add(directory)
        return None

    def _repository_signs(self, directory: str) -> list[str]:
        """What is in a directory of the project that tells git of a repository."""
        try:
            with self._root.open_below(directory) as at:
                return [name for name in at.names() if is_repository_sign(name)]
        except FileNotFoundError:
            return []

    def _open_parent(self, path: str) -> tuple[OpenDirectory, str]:
        """The directory that a path is in, made where it is missing, and its name there."""
        parents, slash, name = path.rpartition("/")
        if name in ("", ".", "..") or (slash and not parents):
            raise OSError(22, "leaves the project")
        directory = self._root.open_below(parents, make=True)
        if parents not in self._swept:
            self._swept.add(parents)
            directory.sweep()
        return directory, name

    def _begin(self, frame: tuple[object, ...]) -> None:
        path, mode, size = str(frame[1]), _check_number(frame[2], 0, 0o7777), _check_number(frame[4], 0)
        mtime = min(max(_check_number(frame[3]), _MTIME_RANGE[0]), _MTIME_RANGE[1])
        if self._is_refused(path, "file"):
            return
        self._attributes = (path, mode, mtime, size)
        if size > self._bytes_left:
            self._note_too_large(path, size)
            return
        self._bytes_left -= size
        directory, _ = self._open_parent(path)
        with directory:
            self._draft = directory.begin_file(0o600)

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
        self._draft.rename_to(path.rpartition("/")[2], mode & 0o777 | 0o600)
        self._paths.append(path)
        self._abandon()

    def _abandon(self) -> None:
        if self._draft is not None:
            self._draft.abandon()
            self._draft = None

    def _link(self, path: str, target: str) -> None:
        parents = path.split("/")[:-1]
        if target.startswith("/") or _leaves_project(parents, target.split("/")):
            self._note(f"{path}: a symlink that leaves the project ({target}), not copied")
            return
        if self._protection.is_protected_target(f"{'/'.join(parents)}/{target}"):
            self._note(f"{path}: a symlink into what decides what git or envtool do ({target}), not copied")
            return
        directory, name = self._open_parent(path)
        with directory:
            directory.link(name, target)
        self._paths.append(path)


def _check_number(value: object, least: int | None = None, most: int | None = None) -> int:
    """A whole number that a frame holds. Raises OSError for what is none, or is out of bounds."""
    if type(value) is not int or (least is not None and value < least) or (most is not None and value > most):
        raise OSError(22, "a number that cannot be")
    return value


def _leaves_project(parents: list[str], parts: list[str]) -> bool:
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
