"""Serves the requests of verbs in the service manager: one thread accepts connections, and each has a thread of its
own.

Only processes of the same user get an answer (SO_PEERCRED), whatever the modes of the directories above are.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

from envtool.errors import EnvtoolError, UsageError, internal
from envtool.services.up import control_protocol as protocol
from envtool.services.up.control_protocol import ControlError, ControlRequest

MAX_CONNECTIONS = 64  # at once
REQUEST_SECONDS = 10.0  # in which a client has to send its request
SEND_SECONDS = 30.0  # in which a client has to receive a message


class Reply:
    """Sends the messages of an answer to a client."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, value: dict[str, Any], descriptors: tuple[int, ...] = ()) -> bool:
        """Sends a message of the answer. Returns False if the client has gone."""
        with self._lock:
            try:
                protocol.send(self._connection, value, descriptors)
            except OSError:
                return False
            return True

    def wait_for_end(self, until: Callable[[], bool]) -> None:
        """Waits until the client has gone, or `until` returns True."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN | select.POLLRDHUP)
        while not until():
            if poll.poll(200):
                return


Handler: TypeAlias = Callable[[ControlRequest, Reply], None]


class ControlServer:
    """A listening socket `name` in a directory, as a context. After it no request is accepted."""

    def __init__(self, directory: str, name: str, handle: Handler) -> None:
        self._handle = handle
        self._stop_reader, self._stop_writer = os.pipe()
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=descriptor)
            self._socket.bind(f"/proc/self/fd/{descriptor}/{name}")  # a path may be longer than a socket's may be
            os.chmod(name, 0o600, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        self._socket.listen(MAX_CONNECTIONS)
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)

    def __enter__(self) -> ControlServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread, and closes the socket. A second call does nothing."""
        if self._stop_writer >= 0:
            writer, self._stop_writer = self._stop_writer, -1
            os.close(writer)
            if self._thread.ident is not None:
                self._thread.join()
            os.close(self._stop_reader)
            self._socket.close()

    def _accept(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._stop_reader, select.POLLIN)
        while not any(descriptor == self._stop_reader for descriptor, _ in poll.poll()):
            try:
                connection, _ = self._socket.accept()
            except OSError:  # the client has gone, or no descriptor is free
                threading.Event().wait(0.05)
                continue
            if protocol.peer_user(connection) != os.geteuid() or not self._slots.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), name="control", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(REQUEST_SECONDS)
                reply = Reply(connection)
                try:
                    request = _read_request(connection)
                except ControlError as error:
                    hint = "is it of the version of `envtool` that started the services? `envtool down` ends them"
                    reply.send(protocol.error_message(UsageError(str(error), code="up-protocol", hint=hint)))
                except OSError:
                    pass
                else:
                    connection.settimeout(SEND_SECONDS)
                    self._answer(request, reply)
        finally:
            self._slots.release()

    def _answer(self, request: ControlRequest, reply: Reply) -> None:
        try:
            self._handle(request, reply)
            reply.send({"end": True})
        except EnvtoolError as error:
            reply.send(protocol.error_message(error))
        except Exception as error:  # a bug in one request ends no service
            reply.send(protocol.error_message(internal(error)))
        finally:
            protocol.close_all(request.descriptors)


def _read_request(connection: socket.socket) -> ControlRequest:
    data, descriptors = protocol.receive(connection)
    try:
        return protocol.check_request(data, descriptors)
    except ControlError:
        protocol.close_all(descriptors)
        raise
