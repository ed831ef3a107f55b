"""Copies outputs out of a container that is ending: sent inside by its root, received outside by the caller.

The stream between the two is a row of frames, each a 4-byte length and a message of messages.py; a "data" frame is
followed by its bytes. The receiver takes nothing on trust: no path leaves its directory, no symlink is followed, and
files that decide what git or envtool do are not written (protected_paths.py). Sizes, times and counts are bounded.
Holes stay holes.
"""

from __future__ import annotations

import errno
import os
import stat

from envtool.container import messages
from envtool.container.output_patterns import MAX_DEPTH, MAX_ENTRIES, find_matches, list_names
from envtool.container.protected_paths import Protection, is_repository, is_repository_sign
from envtool.fs.changes import PROCESS_CHANGES
from envtool.fs.directory import OpenDirectory
from envtool.fs.sizes import format_limit, format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from envtool.fs.directory import NewFile
    from envtool.fs.masking import SecretForms

_CHUNK = 1 << 18
_FRAME = 1 << 16  # bytes of a frame's head: two paths and a few numbers
_NOTES = 100  # notes about files that were not copied
_MTIME_RANGE = (-(1 << 63), (1 << 63) - 1)  # nanoseconds that a snapshot of the project can hold


# ---- inside, after everything but pid 1 has ended ------------------------------------------------------------------


class _OutputSender:
    """The pipe, and how many bytes and entries may still be sent."""

    __slots__ = ("apart", "bytes_left", "entries", "pipe", "sent")

    def __init__(self, pipe: int, limit: int, apart: tuple[str, ...]) -> None:
        self.pipe = pipe
        self.bytes_left = limit  # holes count as data
        self.entries = MAX_ENTRIES
        self.sent: set[str] = set()
        self.apart = apart


def send_outputs(project: str, patterns: tuple[str, ...], pipe: int, limit: int, apart: tuple[str, ...] = ()) -> None:
    """Send what matches `patterns` (relative to `project`; `*`, `?`, `[]` and `**`), directories with all that is in
    them, each path once. `limit`: bytes of all files together. What is at or below a path of `apart` is no output.
    """
    sender = _OutputSender(pipe, limit, apart)
    try:
        os.chdir(project)
        for pattern in patterns:
            parts = [part for part in pattern.split("/") if part not in ("", ".")]
            if ".." in parts or pattern.startswith("/"):
                _send_frame(pipe, ("note", f"{pattern}: leaves the project, not copied"))
                continue
            paths, too_deep = find_matches(parts or ["*"])  # the pattern `.` means all of the project
            if too_deep:
                _send_frame(pipe, ("deep", too_deep))
            if not paths and not too_deep:
                _send_frame(pipe, ("note", f"{pattern}: nothing matches"))
            for path in sorted(paths):
                _send(sender, path)
                if sender.entries < 0:
                    return
    except BrokenPipeError:
        return
    except OSError as error:
        _send_frame(pipe, ("note", f"{error.filename or project}: {error.strerror}, not copied"))
    finally:
        os.close(pipe)


def _send(sender: _OutputSender, path: str) -> None:
    if path in sender.sent or any(f"{path}/".startswith(f"{cache}/") for cache in sender.apart):
        return
    sender.sent.add(path)
    sender.entries -= 1
    if sender.entries < 0:
        _send_frame(sender.pipe, ("many", path))
        return
    try:
        info = os.lstat(path)
        if stat.S_ISDIR(info.st_mode) and path.count("/") >= MAX_DEPTH:
            _send_frame(sender.pipe, ("deep", path))
        elif stat.S_ISDIR(info.st_mode):
            _send_frame(sender.pipe, ("directory", path, stat.S_IMODE(info.st_mode)))
            for name in list_names(path):
                _send(sender, f"{path}/{name}")
                if sender.entries < 0:
                    return
        elif stat.S_ISLNK(info.st_mode):
            _send_frame(sender.pipe, ("link", path, os.readlink(path)))
        elif stat.S_ISREG(info.st_mode) and info.st_size > sender.bytes_left:
            _send_frame(sender.pipe, ("large", path, info.st_size))
        elif stat.S_ISREG(info.st_mode):
            sender.bytes_left -= info.st_size
            _send_file(sender.pipe, path, info)
        else:
            _send_frame(sender.pipe, ("note", f"{path}: not a file, directory or symlink, not copied"))
    except BrokenPipeError:
        raise
    except OSError as error:
        _send_frame(sender.pipe, ("note", f"{path}: {error.strerror}, not copied"))


