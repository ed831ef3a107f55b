"""Serves a pod's names to its members, over UDP and TCP, in the holder's one loop."""

from __future__ import annotations

import _socket

from envtool.container import event_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envtool.container.dns import DnsResolver

PORT = 53
_PACKETS = 32  # of one round, after which others have their turn
_MAX_STREAMS = 32  # connections; the oldest gives way to the next
_MAX_QUERY = 512  # bytes: a query is one name and what a client may add


class NameServer:
    """Listens on an address of the current network namespace. Raises OSError."""

    def __init__(self, loop: event_loop.EventLoop, resolver: DnsResolver, address: str) -> None:
        self._loop, self._resolver = loop, resolver
        self._streams: dict[_socket.socket, bytes] = {}  # what has come of a query, oldest connection first
        kinds = _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
        self._packets = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | kinds)
        self._listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | kinds)
        self._packets.bind((address, PORT))
        self._listener.bind((address, PORT))
        self._listener.listen(_MAX_STREAMS)
        loop.register(self._packets, event_loop.READ, self._answer_packets)
        loop.register(self._listener, event_loop.READ, self._accept)

    def _answer_packets(self) -> None:
        for _ in range(_PACKETS):
            try:
                query, client = self._packets.recvfrom(_MAX_QUERY + 1)
                if len(query) <= _MAX_QUERY and (answer := self._resolver.answer(query)):
                    self._packets.sendto(answer, client)
            except BlockingIOError:
                return
            except OSError:  # the client has gone, or cannot be reached
                continue

    def _accept(self) -> None:
        try:
            stream = event_loop.accept(self._listener)[0]
        except OSError:
            return
        stream.setblocking(False)
        if len(self._streams) >= _MAX_STREAMS:
            self._close(next(iter(self._streams)))
        self._streams[stream] = b""
        self._loop.register(stream, event_loop.READ, lambda: self._answer_stream(stream))

    def _answer_stream(self, stream: _socket.socket) -> None:
        """Answer the queries that have come, each after its length in two bytes (RFC 1035, 4.2.2)."""
        if stream not in self._streams:  # closed a moment ago
            return
        try:
            data = stream.recv(_MAX_QUERY + 2)
            received = self._streams[stream] + data
            while data and len(received) >= 2 and len(received) - 2 >= (size := int.from_bytes(received[:2], "big")):
                answer = self._resolver.answer(received[2 : 2 + size], stream=True)
                received = received[2 + size :]
                # A client that does not read its answers is not waited for.
                if not answer or stream.send(len(answer).to_bytes(2, "big") + answer) < len(answer) + 2:
                    data = b""
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or len(received) > _MAX_QUERY + 2:
            self._close(stream)
        else:
            self._streams[stream] = received

    def _close(self, stream: _socket.socket) -> None:
        del self._streams[stream]
        self._loop.unregister(stream)
        stream.close()
