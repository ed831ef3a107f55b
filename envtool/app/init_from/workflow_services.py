"""`services:` of a job: containers beside its steps, at the runner's loopback."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from envtool.app.compose.compose_values import scalar_text
from envtool.app.compose.use_kinds import with_kind, without_url
from envtool.app.init_from.taken_spec import CannotTakeError
from envtool.app.init_from.workflow_expressions import substitute

if TYPE_CHECKING:
    from envtool.app.init_from.workflow_expressions import Contexts
    from envtool.model import Json
    from envtool.spec.node import YamlNode

_PORT = re.compile(r"(?:([0-9]{1,5}):)?([0-9]{1,5})(?:/tcp)?")
_READ = frozenset({"image", "env", "ports", "options"})
MAX_SERVICES = 50
# Options of `docker create` about health: the port decides here, as soon as it accepts connections.
_OPTIONS = frozenset({"--health-cmd", "--health-interval", "--health-timeout", "--health-retries",
                      "--health-start-period", "--hostname", "--name"})  # fmt: skip


def take_services(node: YamlNode | None, contexts: Contexts, *, in_container: bool) -> dict[str, Json]:
    """Returns the services of a spec, by name. Steps outside of a container reach them at `localhost`. Raises
    CannotTakeError, with the line, for what a spec cannot express."""
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict) or len(node.value) > MAX_SERVICES:
        raise CannotTakeError(f"its services are no mapping, or more than {MAX_SERVICES}", "", node.line)
    services: dict[str, Json] = {}
    for name, service in node.value.items():
        if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,56}[a-z0-9])?", name):
            raise CannotTakeError(f"the service `{name[:60]}` cannot be a host name", "", service.line)
        services[name] = _service(service, contexts, in_container=in_container)
    return services


def _service(node: YamlNode, contexts: Contexts, *, in_container: bool) -> Json:
    if not isinstance(node.value, dict):
        raise CannotTakeError("a service is no mapping", "", node.line)
    for key in node.value:
        if key not in _READ:
            raise CannotTakeError(f"`{key}` of a service has no counterpart", "", node.key(key).line)
    image = _text(node.get("image"), contexts)
    if not image:
        raise CannotTakeError("a service has no image", "", node.line)
    _check_options(node.get("options"), contexts)
    keys: dict[str, Json] = {"base": {"image": image}}
    variables: dict[str, Json] = {
        name: _text(value, contexts) for name, value in (node.get("env") or node).mapping().items()
    } if node.get("env") is not None else {}  # fmt: skip
    keys |= {"set": variables} if variables else {}
    ports = _ports(node.get("ports"), contexts, in_container=in_container)
    keys |= {"ports": [*ports], "ready": ports[0]} if ports else {}
    as_kind = with_kind(keys, image)
    service = without_url(as_kind) if as_kind is not None else keys
    if not in_container and ports:
        service["localhost"] = True
    return service


def _text(node: YamlNode | None, contexts: Contexts) -> str:
    text = (scalar_text(node) or "") if node is not None else ""
    return substitute(text, contexts, node.line) if node is not None else ""


def _check_options(node: YamlNode | None, contexts: Contexts) -> None:
    """Raises CannotTakeError for options of the container that are not about its health."""
    try:
        words = shlex.split(_text(node, contexts))
    except ValueError:
        words = ["?"]
    while words:
        option, equals, _ = words.pop(0).partition("=")
        if option not in _OPTIONS:
            raise CannotTakeError(
                f"the option `{option[:40]}` of a service has no counterpart", "", node.line if node else 0
            )
        if not equals and words:
            words.pop(0)


def _ports(node: YamlNode | None, contexts: Contexts, *, in_container: bool) -> list[int]:
    ports: list[int] = []
    for member in node.items() if node is not None else []:
        match = _PORT.fullmatch(_text(member, contexts))
        if match is None:
            raise CannotTakeError("a port of a service is no number", "", member.line)
        outside, inside = match[1] or match[2], match[2]
        if not in_container and outside != inside:
            message = f"steps reach a service at port {outside} of `localhost`, and here at its own port {inside}"
            raise CannotTakeError(message, "write the same port twice, or an env of your own", member.line)
        ports.append(int(inside))
    return ports
