"""Calls functions when descriptors are ready, by epoll(7). The processes of a pod have one loop each.

The standard library's `selectors`, and its `socket` for which this has `accept`, would take 8 ms of the start of each
pod's holder, which the first container of a run waits for: two thirds of its imports. `_socket` is what `socket` is
made of.
"""

from __future__ import annotations

import _socket
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class HasDescriptor(Protocol):
        """A socket, or another object with a descriptor."""

        def fileno(self) -> int: ...


READ, WRITE = select.EPOLLIN, select.EPOLLOUT


class EventLoop:
    """Functions without arguments, one for each descriptor that is registered. One that is ready for neither, but
    broken, counts as ready."""

    __slots__ = ("_epoll", "_functions")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._functions: dict[int, Callable[[], object]] = {}

    def register(self, file: HasDescriptor | int, events: int, function: Callable[[], object]) -> None:
        """Have a function called when a descriptor, which has none yet, is ready for READ, WRITE, or either."""
        number = _number(file)
        self._epoll.register(number, events)
        self._functions[number] = function

    def modify(self, file: HasDescriptor | int, events: int, function: Callable[[], object]) -> None:
        """Replace what was registered for a descriptor."""
        number = _number(file)
        self._epoll.modify(number, events)
        self._functions[number] = function

    def unregister(self, file: HasDescriptor | int) -> None:
        """Call nothing more for a descriptor, which its caller closes afterwards. Raises KeyError without one."""
        number = _number(file)
        del self._functions[number]
        self._epoll.unregister(number)

    def run_once(self, seconds: float | None = None) -> int:
        """Wait until a descriptor is ready, for some seconds at most (None: without an end), and call the functions of
        all that are ready. One that another function has unregistered meanwhile is not called. Returns how many were
        called."""
        count = 0
        for number, _ in self._epoll.poll(seconds):
            function = self._functions.get(number)
            if function is not None:
                count += 1
                function()
        return count

    def __len__(self) -> int:
        """The number of descriptors that are registered."""
        return len(self._functions)

    def close(self) -> None:
        """Close the loop's own descriptor."""
        self._epoll.close()


def accept(listener: _socket.socket) -> tuple[_socket.socket, Any]:
    """Returns a connection and the address of its other end, as socket.socket.accept. Raises OSError."""
    number, address = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - as the standard library does it
    return _socket.socket(fileno=number), address


def _number(file: HasDescriptor | int) -> int:
    return file if isinstance(file, int) else file.fileno()
