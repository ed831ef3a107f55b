"""Renders one service: its stack as that of an env, and what the user wrote over what its kind stands for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, cast

from envtool.api import Base
from envtool.model import Prepare, ReadyCheck, Service
from envtool.plugins import SERVICE_KEYS
from envtool.spec import service_values
from envtool.spec.declarations import has_template
from envtool.spec.envs import base_of, make_env, render_choice
from envtool.spec.limits import render_limits
from envtool.spec.node import YamlNode
from envtool.spec.plugin_keys import SubdirectoryProject
from envtool.spec.scalar_types import resolve_project_path
from envtool.spec.service_kinds import check_options, draft_service, find_kind
from envtool.spec.service_schema import READY_KEYS, RESTARTS
from envtool.spec.tasks import make_command, make_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envtool.api import ServiceDraft
    from envtool.model import Command, Env
    from envtool.spec.declarations import LoadContext
    from envtool.spec.envs import EnvPoint
    from envtool.spec.service_kinds import DraftedService
    from envtool.spec.service_values import ReadyValues, StopValues

STACK_KEYS = frozenset(("base", "language", "layers", "path", "scratch", "set", "workdir"))
PREFIX = "service:"  # of the name of a service's stack, which no env can have


def render_service(work: LoadContext, point: EnvPoint, needs: tuple[str, ...]) -> Service | None:
    """Returns the service whose mapping is `point.node`, with all templates rendered; None if it has no usable stack.
    Notes all errors."""
    node, name = point.node, point.name
    kind = find_kind(work, node, point.label)
    check_options(work, node, kind, point.label)
    point = replace(point, node=_stack_node(work, node, kind.options if kind is not None else ()))
    drafted: DraftedService | None = None
    if kind is not None:
        project = SubdirectoryProject(point.project, point.directory) if point.directory != "." else point.project
        drafted = draft_service(
            work, kind, node, point.scope,
            name=name, host=_host(name), base=base_of(work, point) if node.get("base") is not None else None,
            project=project, directory=point.directory,
        )  # fmt: skip
        if drafted is None:
            return None
        point = replace(point, kind=drafted.stack)
    env = make_env(work, point)
    if env is None:
        return None
    stack = replace(env, name=PREFIX + name, group=PREFIX + name)
    service = _service(work, node, point, stack, drafted)
    if drafted is not None or {*node.mapping()} <= (SERVICE_KEYS | STACK_KEYS | _plugin_keys(work)):
        _check_command(work, node, point, service)
    _check_once(work, node, point, service)
    _check_localhost(work, node, point, service)
    if service.secrets and service.prepare is not None:
        hint = "let the commands of `prepare` work without it, in a service of their own; or remove `prepare`"
        message = f"{point.label} has secrets, and its prepared state would be a layer that may contain them"
        work.problems.add(node.key("secrets"), message, code="unsupported", hint=hint)
    return replace(service, needs=needs)


def _plugin_keys(work: LoadContext) -> set[str]:
    """Returns the keys of plugins that a service without a kind may have: with any other, its kind is misspelt."""
    return {key for language in work.registry.languages.values() for key in language.options} | {
        *work.registry.env_keys
    }


def _host(name: str) -> str:
    """Returns the host name of a service, without the prefixes of `include:`."""
    return name.rpartition("/")[2]


def _stack_node(work: LoadContext, node: YamlNode, options: Iterable[str]) -> YamlNode:
    """Returns the keys of a service that make its stack, as the node of an env."""
    others = (SERVICE_KEYS - STACK_KEYS) | work.registry.services.keys() | {*options}
    values = {key: value for key, value in node.mapping().items() if key not in others}
    return YamlNode(values, node.source, node.line, node.column, node.width, keys=node.keys, size=node.size)


def _service(work: LoadContext, node: YamlNode, point: EnvPoint, stack: Env, drafted: DraftedService | None) -> Service:
    draft = drafted.draft if drafted is not None else None
    scope, label = point.scope, point.label
    ready = service_values.render_ready(work, node.get("ready"), scope)
    stop = service_values.render_stop(work, node.get("stop"), scope)
    ports = service_values.render_ports(work, node.get("ports"), scope)
    user, project, once = node.get("user"), node.get("project"), node.get("once")
    localhost = node.get("localhost")
    restart = render_choice(work, node.get("restart"), scope, ("", *RESTARTS))
    return Service(
        name=point.name,
        host=_host(point.name),
        kind=drafted.kind if drafted is not None else "",
        where=point.at.where,
        env=stack,
        command=_command(work, node, point) or (draft.command if draft is not None else None),
        user=(work.text(user, scope) if user is not None else "") or (draft.user if draft is not None else ""),
        project=project.value if project is not None and isinstance(project.value, bool) else _project(draft),
        ready=_ready(ready, node, draft, point),
        within=ready.within or (draft.within if draft is not None else 60.0),
        ports=ports if ports or draft is None else draft.ports,
        replicas=service_values.render_replicas(work, node.get("replicas"), scope),
        once=once is not None and once.value is True,
        restart=cast("Literal['', 'never', 'on-failure', 'always']", restart),
        stop_signal=stop.signal or (draft.stop_signal if draft is not None else ""),
        grace=_grace(stop, draft),
        publish=service_values.render_published(work, node.get("publish"), scope, label),
        provides=_provides(work, node, point, draft),
        prepare=_prepare(work, node, point, drafted),
        files=draft.files if draft is not None else {},
        limits=render_limits(work.problems, (node.get("limits"),), lambda value: work.text(value, scope)),
        localhost=localhost is not None and localhost.value is True,
        secrets=make_secrets(work, node.get("secrets"), scope, label),
    )


def _project(draft: ServiceDraft | None) -> bool | None:
    return draft.project if draft is not None else None


def _grace(stop: StopValues, draft: ServiceDraft | None) -> float:
    if stop.grace is not None:
        return stop.grace
    return draft.grace if draft is not None else 10.0


def _command(work: LoadContext, node: YamlNode, point: EnvPoint) -> Command | None:
    at = node.get("command")
    if at is None:
        return None
    command = make_command(work, at, point.scope)
    if command is None and at.value not in ("", None, []) and not has_template(at):
        work.problems.add(at, f"the command of {point.label} is empty", code="empty", hint="remove it")
    return command


def _ready(ready: ReadyValues, node: YamlNode, draft: ServiceDraft | None, point: EnvPoint) -> tuple[ReadyCheck, ...]:
    """Returns the user's checks; without any, those of the kind."""
    written = node.get("ready")
    has_own = written is not None and (not isinstance(written.value, dict) or {*written.mapping()} & {*READY_KEYS})
    if has_own or draft is None:
        return ready.checks
    where = point.kind.at.where if point.kind is not None else point.at.where
    return tuple(
        ReadyCheck(how=check.how, where=where, port=check.port, text=check.text, command=check.command)
        for check in draft.ready
    )


