"""Compiles netlink messages by pyroute2, the only module that imports it: those of network_messages.py ahead of time,
and those of a policy, which name its addresses, in the holder of a pod that has one.

    python -m envtool.container.network_compiler > envtool/container/network_messages.py

A member's messages are compiled for a number that no member has; network.py fills in each member's own.
"""

from __future__ import annotations

import struct
import sys

from pyroute2 import IPBatch  # type: ignore[import-untyped]

from envtool.container.network_addresses import (
    HUB_ADDRESS,
    HUB_DEVICE,
    HUB_HARDWARE,
    HUB_INDEX,
    MARK,
    MEMBER_DEVICE,
    MEMBER_INDEX,
    PATTERN,
    PATTERN_NAMESPACE,
    PORT_INDEX,
    PREFIX,
    SYN_DEVICES,
    SYN_HARDWARE,
    address_of,
    hardware_address,
    port_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_RTN_LOCAL, _RTN_BLACKHOLE, _TABLE_MAIN, _TABLE_LOCAL = 2, 6, 254, 255
_RT_SCOPE_HOST, _RT_SCOPE_LINK = 254, 253
_NUD_PERMANENT, _NUD_NOARP, _NTF_MASTER = 0x80, 0x40, 4  # (linux/neighbour.h)
_WORDS = 12  # of 4 bytes, in a line of the generated module
_HEAD = '''"""Netlink messages (netlink(7)), as pyroute2 compiles them: to import it takes 125 ms and 20 MB.

Written by `python -m envtool.container.network_compiler`; a test holds it to what the installed pyroute2 compiles.
network.py says what each is for. Numbers are in the byte order of BYTE_ORDER.
"""

from __future__ import annotations
'''


class MessageCompiler:
    """Compiles messages: each result is sent at once. Made before the holder gives up its rights, since pyroute2 opens
    files at its first use."""

    def __init__(self) -> None:
        self._batch = IPBatch()

    def close(self) -> None:
        """Closes what pyroute2 has opened."""
        self._batch.close()

    def _take(self) -> bytes:
        data = bytes(self._batch.batch)
        self._batch.reset()
        return data

    def compile_all(self) -> dict[str, bytes]:
        """Returns the messages of a pod without a policy, by the names that network.py uses. Sequence numbers and
        port IDs are 0: nothing compares them."""
        batch, found = self._batch, {}
        batch.link("set", index=1, state="up")
        found["loopback"] = self._take()
        batch.link("add", ifname=HUB_DEVICE, index=HUB_INDEX, kind="bridge", address=HUB_HARDWARE, state="up")
        found["bridge"] = self._take()
        batch.addr("add", index=HUB_INDEX, address=HUB_ADDRESS, prefixlen=PREFIX)
        found["bridge address"] = self._take()
        # The hub's address is on loopback where members are routed: all of them see it.
        batch.addr("add", index=1, address=HUB_ADDRESS, prefixlen=32, scope=_RT_SCOPE_HOST)
        found["routed address"] = self._take()
        for kind in ("bridge", "routed"):
            to_hub, inside = self.compile_member(PATTERN, PATTERN_NAMESPACE, kind)
            found[f"{kind} member to hub"], found[f"{kind} member inside"] = to_hub, inside
        batch.route("add", dst="0.0.0.0/0", gateway=HUB_ADDRESS, oif=MEMBER_INDEX)
        found["default route"] = self._take()
        batch.neigh("del", ifindex=HUB_INDEX, dst=address_of(PATTERN))
        found["forget member"] = self._take()
        return {name: without_sequence(data) for name, data in found.items()}

    def compile_member(self, number: int, namespace: int, kind: str) -> tuple[bytes, bytes]:
        """Returns the messages for a member: to the hub, and to the member's own namespace (a descriptor)."""
        batch, port, address = self._batch, number + PORT_INDEX, address_of(number)
        bridge, hardware = kind == "bridge", hardware_address(number)
        peer = {"ifname": MEMBER_DEVICE, "index": MEMBER_INDEX, "net_ns_fd": namespace, "address": hardware}
        master = {"master": HUB_INDEX} if bridge else {}
        batch.link("add", ifname=port_name(number), index=port, kind="veth", state="up", peer=peer, **master)
        if bridge:
            batch.brport("set", index=port, learning=0, locked=1)  # locked: since Linux 5.18, ignored before
            batch.fdb("append", ifindex=port, lladdr=hardware, flags=_NTF_MASTER, state=_NUD_NOARP)
            batch.neigh("add", ifindex=HUB_INDEX, dst=address, lladdr=hardware, state=_NUD_PERMANENT)
        else:
            batch.addr("add", index=port, address=HUB_ADDRESS, prefixlen=32)
            batch.route("add", dst=f"{address}/32", oif=port, scope=_RT_SCOPE_LINK)
        to_hub = self._take()
        batch.addr("add", index=MEMBER_INDEX, address=address, prefixlen=PREFIX if bridge else 32)
        batch.link("set", index=MEMBER_INDEX, state="up")
        if bridge:
            batch.neigh("add", ifindex=MEMBER_INDEX, dst=HUB_ADDRESS, lladdr=HUB_HARDWARE, state=_NUD_PERMANENT)
        else:
            batch.route("add", dst=f"{HUB_ADDRESS}/32", oif=MEMBER_INDEX, scope=_RT_SCOPE_LINK)
            batch.route("add", dst=f"{address_of(0)}/{PREFIX}", gateway=HUB_ADDRESS, oif=MEMBER_INDEX)
        return to_hub, self._take()

    # ---- a policy

    def compile_syn_devices(self) -> bytes:
        """Returns the message for the two devices by which segments are sent again."""
        peer = {"ifname": SYN_DEVICES[1], "address": SYN_HARDWARE[1]}
        self._batch.link("add", ifname=SYN_DEVICES[0], kind="veth", state="up", address=SYN_HARDWARE[0], peer=peer)
        return self._take()

    def compile_diversion(self, device: int, addresses: tuple[str, ...], *, everywhere: bool) -> bytes:
        """Returns the messages that make destinations the hub's own: see `Hub.divert`. `device` is the index of the
        second of the two devices."""
        batch = self._batch
        batch.link("set", index=device, state="up")
        for target in ("198.18.0.0/15", *(f"{address}/32" for address in addresses)):
            batch.route("add", dst=target, oif=1, type=_RTN_LOCAL, table=_TABLE_LOCAL, scope=_RT_SCOPE_HOST)
        if everywhere:  # the kernel must not answer before we do
            batch.route("add", dst="0.0.0.0/0", type=_RTN_BLACKHOLE, table=_TABLE_MAIN)
        network = {"dst": address_of(0), "dst_len": PREFIX}
        batch.rule("add", priority=10, fwmark=MARK, table=_TABLE_MAIN)
        batch.rule("add", priority=11, src=address_of(0), src_len=PREFIX, table=_TABLE_MAIN)
        batch.rule("add", priority=12, src="0.0.0.0", src_len=32, table=_TABLE_MAIN)  # not bound yet
        batch.rule("add", priority=13, action="blackhole", **network)
        return self._take()

    def compile_local(self, address: str) -> bytes:
        """Returns the message that makes one more address the hub's own."""
        self._batch.route("add", dst=f"{address}/32", oif=1, type=_RTN_LOCAL, table=_TABLE_LOCAL, scope=_RT_SCOPE_HOST)
        return self._take()


def warm_up() -> None:
    """Load what pyroute2 loads when it is first used: after a change of ids its files may not be readable."""
    compiler = MessageCompiler()
    compiler.compile_all()
    compiler.compile_syn_devices()
    compiler.compile_diversion(1, (HUB_ADDRESS,), everywhere=True)
    compiler.close()


def split_messages(data: bytes) -> Iterator[bytes]:
    """Yields the messages of a packet, each with its padding."""
    position = 0
    while position < len(data):
        size = struct.unpack_from("=I", data, position)[0] + 3 & ~3
        yield data[position : position + size]
        position += size


def without_sequence(data: bytes) -> bytes:
    """Returns messages with 0 as their sequence numbers and port IDs."""
    return b"".join(message[:8] + bytes(8) + message[16:] for message in split_messages(data))


def format_module(messages: dict[str, bytes]) -> str:
    """Returns the text of network_messages.py: hexadecimal, each message in lines of its own."""
    lines = [_HEAD, f'BYTE_ORDER = "{sys.byteorder}"', "MESSAGES = {"]
    for name, data in messages.items():
        lines.append(f'    "{name}": """')
        for message in split_messages(data):
            words = [message[at : at + 4].hex() for at in range(0, len(message), 4)]
            lines += [" ".join(words[at : at + _WORDS]) for at in range(0, len(words), _WORDS)]
            lines.append("")
        lines[-1] = '""",'
    return "\n".join([*lines, "}", ""])


if __name__ == "__main__":
    _compiler = MessageCompiler()
    sys.stdout.write(format_module(_compiler.compile_all()))
