"""Redirects connections of members to the gateway (gateway.py), in the holder's one loop.

    member: SYN to 198.18.0.5:443 -> the hub's packet socket -> dial example.org 443
    gateway: connected            -> the SYN is given to the kernel, and a listening socket completes the handshake
             failed               -> RST or ICMP: connect(2) fails in the member as it failed outside

So a member's connection succeeds only if the connection outside does, and a program that waits for an open port waits
as it would outside. The destination (the address of a name, or an address of a rule) is local to the hub. Without
further measures the kernel would answer a SYN itself: with a reset if no socket listens, otherwise by accepting it. The
hub's routing drops such resets: packets to members from foreign addresses without the hub's mark (network.Hub.divert).
And each listening socket has a filter that accepts a SYN only from the device `syn0`, whose other end is `syn1`.
"""

from __future__ import annotations

import _socket
import collections
import errno
import struct
from functools import partial

from envtool.container import event_loop, syscalls
from envtool.container.gateway_link import GatewayLink
from envtool.container.relay import reset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from envtool.container.address_book import AddressBook
    from envtool.container.attempts import Attempts
    from envtool.container.network import Hub, MemberNetwork
    from envtool.container.network_policy import NetworkPolicy

_MAX_PENDING = 2048  # connections that are being made
_MAX_LISTENERS = 256
_MAX_RECENT = 1024  # connections that were made a moment ago
_MAX_PASSED = 4096  # destinations
_ACCEPTS = 64  # of one round
_BACKLOG = 1024
_TCP, _UDP, _SYN_HEADER = 6, 17, 40  # the last in bytes: IPv4 without options, and TCP
_SO_MARK, _SO_ATTACH_FILTER, _IP_FREEBIND = 36, 26, 15
_RESETS = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EACCES)  # other errors are "host unreachable"
_NET_UNREACHABLE, _HOST_UNREACHABLE, _PORT_UNREACHABLE = 0, 1, 3  # ICMP (RFC 792)


def _instructions(*rows: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("=HBBI", code, yes, no, value) for code, yes, no, value in rows)


def _filter_of_listener(device: int) -> bytes:
    """Returns classic BPF that passes a SYN only if it came by the device of this index, and all other segments."""
    return _instructions(
        (0x30, 0, 0, 13),  # flags
        (0x45, 0, 2, 0x02),  # SYN?
        (0x20, 0, 0, 0xFFFFF008),  # SKF_AD_OFF + SKF_AD_IFINDEX
        (0x15, 0, 1, device),
        (0x06, 0, 0, 0x7FFFFFFF),
        (0x06, 0, 0, 0),
    )


