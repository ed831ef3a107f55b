"""Makes the network of a pod: a bridge in the pod's own network namespace (the hub), and for each member a network
namespace that a pair of veth devices joins to it. Only the holder imports this (pod_holder.py).

    hub:      bridge pod0 10.64.0.1/16, one port vN for each member
    member N: eth0 10.64.x.y/16 (10.64.0.0 + N), lo; a default route only where it is wanted

pyroute2 compiles the messages, ahead of time (network_messages.py): to import it takes longer than all else that a pod
does until its first member is there. A member's are compiled for a number that no member has, and each member gets a
copy with its own number. One send for each namespace carries them all. A policy's messages, which name its addresses,
are compiled here and now (network_compiler.py).

The kernel's table of addresses never learns from packets: which port a hardware address is behind, and which hardware
address an address of the pod has for the hub, is written down when the member is made. So no member can draw to itself
what the hub sends to another one, or what another one sends to the hub, nor send from another hardware address. There
is no IPv6 but on each loopback.

Where a policy lets members connect elsewhere, the hub has those destinations as its own addresses (Hub.divert).
"""

from __future__ import annotations

import _socket
import errno
import os
import struct
import sys
import time

from envtool.container import address_book, network_messages, syscalls
from envtool.container.network_addresses import (
    FIRST,
    HUB_DEVICE,
    HUB_INDEX,
    LAST,
    MARK,
    MASK,
    NETWORK,
    PATTERN,
    PATTERN_NAMESPACE,
    PORT_INDEX,
    SYN_DEVICES,
    SYN_HARDWARE,
    address_of,
    port_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.container.network_compiler import MessageCompiler

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr (netlink(7))
_NLMSG_ERROR = 2
_LINK = struct.Struct("=IHHIIBxHiII")  # struct nlmsghdr, struct ifinfomsg (rtnetlink(7))
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr, before its value
_RTM_GETLINK, _NLM_F_REQUEST, _IFLA_OPERSTATE, _IF_OPER_UP = 18, 1, 16, 6
_CONNECTING = 1.5  # seconds: older kernels connect bridges once a second


class NetworkError(OSError):
    """The kernel refused a device: `stage` is "bridge", "veth" or "address"."""

    def __init__(self, number: int, stage: str) -> None:
        super().__init__(number, os.strerror(number))
        self.stage = stage


def _send(data: bytes, stage: str, channel: _socket.socket | None = None) -> None:
    """Send messages to the current namespace, or the channel's, and check that each was carried out. `stage` is where
    it fails if the first message does.
    """
    own = channel or _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 0)  # NETLINK_ROUTE
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


def _operational_state(answer: bytes) -> int:
    """Returns the state of a link (RFC 2863, linux/if.h), from the answer to a question for it; "up" from a kernel that
    has no such states.
    """
    position = _LINK.size
    while position + _ATTRIBUTE.size <= len(answer):
        size, kind = _ATTRIBUTE.unpack_from(answer, position)
        if kind == _IFLA_OPERSTATE:
            return answer[position + _ATTRIBUTE.size]
        position += max(size, _ATTRIBUTE.size) + 3 & ~3
    return _IF_OPER_UP


def await_links(indexes: tuple[int, ...]) -> None:
    """Return when the kernel carries packets by links of the current namespace that were connected just now. Raises
    NetworkError.

    Setting the second end of a pair up connects both, but the kernel begins to send by the first one later, in work of
    its own that waits for all changes of networks (net/core/link_watch.c). Before it drops packets without an error.
    From Linux 6.8 on a question for a link's state has this done at once; older ones are asked again.
    """
    channel = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 0)  # NETLINK_ROUTE
    end = time.monotonic() + _CONNECTING
    try:
        for index in indexes:  # a bridge is connected by its port
            while True:
                channel.send(_LINK.pack(_LINK.size, _RTM_GETLINK, _NLM_F_REQUEST, 0, 0, 0, 0, index, 0, 0))
                answer = channel.recv(65536)
                if _HEADER.unpack_from(answer)[1] == _NLMSG_ERROR:
                    raise NetworkError(-struct.unpack_from("=i", answer, _HEADER.size)[0], "veth")
                if _operational_state(answer) == _IF_OPER_UP or time.monotonic() > end:
                    break
                time.sleep(0.001)
    finally:
        channel.close()


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


