"""One service of a compose file as a service of a spec."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from envtool.app.compose import compose_values as values
from envtool.app.compose.command_lines import read_command, read_ready, read_user
from envtool.app.compose.environment import read_variables
from envtool.app.compose.left_out import DEPLOY_KEYS, SERVICE_KEYS, note_keys
from envtool.app.compose.port_lists import read_ports
from envtool.app.compose.use_kinds import with_kind
from envtool.app.compose.volumes import read_mounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.app.compose.image_base import ServiceBase
    from envtool.app.compose.notes import Effect, ImportState
    from envtool.model import Json
    from envtool.spec.node import YamlNode

READ = frozenset({  # keys that this module and its neighbours read
    "image", "build", "command", "entrypoint", "working_dir", "user", "healthcheck", "environment", "env_file", "ports",
    "expose", "volumes", "tmpfs", "configs", "secrets", "depends_on", "links", "networks", "network_mode", "deploy",
    "scale", "restart", "stop_signal", "stop_grace_period", "profiles", "platform", "container_name", "hostname",
    "extends",
})  # fmt: skip
READ_DEPLOY = frozenset({"replicas", "restart_policy"})
_RESTARTS = {
    "no": "never", "false": "never", "always": "always", "unless-stopped": "always", "on-failure": "on-failure",
}  # fmt: skip
MAX_REPLICAS = 1000


class ConvertedService(NamedTuple):
    """A service of the spec: its keys and values, in their order."""

    name: str
    keys: dict[str, Json]
    started: bool  # whether `docker compose up` starts it without `--profile`
    with_kind: dict[str, Json] | None = None  # the same with a kind of service in the place of the image


def convert_service(
    state: ImportState,
    name: str,
    service: YamlNode,
    base: ServiceBase,
    needs: Sequence[str],
    *,
    once: bool,
    published: set[int],
) -> ConvertedService:
    """Returns a service on its base. `needs` are names in the spec; `once`: others wait for its end. `published` has
    the ports of this machine that other services have, and gets those of this one."""
    note_keys(state, service, READ, SERVICE_KEYS)
    keys: dict[str, Json] = {"base": base.base}
    if layers := read_mounts(state, service):
        keys["layers"] = layers
    command = read_command(state, service, base.defaults)
    if command is not None:
        keys |= {"command": [*command], "project": False}
    if user := read_user(state, service, base.defaults, has_command=command is not None):
        keys["user"] = user
    if variables := read_variables(state, service):
        keys["set"] = dict(variables)
    ports = read_ports(state, service, published)
    if ports.inside and not once:
        keys["ports"] = [*ports.inside]
    if (ready := read_ready(state, service, once=once)) is not None:
        keys["ready"] = ready
    if needs:
        keys["needs"] = [*dict.fromkeys(needs)]
    replicas = _replicas(state, service)
    keys |= {"replicas": replicas} if replicas > 1 and not once else {}
    keys |= {"once": True} if once else _restart(state, service)
    keys |= _stop(state, service)
    if ports.published and not once:
        keys["publish"] = [f"{host}:{port}" if host else port for host, port in ports.published]
    _note_names(state, name, service)
    started = _is_started(state, service, replicas)
    return ConvertedService(state.names[name], keys, started, with_kind(keys, base.image) if base.image else None)


def _replicas(state: ImportState, service: YamlNode) -> int:
    deploy = service.get("deploy")
    if deploy is not None:
        note_keys(state, deploy, READ_DEPLOY, DEPLOY_KEYS, "deploy: ")
    node = deploy.get("replicas") if deploy is not None else None
    node = service.get("scale") if node is None else node
    replicas = values.read_number(state, node, "replicas", 1)
    if node is not None and replicas > MAX_REPLICAS:
        state.problems.add(node, f"more than {MAX_REPLICAS:,} replicas", code="compose")
        return 1
    return replicas


def _restart(state: ImportState, service: YamlNode) -> dict[str, Json]:
    node = service.get("restart")
    deploy = service.get("deploy")
    if node is None and deploy is not None and (policy := deploy.get("restart_policy")) is not None:
        node = policy.get("condition")
        text = {"none": "no", "any": "always", "": "always"}.get(
            values.read_text(state, node, "condition"), "on-failure"
        )
        return {"restart": _RESTARTS[text]}
    text, _, count = values.read_text(state, node, "restart").partition(":")
    if node is None or not text:
        return {}
    if text not in _RESTARTS:
        hint = "write no, always, on-failure or unless-stopped"
        state.problems.add(node, f"`{text[:40]}` is no restart policy", code="compose", hint=hint)
        return {}
    if count:
        state.note(node, "restart", "changed", f"without the limit of {count} times")
    return {"restart": _RESTARTS[text]}


def _stop(state: ImportState, service: YamlNode) -> dict[str, Json]:
    stop: dict[str, Json] = {}
    if signal := values.read_text(state, service.get("stop_signal"), "stop_signal"):
        stop["signal"] = signal.upper().removeprefix("SIG")
    grace = values.read_duration(state, service.get("stop_grace_period"), "stop_grace_period", 0.0)
    if grace:
        stop["grace"] = values.format_duration(grace)
    return {"stop": stop} if stop else {}


def _is_started(state: ImportState, service: YamlNode, replicas: int) -> bool:
    profiles = values.read_texts(state, service.get("profiles"), "profiles")
    if profiles:
        names = ", ".join(f"`{name}`" for _, name in profiles)
        message = f"of profile {names}: declared, and used by no env"
        state.note(service.key("profiles"), "profiles", "changed", message, "name it under `services:` of an env")
    elif not replicas:
        message = "no replicas: declared, and used by no env"
        state.note(service, "scale", "changed", message, "name it under `services:` of an env")
    return not profiles and replicas > 0


def _note_names(state: ImportState, name: str, service: YamlNode) -> None:
    """Notes other names and other networks of a service: it has one of each here."""
    own = state.names[name]
    networks = service.get("networks")
    for network, child in (networks.mapping() if networks is not None else {}).items():
        for member, alias in values.read_texts(state, child.get("aliases"), "aliases"):
            if alias != own:
                message = f"a service has one name here: `{own}`, not `{alias}`"
                state.note(member, "networks: aliases", "left-out", message, f"write `{own}` where `{alias}` is")
        for key in child.mapping():
            if key != "aliases" and not key.startswith("x-"):
                message = f"of the network `{network}`: addresses and priorities are the run's own"
                state.note(child.key(key), f"networks: {key}", "left-out", message)
    if networks is not None and networks.value:
        message = "the services of a run share one network, which has nothing outside"
        state.note(service.key("networks"), "networks", "meaningless", message)
    for key in ("container_name", "hostname"):
        other = values.read_text(state, service.get(key), key)
        if other and other != own:
            message = f"a service has one name here: `{own}`, not `{other}`"
            state.note(service.key(key), key, "left-out", message, f"write `{own}` where `{other}` is")
        elif other:
            state.note(service.key(key), key, "meaningless", "it is the service's own name")
    mode = values.read_text(state, service.get("network_mode"), "network_mode")
    if mode:
        message = {
            "none": "a service has the network of its run, which has nothing outside",
            "host": "no service has this machine's network: it has that of its run, and `publish:`",
            "bridge": "the services of a run share one network",
        }.get(mode, "each service has a network address of its own")
        effect: Effect = "meaningless" if mode == "bridge" else "left-out"
        state.note(service.key("network_mode"), "network_mode", effect, message)
