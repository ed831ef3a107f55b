"""The addresses, numbers and names of what a pod's network is made of: constants, and how each follows from a member's
number.
"""

from __future__ import annotations

import _socket

HUB_ADDRESS = "10.64.0.1"
PREFIX = 16  # bits
NETWORK, MASK = 0x0A400000, 0xFFFF0000  # 10.64.0.0/16
FIRST, LAST = 2, 0xFFF0  # the numbers of members
HUB_DEVICE, HUB_INDEX, MEMBER_DEVICE, MEMBER_INDEX = "pod0", 2, "eth0", 2
PORT_INDEX = 16  # the index of member N's port in the hub is N + this
HUB_HARDWARE = "02:00:0a:40:00:01"
PATTERN, PATTERN_NAMESPACE = 0xFFF5, 0x5EA1FACE  # a number, and a descriptor, that no member has
MARK = 0x0E57  # of packets that the hub's sockets send from diverted addresses
SYN_DEVICES, SYN_HARDWARE = ("syn0", "syn1"), ("02:00:0a:40:ff:fe", "02:00:0a:40:ff:ff")  # no member's


def address_of(number: int) -> str:
    """Returns the address of a member."""
    return _socket.inet_ntoa((NETWORK + number).to_bytes(4, "big"))


def port_name(number: int) -> str:
    """Returns the name of a member's port in the hub."""
    return f"v{number:05}"


def hardware_address(number: int) -> str:
    """Returns a locally administered hardware address, made of the address."""
    return f"02:00:0a:40:{number >> 8:02x}:{number & 255:02x}"
