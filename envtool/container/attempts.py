"""Notes where members of a pod tried to connect outside of it, and refuses these connections at once. Connections that
a policy allows are redirected before (redirect.py).

A member with a default route sends packets for other networks to the hub. A packet socket there, with a filter that
passes only the first packets of connections (and UDP), reads their destination and nothing else. The kernel would
answer five of them in a row, and then one each second. So the answer (ICMP, RFC 792), which the member gets as "network
is unreachable", is sent from here.
"""

from __future__ import annotations

import _socket
import struct

from envtool.container import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_ETH_P_IP, _SO_ATTACH_FILTER, _PACKET_HOST = 0x0800, 26, 0
_CAPTURED = 128  # bytes of a packet: more than the headers of the first one of a connection
_BUFFER = 1 << 20  # bytes
_PACKETS = 32  # of one round
_MAX_NOTED, _MAX_REASON = 256, 120  # destinations; characters
_TCP, _UDP = 6, 17
_NET_PROHIBITED = 9  # ICMP: "administratively prohibited" (RFC 1812, 5.2.7.1); connect(2), and send(2) of UDP, fail
_QUOTED = 28  # bytes of a packet that an ICMP error quotes: the header, and 8 more


def _filter(network: int, mask: int) -> bytes:
    """Returns classic BPF (linux/filter.h) that passes, of IPv4 packets to outside of a network, the first of a TCP
    connection (SYN without ACK) and all of UDP; no fragments but first ones, and no headers with options.
    """
    rows = (
        (0x30, 0, 0, 0),  # version and length of the header
        (0x15, 0, 12, 0x45),
        (0x28, 0, 0, 6),  # offset of the fragment
        (0x45, 10, 0, 0x1FFF),
        (0x20, 0, 0, 16),  # destination
        (0x54, 0, 0, mask),
        (0x15, 7, 0, network),
        (0x30, 0, 0, 9),  # protocol
        (0x15, 4, 0, _UDP),
        (0x15, 0, 4, _TCP),
        (0x30, 0, 0, 33),  # flags
        (0x54, 0, 0, 0x12),
        (0x15, 0, 1, 0x02),
        (0x06, 0, 0, _CAPTURED),
        (0x06, 0, 0, 0),
    )
    return b"".join(struct.pack("=HBBI", code, yes, no, value) for code, yes, no, value in rows)


class Attempts:
    """The attempts of one pod: `noted` has the number of packets for each (protocol, host, port, reason). A packet for
    which `redirect` returns True is not noted. Raises OSError.
    """

    def __init__(self, network: int, mask: int) -> None:
        self.noted: dict[tuple[str, str, int, str], int] = {}
        self.more = 0  # packets to further destinations, which are not noted one by one
        self.redirect: Callable[[bytes, bytes], bool] | None = None  # gets the packet and its sender's hardware address
        kinds = _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
        self.socket = _socket.socket(_socket.AF_PACKET, _socket.SOCK_DGRAM | kinds, _socket.htons(_ETH_P_IP))
        self.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVBUF, _BUFFER)
        _memory, program = syscalls.filter_program(_filter(network, mask))
        self.socket.setsockopt(_socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        self._answers = _socket.socket(_socket.AF_INET, _socket.SOCK_RAW | kinds, _socket.IPPROTO_ICMP)
        self._answers.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVBUF, 0)  # it is never read

    def on_event(self) -> None:
        """Notes the packets that have arrived, a bounded number at a time."""
        for _ in range(_PACKETS):
            try:
                packet, origin = self.socket.recvfrom(_CAPTURED)
            except OSError:
                return
            if origin[2] != _PACKET_HOST or len(packet) < _QUOTED:
                continue
            if self.redirect is None or not self.redirect(packet, origin[4]):
                protocol = "udp" if packet[9] == _UDP else "tcp"
                self.note(protocol, _socket.inet_ntoa(packet[16:20]), int.from_bytes(packet[22:24], "big"))
                self.answer(packet, _NET_PROHIBITED)

    def note(self, protocol: str, host: str, port: int, reason: str = "") -> None:
        """Notes an attempt that failed. `reason` says why; it is "" if the policy does not allow the destination."""
        key = (protocol, host, port, reason[:_MAX_REASON])
        if key in self.noted or len(self.noted) < _MAX_NOTED:
            self.noted[key] = self.noted.get(key, 0) + 1
        else:
            self.more += 1

    def answer(self, packet: bytes, code: int) -> None:
        """Sends ICMP "destination unreachable" to the sender of a packet."""
        try:
            self._answers.sendto(_unreachable(packet, code), (_socket.inet_ntoa(packet[12:16]), 0))
        except OSError:  # its source is not a member
            pass


def _unreachable(packet: bytes, code: int) -> bytes:
    """Returns the ICMP message that a packet's destination is unreachable: its network (0), host (1) or port (3), or
    that its network is prohibited (9).
    """
    quoted = packet[:_QUOTED]
    total = 0x0300 + code + sum(struct.unpack(f"!{_QUOTED // 2}H", quoted))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHI", 3, code, ~total & 0xFFFF, 0) + quoted
