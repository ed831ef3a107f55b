"""Makes the network of a pod by pyroute2: a bridge in the pod's own network namespace (the hub), and for each member a
network namespace that a pair of veth devices joins to it. Only the holder imports this (pod_holder.py).

    hub:      bridge pod0 10.64.0.1/16, one port vN for each member
    member N: eth0 10.64.x.y/16 (10.64.0.0 + N), lo; a default route only where it is wanted

pyroute2 compiles the messages (IPBatch), which takes three times as long as the kernel needs for them. So a member's
are compiled once, for a number that no member has, and each member gets a copy with its own number. One send for each
namespace carries them all.

The kernel's table of addresses never learns from packets: which port a hardware address is behind, and which hardware
address an address of the pod has for the hub, is written down when the member is made. So no member can draw to itself
what the hub sends to another one, or what another one sends to the hub, nor send from another hardware address. There
is no IPv6 but on each loopback.

Where a policy lets members connect elsewhere, the hub has those destinations as its own addresses (Hub.divert).
"""

from __future__ import annotations

import collections
import errno
import os
import socket
import struct

from pyroute2 import IPBatch  # type: ignore[import-untyped]

from envtool.container import address_book, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

HUB_ADDRESS = "10.64.0.1"
PREFIX = 16  # bits
NETWORK, MASK = 0x0A400000, 0xFFFF0000  # 10.64.0.0/16
_FIRST, _LAST = 2, 0xFFF0  # the numbers of members
_HUB_DEVICE, _HUB_INDEX, _MEMBER_DEVICE, _MEMBER_INDEX = "pod0", 2, "eth0", 2
_PORT_INDEX = 16  # the index of member N's port in the hub is N + this
_HUB_HARDWARE = "02:00:0a:40:00:01"
_PATTERN, _PATTERN_NAMESPACE = 0xFFF5, 0x5EA1FACE  # a number, and a descriptor, that no member has
_MARK = 0x0E57  # of packets that the hub's sockets send from diverted addresses
_SYN_DEVICES, _SYN_HARDWARE = ("syn0", "syn1"), ("02:00:0a:40:ff:fe", "02:00:0a:40:ff:ff")  # no member's
_RTN_LOCAL, _RTN_BLACKHOLE, _TABLE_MAIN, _TABLE_LOCAL = 2, 6, 254, 255
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr (netlink(7))
_NLMSG_ERROR, _RT_SCOPE_HOST, _RT_SCOPE_LINK = 2, 254, 253
_NUD_PERMANENT, _NUD_NOARP, _NTF_MASTER = 0x80, 0x40, 4  # (linux/neighbour.h)


class NetworkError(OSError):
    """The kernel refused a device: `stage` is "bridge", "veth" or "address"."""

    def __init__(self, number: int, stage: str) -> None:
        super().__init__(number, os.strerror(number))
        self.stage = stage


def address_of(number: int) -> str:
    """Returns the address of a member."""
    return socket.inet_ntoa((NETWORK + number).to_bytes(4, "big"))


def _port_name(number: int) -> str:
    return f"v{number:05}"


def _hardware_address(number: int) -> str:
    """Returns a locally administered hardware address, made of the address."""
    return f"02:00:0a:40:{number >> 8:02x}:{number & 255:02x}"


def _send(data: bytes, stage: str, channel: socket.socket | None = None) -> None:
    """Send messages to the current namespace, or the channel's, and check that each was carried out. `stage` is where
    it fails if the first message does.
    """
    own = channel or socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)  # NETLINK_ROUTE
    try:
        own.send(data)
        count, position = 0, 0
        while position < len(data):  # each of them asks for an acknowledgement
            count, position = count + 1, position + (_HEADER.unpack_from(data, position)[0] + 3 & ~3)
        statuses: list[int] = []
        while len(statuses) < count:
            answer, position = own.recv(65536), 0
            while position < len(answer):
                size, kind, *_ = _HEADER.unpack_from(answer, position)
                if kind == _NLMSG_ERROR:
                    statuses += struct.unpack_from("=i", answer, position + _HEADER.size)
                position += size + 3 & ~3
    finally:
        if channel is None:
            own.close()
    if statuses[0]:
        raise NetworkError(-statuses[0], stage)
    for status in statuses:
        if status:
            raise NetworkError(-status, "address")


