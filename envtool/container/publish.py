"""Joins connections to a port of the host's loopback with members of a pod, in the holder's one loop.

A socket belongs to the network namespace that it was made in: the caller makes the listening socket on the host, and
the holder accepts on it and connects from the pod. relay.py carries the bytes.
"""

from __future__ import annotations

import _socket
import errno

from envtool.container import event_loop
from envtool.container.relay import PipePool, Relay, reset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envtool.container.service_table import ServiceTable

_ACCEPTS = 16  # connections taken at once
_SYN_COUNT = 2  # connecting is given up after 7 s (tcp(7), TCP_SYNCNT)


class _Connection:
    """A client's connection, and the connection to the member that serves it."""

    def __init__(self, publisher: Publisher, client: _socket.socket) -> None:
        self._publisher = publisher
        self._addresses: list[tuple[str, int]] = []  # of members that were not tried yet
        self._client = client
        self._server: _socket.socket | None = None  # while it is being connected
        self._relay: Relay | None = None

    def start(self, addresses: list[tuple[str, int]]) -> None:
        """Connects to the first member that accepts."""
        self._addresses = addresses
        try:
            self._client.setblocking(False)
            self._client.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            self._connect_next()
        except OSError:
            self.close()

    def _connect_next(self) -> None:
        """Tries the next member. Resets the client's connection if none is left."""
        while self._addresses:
            server = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
            server.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            server.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_SYNCNT, _SYN_COUNT)
            status = server.connect_ex(self._addresses.pop(0))
            if status in (0, errno.EINPROGRESS):
                self._server = server
                self._publisher.loop.register(server, event_loop.WRITE, self._connected)
                return
            server.close()
        self.close()

    def _connected(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        self._publisher.loop.unregister(server)
        if server.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR):
            server.close()
            try:
                self._connect_next()
            except OSError:
                self.close()
            return
        sockets = (self._client, server)
        self._relay = Relay(self._publisher.loop, self._publisher.pipes, sockets, lambda: self._publisher.end(self))
        self._relay.on_event()

    def close(self) -> None:
        """Resets both connections."""
        if self._relay is not None:
            self._relay.close(broken=True)
            return
        if self._server is not None:
            self._publisher.loop.unregister(self._server)
            self._server.close()
            self._server = None
        reset(self._client)
        self._publisher.end(self)


class _Port:
    """One published port: its listening socket on the host, and where its connections go."""

    __slots__ = ("listener", "port", "publisher", "service")

    def __init__(self, publisher: Publisher, listener: _socket.socket, service: str, port: int) -> None:
        self.publisher, self.listener, self.service, self.port = publisher, listener, service, port

    def on_event(self) -> None:
        """Accept connections."""
        for _ in range(_ACCEPTS):
            if not self.publisher.has_room():
                return
            try:
                client = event_loop.accept(self.listener)[0]
            except OSError:  # none is left, or it has gone already, or there are no more descriptors
                return
            self.publisher.begin(client, self)


class Publisher:
    """All published ports of a pod. At most `limit` connections are open at once; more wait in the kernel's queue."""

    def __init__(self, loop: event_loop.EventLoop, table: ServiceTable, limit: int) -> None:
        self.loop = loop
        self.pipes = PipePool()
        self._table, self._limit = table, limit
        self._ports: dict[int, _Port] = {}
        self._connections: set[_Connection] = set()
        self._paused = False

    def add(self, number: int, listener: _socket.socket, service: str, port: int) -> None:
        """Serve a listening socket, which its caller names by a number."""
        listener.setblocking(False)
        added = self._ports[number] = _Port(self, listener, service, port)
        if not self._paused:
            self.loop.register(listener, event_loop.READ, added.on_event)

    def remove(self, number: int) -> None:
        """Accepts no more connections; open ones stay. Raises KeyError for an unknown number."""
        removed = self._ports.pop(number)
        if not self._paused:
            self.loop.unregister(removed.listener)
        removed.listener.close()

    def has_room(self) -> bool:
        """Returns whether there may be one more connection."""
        return len(self._connections) < self._limit

    def begin(self, client: _socket.socket, port: _Port) -> None:
        """Joins a connection with a member that is ready, in turn. Resets the connection if there is none."""
        addresses = [(address, port.port) for address in self._table.in_turn(port.service, f"port {port.port}")]
        connection = _Connection(self, client)
        self._connections.add(connection)
        connection.start(addresses)
        if not self.has_room() and not self._paused:
            self._paused = True
            for each in self._ports.values():
                self.loop.unregister(each.listener)

    def end(self, connection: _Connection) -> None:
        """Forget a connection that has ended."""
        self._connections.discard(connection)
        if not self._connections:
            self.pipes.clear()
        if self._paused and self.has_room():
            self._paused = False
            for each in self._ports.values():
                self.loop.register(each.listener, event_loop.READ, each.on_event)

    @property
    def connections(self) -> int:
        """The number of connections that are open."""
        return len(self._connections)