def _sum(data: bytes) -> int:
    """Returns the Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _segment(source: bytes, target: bytes, tcp: bytes) -> bytes:
    """Returns an IPv4 packet with a TCP header (no data) between two addresses, with its checksum."""
    tcp = tcp[:16] + bytes(2) + tcp[18:]
    checksum = _sum(source + target + struct.pack("!HH", _TCP, len(tcp)) + tcp)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, _TCP, 0) + source + target
    header = header[:10] + _sum(header).to_bytes(2, "big") + header[12:]
    return header + tcp[:16] + checksum.to_bytes(2, "big") + tcp[18:]


class _Attempted:
    """A connection that a member makes: its SYN, or the socket that is accepted already, on its own loopback."""

    __slots__ = ("client", "connected", "host", "number", "packet", "port")

    def __init__(self, number: int, host: str, port: int, packet: bytes, client: _socket.socket | None) -> None:
        self.number, self.host, self.port, self.packet, self.client = number, host, port, packet, client
        self.connected = False


class Redirector:
    """The connections of one pod that lead outside of it. `passed` has each (host, port) that one was made to. `on_end`
    is called when the gateway has ended. Raises OSError.
    """

    def __init__(
        self,
        loop: event_loop.EventLoop,
        hub: Hub,
        policy: NetworkPolicy,
        book: AddressBook,
        attempts: Attempts,
        link: _socket.socket,
        on_end: Callable[[], None],
    ) -> None:
        self._loop, self._hub, self._policy, self._book, self._attempts = loop, hub, policy, book, attempts
        self._link = GatewayLink(loop, link, self._handle, on_end)
        self.passed: dict[tuple[str, int], None] = {}  # in the order in which they came
        self._literals = {address: address for address in policy.addresses}
        self._number = 0
        self._pending: dict[bytes, _Attempted] = {}  # by both addresses and ports
        self._by_number: dict[int, tuple[bytes, _Attempted]] = {}
        self._recent: collections.OrderedDict[bytes, None] = collections.OrderedDict()
        self._listeners: collections.OrderedDict[tuple[str, int], _socket.socket] = collections.OrderedDict()
        self._loopback: dict[int, list[_socket.socket]] = {}  # by the number of a member
        kinds = _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
        self._raw = _socket.socket(_socket.AF_INET, _socket.SOCK_RAW | kinds, _socket.IPPROTO_RAW)
        self._raw.setsockopt(_socket.SOL_SOCKET, _SO_MARK, hub.mark)
        self._injector = _socket.socket(_socket.AF_PACKET, _socket.SOCK_RAW | kinds, 0)
        self._injector.bind((hub.injection[0], 0))
        self._filter = _filter_of_listener(hub.injection[1])
        self._frame = hub.injection[2]

    # ---- packets of members

    def on_packet(self, packet: bytes, hardware: bytes) -> bool:
        """Handle the first packet of a connection to outside of the pod, which came from a hardware address. Returns
        whether the pod's policy has its destination.
        """
        address, port = _socket.inet_ntoa(packet[16:20]), int.from_bytes(packet[22:24], "big")
        host = self._book.name_of(address) or self._literal(address, packet[9])
        if not host:
            return False
        if hardware != self._hub.hardware_of(packet[12:16]):  # forged
            return True
        if packet[9] == _UDP:
            self._attempts.note("udp", host, port)
            self._attempts.answer(packet, _PORT_UNREACHABLE)
        elif len(packet) >= _SYN_HEADER:
            self._begin(packet, host, port)
        return True

    def _literal(self, address: str, protocol: int) -> str:
        """Returns the address if members may name it; in a pod that learns, TCP to any that is not guarded."""
        if address in self._literals:
            return address
        if not self._policy.learn or protocol != _TCP or len(self._literals) >= _MAX_PASSED:
            return ""
        if self._hub.is_own(address) or not self._policy.allows_address(address, 0):
            return ""
        try:
            self._hub.make_local(address)
        except OSError:
            return ""
        self._literals[address] = address
        return address

    def _begin(self, packet: bytes, host: str, port: int) -> None:
        end = 20 + (packet[32] >> 4) * 4
        if end < _SYN_HEADER or len(packet) < end:
            return
        if not self._policy.allows(host, port):
            self._attempts.note("tcp", host, port)
            self._refuse(packet)
            return
        key = packet[12:24]
        if key + packet[24:28] in self._recent:  # it was sent again before it was answered
            return
        attempted = self._pending.get(key)
        if attempted is not None:
            attempted.packet = packet[:end]
            if attempted.connected:
                self._inject(key, attempted)
        elif len(self._pending) < _MAX_PENDING:  # else the member sends it again in a second
            self._dial(key, host, port, packet[:end], None)

    def _dial(self, key: bytes, host: str, port: int, packet: bytes, client: _socket.socket | None) -> None:
        self._number += 1
        attempted = _Attempted(self._number, host, port, packet, client)
        if self._link.send("dial", attempted.number, host, port):
            self._pending[key] = attempted
            self._by_number[attempted.number] = (key, attempted)
        elif client is not None:
            reset(client)

    def _refuse(self, packet: bytes) -> None:
        """Answer a SYN by a reset (RFC 9293, 3.10.7.3)."""
        acknowledged = (int.from_bytes(packet[24:28], "big") + 1) & 0xFFFFFFFF
        tcp = packet[22:24] + packet[20:22] + struct.pack("!IIBBHHH", 0, acknowledged, 0x50, 0x14, 0, 0, 0)
        try:
            self._raw.sendto(_segment(packet[16:20], packet[12:16], tcp), (_socket.inet_ntoa(packet[12:16]), 0))
        except OSError:  # its source cannot be reached
            pass

    # ---- answers of the gateway

    def _handle(self, message: tuple[int | str, ...], _: list[int]) -> None:
        match message:
            case ("connected", int(number)) if number in self._by_number:
                key, attempted = self._by_number[number]
                attempted.connected = True
                if attempted.client is not None:
                    self._accepted(key, attempted.client)
                else:
                    self._inject(key, attempted)
            case ("failed", int(number), int(error), str(reason)) if number in self._by_number:
                attempted = self._forget(number)
                self._attempts.note("tcp", attempted.host, attempted.port, reason)
                if attempted.client is not None:
                    reset(attempted.client)
                elif error in _RESETS:
                    self._refuse(attempted.packet)
                else:
                    code = _NET_UNREACHABLE if error == errno.ENETUNREACH else _HOST_UNREACHABLE
                    self._attempts.answer(attempted.packet, code)
            case ("expired", int(number)) if number in self._by_number:
                self._forget(number)

    def _forget(self, number: int) -> _Attempted:
        key, attempted = self._by_number.pop(number)
        del self._pending[key]
        return attempted

    def _inject(self, key: bytes, attempted: _Attempted) -> None:
        """Give a SYN to the kernel, as if it came by our device."""
        packet = attempted.packet
        try:
            self._listen(_socket.inet_ntoa(key[4:8]), attempted.port)
            self._injector.send(self._frame + _segment(packet[12:16], packet[16:20], packet[20:]))
        except OSError as error:
            self._attempts.note("tcp", attempted.host, attempted.port, str(error.strerror or error))
            self._refuse(packet)

    def _listen(self, address: str, port: int) -> None:
        """Have a listening socket at a destination. Raises OSError."""
        if (address, port) in self._listeners:
            self._listeners.move_to_end((address, port))
            return
        if len(self._listeners) >= _MAX_LISTENERS:
            self._close_oldest()
        listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
        try:
            listener.setsockopt(_socket.IPPROTO_IP, _IP_FREEBIND, 1)
            listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            listener.setsockopt(_socket.SOL_SOCKET, _SO_MARK, self._hub.mark)
            listener.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)  # of what it accepts, too
            _memory, program = syscalls.filter_program(self._filter)
            listener.setsockopt(_socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
            listener.bind((address, port))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        self._listeners[address, port] = listener
        target = _socket.inet_aton(address)
        self._loop.register(listener, event_loop.READ, partial(self._accept, listener, target, port))

    def _close_oldest(self) -> None:
        """Close the listening socket that was used least lately, of those that no connection waits for."""
        waiting = {(_socket.inet_ntoa(key[4:8]), a.port) for key, a in self._pending.items() if a.connected}
        for place in self._listeners:
            if place not in waiting:
                listener = self._listeners.pop(place)
                self._loop.unregister(listener)
                listener.close()
                return
        raise OSError(errno.EADDRINUSE, f"{_MAX_LISTENERS} destinations are being connected to at once")

    def _accept(self, listener: _socket.socket, target: bytes, port: int) -> None:
        for _ in range(_ACCEPTS):
            try:
                client, (address, source_port) = event_loop.accept(listener)
            except OSError:
                return
            key = _socket.inet_aton(address) + target + struct.pack("!HH", source_port, port)
            attempted = self._pending.get(key)
            if attempted is None or not attempted.connected:  # it was too late
                reset(client)
                continue
            self._recent[key + attempted.packet[24:28]] = None
            if len(self._recent) > _MAX_RECENT:
                self._recent.popitem(last=False)
            self._accepted(key, client)

    def _accepted(self, key: bytes, client: _socket.socket) -> None:
        """Hand the member's side of a connection to the gateway."""
        attempted = self._forget(self._pending[key].number)
        if not self._link.send("accepted", attempted.number, passed=client):
            reset(client)
            return
        destination = (attempted.host, attempted.port)
        if len(self.passed) < _MAX_PASSED:
            self.passed[destination] = None

    # ---- members' own loopback

    def add_member(self, member: MemberNetwork) -> None:
        """Listen on a member's own loopback for the rules that name addresses of it. Raises OSError."""
        listeners = self._hub.listen_in(member, self._policy.loopback)
        self._loopback[member.number] = listeners
        for listener in listeners:
            address, port = listener.getsockname()
            self._loop.register(
                listener, event_loop.READ, partial(self._accept_loopback, listener, member.number, address, port)
            )

    def remove_member(self, member: MemberNetwork) -> None:
        """Forget a member."""
        for listener in self._loopback.pop(member.number, ()):
            self._loop.unregister(listener)
            listener.close()

    def _accept_loopback(self, listener: _socket.socket, member: int, host: str, port: int) -> None:
        for _ in range(_ACCEPTS):
            if len(self._pending) >= _MAX_PENDING:
                return
            try:
                client, (address, source_port) = event_loop.accept(listener)
            except OSError:
                return
            client.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            key = struct.pack("!4sIHH", _socket.inet_aton(address), member, source_port, port)
            if key in self._pending:
                reset(client)
                continue
            self._dial(key, host, port, b"", client)
