"""Answers DNS queries for the names of a pod (RFC 1035, RFC 6891). Pure.

A service's name gets ONE address, in turn: glibc sorts the addresses of an answer (RFC 6724), and would send every
client to the same one. There are no IPv6 addresses. Answers are not to be kept (their time to live is 0), so that a new
or removed member takes effect at once. No other server is asked: an unknown name does not exist, unless a policy has an
address for it (address_book.py).
"""

from __future__ import annotations

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from envtool.container.service_table import ServiceTable

MAX_QUERY = 512  # bytes; no query for a name is longer, with the options that a client may add
_MAX_UDP, _MAX_TCP = 512, 65535  # bytes of an answer that is not agreed otherwise
_MAX_AGREED = 4096  # bytes: packets between containers are not lost by their size
_A, _OPT, _IN, _ANY = 1, 41, 1, 255
_NOERROR, _FORMERR, _SERVFAIL, _NXDOMAIN, _NOTIMP, _REFUSED = range(6)
_MAX_NAMES = 256  # unknown names that are noted
_MAX_NAME = 255  # bytes of a name
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


class _FormatError(Exception):
    """The question cannot be read."""


class DnsResolver:
    """Answers queries from a table. Notes unknown names, with the number of queries for each."""

    def __init__(self, table: ServiceTable, outside: Callable[[str], str | None] | None = None) -> None:
        """`outside` returns the address for a name outside of the pod: None for a name that does not exist, "" if no
        address is free.
        """
        self._table, self._outside = table, outside
        self.unknown: dict[str, int] = {}
        self.more_unknown = 0  # queries for further names, which are not noted one by one

    def answer(self, query: bytes, *, stream: bool = False) -> bytes:
        """Returns the answer to a packet (`stream`: over TCP). Returns b"" for a packet that gets no answer: one that
        is too short to be a query, and an answer, since two servers could answer each other for ever.
        """
        if len(query) < 12 or query[2] & 0x80:
            return b""
        if query[2] & 0x78:  # another operation than a query
            return _reply(query, _NOTIMP)
        try:
            name, end, kind, group = _read_question(query)
        except _FormatError:
            return _reply(query, _FORMERR)
        agreed = _read_agreed_size(query, end)
        if group not in (_IN, _ANY):
            return _reply(query, _REFUSED, end, agreed=agreed)
        addresses = self._table.look_up(name) if kind in (_A, _ANY) else self._known(name)
        if addresses is None and self._outside is not None and (address := self._outside(name)) is not None:
            addresses = [address] if address else []
            if not address:
                self._note(name)
        if addresses is None:
            self._note(name)
            return _reply(query, _NXDOMAIN, end, agreed=agreed)
        if not addresses and kind in (_A, _ANY):  # "try again": clients remember that a name has no address
            return _reply(query, _SERVFAIL, end, agreed=agreed)
        limit = _MAX_TCP if stream else max(agreed, _MAX_UDP)
        return _reply(query, _NOERROR, end, addresses if kind in (_A, _ANY) else (), agreed, limit)

    def _known(self, name: str) -> list[str] | None:
        """Returns [] for a name that a member or service has; the turn of its addresses does not move on."""
        return [] if self._table.has_name(name) else None

    def _note(self, name: str) -> None:
        if not name or name.endswith(".arpa"):  # a server asks for the name of each client's address
            return
        name = name[:_MAX_NAME]
        if name in self.unknown:
            self.unknown[name] += 1
        elif len(self.unknown) < _MAX_NAMES:
            self.unknown[name] = 1
        else:
            self.more_unknown += 1


def question_name(query: bytes) -> str:
    """Returns the name that a packet asks for, in lower case; "" for a packet that is no query, or for the name of an
    address.
    """
    if len(query) < 12 or query[2] & 0xF8:  # an answer, or another operation
        return ""
    try:
        name = _read_question(query)[0]
    except _FormatError:
        return ""
    return "" if name.endswith(".arpa") else name


def _read_question(query: bytes) -> tuple[str, int, int, int]:
    """Returns the only question's name in lower case, where the question ends, its type and its class. Raises
    _FormatError.
    """
    if query[4:6] != b"\0\1":
        raise _FormatError
    position, labels = 12, []
    while True:
        if position >= len(query) or position > 12 + _MAX_NAME:
            raise _FormatError
        size = query[position]
        if size > 63 or position + 1 + size > len(query):  # from 64 on it is a pointer, which no question needs
            raise _FormatError
        if not size:
            break
        labels.append(query[position + 1 : position + 1 + size])
        position += 1 + size
    end = position + 5
    if position - 12 >= _MAX_NAME or end > len(query):
        raise _FormatError
    name = ".".join([_describe_label(label) for label in labels])
    return name, end, query[end - 3] | query[end - 4] << 8, query[end - 1] | query[end - 2] << 8


def _describe_label(label: bytes) -> str:
    """Returns a label in lower case; what is no letter, digit, `-` or `_` as its number (RFC 1035, 5.1)."""
    if label.isalnum():
        return label.decode("ascii").lower()
    return "".join([chr(c).lower() if chr(c) in _PLAIN else f"\\{c:03}" for c in label])


def _read_agreed_size(query: bytes, end: int) -> int:
    """Returns the size of the answer that the client can take, by EDNS: 0 where it does not use that."""
    counts = query[6:12]
    if counts[:4] != bytes(4) or counts[4:] != b"\0\1" or query[end : end + 3] != b"\0\0\x29":
        return 0
    size = int.from_bytes(query[end + 3 : end + 5], "big")
    return min(max(size, _MAX_UDP), _MAX_AGREED)


def _reply(
    query: bytes,
    status: int,
    end: int = 0,
    addresses: list[str] | tuple[str, ...] = (),
    agreed: int = 0,
    limit: int = _MAX_UDP,
) -> bytes:
    """Returns an answer with the question, which ends at `end` (0: it could not be read), and addresses. What does not
    fit is left out, and the answer is marked as truncated, so that the client asks by TCP.
    """
    option = b"\0" + _OPT.to_bytes(2, "big") + _MAX_AGREED.to_bytes(2, "big") + bytes(6) if agreed else b""
    fit = (limit - max(end, 12) - len(option)) // 16
    shortened = len(addresses) > fit
    given = addresses[:fit]
    flags = bytes((0x84 | query[2] & 0x01 | (0x02 if shortened else 0), 0x80 | status))  # QR, AA, RD as asked; RA
    counts = (b"\0\1" if end else b"\0\0") + len(given).to_bytes(2, "big") + (b"\0\0\0\1" if option else bytes(4))
    records = b"".join([b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + _socket.inet_aton(address) for address in given])
    return query[:2] + flags + counts + query[12:end] + records + option
