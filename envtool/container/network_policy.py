"""Where the members of a pod may connect to outside of it, as a value. Pure.

A rule is `HOST:PORT`. HOST is a name, which is compared as a whole; `*.SUFFIX`, which is every name that ends in
`.SUFFIX`, at any depth, but not SUFFIX itself; or an address. Names are compared in lower case, without a final dot.

    pypi.example:443    *.example.org:443    192.0.2.7:5432    127.0.0.1:8080    [2001:db8::7]:443

A rule for a name lets members connect to whatever addresses this machine's resolver has for it at that moment, but
not to addresses that mean this machine itself, its link, or a group (`_GUARDED`): the server that answers queries for
the name could else lead members to services that listen on this machine's loopback, or to the metadata service of a
cloud, which hands out credentials. A rule for the very address allows that too: with `127.0.0.1:8080` an allowed name
may be this machine's port 8080, and 127.0.0.1:8080 of each member leads there. Private addresses (RFC 1918) are not
guarded, since the servers of a company have such.
"""

from __future__ import annotations

import ipaddress
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_MAX_NAME = 253  # characters (RFC 1035, 2.3.4)
MAX_RULES = 1024
_GUARDED = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32",
        "::/127", "fe80::/10", "ff00::/8", "fd00:ec2::/32",  # the last is a metadata service by IPv6
    )
)  # fmt: skip
_OWN = tuple(ipaddress.ip_network(text) for text in ("10.64.0.0/16", "198.18.0.0/15"))
_EMBEDDED = ipaddress.IPv6Network("64:ff9b::/96")  # IPv4 by NAT64 (RFC 6052)


def is_host_name(text: str) -> bool:
    """Returns whether a text, in lower case, can be the name of a host."""
    return len(text) <= _MAX_NAME and bool(_NAME.fullmatch(text)) and not text.rpartition(".")[2].isdigit()


class NetworkPolicy:
    """What members may connect to: what `rules` list, or with `learn` whatever has a name or address. Raises ValueError
    for a text that is no rule; it names it.
    """

    def __init__(self, rules: Iterable[str] = (), *, learn: bool = False) -> None:
        self.learn = learn
        self.rules = tuple(dict.fromkeys(rules))
        self._names: dict[str, set[int]] = {}
        self._suffixes: dict[str, set[int]] = {}
        self._addresses: dict[str, set[int]] = {}
        if len(self.rules) > MAX_RULES:
            raise ValueError(f"a network policy has {MAX_RULES} rules at most, not {len(self.rules)}")
        for rule in self.rules:
            host, port = _parse_rule(rule)
            if host.startswith("*"):
                self._suffixes.setdefault(host[1:], set()).add(port)
            elif is_host_name(host):
                self._names.setdefault(host, set()).add(port)
            else:
                self._addresses.setdefault(host, set()).add(port)

    def __bool__(self) -> bool:
        return self.learn or bool(self.rules)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The IPv4 addresses that rules name, without those of loopback: members connect to them as they are."""
        return tuple(a for a in self._addresses if ":" not in a and not is_loopback(a))

    @property
    def loopback(self) -> tuple[tuple[str, int], ...]:
        """The IPv4 addresses of loopback that rules name, each with a port."""
        return tuple((a, port) for a, ports in self._addresses.items() if is_loopback(a) for port in sorted(ports))

    def has_name(self, name: str) -> bool:
        """Returns whether any port of a name, in lower case, is allowed."""
        if self.learn:
            return is_host_name(name) and not name.endswith(".arpa")
        return is_host_name(name) and (name in self._names or any(name.endswith(suffix) for suffix in self._suffixes))

    def allows(self, host: str, port: int) -> bool:
        """Returns whether members may connect to a name or address, as they name it."""
        if self.learn:
            return True
        if port in self._names.get(host, ()) or port in self._addresses.get(host, ()):
            return True
        return is_host_name(host) and any(
            port in ports for suffix, ports in self._suffixes.items() if host.endswith(suffix)
        )

    def allows_address(self, address: str, port: int) -> bool:
        """Returns whether a connection to what a name resolved to, or an address itself, may be made: it is not
        guarded, or a rule names it. Raises ValueError for a text that is no address.
        """
        value = ipaddress.ip_address(address.partition("%")[0])
        if port in self._addresses.get(str(value), ()):
            return True
        inner = value
        if isinstance(value, ipaddress.IPv6Address):
            inner = value.ipv4_mapped or value.sixtofour or value
            if value in _EMBEDDED:
                inner = ipaddress.IPv4Address(int(value) & 0xFFFFFFFF)
        if port in self._addresses.get(str(inner), ()):
            return True
        return not any(inner in network for network in _GUARDED)


def is_loopback(address: str) -> bool:
    """Returns whether an IPv4 address is one of loopback."""
    return address.startswith("127.") and not is_host_name(address)


def format_destination(host: str, port: int) -> str:
    """Returns `HOST:PORT`, as a rule has it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parse_rule(rule: str) -> tuple[str, int]:
    """Returns the host, in lower case, and the port of a rule. Raises ValueError."""
    host, colon, digits = rule.rpartition(":")
    if not colon or not host:
        raise ValueError(f"`{rule}` has no port: write it as `HOST:PORT`, for example `{rule.strip(':') or 'a'}:443`")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 1 <= int(digits) <= 65535):
        raise ValueError(f"`{rule}`: the port `{digits}` is not a number from 1 to 65535")
    host, port = host.lower(), int(digits)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"`{rule}`: write an IPv6 address in brackets, as `[::1]:443`, and no scheme or path")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        if any(address in network for network in _OWN):
            raise ValueError(f"`{rule}`: 10.64.0.0/16 and 198.18.0.0/15 are the containers' own networks")
        if address.is_multicast or address.is_unspecified or host == "255.255.255.255":
            raise ValueError(f"`{rule}`: it is not the address of a host")
        return str(address), port
    if not host.isascii():
        raise ValueError(f"`{rule}`: write the name as it is in the DNS, in ASCII (`xn--…`)")
    name = host.removesuffix(".")
    if not is_host_name(name.removeprefix("*.")):
        hint = (
            "`*` stands only before a suffix, as in `*.example.org`" if "*" in name else "it is not the name of a host"
        )
        raise ValueError(f"`{rule}`: {hint}")
    return name, port
