"""What a container tells its supervisor: the wire format of the messages, their order, and how the container ended.

A message is a row of whole numbers and texts.

A message is one byte (the number of values), then for each value "i" and 8 bytes (signed, little-endian), or "s",
4 bytes (the length) and UTF-8. Reading a message, even a hostile one, makes nothing but such values, in time of its
length.
"""

from __future__ import annotations

import _socket
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envtool.container.limit_watch import Exceeded

_DEBUG = bool(os.environ.get("ENVTOOL_DEBUG"))  # read here: a step has an environment of its own
COLLECT_SECONDS = 600.0  # seconds from "end" to "done": outputs are copied back
HURRY_SECONDS = 0.8  # the same after an interrupt
_MAX_VALUES = 8  # values
# The messages that may follow each message. Each comes once; "error" may come at any time. A pid 1 that was made
# without a helper says "maps" itself, which then stands for "pid", too.
_NEXT = {
    "": ("maps",),
    "maps": ("pid",),
    "pid": ("up", "pty"),
    "pty": ("up",),
    "up": ("raised", "end"),
    "raised": ("end",),
    "end": ("done",),
    "done": (),
}
FAILURE_STAGES = ("unshare", "join", "ids", "source", "mounts", "cwd", "internal")  # where a container fails


class Exit:
    """How a container ended."""

    def __init__(self) -> None:
        self.status = 125  # as a shell shows it (128+n for signals); 124 timed out
        self.timed_out = False
        self.interrupted = False
        self.seconds = 0.0
        self.early = 0.0  # seconds that it ran before the run asked for it (early_run.py)
        self.cpu_seconds = 0.0  # user and system time of all its steps' processes
        self.memory = 0  # bytes of all its processes together, at the peak that was seen; 0: it ended before
        self.written = 0  # bytes that it wrote to its own files in memory, at its end, and to disks, in all
        self.exceeded: Exceeded | None = None  # the limit that ended it
        self.outputs: tuple[str, ...] = ()  # relative paths of the outputs that were copied
        self.network_tried: tuple[tuple[str, ...], int] = ((), 0)  # where it failed (lone_network.read_attempts)
        self.notes: tuple[str, ...] = ()  # outputs that could not be copied, and why
        self.lost = ""  # the first output that was lost, and why
        self.opened: tuple[str, ...] | None = None  # watched directories, and files in them; None: not known
        self.unread: tuple[str, ...] | None = None  # of an observed tree (looked_up_names.py); None: not known
        self.unread_reason = ""  # why it is not known
        self.error = ""  # of a `call` step that raised: type and text

    @property
    def ends_early(self) -> bool:
        """Whether it was asked to end before its steps had ended."""
        return self.interrupted or self.timed_out

    def __repr__(self) -> str:
        return f"Exit({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class StageError(Exception):
    """A stage of the start failed. `report` is the message to the supervisor, which raises it."""

    def __init__(self, stage: str, error: OSError, text: str = "") -> None:
        super().__init__(stage)
        self.report = ("error", stage, error.errno or 0, text or str(error.strerror or error))


class SourceError(OSError):
    """A source on the host could not be opened."""


def pack(*values: int | str) -> bytes:
    """Returns the bytes of a message. Raises OverflowError for a number beyond 64 bits, ValueError for many values."""
    if len(values) > _MAX_VALUES:
        raise ValueError(f"a message holds {_MAX_VALUES} values, not {len(values)}")
    parts = [bytes((len(values),))]
    for value in values:
        if isinstance(value, int):
            parts += b"i", value.to_bytes(8, "little", signed=True)
        else:
            text = value.encode("utf-8", "surrogatepass")
            parts += b"s", len(text).to_bytes(4, "little"), text
    return b"".join(parts)


def unpack(data: bytes | bytearray) -> tuple[int | str, ...]:
    """Returns the values of a message. Raises ValueError for bytes that `pack` never wrote."""
    values: list[int | str] = []
    if not data or data[0] > _MAX_VALUES:
        raise ValueError("not a message")
    position = 1
    for _ in range(data[0]):
        kind, position = data[position : position + 1], position + 1
        size = 8 if kind == b"i" else int.from_bytes(data[position : position + 4], "little")
        position += 0 if kind == b"i" else 4
        content, position = bytes(data[position : position + size]), position + size
        if position > len(data) or kind not in (b"i", b"s"):
            raise ValueError("not a message")
        values.append(
            int.from_bytes(content, "little", signed=True) if kind == b"i" else str(content, "utf-8", "surrogatepass")
        )
    if position != len(data):
        raise ValueError("not a message")
    return tuple(values)


def is_in_turn(kind: str, last: str, *, terminal: bool) -> bool:
    """Returns whether a message may follow the message `last`; one with a `terminal` sends it before its steps run."""
    return kind in _NEXT[last] and (last != "pid" or (kind == "pty") == terminal)


def send(channel: int, descriptors: list[int], *values: int | str) -> None:
    """Sends a message with descriptors over a socket. Raises OSError."""
    rights = b"".join(descriptor.to_bytes(4, sys.byteorder) for descriptor in descriptors)
    sock = _socket.socket(fileno=channel)
    try:
        sock.sendmsg([pack(*values)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if descriptors else [])
    finally:
        sock.detach()


def is_closed(channel: int) -> bool:
    """Returns whether the other end of a socket is closed, and all that it sent has been read."""
    sock = _socket.socket(fileno=channel)
    try:
        return not sock.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    finally:
        sock.detach()


def parse_ancillary(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, list[int]]:
    """Returns the pid of the process that sent a message (0: unknown), and the descriptors that came with it."""
    sender, descriptors = 0, []
    for _, kind, data in ancillary:
        numbers = [
            int.from_bytes(data[position : position + 4], sys.byteorder) for position in range(0, len(data) - 3, 4)
        ]
        if kind == _socket.SCM_CREDENTIALS:
            sender = numbers[0]
        elif kind == _socket.SCM_RIGHTS:
            descriptors += numbers
    return sender, descriptors


def report_error(channel: int, error: BaseException) -> None:
    """Sends the message of an error that ended the start of a container, or of a step."""
    if isinstance(error, StageError):
        report = error.report
    elif isinstance(error, SourceError):
        report = ("error", "source", error.errno or 0, str(error.strerror))
    elif isinstance(error, OSError):
        report = ("error", "mounts", error.errno or 0, f"{describe_os_error(error)}{traceback_summary(error)}")
    else:
        report = ("error", "internal", 0, f"{type(error).__name__}: {error}{traceback_summary(error)}")
    try:
        os.write(channel, pack(*report))
    except OSError:
        pass


def describe_os_error(error: OSError) -> str:
    """Returns the system's error text, with the file's name where there is one."""
    has_name = isinstance(error.filename, str | bytes) and error.filename
    return f"{os.fsdecode(error.filename)}: {error.strerror or error}" if has_name else str(error.strerror or error)


def traceback_summary(error: BaseException) -> str:
    """Returns the innermost places of a traceback, if ENVTOOL_DEBUG is set. The module `traceback` cannot be used: it
    reads sources and imports.
    """
    if not _DEBUG:
        return ""
    lines, traceback = list[str](), error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        lines.append(f"{code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return f" ({' < '.join(reversed(lines[-4:]))})" if lines else ""