def _set_kernel(name: str, value: str) -> None:
    """Set a value of the current network namespace. What a sandbox around us refuses keeps the kernel's default."""
    try:
        descriptor = os.open(f"/proc/sys/net/{name}", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(descriptor, value.encode())
    except OSError:
        pass
    finally:
        os.close(descriptor)


def warm_up() -> None:
    """Load what pyroute2 loads when it is first used: after a change of ids its files may not be readable."""
    batch = IPBatch()
    for request in ("add", "set"):
        batch.link(request, index=_HUB_INDEX, ifname=_HUB_DEVICE, kind="bridge", state="up")
    batch.addr("add", index=_HUB_INDEX, address=HUB_ADDRESS, prefixlen=PREFIX)
    batch.neigh("add", ifindex=_HUB_INDEX, dst=HUB_ADDRESS, lladdr=_HUB_HARDWARE, state=_NUD_PERMANENT)
    batch.route("add", dst="0.0.0.0/0", gateway=HUB_ADDRESS, oif=_HUB_INDEX)
    batch.rule("add", priority=10, fwmark=_MARK, table=_TABLE_MAIN)
    batch.close()


class MemberNetwork:
    """A member's network namespace (a descriptor), its number and address."""

    __slots__ = ("address", "descriptor", "number")

    def __init__(self, number: int, descriptor: int) -> None:
        self.number = number
        self.address = address_of(number)
        self.descriptor = descriptor


class Hub:
    """The network of one pod, made in the current network namespace, with the right to change it. Raises NetworkError.

    `kind` is "bridge", or "routed" where the kernel has no bridge: members then reach each other through the hub, which
    forwards no broadcast. "" tries them in this order.
    """

    def __init__(self, kind: str = "") -> None:
        self._batch = IPBatch()
        self.mark = _MARK
        self.injection = ("", 0, b"")  # a device, the index of its other end, and the header of frames to that
        self._next, self._freed = _FIRST, collections.deque[int]()
        self._hub = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for name in ("all", "default"):
            _set_kernel(f"ipv6/conf/{name}/disable_ipv6", "1")
            _set_kernel(f"ipv4/conf/{name}/send_redirects", "0")
            _set_kernel(f"ipv4/conf/{name}/rp_filter", "1")
        self._batch.link("set", index=1, state="up")
        self._flush("address")
        self.kind = kind or "bridge"
        if self.kind == "bridge":
            try:
                self._make_bridge()
            except NetworkError as error:
                if kind or error.errno != errno.EOPNOTSUPP:
                    raise
                self.kind = "routed"
        if self.kind == "routed":  # the hub's address is on loopback, where all members see it
            self._batch.addr("add", index=1, address=HUB_ADDRESS, prefixlen=32, scope=_RT_SCOPE_HOST)
            self._flush("address")
        _set_kernel("ipv4/ip_forward", "0" if self.kind == "bridge" else "1")
        self._templates = tuple(self.compile_member(_PATTERN, _PATTERN_NAMESPACE))

    def _flush(self, stage: str) -> None:
        data = bytes(self._batch.batch)
        self._batch.reset()
        _send(data, stage)

    def _make_bridge(self) -> None:
        hardware = _HUB_HARDWARE
        self._batch.link("add", ifname=_HUB_DEVICE, index=_HUB_INDEX, kind="bridge", address=hardware, state="up")
        self._flush("bridge")
        self._batch.addr("add", index=_HUB_INDEX, address=HUB_ADDRESS, prefixlen=PREFIX)
        self._flush("address")

    def compile_member(self, number: int, namespace: int) -> Iterator[bytes]:
        """Yields the messages for a member: to the hub, and to the member's own namespace (a descriptor)."""
        batch, port, address = self._batch, number + _PORT_INDEX, address_of(number)
        bridge, hardware = self.kind == "bridge", _hardware_address(number)
        peer = {"ifname": _MEMBER_DEVICE, "index": _MEMBER_INDEX, "net_ns_fd": namespace, "address": hardware}
        master = {"master": _HUB_INDEX} if bridge else {}
        batch.link("add", ifname=_port_name(number), index=port, kind="veth", state="up", peer=peer, **master)
        if bridge:
            batch.brport("set", index=port, learning=0, locked=1)  # locked: since Linux 5.18, ignored before
            batch.fdb("append", ifindex=port, lladdr=hardware, flags=_NTF_MASTER, state=_NUD_NOARP)
            batch.neigh("add", ifindex=_HUB_INDEX, dst=address, lladdr=hardware, state=_NUD_PERMANENT)
        else:
            batch.addr("add", index=port, address=HUB_ADDRESS, prefixlen=32)
            batch.route("add", dst=f"{address}/32", oif=port, scope=_RT_SCOPE_LINK)
        yield bytes(batch.batch)
        batch.reset()
        batch.addr("add", index=_MEMBER_INDEX, address=address, prefixlen=PREFIX if bridge else 32)
        batch.link("set", index=_MEMBER_INDEX, state="up")
        if bridge:
            batch.neigh("add", ifindex=_MEMBER_INDEX, dst=HUB_ADDRESS, lladdr=_HUB_HARDWARE, state=_NUD_PERMANENT)
        else:
            batch.route("add", dst=f"{HUB_ADDRESS}/32", oif=_MEMBER_INDEX, scope=_RT_SCOPE_LINK)
            batch.route("add", dst=f"{address_of(0)}/{PREFIX}", gateway=HUB_ADDRESS, oif=_MEMBER_INDEX)
        yield bytes(batch.batch)
        batch.reset()

    def fill_template(self, number: int, namespace: int) -> list[bytes]:
        """Returns what `compile_member` yields, made of what it once yielded."""
        replacements = (
            ((NETWORK + _PATTERN).to_bytes(4, "big"), (NETWORK + number).to_bytes(4, "big")),  # in the hardware's too
            (struct.pack("=i", _PATTERN + _PORT_INDEX), struct.pack("=i", number + _PORT_INDEX)),
            (struct.pack("=i", _PATTERN_NAMESPACE), struct.pack("=i", namespace)),
            (_port_name(_PATTERN).encode(), _port_name(number).encode()),
        )
        filled = []
        for template in self._templates:
            data = template
            for pattern, value in replacements:
                data = data.replace(pattern, value)
            filled.append(data)
        return filled

    def make_member(self) -> MemberNetwork:
        """Returns a new member's network. Raises NetworkError, and OSError where descriptors or addresses end."""
        number = self._take_number()
        descriptor, channel = -1, None
        try:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            try:
                descriptor = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
                channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
                syscalls.loopback_up()
                _set_kernel("ipv6/conf/default/disable_ipv6", "1")  # of eth0, which does not exist yet: not of lo
                _set_kernel("ipv4/ip_unprivileged_port_start", "0")  # as Docker: nobody else has ports here
            finally:
                syscalls.syscall("setns", self._hub, syscalls.CLONE_NEWNET)
            to_hub, inside = self.fill_template(number, descriptor)
            _send(to_hub, "veth")
            _send(inside, "address", channel)
        except BaseException:
            self._freed.append(number)
            if descriptor >= 0:
                os.close(descriptor)
            raise
        finally:
            if channel is not None:
                channel.close()
        return MemberNetwork(number, descriptor)

    def _take_number(self) -> int:
        # An address is used again as late as possible: clients may remember it long after its member has ended.
        if self._next <= _LAST:
            self._next += 1
            return self._next - 1
        if not self._freed:
            raise OSError(errno.EADDRNOTAVAIL, "all addresses of the pod are in use")
        return self._freed.popleft()

    def add_default_route(self, member: MemberNetwork) -> None:
        """Give a member a default route, to the hub. The hub itself leads nowhere."""
        syscalls.syscall("setns", member.descriptor, syscalls.CLONE_NEWNET)
        try:
            self._batch.route("add", dst="0.0.0.0/0", gateway=HUB_ADDRESS, oif=_MEMBER_INDEX)
            self._flush("address")
        finally:
            syscalls.syscall("setns", self._hub, syscalls.CLONE_NEWNET)

    def divert(self, addresses: tuple[str, ...], *, everywhere: bool) -> None:
        """Have 198.18.0.0/15 and some addresses as the hub's own ones; with `everywhere` none is unreachable, and each
        can be made such (`make_local`). Called before there are members. Raises NetworkError.
        """
        for name in ("all", "default", *([_HUB_DEVICE] if self.kind == "bridge" else [])):
            # The reverse of what comes for a diverted address leads nowhere, by the last of the rules below.
            _set_kernel(f"ipv4/conf/{name}/rp_filter", "0")
        _set_kernel("ipv4/ip_unprivileged_port_start", "0")  # of sockets that stand for destinations
        peer = {"ifname": _SYN_DEVICES[1], "address": _SYN_HARDWARE[1]}
        self._batch.link("add", ifname=_SYN_DEVICES[0], kind="veth", state="up", address=_SYN_HARDWARE[0], peer=peer)
        self._flush("veth")
        device = socket.if_nametoindex(_SYN_DEVICES[1])
        frame = b"".join(bytes.fromhex(address.replace(":", "")) for address in reversed(_SYN_HARDWARE)) + b"\x08\0"
        self.injection = (_SYN_DEVICES[0], device, frame)
        batch = self._batch
        batch.link("set", index=device, state="up")
        for target in ("198.18.0.0/15", *(f"{address}/32" for address in addresses)):
            batch.route("add", dst=target, oif=1, type=_RTN_LOCAL, table=_TABLE_LOCAL, scope=_RT_SCOPE_HOST)
        if everywhere:  # the kernel must not answer before we do
            batch.route("add", dst="0.0.0.0/0", type=_RTN_BLACKHOLE, table=_TABLE_MAIN)
        network = {"dst": address_of(0), "dst_len": PREFIX}
        batch.rule("add", priority=10, fwmark=_MARK, table=_TABLE_MAIN)
        batch.rule("add", priority=11, src=address_of(0), src_len=PREFIX, table=_TABLE_MAIN)
        batch.rule("add", priority=12, src="0.0.0.0", src_len=32, table=_TABLE_MAIN)  # not bound yet
        batch.rule("add", priority=13, action="blackhole", **network)
        self._flush("rule")

    def make_local(self, address: str) -> None:
        """Have one more address as the hub's own. Raises NetworkError."""
        self._batch.route("add", dst=f"{address}/32", oif=1, type=_RTN_LOCAL, table=_TABLE_LOCAL, scope=_RT_SCOPE_HOST)
        self._flush("rule")

    def is_own(self, address: str) -> bool:
        """Returns whether an address can never be one outside of the pod."""
        value = int.from_bytes(socket.inet_aton(address), "big")
        return value & MASK == NETWORK or value & address_book.MASK == address_book.NETWORK

    def hardware_of(self, address: bytes) -> bytes:
        """Returns the hardware address of the member that has an address (4 bytes)."""
        return b"\x02\0\x0a\x40" + address[2:] if address[:2] == b"\x0a\x40" else b""

    def listen_in(self, member: MemberNetwork, addresses: tuple[tuple[str, int], ...]) -> list[socket.socket]:
        """Returns listening sockets in a member's network. Raises OSError."""
        listeners: list[socket.socket] = []
        if not addresses:
            return listeners
        syscalls.syscall("setns", member.descriptor, syscalls.CLONE_NEWNET)
        try:
            for address, port in addresses:
                listener = socket.socket(
                    socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
                )
                listeners.append(listener)
                listener.bind((address, port))
                listener.listen(128)
        finally:
            syscalls.syscall("setns", self._hub, syscalls.CLONE_NEWNET)
        return listeners

    def remove_member(self, member: MemberNetwork) -> None:
        """Forget a member, whose processes have ended. The kernel removes its devices when the last descriptor of its
        namespace is closed: deleting them here would wait 30 ms for it.
        """
        os.close(member.descriptor)
        self._freed.append(member.number)
        if self.kind == "bridge":
            self._batch.neigh("del", ifindex=_HUB_INDEX, dst=member.address)
            self._flush("address")
