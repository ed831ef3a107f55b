"""One service of a compose file as a service of a spec."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, NamedTuple

from envtool.app.compose import compose_values as values
from envtool.app.compose import image_defaults, known_images
from envtool.app.compose.command_lines import read_command, read_ready, read_user
from envtool.app.compose.left_out import BUILD_KEYS, DEPLOY_KEYS, SERVICE_KEYS
from envtool.app.compose.port_lists import read_ports
from envtool.app.compose.variables import read_variables
from envtool.app.compose.volumes import read_mounts
from envtool.spec.scalar_types import resolve_project_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envtool.app.compose.image_defaults import ImageDefaults
    from envtool.app.compose.left_out import KeyMeaning
    from envtool.app.compose.notes import Effect, ImportState
    from envtool.model import Json
    from envtool.spec.node import YamlNode

_READ = frozenset({  # keys that this module and its neighbours read
    "image", "build", "command", "entrypoint", "working_dir", "user", "healthcheck", "environment", "env_file", "ports",
    "expose", "volumes", "tmpfs", "configs", "secrets", "depends_on", "links", "networks", "network_mode", "deploy",
    "scale", "restart", "stop_signal", "stop_grace_period", "profiles", "platform", "container_name", "hostname",
    "extends",
})  # fmt: skip
_READ_BUILD = frozenset({"context", "dockerfile", "target", "args"})
_READ_DEPLOY = frozenset({"replicas", "restart_policy"})
_RESTARTS = {
    "no": "never",
    "false": "never",
    "always": "always",
    "unless-stopped": "always",
    "on-failure": "on-failure",
}
_CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
MAX_REPLICAS = 1000


class ConvertedService(NamedTuple):
    """A service of the spec: its keys and values, in their order."""

    name: str
    keys: dict[str, Json]
    started: bool  # whether `docker compose up` starts it without `--profile`
    suggestion: str = ""  # a kind of service with the same server: "postgres: 15"


class Dependency(NamedTuple):
    """A service that another waits for; `once`: for its successful end."""

    node: YamlNode
    name: str
    once: bool = False


def convert_service(state: ImportState, name: str, service: YamlNode, ends: frozenset[str]) -> ConvertedService:
    """Returns a service. `ends` has the names of those that others wait for the end of."""
    once = name in ends
    note_keys(state, service, _READ, SERVICE_KEYS)
    base, defaults, suggestion = _base(state, service)
    keys: dict[str, Json] = {"base": base} if base is not None else {}
    if layers := read_mounts(state, service):
        keys["layers"] = layers
    command = read_command(state, service, defaults)
    if command is not None:
        keys |= {"command": [*command], "project": False}
    if user := read_user(state, service, defaults, has_command=command is not None):
        keys["user"] = user
    if variables := read_variables(state, service):
        keys["set"] = dict(variables)
    ports = read_ports(state, service)
    if ports.inside and not once:
        keys["ports"] = [*ports.inside]
    if (ready := read_ready(state, service, once=once)) is not None:
        keys["ready"] = ready
    if needs := [state.names[other.name] for other in dependencies(state, service) if other.name in state.names]:
        keys["needs"] = [*dict.fromkeys(needs)]
    replicas = _replicas(state, service)
    keys |= {"replicas": replicas} if replicas > 1 and not once else {}
    keys |= {"once": True} if once else _restart(state, service)
    keys |= _stop(state, service)
    if ports.published and not once:
        keys["publish"] = [f"{host}:{port}" if host else port for host, port in ports.published]
    _note_names(state, name, service)
    return ConvertedService(state.names[name], keys, _is_started(state, service, replicas), suggestion)


def note_keys(
    state: ImportState, node: YamlNode, read: frozenset[str], table: Mapping[str, KeyMeaning], prefix: str = ""
) -> None:
    """Notes each key of a mapping that nothing reads: by the table, or as one that compose does not have either."""
    for key, child in node.mapping().items():
        if key in read or key.startswith("x-"):
            continue
        if key in table:
            if child.value not in (None, False) and child.value not in ([], {}):
                meaning = table[key]
                state.note(node.key(key), f"{prefix}{key}", meaning.effect, meaning.message, meaning.hint)
        else:
            hint = state.problems.nearest_hint(key, [*read, *table], listed=0)
            state.note(node.key(key), f"{prefix}{key}", "left-out", "it is no key of compose that is known here", hint)


# ---- the stack -------------------------------------------------------------------------------------------------------


def _base(state: ImportState, service: YamlNode) -> tuple[Json, ImageDefaults, str]:
    """Returns the base, what is known of it, and the kind of service that could replace it."""
    image = values.read_text(state, service.get("image"), "image")
    platform = values.read_text(state, service.get("platform"), "platform")
    build = service.get("build")
    if build is not None and build.value is not None:
        if image:
            state.note(service.key("image"), "image", "meaningless", "what is built has no name here")
        base, defaults = _build(state, build)
        if platform and base is not None:
            base["platform"] = platform
        return (None if base is None else {"dockerfile": base}), defaults, ""
    if not image:
        if service.get("provider") is None:
            hint = "write one; if the file is for another one below it, name both: `import compose FILE OVER-IT`"
            state.problems.add(service, "a service without `image` and `build`", code="service", hint=hint)
        return None, image_defaults.UNKNOWN, ""
    name: Json = {"name": image, "platform": platform} if platform else image
    return {"image": name}, image_defaults.of_image(image), known_images.suggested_kind(image)


def _build(state: ImportState, node: YamlNode) -> tuple[dict[str, Json] | None, ImageDefaults]:
    """Returns the options of the kind `dockerfile`, or None where nothing can be built."""
    entries = node if isinstance(node.value, dict) else None
    if entries is not None:
        note_keys(state, entries, _READ_BUILD, BUILD_KEYS, "build: ")
    context_node = node if entries is None else entries.get("context")
    context = values.read_text(state, context_node, "context") or "."
    if re.match(r"[a-z+]+://|git@|github\.com/", context):
        message = f"`{context}` is not of the project: a build has files of the project alone"
        state.note(
            node, "build", "left-out", message, "clone it into the project, or name an image: `base: {image: …}`"
        )
        return None, image_defaults.UNKNOWN
    directory = resolve_project_path(context, node.source.directory)
    if directory is None:
        hint = "import into a directory above it: `envtool -C DIRECTORY import compose FILE`"
        state.note(node, "build", "left-out", f"`{context}` is outside of the project", hint)
        return None, image_defaults.UNKNOWN
    file = values.read_text(state, entries.get("dockerfile"), "dockerfile") if entries is not None else ""
    target = values.read_text(state, entries.get("target"), "target") if entries is not None else ""
    options: dict[str, Json] = {} if directory == "." else {"context": directory}
    path = resolve_project_path(file or "Dockerfile", directory)
    if path is None:
        hint = "copy it into the project"
        state.note(node, "build", "left-out", f"the Dockerfile `{file}` is outside of the project", hint)
        return None, image_defaults.UNKNOWN
    if file and path != posixpath.join("" if directory == "." else directory, "Dockerfile"):
        options["file"] = path
    options |= {"target": target} if target else {}
    if args := _build_args(state, entries):
        options["args"] = args
    content = state.project.read_bytes(path) if state.has_file(path) else None
    if content is None:
        hint = "`dockerfile:` names another one" if not file else ""
        state.note(node, "build", "changed", f"no Dockerfile of the project is at `{path}`", hint)
        return options or {"file": path}, image_defaults.UNKNOWN
    return options or {"file": path}, image_defaults.of_dockerfile(content.decode(errors="replace"), target)


def _build_args(state: ImportState, build: YamlNode | None) -> dict[str, Json]:
    args: dict[str, Json] = {}
    for name, (node, given) in values.read_entries(state, build.get("args") if build else None, "args").items():
        value = state.variables.get(name) if given is None else given
        if value is None:
            message = f"`{name}` has the value of the caller's shell in compose: not given"
            state.note(node, "build: args", "left-out", message, f"write it under `args:`, or use `--set {name}=…`")
        else:
            args[name] = value
    return args


# ---- how it runs -----------------------------------------------------------------------------------------------------


def dependencies(state: ImportState, service: YamlNode) -> list[Dependency]:
    """Returns the services that one waits for: `depends_on` and `links`. Notes names that no service has as errors."""
    node = service.get("depends_on")
    found: list[Dependency] = []
    if node is not None and isinstance(node.value, dict):
        for name, child in node.value.items():
            condition = values.read_text(state, child.get("condition"), "condition") or _CONDITIONS[0]
            if condition not in _CONDITIONS:
                hint = f"write {', '.join(_CONDITIONS)}"
                state.problems.add(child, f"`{condition[:40]}` is no condition", code="condition", hint=hint)
            found.append(Dependency(node.key(name), name, condition == _CONDITIONS[2]))
            if child.get("required") is not None and not values.read_flag(state, child.get("required"), "required"):
                state.note(child.key("required"), "depends_on", "changed", f"`{name}` is needed here, always")
    else:
        found += [Dependency(member, name) for member, name in values.read_texts(state, node, "depends_on")]
    for member, link in values.read_texts(state, service.get("links"), "links"):
        name, _, alias = link.partition(":")
        found.append(Dependency(member, name))
        if alias and alias != name:
            hint = f"write `{name}` where `{alias}` is"
            state.note(member, "links", "left-out", f"a service has one name here: `{name}`, not `{alias}`", hint)
    for dependency in found:
        if dependency.name not in state.names:
            hint = state.problems.nearest_hint(dependency.name, [*state.names])
            state.problems.add(dependency.node, f"no service `{dependency.name}`", code="service", hint=hint)
    return found


def _replicas(state: ImportState, service: YamlNode) -> int:
    deploy = service.get("deploy")
    if deploy is not None:
        note_keys(state, deploy, _READ_DEPLOY, DEPLOY_KEYS, "deploy: ")
    node = deploy.get("replicas") if deploy is not None else None
    node = service.get("scale") if node is None else node
    replicas = values.read_number(state, node, "replicas", 1)
    if node is not None and replicas > MAX_REPLICAS:
        state.problems.add(node, f"more than {MAX_REPLICAS:,} replicas", code="replicas")
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
        state.problems.add(node, f"`{text[:40]}` is no restart policy", code="restart", hint=hint)
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
