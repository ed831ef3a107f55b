"""Makes the request of a service from its stack, and the container of a request, as plain values."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from envtool.api import PROJECT
from envtool.build.context import base_environment
from envtool.build.stack import KnownStack, Stack, apply_variables, overlay_variables, project_mounts, stack_binds
from envtool.container.program import (
    HOME,
    BindMount,
    ContainerStep,
    PeekMount,
    Program,
    ProjectMount,
    Root,
    TextMount,
)
from envtool.errors import Problem, SpecError
from envtool.fs.beneath import project_identity
from envtool.model import Command, Json, Service, Where
from envtool.services.service_request import PublishedPort, ReadyProbe, ServiceRequest, TaskLayer

if TYPE_CHECKING:
    from envtool.build.secret_values import SecretValues
    from envtool.container.pod import Member

# A line for the shell that is one simple command (POSIX, XCU 2.9.1): no operator, no command substitution, no
# assignment before it, and no reserved word or built-in of the shell.
_TAKEN = (
    r"\.|:|alias|break|case|cd|command|continue|declare|eval|exec|exit|export|false|for|hash|if|let|local|read|readonly"
    r"|return|set|shift|source|test|times|trap|true|type|ulimit|umask|unset|until|wait|while"
)
_ONE_PROGRAM = re.compile(rf"(?!(?:{_TAKEN})(?:\s|\Z))[A-Za-z0-9_./-]+(?:\s[^;&|<>()`\n]*)?")
SIGNALS = {
    "HUP": 1, "INT": 2, "QUIT": 3, "KILL": 9, "USR1": 10, "USR2": 12, "TERM": 15, "WINCH": 28, "PWR": 30,
}  # fmt: skip


class LocalService(NamedTuple):
    """A service that can be started on this machine: its request, and its layers in the store."""

    request: ServiceRequest
    stack: Stack
    prepared: tuple[str, ...] = ()  # trees of its prepared state, top-most first, which lie over the stack
    upper: tuple[str, str] | None = (
        None  # directories that keep what its container writes: the files, and overlay's own
    )


class ServiceProject(NamedTuple):
    """The project as services of one group see it."""

    root: str  # absolute path on this machine
    hidden: tuple[str, ...] = ()
    binds: tuple[BindMount, ...] = ()  # of git's directory
    peeks: tuple[PeekMount, ...] = ()
    watch: tuple[str, ...] = ()  # directories of the container whose opened files are reported
    # Containers write to the checkout, but for these (path, device, inode); None: their writes are lost.
    writable_but: tuple[tuple[str, int, int], ...] | None = None


# ---- the request -----------------------------------------------------------------------------------------------------


def make_service_request(
    service: Service, stack: KnownStack, others: Mapping[str, Service], *, single_id: bool = False, prepare: str = ""
) -> ServiceRequest:
    """Returns the request of a service, by its host name. `others` are all services that run beside it, by name. With
    `single_id` all containers of a pod have one user id, that of the task. Raises SpecError for a service that needs
    another user, or has no command."""
    config = _image_config(stack)
    of_image = service.command is None
    command = _image_command(service, config) if service.command is None else _words(service.command)
    user = service.user or (str(config.get("User") or "root") if of_image else "user")
    if single_id and user != "user":
        if service.user:
            raise _problem(
                service.where,
                f"service `{service.name}` runs as `{service.user}`, and your containers have one id: that of `user`",
                "a range of ids in /etc/subuid and /etc/subgid allows it; or leave `user:` out",
                code="service-user",
            )
        user = "user"
    mounts_host = bool(stack_binds(stack.layers))
    ports = service.ports or _exposed_ports(config)
    return ServiceRequest(
        name=service.host or service.name,
        where=str(service.where),
        stack=stack_layers(stack),
        command=command,
        variables=_variables(service, stack, others, user),
        user=user,
        workdir=_workdir(service, config, of_image=of_image),
        project=service.project if service.project is not None else not of_image,
        needs=tuple(others[need].host or need if need in others else need for need in service.needs),
        ready=_ready(service, ports),
        within=service.within,
        ports=ports,
        replicas=service.replicas,
        once=service.once,
        restart=service.restart,
        stop_signal=_stop_signal(service, config),
        grace=service.grace,
        publish=tuple(PublishedPort(item.port, item.host_port, str(item.where)) for item in service.publish),
        provides=dict(service.provides),
        files=dict(service.files),
        prepare=prepare,
        scratch=service.env.scratch,
        limits=service.limits,
        produced=service.env.produced,
        kernel=os.uname().release if mounts_host else "",
        unneeded=service.unneeded,
        localhost=_localhost(service, ports),
        secrets=tuple(use.place for use in service.secrets),
    )


def stack_layers(stack: KnownStack) -> tuple[TaskLayer, ...]:
    """Returns the layers of a stack, as a request lists them."""
    mounts_host = bool(stack_binds(stack.layers))
    return tuple(
        TaskLayer(made.diff_id, made.resolved.key if mounts_host and not number else "")
        for number, made in enumerate(stack.layers)
    )


def _image_config(stack: KnownStack) -> Mapping[str, Json]:
    base = stack.layers[0].resolved
    return base.node.base_kind.image_config(base.request, base.pins)


def _image_command(service: Service, config: Mapping[str, Json]) -> tuple[str, ...]:
    words = [*_texts(config.get("Entrypoint")), *_texts(config.get("Cmd"))]
    if not words:
        kind = service.env.base.kind
        of = "its image has no ENTRYPOINT and no CMD" if config else f"a base `{kind}` has none of its own"
        raise _problem(
            service.where,
            f"service `{service.name}` has no command: {of}",
            "add `command:`, a line for the shell or a list of words",
            code="service-command",
        )
    return tuple(words)


def _words(command: Command) -> tuple[str, ...]:
    """Returns the argv of a service's own command. If the line is one program with its arguments, the program replaces
    the shell: it gets the signals, and its exit status is the service's."""
    if command.shell and _ONE_PROGRAM.fullmatch(command.shell.strip()):
        return ("/bin/sh", "-ec", f"exec {command.shell.strip()}")
    return command.words()


