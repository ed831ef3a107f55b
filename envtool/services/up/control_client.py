"""Sends requests to the service manager of a project, for the verbs."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from envtool.errors import UsageError
from envtool.services.up import control_protocol as protocol
from envtool.services.up.control_protocol import ControlError
from envtool.services.up.project_state import SOCKET, ProjectState, StateRecord

CONNECT_SECONDS = 5.0  # in which a manager that has just started begins to listen
SHORT_SECONDS = 30.0  # in which an answer arrives for which the manager waits for nothing


class ManagerAnswer:
    """The messages of an answer, as a context that closes the connection. `descriptors` are those of the last message;
    the caller closes them."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.descriptors: tuple[int, ...] = ()

    def __enter__(self) -> ManagerAnswer:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yields the messages as they arrive, except the last. Raises the error of the last message, or StoreError if
        the manager ends earlier."""
        while True:
            try:
                data, self.descriptors = protocol.receive(self.connection)
                if not data:
                    raise protocol.broken("it has ended")
                value = protocol.decode(data)
            except TimeoutError as error:
                raise protocol.broken("it is silent") from error
            except (ControlError, OSError) as error:
                raise protocol.broken(str(error)) from error
            if value.get("end") is True:
                if error_of := protocol.message_error(value):
                    raise error_of
                return
            yield value


def connect(state: ProjectState) -> socket.socket | None:
    """Returns a connection to the manager of a project; None if no manager runs. Raises StoreError if the manager runs
    and does not listen."""
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            descriptor = os.open(state.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                connection.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")
            finally:
                os.close(descriptor)
            if protocol.peer_user(connection) != os.geteuid():
                raise protocol.broken("another user's process has its socket")
        except OSError as error:
            connection.close()
            if not state.is_running():
                return None
            if time.monotonic() > deadline:
                raise protocol.broken(error.strerror or str(error)) from error
            time.sleep(0.02)
        else:
            return connection


def ask(
    state: ProjectState,
    command: str,
    *,
    descriptors: tuple[int, ...] = (),
    seconds: float | None = SHORT_SECONDS,
    **fields: Any,
) -> ManagerAnswer:
    """Sends a request. Returns its answer. `seconds`: the limit for each message of it; None: no limit. Raises
    UsageError (code up-not-running) if no manager runs, StoreError."""
    connection = connect(state)
    if connection is None:
        raise not_running()
    connection.settimeout(seconds)
    try:
        protocol.send(connection, {"version": protocol.VERSION, "command": command, **fields}, descriptors)
    except ControlError as error:
        connection.close()
        raise UsageError(str(error), code="up-protocol") from error
    except OSError as error:
        connection.close()
        raise protocol.broken(error.strerror or str(error)) from error
    return ManagerAnswer(connection)


def collect(state: ProjectState, command: str, **fields: Any) -> list[dict[str, Any]]:
    """Returns all messages of an answer, except the last. Raises as `ask` and `ManagerAnswer.messages`."""
    with ask(state, command, **fields) as answer:
        return list(answer.messages())


def wait_until_ended(state: ProjectState, connection: socket.socket, record: StateRecord | None) -> None:
    """Waits until the manager at the other end, whose record this is, has ended and released its lock."""
    connection.settimeout(None)
    with suppress(OSError, ControlError):
        while protocol.receive(connection)[0]:
            pass
    while state.is_running() and not state.has_another_holder(record):
        time.sleep(0.01)


def kill(state: ProjectState) -> None:
    """Kills a manager that does not answer. The process that listens on the socket (unix(7)) must be the one of the
    record, and the lock must be held: so the process id belongs to no other process."""
    record = state.read_record()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with connection, suppress(OSError):
        descriptor = os.open(state.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.settimeout(CONNECT_SECONDS)
            connection.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")
        finally:
            os.close(descriptor)
        number = protocol.peer_process(connection)
        if record is not None and record.pid == number and state.is_running():
            os.kill(number, signal.SIGKILL)


def not_running() -> UsageError:
    """Returns the error for a project without running services."""
    return UsageError("no services of this project run", code="up-not-running", hint="`envtool up` starts them")
