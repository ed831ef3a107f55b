"""Joins two connections, in a loop that a process has: bytes of each go to the other, until both have ended.

Bytes go through a pipe (splice(2)), at most 64 KiB at a time in each direction, so that a side which does not read
stops the side which writes. A direction has a pipe only while bytes are in it: idle connections have none. When one
side ends its stream, the other side gets the end, and the opposite direction goes on. When one side breaks, the other
side gets a reset, so that it does not take a part for the whole.
"""

from __future__ import annotations

import _socket
import os
import struct

from envtool.container import event_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 1 << 16  # bytes: what a pipe holds
_ROUNDS = 4  # chunks of one connection before others have their turn
_SPARE_PIPES = 16
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset
DESCRIPTORS = 6  # of one connection at most: two sockets, two pipes


def reset(sock: _socket.socket) -> None:
    """Close a connection as broken: what was not sent yet is dropped, and the other side gets a reset."""
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _RESET)
    sock.close()


class PipePool:
    """Pipes that are empty, for the relays of one loop."""

    def __init__(self) -> None:
        self._pipes: list[tuple[int, int]] = []

    def take(self) -> tuple[int, int]:
        """Returns an empty pipe (its end to read, its end to write). Raises OSError."""
        return self._pipes.pop() if self._pipes else os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def give(self, pipe: tuple[int, int], *, empty: bool) -> None:
        """Take a pipe back. Close one that is not empty, and one too many."""
        if empty and len(self._pipes) < _SPARE_PIPES:
            self._pipes.append(pipe)
            return
        for descriptor in pipe:
            os.close(descriptor)

    def clear(self) -> None:
        """Close all."""
        while self._pipes:
            self.give(self._pipes.pop(), empty=False)


class _Direction:
    """Bytes on their way from one socket to another."""

    __slots__ = ("_pipes", "ended", "finished", "pending", "pipe", "source", "target")

    def __init__(self, pipes: PipePool, source: _socket.socket, target: _socket.socket) -> None:
        self._pipes = pipes
        self.source, self.target = source, target
        self.pipe: tuple[int, int] | None = None
        self.pending = 0  # bytes in the pipe
        self.ended = False  # the source sends no more
        self.finished = False  # and the target has the end of the stream

    def move(self) -> None:
        """Move what can be moved now. Raises OSError for a connection that is broken."""
        for _ in range(_ROUNDS):
            if self.finished or not (self._take_in() and self._give_out()):
                break
        self.release()

    def _take_in(self) -> bool:
        if self.pending or self.ended:
            return True
        self.pipe = self.pipe or self._pipes.take()
        try:
            self.pending = os.splice(self.source.fileno(), self.pipe[1], _CHUNK, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            return False
        self.ended = not self.pending
        return True

    def _give_out(self) -> bool:
        while self.pending:
            assert self.pipe is not None
            try:
                self.pending -= os.splice(self.pipe[0], self.target.fileno(), self.pending, flags=os.SPLICE_F_NONBLOCK)
            except BlockingIOError:
                return False
        if self.ended:
            self.finished = True
            self.target.shutdown(_socket.SHUT_WR)
        return True

    def release(self, *, closed: bool = False) -> None:
        """Give the pipe back, unless bytes are in it that will still go on."""
        if self.pipe is not None and (closed or not self.pending):
            self._pipes.give(self.pipe, empty=not self.pending)
            self.pipe = None


class Relay:
    """Two connections that are joined, until both directions have ended or one is broken: then both are closed, and
    `on_end` is called once. The sockets are non-blocking, and the relay's from now on.
    """

    def __init__(
        self,
        loop: event_loop.EventLoop,
        pipes: PipePool,
        sockets: tuple[_socket.socket, _socket.socket],
        on_end: Callable[[], None],
    ) -> None:
        self._loop, self._on_end = loop, on_end
        first, second = self._sockets = sockets
        self._watched = {first: 0, second: 0}
        self._directions = (_Direction(pipes, first, second), _Direction(pipes, second, first))
        self._closed = False

    def on_event(self) -> None:
        """Go on with what a socket is ready for. The first call begins."""
        if self._closed:  # by the other socket's event of the same moment
            return
        try:
            for direction in self._directions:
                direction.move()
            if all(direction.finished for direction in self._directions):
                self.close()
            else:
                self._watch()
        except OSError:
            self.close(broken=True)

    def _watch(self) -> None:
        wanted = dict.fromkeys(self._sockets, 0)
        for direction in self._directions:
            if direction.pending:
                wanted[direction.target] |= event_loop.WRITE
            elif not direction.ended:
                wanted[direction.source] |= event_loop.READ
        for sock, events in wanted.items():
            before = self._watched[sock]
            if events == before:
                continue
            self._watched[sock] = events
            if not before:
                self._loop.register(sock, events, self.on_event)
            elif events:
                self._loop.modify(sock, events, self.on_event)
            else:
                self._loop.unregister(sock)

    def close(self, *, broken: bool = False) -> None:
        """End both connections; with `broken` by a reset."""
        if self._closed:
            return
        self._closed = True
        for sock, events in self._watched.items():
            if events:
                self._loop.unregister(sock)
            if broken:
                reset(sock)
            else:
                sock.close()
        for direction in self._directions:
            direction.release(closed=True)
        self._on_end()
