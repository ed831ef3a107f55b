"""Reads the values of one service: ports, checks, signals, and the commands that prepare it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from envtool.fs.sizes import natural
from envtool.model import Prepare, Publish, ReadyCheck
from envtool.spec.service_schema import READY_KEYS
from envtool.spec.tasks import make_command, make_commands, render_duration, render_patterns
from envtool.spec.template import is_template

if TYPE_CHECKING:
    from envtool.model import Command
    from envtool.spec.declarations import LoadContext
    from envtool.spec.node import YamlNode
    from envtool.spec.template import Scope

MAX_PORT = 65535
MAX_REPLICAS = 1000
# signal(7), without those that mean an error of the process, or only stop and continue it
SIGNALS = (
    "ABRT", "ALRM", "HUP", "INT", "IO", "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "TERM", "USR1", "USR2",
    "VTALRM", "WINCH", "XCPU", "XFSZ",
)  # fmt: skip
_REAL_TIME = re.compile(r"RTMIN(?:\+[0-9]|\+1[0-5])?|RTMAX(?:-[0-9]|-1[0-4])?")


class ReadyValues(NamedTuple):
    """The checks of `ready:`; `within` is None if the spec does not say."""

    checks: tuple[ReadyCheck, ...] = ()
    within: float | None = None


class StopValues(NamedTuple):
    """`stop:`; "" and None where the spec does not say."""

    signal: str = ""
    grace: float | None = None


def number_text(work: LoadContext, node: YamlNode, scope: Scope) -> str:
    """Returns a scalar that is a number, or a text, as text; "" if the schema or the template has reported it."""
    if isinstance(node.value, bool) or not isinstance(node.value, int | str):
        return ""
    return work.text(node, scope).strip()


def render_port(work: LoadContext, node: YamlNode, scope: Scope) -> int:
    """Returns a TCP port. Notes a wrong one, and returns 0."""
    text = number_text(work, node, scope)
    return _port(work, node, text) if text or not is_template(node.value) else 0


def _port(work: LoadContext, node: YamlNode, text: str) -> int:
    if port := natural(text, MAX_PORT):
        return port
    if not isinstance(node.value, bool):
        work.problems.add(node, f"`{text}` is no port", code="port", hint=f"ports are from 1 to {MAX_PORT}")
    return 0


def render_ports(work: LoadContext, node: YamlNode | None, scope: Scope) -> tuple[int, ...]:
    """Returns the ports of `ports:`, one or a list."""
    nodes = [] if node is None else node.items() if isinstance(node.value, list) else [node]
    return tuple(dict.fromkeys(filter(None, (render_port(work, item, scope) for item in nodes))))


def render_published(work: LoadContext, node: YamlNode | None, scope: Scope, label: str) -> tuple[Publish, ...]:
    """Returns the ports of `publish:`: `8000`, or `8080:8000`. Notes a port that is there twice."""
    nodes = [] if node is None else node.items() if isinstance(node.value, list) else [node]
    published: list[Publish] = []
    for item in nodes:
        text = number_text(work, item, scope)
        host, colon, inside = text.rpartition(":")
        if not text:
            continue
        if colon and not host.isdigit():
            hint = "write `8000`, or `8080:8000` for port 8080 of this machine's loopback"
            work.problems.add(item, f"`{text}` is no port to publish", code="port", hint=hint)
            continue
        port, host_port = _port(work, item, inside), _port(work, item, host) if colon else 0
        if not port or (colon and not host_port):
            continue
        if any(other.port == port for other in published) or (
            host_port and any(other.host_port == host_port for other in published)
        ):
            message = f"{label} publishes port {text} twice"
            work.problems.add(item, message, code="port-twice", hint="remove one of them")
            continue
        published.append(Publish(port=port, host_port=host_port, where=item.where))
    return tuple(published)


def render_replicas(work: LoadContext, node: YamlNode | None, scope: Scope) -> int:
    """Returns `replicas:`, by default 1. Notes a wrong value, and returns 1."""
    text = number_text(work, node, scope) if node is not None else ""
    if node is None or (not text and (is_template(node.value) or node.value is None)):
        return 1
    if replicas := natural(text, MAX_REPLICAS):
        return replicas
    if not isinstance(node.value, bool | float | dict | list):
        hint = f"write a number from 1 to {MAX_REPLICAS:,}"
        work.problems.add(node, f"`{text}` is no number of replicas", code="replicas", hint=hint)
    return 1


def render_ready(work: LoadContext, node: YamlNode | None, scope: Scope) -> ReadyValues:
    """Returns the checks of `ready:`: a port, or a mapping of checks that must all succeed."""
    if node is None or isinstance(node.value, list | bool):
        return ReadyValues()
    if not isinstance(node.value, dict):
        port = render_port(work, node, scope) if node.value is not None else 0
        return ReadyValues((ReadyCheck(how="tcp", where=node.where, port=port),) if port else ())
    checks = (_check(work, node, how, scope) for how in READY_KEYS if node.get(how) is not None)
    return ReadyValues(
        tuple(check for check in checks if check is not None), render_duration(work, node.get("within"), scope)
    )


def _check(work: LoadContext, ready: YamlNode, how: str, scope: Scope) -> ReadyCheck | None:
    node = ready.mapping()[how]
    where = ready.key(how).where
    if how == "tcp":
        if node.value is None:  # the schema's own error does not say that a port is missing
            return None
        port = render_port(work, node, scope)
        return ReadyCheck(how="tcp", where=where, port=port) if port else None
    if how == "http":
        return _http(work, node, scope)
    if how == "command":
        command = make_command(work, node, scope)
        if command is None and not is_template(node.value):
            work.problems.add(node, "the command of `ready` is empty", code="empty", hint="write one")
        return ReadyCheck(how="command", where=where, command=command) if command else None
    text = work.text(node, scope) if isinstance(node.value, str) else ""
    if not text:
        return None
    if how == "file":
        if not text.startswith("/"):
            hint = "write the absolute path in the service's container"
            work.problems.add(node, f"the path `{text}` is relative", code="path", hint=hint)
            return None
        return ReadyCheck(how="file", where=where, text=text)
    try:
        re.compile(text)
    except re.error as error:
        hint = "write a Python regular expression; `\\` before a character takes it literally"
        work.problems.add(node, f"`{text}` is no regular expression: {error}", code="regex", hint=hint)
        return None
    return ReadyCheck(how="log", where=where, text=text)


def _http(work: LoadContext, node: YamlNode, scope: Scope) -> ReadyCheck | None:
    """Returns the check of `http: PORT/PATH`."""
    text = number_text(work, node, scope)
    if not text:
        return None
    port_text, _, path = text.partition("/")
    if not port_text.isdigit():
        hint = f"write `http: 8000/{path or 'health'}`: the port, and the path"
        work.problems.add(node, f"`http: {text}` has no port", code="port", hint=hint)
        return None
    port = _port(work, node, port_text)
    if any(character <= " " or character == "\x7f" for character in path):
        work.problems.add(node, f"`{text}` has a blank in its path", code="path", hint="write it as `%20`")
        return None
    return ReadyCheck(how="http", where=node.where, port=port, text=f"/{path}") if port else None


def render_stop(work: LoadContext, node: YamlNode | None, scope: Scope) -> StopValues:
    """Returns `stop:`, with the signal's name without SIG."""
    if node is None:
        return StopValues()
    at = node.get("signal")
    text = work.text(at, scope).strip() if at is not None and isinstance(at.value, str) else ""
    name = text.upper().removeprefix("SIG")
    if at is not None and text and name not in SIGNALS and not _REAL_TIME.fullmatch(name):
        hint = work.problems.nearest_hint(name, SIGNALS, listed=0) or "write TERM, INT, QUIT, HUP, USR1 or USR2"
        work.problems.add(at, f"there is no signal `{text}`", code="signal", hint=hint)
        name = ""
    return StopValues(name, render_duration(work, node.get("grace"), scope))