def _send_file(pipe: int, path: str, info: os.stat_result) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mtime = min(max(info.st_mtime_ns, _MTIME_RANGE[0]), _MTIME_RANGE[1])
        _send_frame(pipe, ("file", path, stat.S_IMODE(info.st_mode), mtime, info.st_size))
        position = 0
        while position < info.st_size:
            try:
                start = os.lseek(descriptor, position, os.SEEK_DATA)
            except OSError:  # ENXIO: a hole to the end
                break
            end = min(os.lseek(descriptor, start, os.SEEK_HOLE), info.st_size)
            position = start
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
    remaining = memoryview(len(head).to_bytes(4, "little") + head + data)
    while remaining:
        remaining = remaining[os.write(pipe, remaining) :]


# ---- outside -------------------------------------------------------------------------------------------------------


class OutputReceiver:
    """Writes the stream below one directory. `owned`: everything is given to that directory's owner (the caller is
    root). `protected`: paths below it that are no outputs unless one of `patterns` is the very path. `limit`: bytes of
    all files together. An output that contains one of `secrets`, in a form that masking.py knows, is lost.
    """

    def __init__(
        self,
        directory: str,
        *,
        owned: bool,
        protected: tuple[str, ...] = (),
        patterns: tuple[str, ...] = (),
        limit: int = 1 << 62,
        secrets: tuple[bytes, ...] = (),
    ) -> None:
        self._forms: SecretForms | None = None
        if secrets:
            from envtool.fs.masking import SecretForms

            self._forms = SecretForms(secrets)
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
        self._more = 0  # notes beyond _NOTES
        self._limit = self._bytes_left = limit
        self._entries = MAX_ENTRIES
        self.lost = ""  # the first output that was not copied, and why: it is too large, or the system refused
        self._draft: NewFile | None = None
        self._attributes: tuple[str, int, int, int] = ("", 0, 0, 0)

    def feed(self, pipe: int) -> bool:
        """Handle what the pipe holds; blocks while it is empty. Returns False at its end."""
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
                payload_size = _check_number(frame[2], 0, _CHUNK) if frame[0] == "data" else 0
            except (ValueError, EOFError, TypeError, IndexError, OSError):
                return self._reject_stream()
            if len(self._buffer) < size + payload_size:
                break
            payload = bytes(self._buffer[size : size + payload_size])
            del self._buffer[: size + payload_size]
            try:
                self._handle_frame(frame, payload)
            except (ValueError, TypeError, IndexError):
                return self._reject_stream()
        return True

    def _reject_stream(self) -> bool:
        self._note("the container sent an invalid frame: nothing more is copied")
        return False

    def _note(self, text: str) -> None:
        if len(self._notes) < _NOTES:
            self._notes.append(text)
        else:
            self._more += 1

    def copy(self, source: str, path: str, mode: int, mtime_ns: int, check: Callable[[], None] | None = None) -> None:
        """Write a file of the host at `path`, as if it came down the stream. A failure becomes a note. `check` may
        raise, to stop the copy.
        """
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

    def directory(self, path: str) -> None:
        """Make a directory, as if it came down the stream."""
        self._handle_frame(("directory", path, 0o755), b"")

    def link(self, path: str, target: str) -> None:
        """Make a symlink, as if it came down the stream."""
        self._handle_frame(("link", path, target), b"")

    def finish(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Returns the paths that were written, and the notes about those that were not."""
        self._abandon()
        self._root.close()
        more = [f"and {self._more} more that were not copied"] if self._more else []
        return tuple(self._paths), (*self._notes, *more)

    def _handle_frame(self, frame: tuple[object, ...], payload: bytes) -> None:
        kind, path = str(frame[0]), str(frame[1])[:_FRAME] if len(frame) > 1 else ""
        try:
            if kind not in ("data", "end") and self._names_secret(frame):
                self._abandon()
            elif kind == "note":
                self._note(path)
            elif kind in ("file", "directory", "link") and self._too_many(path):
                self._abandon()
            elif kind == "many":
                self._entries = 0
                self._too_many(path)
            elif kind == "deep":
                self._note_too_deep(path)
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
            failed_path = path if kind != "data" and path else self._attributes[0]
            self._abandon()
            self._note_failure(failed_path, error)

    def _note_failure(self, path: str, error: OSError) -> None:
        """Note a path that was not written. EINVAL means that the container sent a path that cannot be written; every
        other error is of this machine or of what is in the way here, so an output is missing.
        """
        text = f"{path}: {(error.strerror or str(error)).lower()}, not copied"
        if error.errno == errno.EINVAL or self.lost:
            self._note(text)
        else:
            self.lost = text

    def _names_secret(self, frame: tuple[object, ...]) -> bool:
        """Returns whether a path of a frame, or the target of its link, contains a secret. Such an output is lost, and
        no message may have its name.
        """
        texts = "\n".join(str(value) for value in frame[1:3])
        if self._forms is None or not self._forms.are_in(texts.encode("utf-8", "surrogateescape")):
            return False
        self.lost = self.lost or "an output has a secret in its name, and is not copied"
        return True

    def _too_many(self, path: str) -> bool:
        """Count an entry. Returns whether there are too many."""
        self._entries -= 1
        if self._entries < 0 and not self.lost:
            self.lost = f"{path}: there are more than {MAX_ENTRIES:,} outputs, and no more are copied; name fewer"
        return self._entries < 0

    def _note_too_deep(self, path: str) -> None:
        if not self.lost:
            self.lost = f"{path}: more than {MAX_DEPTH} directories deep, not copied; name what lies less deep"

    def _note_too_large(self, path: str, size: int) -> None:
        if not self.lost:
            self.lost = (
                f"{path}: {format_size(size)}, with which the outputs would be larger than"
                f" {format_limit(self._limit)} together;"
                " not copied: name fewer, or raise `outputs_limit` of the task"
            )

    def _is_refused(self, path: str, kind: str) -> bool:
        """Returns whether a path may be no output. Each directory or file that is refused is noted once."""
        refusal = self._protection.refusal_reason(path, literal=kind == "file") or self._repository_part(path)
        if refusal is None:
            return False
        refused, reason = refusal
        if refused not in self._refused:
            self._refused.add(refused)
            self._note(f"{refused}: {reason}, not copied")
        return True

    def _repository_part(self, path: str) -> tuple[str, str] | None:
        """Returns the part of a path that is in a bare repository, or would make one of a directory, and the reason;
        None where there is none. Raises OSError.
        """
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
        """Returns the names in a directory of the project by which git recognizes a repository."""
        try:
            with self._root.open_below(directory) as opened:
                return [name for name in opened.names() if is_repository_sign(name)]
        except FileNotFoundError:
            return []

    def _open_parent(self, path: str) -> tuple[OpenDirectory, str]:
        """Returns the directory that a path is in, made where it is missing, and the path's last component."""
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
        remaining = memoryview(payload)
        while remaining:
            count = os.pwrite(self._draft.fd, remaining, position)
            remaining, position = remaining[count:], position + count

    def _complete(self) -> None:
        if self._draft is None:
            return
        path, mode, mtime, size = self._attributes
        os.ftruncate(self._draft.fd, size)
        if self._forms is not None and self._contains_secret(self._draft.fd, size):
            self._abandon()
            self.lost = self.lost or f"{path}: contains a secret, not copied; let the task leave it out"
            return
        os.utime(self._draft.fd, ns=(mtime, mtime))
        self._draft.rename_to(path.rpartition("/")[2], mode & 0o777 | 0o600)
        self._paths.append(path)
        self._abandon()

    def _contains_secret(self, descriptor: int, size: int) -> bool:
        """Returns whether a whole file does: the frames may have come in any order."""
        assert self._forms is not None
        masker, position = self._forms.masker(), 0
        while position < size and not masker.found:
            data = os.pread(descriptor, _CHUNK, position)
            if not data:
                break
            masker.feed(data)
            position += len(data)
        masker.finish()
        return masker.found

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


def open_receiver(
    directory: str,
    *,
    owned: bool,
    protected: tuple[str, ...],
    patterns: tuple[str, ...],
    limit: int,
    secrets: tuple[bytes, ...] = (),
) -> OutputReceiver:
    """Returns a receiver, which refuses outputs with one of `secrets`. Raises SandboxError where the directory cannot
    be opened.
    """
    try:
        return OutputReceiver(
            directory, owned=owned, protected=protected, patterns=patterns, limit=limit, secrets=secrets
        )
    except OSError as error:
        from envtool.container.kernel_errors import sandbox_error

        raise sandbox_error("source", error.errno or 0, f"{directory}: {error.strerror}") from error


def _check_number(value: object, least: int | None = None, most: int | None = None) -> int:
    """Returns a whole number of a frame. Raises OSError for any other value, and for a number out of bounds."""
    if type(value) is not int or (least is not None and value < least) or (most is not None and value > most):
        raise OSError(22, "a number that cannot be")
    return value


def _leaves_project(parents: list[str], parts: list[str]) -> bool:
    """Returns whether `..` leads above the project, or follows a name, which may itself be a symlink."""
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
