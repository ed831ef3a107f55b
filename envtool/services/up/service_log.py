"""The log of all services of a project: one file of lines, in the order in which they were printed.

A line of the file is "SECONDS REPLICA TEXT": seconds since the epoch with milliseconds, the name of the replica, and
what it printed, with its control sequences. At LIMIT bytes the file becomes `log.old`, and a new one begins.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import NamedTuple

from envtool.services.up.project_state import LOG

OLD = f"{LOG}.old"
LIMIT = 16 << 20  # bytes of a file
MAX_LINE = 8192  # bytes; a longer line is several
MANAGER = "envtool"  # the name of the service manager's own lines
_CHUNK = 1 << 20
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class LogLine(NamedTuple):
    """A line that a replica printed; `time` in seconds since the epoch."""

    time: float
    replica: str
    text: str

    @property
    def service(self) -> str:
        """The name of its service."""
        return self.replica.rpartition("-")[0] or self.replica


class ServiceLog:
    """Writes the log in a directory. Called by any thread. `listen` gets each line after it is written."""

    def __init__(self, directory: str, listen: Callable[[LogLine], None] | None = None) -> None:
        self._directory = directory
        self._listen = listen
        self._lock = threading.Lock()
        self._partial: dict[str, bytes] = {}  # by replica: the beginning of a line
        self._file = self._open()

    def _open(self) -> int:
        descriptor = os.open(os.path.join(self._directory, LOG), _NEW_FILE, 0o600)
        self._size = os.fstat(descriptor).st_size
        return descriptor

    def feed(self, replica: str, data: bytes) -> None:
        """Writes a piece of a replica's output."""
        with self._lock:
            data = self._partial.pop(replica, b"") + data
            *whole, rest = data.split(b"\n")
            lines = [line[at : at + MAX_LINE] for line in whole for at in range(0, max(1, len(line)), MAX_LINE)]
            while len(rest) >= MAX_LINE:
                lines.append(rest[:MAX_LINE])
                rest = rest[MAX_LINE:]
            if rest:
                self._partial[replica] = rest
            self._write(replica, lines)

    def end(self, replica: str) -> None:
        """Writes a replica's last line, if it has no line feed."""
        with self._lock:
            if rest := self._partial.pop(replica, b""):
                self._write(replica, [rest])

    def note(self, text: str) -> None:
        """Writes a line of the service manager itself."""
        with self._lock:
            self._write(MANAGER, [line.encode(errors="replace") for line in text.splitlines()])

    def _write(self, replica: str, lines: list[bytes]) -> None:
        now = time.time()
        made = [LogLine(now, replica, _text(line)) for line in lines]
        data = "".join(f"{line.time:.3f} {line.replica} {line.text}\n" for line in made).encode()
        try:
            if self._size + len(data) > LIMIT and self._file >= 0:
                self._begin_anew()
            self._size += len(data)
            os.write(self._file, data)
        except OSError:  # a full disk must not end a service
            pass
        if self._listen is not None:
            for line in made:
                self._listen(line)

    def _begin_anew(self) -> None:
        """Begins a new file. Raises OSError; then the next line tries again."""
        with suppress(FileNotFoundError):  # an earlier attempt ended between the two steps
            os.replace(os.path.join(self._directory, LOG), os.path.join(self._directory, OLD))
        old, self._file = self._file, self._open()
        os.close(old)

    def close(self) -> None:
        """Closes the file. A second call does nothing."""
        with self._lock:
            descriptor, self._file = self._file, -1
            if descriptor >= 0:
                os.close(descriptor)


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode(errors="replace")


# ---- reading ---------------------------------------------------------------------------------------------------------


class LogReader:
    """Reads the log in a directory: the lines of some replicas or services, without `names` of all."""

    def __init__(self, directory: str, names: Collection[str] = ()) -> None:
        self._directory = directory
        self._names = frozenset(names)
        self._file = -1
        self._rest = b""

    def last(self, count: int | None) -> list[LogLine]:
        """Returns the last lines (None: all). `new` continues after them."""
        lines = [line for line in self._read_old() if self._is_wanted(line)]
        lines += self.new()
        return lines if count is None else lines[len(lines) - min(count, len(lines)) :]

    def new(self) -> list[LogLine]:
        """Returns the lines since the last call."""
        lines: list[LogLine] = []
        while True:
            if self._file < 0 and not self._open():
                return lines
            while data := os.read(self._file, _CHUNK):
                *whole, self._rest = (self._rest + data).split(b"\n")
                lines += filter(self._is_wanted, _parse_all(whole))
            if not self._is_replaced():
                return lines
            self.close()

    def close(self) -> None:
        """Closes the file. A second call does nothing."""
        descriptor, self._file, self._rest = self._file, -1, b""
        if descriptor >= 0:
            os.close(descriptor)

    def _is_wanted(self, line: LogLine) -> bool:
        if not self._names or line.replica in self._names or line.service in self._names:
            return True
        if line.replica != MANAGER:
            return False
        name, _, text = line.text.partition(" ")  # how one of them ended is seen beside what it printed
        return text.startswith(("ended", "did not end")) and not self._names.isdisjoint((name, name.rpartition("-")[0]))

    def _open(self) -> bool:
        try:
            self._file = os.open(os.path.join(self._directory, LOG), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        return True

    def _is_replaced(self) -> bool:
        """Whether the writer has begun a new file, which it does only after its last write to the old one."""
        try:
            return not os.path.samestat(os.stat(os.path.join(self._directory, LOG)), os.fstat(self._file))
        except FileNotFoundError:
            return False

    def _read_old(self) -> Iterator[LogLine]:
        try:
            with open(os.path.join(self._directory, OLD), "rb") as file:
                yield from _parse_all(file.read().split(b"\n"))
        except FileNotFoundError:
            return


def _parse_all(lines: list[bytes]) -> Iterator[LogLine]:
    for line in lines:
        seconds, _, rest = line.partition(b" ")
        replica, _, text = rest.partition(b" ")
        if not replica:  # half of a line, of a full disk
            continue
        try:
            yield LogLine(float(seconds), replica.decode(), text.decode(errors="replace"))
        except ValueError:
            continue