def render_prepare(
    work: LoadContext, node: YamlNode | None, scope: Scope, label: str, directory: str
) -> Prepare | None:
    """Returns `prepare:`; None if there is none."""
    if node is None or node.value is None:
        return None
    before: tuple[Command, ...] = ()
    inputs: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    run: YamlNode | None = node
    if isinstance(node.value, dict):
        run, first = node.get("run"), node.get("before")
        before = make_commands(work, first, scope, f"`prepare` of {label}") if first is not None else ()
        inputs = render_patterns(work, node.get("inputs"), scope, directory)
        data = _data(work, node.get("data"), scope)
    commands = make_commands(work, run, scope, f"`prepare` of {label}") if run is not None else ()
    return Prepare(where=node.where, before=before, run=commands, inputs=inputs, data=data)


def _data(work: LoadContext, node: YamlNode | None, scope: Scope) -> tuple[str, ...]:
    directories: list[str] = []
    for item in node.items() if node is not None else ():
        path = work.text(item, scope)
        parts = path.rstrip("/").split("/")
        lost = next((top for top in NEVER_KEPT if f"{path}/".startswith(f"{top}/")), "")
        if lost:
            message = f"nothing below {lost} is kept, so `{path}` is no directory to keep"
            work.problems.add(item, message, code="path", hint="let the service write its data elsewhere")
        elif path.startswith("/") and len(parts) > 1 and not {"", ".", ".."} & {*parts[1:]}:
            directories.append("/".join(parts))
        elif path or not is_template(item.value):
            hint = "write the absolute path of a directory in the service's container, as in /var/lib/postgresql"
            work.problems.add(item, f"`{path}` is no directory to keep", code="path", hint=hint)
    return tuple(directories)


