"""Connects to one destination outside of a pod, for the gateway's loop: by each address that its name has, or through
this machine's HTTP proxy.

Addresses are tried in the resolver's order, IPv6 and IPv4 in turn; where one has not answered after 0.25 s, or has
refused, the next is tried beside it, and the first connection wins (RFC 8305). The address that is connected to is the
one that was checked: the name is not looked up again in between. A proxy is asked by CONNECT (RFC 9110, 9.3.6); it
looks up the name itself.
"""

from __future__ import annotations

import errno
import os
import socket
from functools import partial

from envtool.container import event_loop
from envtool.container.network_policy import format_destination, is_host_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from envtool.container.host_resolver import Addresses, HostResolver
    from envtool.container.network_policy import NetworkPolicy

    class Dialler(Protocol):
        """What a dial needs of the gateway: its loop, resolver, policy and proxy, and `call_later`."""

        loop: event_loop.EventLoop
        resolver: HostResolver
        policy: NetworkPolicy
        proxy: Any  # net.host_config.TunnelProxy, or None

        def uses_proxy(self, host: str, port: int) -> bool: ...
        def call_later(self, seconds: float, function: Callable[[], None]) -> list[Any]: ...


_STAGGER = 0.25  # s
_SECONDS = 30.0  # limit of the whole attempt
_MAX_ADDRESSES = 16
_MAX_HEADER = 8192  # bytes of a proxy's answer
_NOT_SOCKETS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Dial:
    """An attempt to connect. It calls `then` once: with the connected socket, 0 and "", or with None, the error's
    number and the reason.
    """

    def __init__(
        self, dialler: Dialler, host: str, port: int, then: Callable[[socket.socket | None, int, str], None]
    ) -> None:
        self._dialler, self._host, self._port, self._then = dialler, host, port, then
        self._addresses: Addresses = []
        self._sockets: set[socket.socket] = set()  # being connected, or waiting for the proxy
        self._by_proxy = False
        self._error = errno.EHOSTUNREACH
        self._header = -1  # bytes of the proxy's answer that have come
        self._ended = False
        self._deadline: list[Any] | None = None
        self._stagger: list[Any] | None = None

    def start(self) -> None:
        """Begin. `then` may be called at once."""
        if not self._dialler.policy.allows(self._host, self._port):
            self._end(None, errno.EACCES, "the policy does not allow it")
            return
        self._deadline = self._dialler.call_later(_SECONDS, lambda: self._fail(errno.ETIMEDOUT))
        self._by_proxy = self._dialler.uses_proxy(self._host, self._port)
        host = self._dialler.proxy.host if self._by_proxy else self._host
        if is_host_name(host):
            self._dialler.resolver.look_up(host, self._begin)
        else:
            self._begin([(socket.AF_INET6 if ":" in host else socket.AF_INET, host)], "")

    def _begin(self, addresses: Addresses, reason: str) -> None:
        if self._ended:
            return
        if not addresses:
            whose = "the proxy's name" if self._by_proxy else "its name"
            self._end(None, errno.EHOSTUNREACH, f"{whose} has no address: {reason}")
            return
        policy, port = self._dialler.policy, self._port
        allowed = [a for a in addresses if self._by_proxy or policy.allows_address(a[1], port)]
        if not allowed:
            rule = format_destination(addresses[0][1], port)
            self._end(None, errno.EHOSTUNREACH, f"its address is one of this machine or its link: allow `{rule}` too")
            return
        self._addresses = _interleave(allowed)[:_MAX_ADDRESSES]
        self._connect_next()

    def _connect_next(self) -> None:
        """Connect to the next address, beside those that have not answered."""
        self._cancel_stagger()
        while self._addresses and not self._ended:
            family, address = self._addresses.pop(0)
            port = self._dialler.proxy.port if self._by_proxy else self._port
            try:
                sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            except OSError as error:  # IPv6 may be missing; and no descriptor may be left
                self._error = error.errno or self._error
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            try:
                status = sock.connect_ex((address, port))
            except OSError as error:
                status = error.errno or errno.EHOSTUNREACH
            if status not in (0, errno.EINPROGRESS):
                self._error = status
                sock.close()
                continue
            self._sockets.add(sock)
            self._dialler.loop.register(sock, event_loop.WRITE, partial(self._on_connected, sock))
            if self._addresses:
                self._stagger = self._dialler.call_later(_STAGGER, self._connect_next)
            return
        if not self._sockets:
            self._fail(self._error)

    def _on_connected(self, sock: socket.socket) -> None:
        if sock not in self._sockets:  # another one has won in the same moment
            return
        status = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if status:
            self._error = status
            self._drop(sock)
            self._connect_next()
            return
        self._addresses.clear()
        self._cancel_stagger()
        for other in [*self._sockets]:
            if other is not sock:
                self._drop(other)
        if self._by_proxy:
            self._ask_proxy(sock)
        else:
            self._win(sock)

    def _ask_proxy(self, sock: socket.socket) -> None:
        target = format_destination(self._host, self._port)
        request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
        if self._dialler.proxy.authorization:
            request += f"Proxy-Authorization: {self._dialler.proxy.authorization}\r\n"
        try:
            sock.send(f"{request}\r\n".encode())
        except OSError as error:
            self._fail(error.errno or errno.ECONNRESET)
            return
        self._header = 0
        self._dialler.loop.modify(sock, event_loop.READ, lambda: self._read_answer(sock))

    def _read_answer(self, sock: socket.socket) -> None:
        """Read the proxy's answer to its end, and no byte more: what follows is the member's."""
        if sock not in self._sockets:
            return
        try:
            data = sock.recv(_MAX_HEADER, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error.errno or errno.ECONNRESET)
            return
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) <= self._header or len(data) >= _MAX_HEADER:
                self._end(None, errno.ECONNREFUSED, "this machine's proxy gave no answer")
                return
            self._header = len(data)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, self._header + 1)  # wake up for more than that
            return
        words = data.partition(b"\r\n")[0].split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or len(words[1]) != 3 or not words[1].isdigit():
            self._end(None, errno.ECONNREFUSED, "this machine's proxy gave an answer that is not HTTP")
            return
        if not words[1].startswith(b"2"):
            text = "".join(c for c in b" ".join(words[1:]).decode("latin-1") if c.isprintable())[:80]
            self._end(None, errno.ECONNREFUSED, f"this machine's proxy refuses it: {text}")
            return
        sock.recv(end + 4)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self._win(sock)

    def _win(self, sock: socket.socket) -> None:
        self._dialler.loop.unregister(sock)
        self._sockets.discard(sock)
        self._end(sock, 0, "")

    def _fail(self, number: int) -> None:
        what = "this machine's proxy: " if self._by_proxy else ""
        self._end(None, number, f"{what}{os.strerror(number).lower()}")

    def _drop(self, sock: socket.socket) -> None:
        self._sockets.discard(sock)
        self._dialler.loop.unregister(sock)
        sock.close()

    def _cancel_stagger(self) -> None:
        if self._stagger is not None:
            self._stagger[-1] = None
            self._stagger = None

    def _end(self, sock: socket.socket | None, number: int, reason: str) -> None:
        if self._ended:
            return
        self._ended = True
        self._cancel_stagger()
        if self._deadline is not None:
            self._deadline[-1] = None
        for other in [*self._sockets]:
            self._drop(other)
        self._then(sock, number, reason)


def _interleave(addresses: Addresses) -> Addresses:
    """Returns the addresses with the families in turn, beginning with the first one's (RFC 8305, 4)."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    mixed = []
    while first or others:
        mixed += first[:1] + others[:1]
        del first[:1], others[:1]
    return mixed
