"""Joins connections to a port of the host's loopback with members of a pod, in the holder's one loop.

A socket belongs to the network namespace that it was made in: the caller makes the listening socket on the host, and
the holder accepts on it and connects from the pod. Bytes go through a pipe for each direction (splice(2)), at most
64 KiB of them at a time: a side that does not read stops the side that writes.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envtool.container.service_table import ServiceTable

_CHUNK = 1 << 16  # bytes: what a pipe holds
_ROUNDS = 4  # chunks of one connection before others have their turn
_ACCEPTS = 16  # connections taken at once
_SYN_COUNT = 2  # connecting is given up after 7 s (tcp(7), TCP_SYNCNT)
DESCRIPTORS = 6  # of one connection: two sockets, two pipes
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class _Direction:
    """Bytes on their way from one socket to another."""

    __slots__ = ("ended", "finished", "pending", "pipe", "source", "target")

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source, self.target = source, target
        self.pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.pending = 0  # bytes in the pipe
        self.ended = False  # the source sends no more
        self.finished = False  # and the target has been told

    def move(self) -> None:
        """Move what can be moved now. Raises OSError for a connection that is broken."""
        for _ in range(_ROUNDS):
            if not self.pending and not self.ended:
                try:
                    self.pending = os.splice(self.source.fileno(), self.pipe[1], _CHUNK, flags=os.SPLICE_F_NONBLOCK)
                except BlockingIOError:
                    return
                self.ended = not self.pending
            while self.pending:
                try:
                    self.pending -= os.splice(
                        self.pipe[0], self.target.fileno(), self.pending, flags=os.SPLICE_F_NONBLOCK
                    )
                except BlockingIOError:
                    return
            if self.ended:
                if not self.finished:
                    self.finished = True
                    self.target.shutdown(socket.SHUT_WR)
                return


class _Connection:
    """One client's connection, and the one to the member that it got."""

    def __init__(self, publisher: Publisher, client: socket.socket) -> None:
        self._publisher = publisher
        self._addresses: list[tuple[str, int]] = []  # of members that were not tried yet
        self._watched: dict[socket.socket, int] = {}
        self.client = client
        self.server: socket.socket | None = None
        self._closed = False
        self._directions: tuple[_Direction, ...] = ()

    def start(self, addresses: list[tuple[str, int]]) -> None:
        """Connect to the first of the members that accepts."""
        self._addresses = addresses
        try:
            self.client.setblocking(False)
            self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connect_next()
        except OSError:
            self.close(reset=True)

    def _connect_next(self) -> None:
        """Try the next member; the connection is refused where none is left."""
        while self._addresses:
            server = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            self.server = server
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, _SYN_COUNT)
            status = server.connect_ex(self._addresses.pop(0))
            if status in (0, errno.EINPROGRESS):
                self._watch(server, _WRITE)
                return
            self._forget(server)
        self.close(reset=True)

    def _connected(self) -> None:
        assert self.server is not None
        if self.server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._forget(self.server)
            self._connect_next()
            return
        self._directions = (_Direction(self.client, self.server), _Direction(self.server, self.client))
        self._move()

    def on_event(self) -> None:
        """Go on with what a socket is ready for."""
        try:
            if self._closed:  # by the other socket's event of the same moment
                return
            if self._directions:
                self._move()
            else:
                self._connected()
        except OSError:
            self.close(reset=True)

    def _move(self) -> None:
        for direction in self._directions:
            direction.move()
        if all(direction.finished for direction in self._directions):
            self.close()
            return
        wanted = dict.fromkeys((self.client, self._directions[0].target), 0)
        for direction in self._directions:
            if direction.pending:
                wanted[direction.target] |= _WRITE
            elif not direction.ended:
                wanted[direction.source] |= _READ
        for sock, events in wanted.items():
            self._watch(sock, events)

    def _watch(self, sock: socket.socket, events: int) -> None:
        before = self._watched.get(sock, 0)
        if events == before:
            return
        selector = self._publisher.selector
        if not before:
            selector.register(sock, events, self.on_event)
        elif events:
            selector.modify(sock, events, self.on_event)
        else:
            selector.unregister(sock)
        self._watched[sock] = events

    def _forget(self, sock: socket.socket) -> None:
        if self._watched.pop(sock, 0):
            self._publisher.selector.unregister(sock)
        sock.close()

    def close(self, *, reset: bool = False) -> None:
        """End it; with `reset` as broken, so that neither side takes what it got for the whole."""
        self._closed = True
        for sock in (self.client, self.server):
            if sock is not None and sock.fileno() >= 0:
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self._forget(sock)
        for direction in self._directions:
            for descriptor in direction.pipe:
                os.close(descriptor)
        self._directions = ()
        self._publisher.end(self)


class _Port:
    """One published port: its listening socket on the host, and where its connections go."""

    __slots__ = ("listener", "port", "publisher", "service")

    def __init__(self, publisher: Publisher, listener: socket.socket, service: str, port: int) -> None:
        self.publisher, self.listener, self.service, self.port = publisher, listener, service, port

    def on_event(self) -> None:
        """Accept connections."""
        for _ in range(_ACCEPTS):
            if not self.publisher.has_room():
                return
            try:
                client = self.listener.accept()[0]
            except OSError:  # none is left, or it has gone already, or there are no more descriptors
                return
            self.publisher.begin(client, self)


class Publisher:
    """All published ports of a pod. At most `limit` connections are open at once; more wait in the kernel's queue."""

    def __init__(self, selector: selectors.BaseSelector, table: ServiceTable, limit: int) -> None:
        self.selector = selector
        self._table, self._limit = table, limit
        self._ports: dict[int, _Port] = {}
        self._connections: set[_Connection] = set()
        self._paused = False

    def add(self, number: int, listener: socket.socket, service: str, port: int) -> None:
        """Serve a listening socket, which its caller names by a number."""
        listener.setblocking(False)
        added = self._ports[number] = _Port(self, listener, service, port)
        if not self._paused:
            self.selector.register(listener, _READ, added.on_event)

    def remove(self, number: int) -> None:
        """Accept no more connections; those that are open go on. Raises KeyError for a number that is not served."""
        removed = self._ports.pop(number)
        if not self._paused:
            self.selector.unregister(removed.listener)
        removed.listener.close()

    def has_room(self) -> bool:
        """Returns whether there may be one more connection."""
        return len(self._connections) < self._limit

    def begin(self, client: socket.socket, port: _Port) -> None:
        """Join a connection with a member that is ready, in turn; refuse it where there is none."""
        addresses = [(address, port.port) for address in self._table.in_turn(port.service, f"port {port.port}")]
        connection = _Connection(self, client)
        self._connections.add(connection)
        connection.start(addresses)
        if not self.has_room() and not self._paused:
            self._paused = True
            for each in self._ports.values():
                self.selector.unregister(each.listener)

    def end(self, connection: _Connection) -> None:
        """Forget a connection that has ended."""
        self._connections.discard(connection)
        if self._paused and self.has_room():
            self._paused = False
            for each in self._ports.values():
                self.selector.register(each.listener, _READ, each.on_event)

    @property
    def connections(self) -> int:
        """The number of connections that are open."""
        return len(self._connections)
