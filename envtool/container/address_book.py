"""Assigns addresses to names outside of a pod (198.18.0.0/15, RFC 2544), by which members connect to them. Pure.

A member's resolver answers with such an address, and a connection to it leads to the name. An address never stands for
another name later: programs remember addresses.
"""

from __future__ import annotations

import _socket

NETWORK, MASK = 0xC6120000, 0xFFFE0000  # 198.18.0.0/15
PREFIX = 15  # bits
_MAX_NAMES = 4096


class AddressBook:
    """The names that have been given an address."""

    def __init__(self) -> None:
        self._addresses: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def address_of(self, name: str) -> str:
        """Returns the address of a name; "" for a new name, if 4,096 names have one already."""
        address = self._addresses.get(name, "")
        if not address and len(self._addresses) < _MAX_NAMES:
            address = _socket.inet_ntoa((NETWORK + 1 + len(self._addresses)).to_bytes(4, "big"))
            self._addresses[name] = address
            self._names[address] = name
        return address

    def name_of(self, address: str) -> str:
        """Returns the name that has an address; "" if none has it."""
        return self._names.get(address, "")