def _provides(work: LoadContext, node: YamlNode, point: EnvPoint, draft: ServiceDraft | None) -> dict[str, str]:
    provided: dict[str, str] = dict(draft.provides) if draft is not None else {}
    at = node.get("provides")
    for name, value in at.mapping().items() if at is not None else ():
        if value.value is None:
            provided.pop(name, None)
        else:
            provided[name] = work.text(value, point.scope)
    return provided


def _prepare(work: LoadContext, node: YamlNode, point: EnvPoint, drafted: DraftedService | None) -> Prepare | None:
    """Returns `prepare:` of a service: the kind's commands, and after them the user's."""
    own = service_values.render_prepare(work, node.get("prepare"), point.scope, point.label, point.directory)
    draft = drafted.draft if drafted is not None else None
    if draft is None or not (draft.before or draft.run or draft.data):
        return own
    where = own.where if own is not None else drafted.stack.at.where if drafted is not None else point.at.where
    inputs = [resolve_project_path(pattern, point.directory) for pattern in draft.inputs]
    return Prepare(
        where=where,
        before=(*draft.before, *(own.before if own is not None else ())),
        run=(*draft.run, *(own.run if own is not None else ())),
        inputs=tuple(dict.fromkeys((*filter(None, inputs), *(own.inputs if own is not None else ())))),
        data=tuple(dict.fromkeys((*draft.data, *(own.data if own is not None else ())))),
    )


def _check_command(work: LoadContext, node: YamlNode, point: EnvPoint, service: Service) -> None:
    """Notes a service that has no command, or does not say when it is ready."""
    if _is_image(work, service):
        return
    if service.command is None:
        if node.get("command") is None:
            hint = "write `command:`" + _kind_hint(work, node, service)
            message = f"{point.label} has no command, and its base `{service.env.base.name}` is no image that has one"
            work.problems.add(point.at, message, code="no-command", hint=hint)
        return
    if not service.ready and not service.ports and not service.once and not {"ready", "ports"} & {*node.mapping()}:
        message = f"{point.label} does not say when it is ready: it has neither `ready` nor `ports`"
        hint = "write `ready: 8000`, the port that it listens on, or another check; `once: true` if it is to end"
        work.problems.add(point.at, message, code="no-ready", hint=hint)


def _kind_hint(work: LoadContext, node: YamlNode, service: Service) -> str:
    """Returns the hint that a service of this name may be meant as a kind."""
    host = _host(service.name)
    if host in work.registry.services and not node.mapping():
        return f", or `{host}: {{{host}: true}}` for the kind of service of this name"
    return ""


def _check_localhost(work: LoadContext, node: YamlNode, point: EnvPoint, service: Service) -> None:
    """Notes a service that is to be at tasks' loopback, and has no port. What an image exposes is not known yet."""
    if not service.localhost or service.once or service.localhost_ports() or _is_image(work, service):
        return
    message = f"{point.label} has no port at which `localhost` could lead to it"
    work.problems.add(node.key("localhost"), message, code="no-port", hint="write `ports:`, on which it listens")


def _is_image(work: LoadContext, service: Service) -> bool:
    """Returns whether the base of a service is an image, which may have a command and ports."""
    kind = work.registry.bases.get(service.env.base.kind)
    return isinstance(kind, Base) and type(kind).image_config is not Base.image_config


def _check_once(work: LoadContext, node: YamlNode, point: EnvPoint, service: Service) -> None:
    """Notes keys that make no sense for a service that is to end."""
    if not service.once:
        return
    harmless = {"replicas": service.replicas == 1, "localhost": not service.localhost}
    for key in ("replicas", "restart", "publish", "localhost", "prepare"):
        at = node.get(key)
        if at is None or harmless.get(key) or (key == "restart" and at.value == "never"):
            continue
        message = f"{point.label} is to end (`once: true`), and so has no `{key}`"
        work.problems.add(node.key(key), message, code="once", hint=f"remove `{key}`, or `once`")
    ready = node.get("ready")
    if ready is not None and (not isinstance(ready.value, dict) or {*ready.mapping()} & {*READY_KEYS}):
        message = f"{point.label} is to end (`once: true`), and so is never ready"
        hint = "remove the check: others wait until it has ended; `ready: {within: 5m}` says how long that may take"
        work.problems.add(node.key("ready"), message, code="once", hint=hint)
