"""What a container without network tried to reach, read when it has failed. Nothing runs for it meanwhile.

Its loopback has no resolver, so a query for a name is refused, and the C library reports a temporary failure. The
container's log (syscalls.open_query_log) has a copy of such queries: names, without the ports that would have followed.
A connection to an address fails in the system call, for there is no route, and leaves no packet; the kernel counts it
(proc_net(5), OutNoRoutes), and no more is known of it.
"""

from __future__ import annotations

import _socket
import os

from envtool.container.dns import question_name

_MAX_PACKETS = 1024
_MAX_NAMES = 64
_MAX_COUNTERS = 1 << 16  # bytes
_PACKET = 512  # bytes
_HEADERS = 8  # bytes of UDP's


def read_attempts(log: int, process: int) -> tuple[tuple[str, ...], int]:
    """Returns the names that were looked up, by a log (`read_names`), and the number of connections and packets to
    addresses, of a process that is still in the same network (`count_unreachable`).
    """
    return read_names(log), count_unreachable(process)


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


def count_unreachable(process: int) -> int:
    """Returns how many connections and packets of a process's network namespace had no route; 0 where it has ended."""
    count = 0
    try:
        rows = [line.split() for line in _read(f"/proc/{process}/net/snmp").splitlines() if line.startswith("Ip:")]
        count += int(dict(zip(*rows, strict=True)).get("OutNoRoutes", 0))
        for line in _read(f"/proc/{process}/net/snmp6").splitlines():
            if line.startswith("Ip6OutNoRoutes"):
                count += int(line.split()[1])
    except (OSError, ValueError, TypeError):  # without IPv6 there is no such file
        pass
    return count


def _read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _MAX_COUNTERS).decode("ascii", "replace")
    finally:
        os.close(descriptor)
