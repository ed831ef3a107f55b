"""The messages between the holder of a pod and its gateway (messages.py), over a socket pair: each has at most one
descriptor.

    gateway: up
    holder:  dial NUMBER HOST PORT      connect to it, if the policy allows that
    gateway: connected NUMBER           or  failed NUMBER ERRNO REASON
    holder:  accepted NUMBER +socket    the member's side of a connection
    gateway: expired NUMBER             no member's side came
"""

from __future__ import annotations

import _socket
import collections
import sys

from envtool.container import event_loop, messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[tuple[int | str, ...], list[int]], None]

_MESSAGE, _ANCILLARY = 4096, 64  # bytes
_ROUND = 64  # messages that are handled before others have their turn
_MAX_QUEUED = 4096


class GatewayLink:
    """One end, in a process's loop. `handle` gets each message, and its descriptors, which are closed after it unless
    it takes them out of the list. `on_end` is called when the other process has ended.
    """

    def __init__(
        self, loop: event_loop.EventLoop, sock: _socket.socket, handle: Handler, on_end: Callable[[], None]
    ) -> None:
        self._loop, self._socket, self._handle, self._on_end = loop, sock, handle, on_end
        self._queue: collections.deque[tuple[bytes, _socket.socket | None]] = collections.deque()
        sock.setblocking(False)
        loop.register(sock, event_loop.READ, self._on_event)

    def send(self, *values: int | str, passed: _socket.socket | None = None) -> bool:
        """Send a message, and `passed`, which is closed then; later, if the other process has not read the earlier ones
        yet. Returns False where too many wait: then nothing is sent.
        """
        if len(self._queue) >= _MAX_QUEUED:
            return False
        self._queue.append((messages.pack(*values), passed))
        if len(self._queue) == 1 and not self._flush():
            self._loop.modify(self._socket, event_loop.READ | event_loop.WRITE, self._on_event)
        return True

    def _flush(self) -> bool:
        """Returns whether all is sent."""
        while self._queue:
            data, passed = self._queue[0]
            rights = passed.fileno().to_bytes(4, sys.byteorder) if passed is not None else b""
            ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if rights else []
            try:
                self._socket.sendmsg([data], ancillary, _socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                return False
            except ConnectionError:  # the other process has ended, which the next read reports
                self._queue.clear()
                return True
            except OSError:  # ETOOMANYREFS: this message is lost, and its socket closed
                pass
            self._queue.popleft()
            if passed is not None:
                passed.close()
        return True

    def _on_event(self) -> None:
        if self._queue and self._flush():
            self._loop.modify(self._socket, event_loop.READ, self._on_event)
        for _ in range(_ROUND):
            try:
                data, ancillary, flags, _ = self._socket.recvmsg(_MESSAGE, _ANCILLARY, _socket.MSG_CMSG_CLOEXEC)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data, ancillary, flags = b"", [], 0
            if not data or flags & _socket.MSG_TRUNC:
                self._loop.unregister(self._socket)
                self._on_end()
                return
            descriptors = messages.parse_ancillary(ancillary)[1]
            try:
                self._handle(messages.unpack(data), descriptors)
            finally:
                for descriptor in descriptors:
                    _socket.close(descriptor)
