"""The messages between a verb and the service manager of a project: JSON objects over a unix socket (SEQPACKET).

A request is one message, {"version": 1, "command": NAME, …}, perhaps with descriptors. The answer has any number of
messages; the last one has "end": true. No message is trusted: the manager checks sizes, types and ranges before it
acts, and refuses commands and fields that COMMANDS does not have.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from envtool.errors import EnvtoolError, MakeError, SpecError, StoreError, UsageError

VERSION = 1
MAX_MESSAGE = 128 << 10  # bytes: below the send buffer that every Linux has by default (212,992)
MAX_DESCRIPTORS = 3
MAX_WORDS, MAX_TEXT = 4096, 64 << 10  # of one list; characters of one text
MAX_REPLICAS = 1000
_MAX_ERROR = 24 << 10  # bytes that one text of an error may have as JSON; there are four
_CREDENTIALS = struct.Struct("iii")  # pid, uid, gid
_ANCILLARY = socket.CMSG_SPACE(4 * (MAX_DESCRIPTORS + 1))

TEXT, FLAG, NUMBER, TEXTS, COUNTS, OBJECT = "text", "flag", "number", "texts", "counts", "object"
# The fields of each command, with their types.
COMMANDS: dict[str, dict[str, str]] = {
    "status": {},
    "follow": {},  # no answer until the manager ends
    "up": {"request": OBJECT, "services": TEXTS, "watch": FLAG, "writable": FLAG},
    "scale": {"counts": COUNTS},
    "fresh": {"services": TEXTS},
    "stop": {"services": TEXTS},
    "exec": {"service": TEXT, "argv": TEXTS, "terminal": FLAG, "window": NUMBER, "variables": OBJECT},
}


class ControlError(ValueError):
    """A message that breaks the protocol."""


class ControlRequest(NamedTuple):
    """A request that was checked. Its receiver closes the descriptors."""

    command: str
    fields: dict[str, Any]
    descriptors: tuple[int, ...] = ()


def encode(value: dict[str, Any]) -> bytes:
    """Returns the bytes of a message. Raises ControlError for one that is too long."""
    data = json.dumps(value, separators=(",", ":")).encode("ascii")
    if len(data) > MAX_MESSAGE:
        raise ControlError(f"a message of {len(data)} bytes is too long")
    return data


def decode(data: bytes) -> dict[str, Any]:
    """Returns the object of a message. Raises ControlError."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ControlError("not JSON") from error
    if not isinstance(value, dict):
        raise ControlError("not an object")
    return value


def check_request(data: bytes, descriptors: tuple[int, ...] = ()) -> ControlRequest:
    """Returns the request of a message. Raises ControlError."""
    value = decode(data)
    version = value.pop("version", None)
    if type(version) is not int or version != VERSION:
        raise ControlError("the other side is of another version of envtool")
    command = value.pop("command", None)
    if not isinstance(command, str) or command not in COMMANDS:
        raise ControlError("unknown command")
    fields = COMMANDS[command]
    if value.keys() != fields.keys():
        raise ControlError(f"`{command}` has other fields")
    for name, kind in fields.items():
        if not _CHECKS[kind](value[name]):
            raise ControlError(f"`{name}` of `{command}` is not what it has to be")
    allowed = (0, 3) if command == "exec" else (0,)
    if len(descriptors) not in allowed:
        raise ControlError(f"`{command}` takes no such descriptors")
    return ControlRequest(command, value, descriptors)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT and "\0" not in value


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and len(value) <= MAX_WORDS and all(map(_is_text, value))


def _is_number(value: object) -> bool:
    return type(value) is int and -1 <= value < 1 << 32


def _is_counts(value: object) -> bool:
    return (
        isinstance(value, dict)
        and 0 < len(value) <= MAX_WORDS
        and all(type(count) is int and 0 <= count <= MAX_REPLICAS for count in value.values())
    )


_CHECKS: dict[str, Callable[[object], bool]] = {
    TEXT: _is_text,
    FLAG: lambda value: isinstance(value, bool),
    NUMBER: _is_number,
    TEXTS: _is_texts,
    COUNTS: _is_counts,
    OBJECT: lambda value: isinstance(value, dict),
}


# ---- sockets ---------------------------------------------------------------------------------------------------------


def send(connection: socket.socket, value: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    """Sends a message. Raises ControlError, OSError."""
    socket.send_fds(connection, [encode(value)], list(descriptors))


def receive(connection: socket.socket) -> tuple[bytes, tuple[int, ...]]:
    """Returns the bytes of the next message (b"" at the end) and its descriptors, which the caller closes. Raises
    ControlError for one that is too long, OSError."""
    data, ancillary, flags, _ = connection.recvmsg(MAX_MESSAGE, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
    descriptors: list[int] = []
    for _, kind, content in ancillary:
        if kind == socket.SCM_RIGHTS:
            descriptors += memoryview(content[: len(content) // 4 * 4]).cast("i").tolist()
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        close_all(descriptors)
        raise ControlError("a message is too long")
    return data, tuple(descriptors)


def close_all(descriptors: tuple[int, ...] | list[int]) -> None:
    """Closes descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


def peer_user(connection: socket.socket) -> int:
    """Returns the user id of the process at the other end (SO_PEERCRED, unix(7))."""
    return _credentials(connection)[1]


def peer_process(connection: socket.socket) -> int:
    """Returns the id of the process at the other end (SO_PEERCRED, unix(7))."""
    return _credentials(connection)[0]


def _credentials(connection: socket.socket) -> tuple[int, int, int]:
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, group = _CREDENTIALS.unpack(data)
    return process, user, group


# ---- errors as messages ---------------------------------------------------------------------------------------------


def error_message(error: EnvtoolError) -> dict[str, Any]:
    """Returns the last message of an answer, for an error."""
    message = error.message
    if isinstance(error, SpecError):  # as text: the problems themselves do not go through the socket
        message = "; ".join(f"{problem.where}: {problem.message}" for problem in error.problems)
    return {
        "end": True,
        "error": {
            "code": _fit(error.code),
            "message": _fit(message),
            "hint": _fit(error.hint),
            "output": _fit(error.output, end=True),
            "exit_status": error.exit_status,
        },
    }


def _fit(text: str, *, end: bool = False) -> str:
    """Returns the beginning of a text, or its end, that has no more than _MAX_ERROR bytes as JSON: up to twelve for one
    character."""
    characters = _MAX_ERROR
    while len(json.dumps(text)) > _MAX_ERROR:
        text = text[-characters:] if end else text[:characters]
        characters //= 2
    return text


def message_error(value: dict[str, Any]) -> EnvtoolError | None:
    """Returns the error of the last message of an answer; None if it has none."""
    fields = value.get("error")
    if not isinstance(fields, dict):
        return None
    texts = {name: str(fields.get(name, "")) for name in ("code", "message", "hint", "output")}
    status = fields.get("exit_status")
    made = {2: UsageError, 1: EnvtoolError}.get(status if isinstance(status, int) else 3, MakeError)
    error = made(texts["message"], code=texts["code"], hint=texts["hint"])
    error.output = texts["output"]
    return error


def broken(reason: str) -> StoreError:
    """Returns the error for a service manager that breaks the protocol, or does not answer."""
    return StoreError(
        f"the process that runs the services does not answer: {reason}",
        code="up-lost",
        hint="`envtool ps` shows whether it runs; `envtool down` ends it",
    )