def load_messages() -> Mapping[str, bytes]:
    """Returns the messages of network_messages.py, which pyroute2 compiles anew where the byte order is another one."""
    if sys.byteorder == network_messages.BYTE_ORDER:
        return {name: bytes.fromhex(text) for name, text in network_messages.MESSAGES.items()}
    from envtool.container.network_compiler import MessageCompiler

    compiler = MessageCompiler()
    try:
        return compiler.compile_all()
    finally:
        compiler.close()


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
        self._messages = load_messages()
        self._compiler: MessageCompiler | None = None  # of a policy's messages
        self.mark = MARK
        self.injection = ("", 0, b"")  # a device, the index of its other end, and the header of frames to that
        self._next, self._freed = FIRST, list[int]()
        self._hub = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for name in ("all", "default"):
            _set_kernel(f"ipv6/conf/{name}/disable_ipv6", "1")
            _set_kernel(f"ipv4/conf/{name}/send_redirects", "0")
            _set_kernel(f"ipv4/conf/{name}/rp_filter", "1")
        _send(self._messages["loopback"], "address")
        self.kind = kind or "bridge"
        if self.kind == "bridge":
            try:
                _send(self._messages["bridge"], "bridge")
                _send(self._messages["bridge address"], "address")
            except NetworkError as error:
                if kind or error.errno != errno.EOPNOTSUPP:
                    raise
                self.kind = "routed"
        if self.kind == "routed":
            _send(self._messages["routed address"], "address")
        _set_kernel("ipv4/ip_forward", "0" if self.kind == "bridge" else "1")

    def _fill(self, name: str, number: int, namespace: int = PATTERN_NAMESPACE) -> bytes:
        """Returns a message for a member: its number, and its network namespace (a descriptor)."""
        data = self._messages[name]
        for pattern, value in (
            ((NETWORK + PATTERN).to_bytes(4, "big"), (NETWORK + number).to_bytes(4, "big")),  # in the hardware's too
            (struct.pack("=i", PATTERN + PORT_INDEX), struct.pack("=i", number + PORT_INDEX)),
            (struct.pack("=i", PATTERN_NAMESPACE), struct.pack("=i", namespace)),
            (port_name(PATTERN).encode(), port_name(number).encode()),
        ):
            data = data.replace(pattern, value)
        return data

    def fill_member(self, number: int, namespace: int) -> tuple[bytes, bytes]:
        """Returns the messages that make a member: to the hub, and to the member's own namespace (a descriptor)."""
        names = (f"{self.kind} member to hub", f"{self.kind} member inside")
        to_hub, inside = (self._fill(name, number, namespace) for name in names)
        return to_hub, inside

    def make_member(self) -> MemberNetwork:
        """Returns a new member's network. Raises NetworkError, and OSError where descriptors or addresses end."""
        number = self._take_number()
        descriptor, channel = -1, None
        try:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            try:
                descriptor = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
                channel = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 0)
                syscalls.loopback_up()
                _set_kernel("ipv6/conf/default/disable_ipv6", "1")  # of eth0, which does not exist yet: not of lo
                _set_kernel("ipv4/ip_unprivileged_port_start", "0")  # as Docker: nobody else has ports here
            finally:
                syscalls.syscall("setns", self._hub, syscalls.CLONE_NEWNET)
            to_hub, inside = self.fill_member(number, descriptor)
            _send(to_hub, "veth")
            _send(inside, "address", channel)
            await_links((number + PORT_INDEX, *([HUB_INDEX] if self.kind == "bridge" else [])))
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
        if self._next <= LAST:
            self._next += 1
            return self._next - 1
        if not self._freed:
            raise OSError(errno.EADDRNOTAVAIL, "all addresses of the pod are in use")
        return self._freed.pop(0)

    def add_default_route(self, member: MemberNetwork) -> None:
        """Give a member a default route, to the hub. The hub itself leads nowhere."""
        syscalls.syscall("setns", member.descriptor, syscalls.CLONE_NEWNET)
        try:
            _send(self._messages["default route"], "address")
        finally:
            syscalls.syscall("setns", self._hub, syscalls.CLONE_NEWNET)

    def divert(self, addresses: tuple[str, ...], *, everywhere: bool) -> None:
        """Have 198.18.0.0/15 and some addresses as the hub's own ones; with `everywhere` none is unreachable, and each
        can be made such (`make_local`). Called before there are members. Raises NetworkError.
        """
        from envtool.container.network_compiler import MessageCompiler

        self._compiler = MessageCompiler()
        for name in ("all", "default", *([HUB_DEVICE] if self.kind == "bridge" else [])):
            # The reverse of what comes for a diverted address leads nowhere, by the last of the rules below.
            _set_kernel(f"ipv4/conf/{name}/rp_filter", "0")
        _set_kernel("ipv4/ip_unprivileged_port_start", "0")  # of sockets that stand for destinations
        _send(self._compiler.compile_syn_devices(), "veth")
        device = _socket.if_nametoindex(SYN_DEVICES[1])
        frame = b"".join(bytes.fromhex(address.replace(":", "")) for address in reversed(SYN_HARDWARE)) + b"\x08\0"
        self.injection = (SYN_DEVICES[0], device, frame)
        _send(self._compiler.compile_diversion(device, addresses, everywhere=everywhere), "rule")
        await_links((_socket.if_nametoindex(SYN_DEVICES[0]), device))

    def make_local(self, address: str) -> None:
        """Have one more address as the hub's own, which `divert` allows. Raises NetworkError."""
        assert self._compiler is not None, "divert comes first"
        _send(self._compiler.compile_local(address), "rule")

    def is_own(self, address: str) -> bool:
        """Returns whether an address can never be one outside of the pod."""
        value = int.from_bytes(_socket.inet_aton(address), "big")
        return value & MASK == NETWORK or value & address_book.MASK == address_book.NETWORK

    def hardware_of(self, address: bytes) -> bytes:
        """Returns the hardware address of the member that has an address (4 bytes)."""
        return b"\x02\0\x0a\x40" + address[2:] if address[:2] == b"\x0a\x40" else b""

    def listen_in(self, member: MemberNetwork, addresses: tuple[tuple[str, int], ...]) -> list[_socket.socket]:
        """Returns listening sockets in a member's network. Raises OSError."""
        listeners: list[_socket.socket] = []
        if not addresses:
            return listeners
        syscalls.syscall("setns", member.descriptor, syscalls.CLONE_NEWNET)
        try:
            for address, port in addresses:
                listener = _socket.socket(
                    _socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
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
            _send(self._fill("forget member", member.number), "address")