# What a running system makes anew, and the project: services.prepared_state captures none of it (a test compares them).
NEVER_KEPT = (
    "/run", "/tmp", "/var/tmp", "/var/run", "/dev", "/proc", "/sys", "/home/envtool/.cache", "/project",
)  # fmt: skip


# ---- the network of an env -----------------------------------------------------------------------------------------

MAX_ALLOWED = 1024  # entries of one env
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\Z")
# addresses of containers in their own network, as container/network_policy.py has them (a test compares the two)
_OWN = ("10.64.0.0/16", "198.18.0.0/15")


def render_allowed(work: LoadContext, network: YamlNode | None, scope: Scope) -> tuple[str, ...]:
    """Returns the entries of `network: {allow:}`, HOST:PORT, with hosts in small letters. Notes each invalid entry."""
    node = network.get("allow") if network is not None else None
    allowed: dict[str, None] = {}
    for item in node.items() if node is not None else ():
        text = work.text(item, scope).strip() if isinstance(item.value, str) else ""
        host, colon, port = text.rpartition(":")
        if not text:
            continue
        if not colon or not host or "/" in text:
            work.problems.add(item, f"`{text}` is no HOST:PORT", code="allow", hint=_allow_hint(text))
            continue
        normal, hint = _allowed_host(host)
        if not normal:
            work.problems.add(item, f"`{host}` is no host that can be allowed", code="allow", hint=hint)
        elif _port(work, item, port):
            allowed[f"{normal}:{int(port)}"] = None
    if node is not None and len(allowed) > MAX_ALLOWED:
        work.problems.add(node, f"more than {MAX_ALLOWED:,} entries in `allow`", code="limit")
    return tuple(allowed)


def _allowed_host(written: str) -> tuple[str, str]:
    """Returns a host in its normal form, or "" and a hint."""
    import ipaddress

    host = written.lower()
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ipaddress.ip_address(inner)
    except ValueError:
        name = host.removesuffix(".")
        bare = name.removeprefix("*.")
        if bare == "localhost":
            return "", "it is the container itself; `127.0.0.1:PORT` is that port of this machine"
        if not host.isascii():
            return "", "write the name in ASCII, as the DNS has it: `xn--…`"
        fits = _NAME.match(bare) and len(bare) <= 253 and not bare.rpartition(".")[2].isdigit()
        return (
            (name, "") if fits else ("", "write a name, an address, an IPv6 address as `[::1]`, or `*.` and a domain")
        )
    if (address.version == 6) != (inner != host):
        return "", "write an IPv6 address in brackets, and no other: `[2001:db8::7]:443`"
    if any(address in ipaddress.ip_network(own) for own in _OWN):
        return "", "it is an address of the containers' own networks"
    if address.is_multicast or address.is_unspecified or inner == "255.255.255.255":
        return "", "it is no address of one host"
    return (f"[{address}]" if address.version == 6 else str(address)), ""


def _allow_hint(text: str) -> str:
    """Returns what to write for an entry without a port, or for a URL."""
    scheme, separator, remaining = text.partition("://")
    host = (remaining if separator else text).split("/")[0]
    port = {"http": 80, "ssh": 22, "git": 9418}.get(scheme, 443)
    if not _NAME.match(host.split(":")[0].lower().removeprefix("*.")):
        return "write HOST:PORT"
    return f"write `{host if ':' in host else f'{host}:{port}'}`"
