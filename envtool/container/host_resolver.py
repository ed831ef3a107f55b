"""Looks up names by this machine's resolver (getaddrinfo(3)). It blocks, so it runs in threads, for a loop that must
not block.

The threads are started once: the filter of the process that has them lets it start no more. Queries for one name that
come while it is being looked up share the answer; none is kept, so that a name may lead elsewhere a moment later.
"""

from __future__ import annotations

import _thread
import collections
import os
import socket
from _queue import SimpleQueue

from envtool.container import event_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Addresses = list[tuple[socket.AddressFamily, str]]

_THREADS = 8
_STACK = 1 << 18  # bytes: getaddrinfo puts answers of 64 KiB on it


class HostResolver:
    """Looks up names in `_THREADS` threads, and calls back in the loop of `loop`."""

    def __init__(self, loop: event_loop.EventLoop) -> None:
        self._queries: SimpleQueue[str] = SimpleQueue()
        self._answers: collections.deque[tuple[str, Addresses, str]] = collections.deque()
        self._waiting: dict[str, list[Callable[[Addresses, str], None]]] = {}
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        loop.register(self._read, event_loop.READ, self._on_event)
        before = _thread.stack_size(_STACK)
        for _ in range(_THREADS):
            _thread.start_new_thread(self._work, ())
        _thread.stack_size(before)

    def look_up(self, name: str, then: Callable[[Addresses, str], None]) -> None:
        """Call `then` later, with the addresses of a name in the resolver's order, and "" or why there are none."""
        waiting = self._waiting.setdefault(name, [])
        waiting.append(then)
        if len(waiting) == 1:
            self._queries.put(name)

    def _work(self) -> None:
        while True:
            name = self._queries.get()
            addresses: Addresses = []
            reason = ""
            try:
                found = socket.getaddrinfo(name.encode(), None, type=socket.SOCK_STREAM)
                addresses = list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))
            except OSError as error:  # socket.gaierror is one
                reason = str(error.strerror or error)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
            self._answers.append((name, addresses, reason))
            try:
                os.write(self._write, b"x")
            except BlockingIOError:  # the loop has not read the earlier ones, and will see this one with them
                pass

    def _on_event(self) -> None:
        try:
            os.read(self._read, 4096)
        except BlockingIOError:
            pass
        while self._answers:
            name, addresses, reason = self._answers.popleft()
            for then in self._waiting.pop(name, ()):
                then(addresses, reason)