def _texts(value: Json) -> Sequence[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _exposed_ports(config: Mapping[str, Json]) -> tuple[int, ...]:
    """Returns the TCP ports of EXPOSE, in their order: "5432/tcp", "53/udp"."""
    exposed = config.get("ExposedPorts")
    ports = []
    for text in exposed if isinstance(exposed, dict) else ():
        number, _, protocol = text.partition("/")
        if number.isascii() and number.isdigit() and 0 < int(number) < 1 << 16 and protocol in ("", "tcp"):
            ports.append(int(number))
    return tuple(ports)


def _localhost(service: Service, ports: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the ports that are at the loopback of tasks. Raises SpecError where an image exposes none."""
    found = service.localhost_ports(ports)
    if service.localhost and not found:
        message = f"service `{service.name}` has no port at which `localhost` could lead to it: its image exposes none"
        raise _problem(service.where, message, "write `ports:`, on which it listens", code="service-localhost")
    return found


def _ready(service: Service, ports: tuple[int, ...]) -> tuple[ReadyProbe, ...]:
    if service.once:
        return ()
    if not service.ready and ports:
        return (ReadyProbe("tcp", port=ports[0], where=str(service.where)),)
    return tuple(
        ReadyProbe(check.how, check.port, check.text, check.command.words() if check.command else (), str(check.where))
        for check in service.ready
    )


def _stop_signal(service: Service, config: Mapping[str, Json]) -> str:
    """Returns the name of a signal without SIG, or its number. Raises SpecError for an unknown signal."""
    text = service.stop_signal or (str(config.get("StopSignal") or "TERM"))
    name = text.upper().removeprefix("SIG")
    try:
        signal_number(name)
    except ValueError:
        raise _problem(
            service.where,
            f"service `{service.name}`: there is no signal `{text}`",
            f"`stop: {{signal: …}}` is one of {', '.join(SIGNALS)}, or a number",
            code="service-signal",
        ) from None
    return name


def signal_number(name: str) -> int:
    """Returns the number of a signal by its name without SIG, or by its number. Raises ValueError."""
    if name.startswith("RTMIN+") and name[6:].isascii() and name[6:].isdigit():
        number = 34 + int(name[6:])
    else:
        number = int(name) if name.isascii() and name.isdigit() else SIGNALS.get(name, 0)
    if not 0 < number < 65:
        raise ValueError(f"{name} is no signal")
    return number


def _workdir(service: Service, config: Mapping[str, Json], *, of_image: bool) -> str:
    if of_image:
        return posixpath.join("/", str(config.get("WorkingDir") or "/"))
    sees_project = service.project is None or service.project
    return posixpath.normpath(posixpath.join(PROJECT, service.env.workdir)) if sees_project else "/"


def _variables(service: Service, stack: KnownStack, others: Mapping[str, Service], user: str) -> dict[str, str]:
    home, name = (HOME, "envtool") if user == "user" else ("/root", "root")
    variables = base_environment(stack.epoch) | {"HOME": home, "USER": name, "LOGNAME": name, "TERM": "dumb"}
    if user not in ("user", "root"):  # the container has the home of that user
        variables = {key: value for key, value in variables.items() if key not in ("HOME", "USER", "LOGNAME")}
    declared = stack.variables
    for needed in service.needs:
        overlay_variables(declared, dict(others[needed].provides))
    overlay_variables(declared, service.env.set)
    return apply_variables(variables, declared) | {"ENVTOOL_SERVICE": service.host or service.name}


def _problem(where: Where, message: str, hint: str, *, code: str) -> SpecError:
    return SpecError((Problem(where=where, message=message, code=code, hint=hint),))


# ---- the container ---------------------------------------------------------------------------------------------------


def make_service_program(
    service: LocalService,
    project: ServiceProject,
    member: Member,
    scratch: str = "",
    secrets: SecretValues | None = None,
) -> Program:
    """Returns the container of one replica, whose place in the pod is `member`. `scratch` is the directory for its
    writes on disk, `secrets` has the values of its secrets."""
    request, stack = service.request, service.stack
    is_user: Literal["root", "user"] = "user" if request.user == "user" else "root"
    named = request.user if request.user not in ("user", "root") else ""
    resolved = [made.resolved for made in stack.layers]
    upper, work = service.upper or ("", "")
    trees = (*service.prepared, *(made.layer.tree for made in reversed(stack.layers)))
    program = Program(
        root=Root(lowers=trees, upper=upper, work=work, scratch=scratch),
        steps=(ContainerStep(argv=request.command, cwd=request.workdir, user=named),),
        binds=(*stack_binds(stack.layers), *(project.binds if request.project else ())),
        mounts=(
            *(project.peeks if request.project else ()),
            *pod_mounts(),
            *(TextMount(target=path, content=text.encode()) for path, text in request.files.items()),
            *(secrets.mounts(request.secrets, request.user) if secrets is not None else ()),
        ),
        env={**request.variables, **(secrets.variables(request.secrets) if secrets is not None else {})},
        user=is_user,
        hostname=member.name,
        address=member.address,
        watch=project.watch,
        limits=request.limits,
    )
    if not request.project:
        return program
    mounts = project_mounts(resolved)
    above = len(service.prepared)  # of the lowers, which are counted from the top
    return replace(
        program,
        project=ProjectMount(
            source=project.root,
            hidden=project.hidden,
            target=PROJECT,
            identity=project_identity(project.root),
            writable_but=project.writable_but,
        ),
        joins=mounts["joins"],
        covering=tuple(number + above for number in mounts["covering"]),
        inputs=mounts["inputs"],
        produced=request.produced,
        copies=mounts["copies"],
    )


def pod_mounts() -> tuple[TextMount, ...]:
    """Returns the mounts that every container in a pod gets: resolv.conf, with the address of the pod's resolver."""
    from envtool.container.pod import resolv_conf

    return (TextMount(target="/etc/resolv.conf", content=resolv_conf()),)
