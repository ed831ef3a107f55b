"""`ports` and `expose` of a service: the ports on which it listens, and the ports of this machine that lead to them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from envtool.app.compose import compose_values as values

if TYPE_CHECKING:
    from envtool.app.compose.notes import ImportState
    from envtool.spec.node import YamlNode

MAX_PORT = 65535
MAX_PORTS = 1000  # of one service
_SHORT = re.compile(
    r"(?:(?P<address>\[[0-9a-fA-F:.]+\]|[0-9a-fA-F.]*|localhost):)??(?:(?P<host>[0-9-]*):)?(?P<inside>[0-9-]+)"
    r"(?:/(?P<protocol>[A-Za-z]+))?"
)
_RANGE = re.compile(r"(?P<first>[0-9]{1,5})(?:-(?P<last>[0-9]{1,5}))?")
_ROOT_PORTS = 1024


class ServicePorts(NamedTuple):
    """Ports that a service listens on, and pairs of a port of this machine (0: any free one) and one of them."""

    inside: tuple[int, ...]
    published: tuple[tuple[int, int], ...]


def read_ports(state: ImportState, service: YamlNode, taken: set[int]) -> ServicePorts:
    """Returns the ports of a service. `taken` has the ports of this machine that other services have, and gets those of
    this one. Notes each entry that is not a TCP port on this machine's loopback."""
    inside: dict[int, None] = {}
    published: dict[int, int] = {}
    for node in _members(state, service.get("ports"), "ports"):
        for host, port in _long(state, node) if isinstance(node.value, dict) else _short(state, node):
            inside[port] = None
            if len(inside) > MAX_PORTS:
                state.problems.add(node, f"more than {MAX_PORTS:,} ports", code="limit")
                state.problems.raise_any()
            _publish(state, node, published, taken, (host, port))
    for node, text in values.read_texts(state, service.get("expose"), "expose"):
        ports, protocol, *_ = (*text.split("/"), "tcp")
        if protocol != "tcp":
            _note_protocol(state, node, "expose", protocol)
            continue
        inside |= dict.fromkeys(_range(state, node, "expose", ports))
    return ServicePorts(tuple(inside), tuple((host, port) for port, host in published.items()))


def _publish(
    state: ImportState, node: YamlNode, published: dict[int, int], taken: set[int], pair: tuple[int, int]
) -> None:
    """Adds a pair of ports. A port of a service is published once, and one of this machine has one service."""
    host, port = pair
    if published.get(port) and host and published[port] != host:
        message = f"port {port} is published as {published[port]} already: not as {host}, too"
        state.note(node, "ports", "left-out", message)
        return
    if host in taken and published.get(port) != host:
        message = f"port {host} of this machine has another service already: any free one"
        state.note(node, "ports", "changed", message)
        host = 0
    elif host and host < _ROOT_PORTS:
        message = f"port {host} of this machine can be had by root alone"
        state.note(node, "ports", "changed", message, f"`publish: [{port}]` takes any free port")
    published[port] = host or published.get(port, 0)
    taken |= {host} if host else set()


def _members(state: ImportState, node: YamlNode | None, key: str) -> list[YamlNode]:
    if node is None or node.value is None:
        return []
    if not isinstance(node.value, list):
        values.wrong_type(state, node, key, "a list")
        return []
    return node.value


def _note_protocol(state: ImportState, node: YamlNode, key: str, protocol: str) -> None:
    message = f"only TCP is published: not {protocol.upper()[:10]}"
    state.note(node, key, "left-out", message, "services of one run reach each other by any protocol")


def _short(state: ImportState, node: YamlNode) -> list[tuple[int, int]]:
    """Returns the ports of `8080:80`, `127.0.0.1:8000-8001:80-81`, `53`."""
    text = values.read_text(state, node, "ports")
    match = _SHORT.fullmatch(text.strip())
    if not match:
        if text:
            state.problems.add(node, f"`{text[:60]}` is no port", code="port", hint="write it as in 8080:80")
        return []
    if (match["protocol"] or "tcp").lower() != "tcp":
        _note_protocol(state, node, "ports", match["protocol"])
        return []
    _note_address(state, node, match["address"])
    return _pair(state, node, match["host"] or "", match["inside"])


def _long(state: ImportState, node: YamlNode) -> list[tuple[int, int]]:
    entries = node.mapping()
    protocol = values.read_text(state, entries.get("protocol"), "protocol").lower() or "tcp"
    if protocol != "tcp":
        _note_protocol(state, node, "ports", protocol)
        return []
    for key in entries:
        if key not in ("target", "published", "host_ip", "protocol", "mode", "name", "app_protocol"):
            state.note(node.key(key), f"ports: {key}", "left-out", "it is not known here")
    _note_address(state, node, values.read_text(state, entries.get("host_ip"), "host_ip"))
    published = values.read_text(state, entries.get("published"), "published")
    return _pair(state, node, published, values.read_text(state, entries.get("target"), "target"))


def _note_address(state: ImportState, node: YamlNode, address: str | None) -> None:
    if address and address not in ("127.0.0.1", "localhost", "[::1]", "::1"):
        state.note(node, "ports", "changed", f"it is published on this machine's loopback, not on {address}")


def _pair(state: ImportState, node: YamlNode, host: str, inside: str) -> list[tuple[int, int]]:
    """Returns the pairs of two ports or ranges. A range of this machine for one port: any of it, so any free one."""
    ports = _range(state, node, "ports", inside)
    hosts = _range(state, node, "ports", host) if host and host != "0" else []
    if len(hosts) > 1 and len(ports) == 1:
        state.note(node, "ports", "changed", f"any free port of this machine, not one of {host}")
        return [(0, ports[0])]
    if hosts and len(hosts) != len(ports):
        state.problems.add(node, f"`{host}` and `{inside}` are not as many ports", code="port")
        return []
    return [*zip(hosts or [0] * len(ports), ports, strict=True)]


def _range(state: ImportState, node: YamlNode, key: str, text: str) -> list[int]:
    match = _RANGE.fullmatch(text.strip())
    first = int(match["first"]) if match else 0
    last = int(match["last"] or first) if match else 0
    if not 0 < first <= last <= MAX_PORT:
        hint = f"ports are from 1 to {MAX_PORT}"
        state.problems.add(node, f"`{key}`: `{text[:40]}` is no port", code="port", hint=hint)
        return []
    if last - first >= MAX_PORTS:
        state.problems.add(node, f"more than {MAX_PORTS:,} ports", code="limit")
        return []
    return [*range(first, last + 1)]
