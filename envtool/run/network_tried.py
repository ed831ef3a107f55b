"""Describes what a failed task tried to reach outside, and what allows it. Pure.

Of a task in a pod, the hosts and ports are known (`Pod.attempts`). Of a task without a pod, the names that it looked up
are known, and the number of its attempts to reach addresses (`Exit.network_tried`). Names and reasons are not trusted:
they are shortened, and made safe for a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from envtool.container.network_policy import NetworkPolicy, format_destination
from envtool.errors import closest_name
from envtool.report.text import one_line

if TYPE_CHECKING:
    from envtool.container.pod import Attempt

_MAX_SHOWN = 5  # hosts of one message
_MAX_HOST, _MAX_REASON = 100, 80  # characters
_HTTPS = 443
_REFUSED = re.compile(r"connection refused|\beconnrefused\b", re.IGNORECASE)


class TriedHost(NamedTuple):
    """A host that a task tried to reach by TCP or UDP, or a name that it only looked up (`protocol` "name", `port` 0).
    `times` is the number of connections or packets; 0: unknown. `reason` says why an allowed host could not be
    reached."""

    protocol: str
    host: str
    port: int = 0
    times: int = 0
    reason: str = ""


class NetworkTried(NamedTuple):
    """The attempts of a run to reach hosts outside. `more` is the number of attempts with an unknown host."""

    hosts: tuple[TriedHost, ...] = ()
    more: int = 0


class NetworkOfEnv(NamedTuple):
    """The hosts that an env may reach. `services` run beside the task; `others` are the other services of the env."""

    allow: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    learns: bool = False


def from_attempts(attempts: Iterable[Attempt], more: int) -> NetworkTried:
    """Returns what the members of a pod tried. Leaves out reverse look-ups, which servers make for each client, and the
    number of queries for a name."""
    listed = [*attempts]
    connected = {each.host for each in listed if each.protocol != "name"}
    hosts = [
        TriedHost(each.protocol, each.host, each.port, 0 if each.protocol == "name" else each.count, each.reason)
        for each in listed
        if not each.host.endswith(".arpa") and (each.protocol != "name" or each.host not in connected)
    ]
    return NetworkTried(tuple(hosts), more)


def from_exit(names: Iterable[str], unreachable: int) -> NetworkTried:
    """Returns what a container without a pod tried."""
    return NetworkTried(tuple(TriedHost("name", name) for name in names if not name.endswith(".arpa")), unreachable)


def describe_tried(tried: NetworkTried, env: NetworkOfEnv) -> list[str]:
    """Returns lines for the message of a failed task: what it tried, and how to allow that. Returns [] if it tried
    nothing."""
    mistaken = [host for host in tried.hosts if _is_service_name(host, env)]
    failed = [host for host in tried.hosts if host.reason]
    refused = [host for host in tried.hosts if host not in mistaken and not host.reason]
    lines = [_describe_mistaken(host.host, env) for host in mistaken[:_MAX_SHOWN]]
    if failed:
        lines.append(f"it could not reach: {_join(failed)}")
    if refused or tried.more:
        lines.append(f"it tried the network: {_join(refused, tried.more)}")
        lines.append(_describe_remedy(refused, env))
    return [line for line in lines if line]


def _is_service_name(tried: TriedHost, env: NetworkOfEnv) -> bool:
    """Whether a name was probably meant as that of a service: it has no dot, and there are services."""
    return tried.protocol == "name" and "." not in tried.host and bool(env.services or env.others)


def _describe_mistaken(name: str, env: NetworkOfEnv) -> str:
    shown = _shorten(name, _MAX_HOST)
    if name in env.others:
        return f"`{shown}` is a service of this env, but not of this task: `services: [{shown}]` starts it beside it"
    known = (*env.services, *env.others)
    near = closest_name(name, known)
    hint = f"did you mean the service `{near}`?" if near else f"its services are {', '.join(known[:12])}"
    return f"no service has the name `{shown}`: {hint}"


def _join(hosts: Sequence[TriedHost], more: int = 0) -> str:
    texts = [_describe_host(host) for host in hosts[:_MAX_SHOWN]]
    if len(hosts) > _MAX_SHOWN:
        texts.append(f"{len(hosts) - _MAX_SHOWN} more hosts")
    if more:
        others = "further ones" if hosts else "addresses"
        texts.append(f"{more} {'attempt' if more == 1 else 'attempts'} at {others}")
    return ", ".join(texts)


def _describe_host(tried: TriedHost) -> str:
    host = _shorten(tried.host, _MAX_HOST)
    text = format_destination(host, tried.port) if tried.port else host
    notes = [
        "by UDP" if tried.protocol == "udp" else "",
        f"{tried.times} times" if tried.times > 1 else "",
        _shorten(tried.reason, _MAX_REASON),
    ]
    shown = ", ".join(filter(None, notes))
    return f"{text} ({shown})" if shown else text


def _describe_remedy(refused: Sequence[TriedHost], env: NetworkOfEnv) -> str:
    """Returns what to write into the spec to allow these hosts."""
    if env.learns:
        return ""
    rules: dict[str, bool] = {}  # rule -> whether its port is a guess
    for tried in refused:
        rule = format_destination(tried.host, tried.port or _HTTPS)
        if tried.protocol != "udp" and is_allowable(rule):
            rules.setdefault(rule, not tried.port)
    certain = [rule for rule in rules if not rules[rule]]
    shown = (certain or [*rules])[:_MAX_SHOWN]
    everything = "" if env.allow or env.services else "; `network: true` gives it all of this machine's network"
    if not shown:
        if refused and all(tried.protocol == "udp" for tried in refused):
            return f"an env with `network: {{allow: […]}}` has TCP alone{everything}"
        return f"`--learn-network` says which hosts and ports it needs{everything}"
    guess = ""
    if any(rules[rule] for rule in shown):
        guess = " if it is HTTPS; `--learn-network` says which ports it needs"
    if env.allow:
        quoted = ", ".join(f'"{rule}"' for rule in shown)
        return f"add {quoted} to `network: {{allow: …}}` of its env{guess}{everything}"
    return f"`{format_policy(shown)}` allows it{guess}{everything}"


def is_allowable(rule: str) -> bool:
    """Whether a text is a valid entry of `network: {allow: […]}`."""
    if rule.startswith("localhost:"):
        return False
    try:
        return bool(NetworkPolicy((rule,)))
    except ValueError:
        return False


def format_policy(rules: Iterable[str]) -> str:
    """Returns `network: {allow: […]}`, as a spec has it. Rules have no quotes."""
    quoted = ", ".join(f'"{rule}"' for rule in rules)
    return f"network: {{allow: [{quoted}]}}"


def describe_listening(output: str, listening: Callable[[], Mapping[str, Sequence[str]]]) -> list[str]:
    """Returns a line with the ports on which services listen, if a command printed that a connection was refused.
    `listening` returns the ports, as text, by the services' names."""
    if not _REFUSED.search(output):
        return []
    parts = [
        f"`{name}` on {', '.join(ports[:_MAX_SHOWN]) if ports else 'no port'}"
        for name, ports in [*listening().items()][: 2 * _MAX_SHOWN]
    ]
    return [f"a connection was refused; its services listen so: {'; '.join(parts)}"]


def _shorten(text: str, limit: int) -> str:
    safe = one_line(text)
    return safe if len(safe) <= limit else f"{safe[: limit - 1]}…"
