"""Reads what a container without network tried to reach, after it has failed. No process watches it meanwhile.

Its loopback has no resolver, so a query for a name is refused, and the C library reports a temporary failure. The
container's log (syscalls.open_query_log) has a copy of such queries: names, without the ports that would have followed.
A connection to an address fails in the system call, for there is no route, and leaves no packet; the kernel counts it
(proc_net(5), OutNoRoutes), without its destination.
"""

from __future__ import annotations

import _socket
import os

from envtool.container.dns import question_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_PACKETS = 1024
_MAX_NAMES = 64
_MAX_COUNTERS = 1 << 16  # bytes
_PACKET = 512  # bytes
_HEADERS = 8  # bytes of UDP's


def read_attempts(log: Sequence[int]) -> tuple[tuple[str, ...], int]:
    """Returns the names that were looked up (`read_names`) and the number of connections and packets to addresses
    (`count_unreachable`), by the descriptors of a log, of which there may be none.
    """
    return (read_names(log[0]) if log else ()), sum(count_unreachable(counters) for counters in log[1:])


def read_names(log: int) -> tuple[str, ...]:
    """Returns the names of the queries in a log, each once, in the order in which they were asked: at most 64."""
    names: dict[str, None] = {}
    sock = _socket.socket(fileno=os.dup(log))
    try:
        for _ in range(_MAX_PACKETS):
            packet = sock.recv(_PACKET, _socket.MSG_DONTWAIT)
            name = question_name(packet[(packet[0] & 15) * 4 + _HEADERS :]) if packet else ""
            if name and len(names) < _MAX_NAMES:
                names[name] = None
    except OSError:  # BlockingIOError: there is no more
        pass
    finally:
        sock.close()
    return tuple(names)


def count_unreachable(counters: int) -> int:
    """Returns how many connections and packets had no route, by the counters of IPv4 or IPv6; 0 where they cannot be
    read.
    """
    try:
        text = os.pread(counters, _MAX_COUNTERS, 0).decode("ascii", "replace")
        rows = [line.split() for line in text.splitlines()]
        version_6 = [int(row[1]) for row in rows if row[0] == "Ip6OutNoRoutes"]
        version_4 = [row for row in rows if row[0] == "Ip:"]
        return version_6[0] if version_6 else int(dict(zip(*version_4, strict=True))["OutNoRoutes"])
    except (OSError, ValueError, TypeError, LookupError):
        return 0
