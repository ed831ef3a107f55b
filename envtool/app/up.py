"""Starts the services of a project, or changes those that run: `up`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import asdict, fields, replace
from typing import Any

from envtool.app import all_problems
from envtool.app.command_request import CommandRequest, find_spec
from envtool.app.limits_of_run import check_service_limits
from envtool.app.open_project import OpenProject, emit_warnings, open_for_building, open_project
from envtool.app.permissions import with_absolute_paths
from envtool.build import resolution
from envtool.build.context import Cancel
from envtool.build.scheduler import Scheduler
from envtool.errors import EnvtoolError, UsageError, near_name_hint
from envtool.events import Emit, Event
from envtool.fs import globs
from envtool.lock import file as lock_file
from envtool.model import Service, Spec
from envtool.project import source_files
from envtool.run import secrets, task_git
from envtool.run.sweep import sweep_after_exit
from envtool.run.task_services import ServiceStacks, build_service_stacks, run_directory
from envtool.services.group_values import GroupSetting
from envtool.services.service_container import LocalService, ServiceProject
from envtool.services.up import control_client, control_protocol, detach
from envtool.services.up.manager import LoadedServices, ServiceManager, UpOrder
from envtool.services.up.manager_process import run_until_stopped
from envtool.services.up.project_state import ProjectState, claimed
from envtool.store import store as stores
from envtool.store.disk_errors import to_envtool_error

DETACHED = "envtool.app.up"  # the module whose `main` a detached process calls


def make_order(request: CommandRequest, services: Sequence[str], *, watch: bool, writable: bool) -> UpOrder:
    """Returns the order for the service manager. Paths become absolute, since the manager has another working
    directory."""
    absolute = replace(with_absolute_paths(request), directory=os.path.abspath(request.directory))
    return UpOrder(asdict(absolute), tuple(services), watch, writable)


def request_of(order: UpOrder) -> CommandRequest:
    """Returns the request of an order, which may come from JSON. Raises UsageError for an invalid one."""
    try:
        values = {item.name: _tuples(order.request[item.name]) for item in fields(CommandRequest)}
        return CommandRequest(**values)
    except (KeyError, TypeError) as error:
        raise UsageError(f"not a request of this envtool: {error}", code="up-protocol") from error


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def find_state(request: CommandRequest) -> tuple[ProjectState, str, str]:
    """Returns the state of the project's services, the project's directory and the name of its spec. Does not read the
    spec. Raises UsageError, StoreError."""
    path = find_spec(request)
    root, spec = os.path.dirname(path), os.path.basename(path)
    store = stores.open_store()
    return ProjectState.of(store.root, root, spec), root, spec


# ---- services to run -------------------------------------------------------------------------------------------------


def build(order: UpOrder, emit: Emit, cancel: Cancel) -> tuple[str, ...]:
    """Builds the stacks of the services of an order. Returns their names. Raises SpecError, UsageError, MakeError,
    Interrupted."""
    with open_for_building(request_of(order), emit, cancel) as project:
        services = select_services(project.spec, order.services, bool(request_of(order).envs))
        emit_warnings((service.env for service in services), emit)
        _local_services(project, services)
        return tuple(service.name for service in services)


def load(order: UpOrder, cancel: Cancel) -> LoadedServices:
    """Returns the services of an order. Builds missing stacks. Raises as `build`."""
    project = open_project(request_of(order), _ignore_event, cancel)
    context = project.context
    services = select_services(project.spec, order.services, bool(request_of(order).envs))
    local_services = _local_services(project, services)
    exits = ExitStack()
    git = task_git.TaskGit() if order.writable else exits.enter_context(task_git.provide_git(context))

    def see_project() -> ServiceProject:
        hidden = (*source_files.list_hidden(context.root, context.cancel.reader), *context.logs, *git.hidden)
        return ServiceProject(context.root, hidden, git.binds, git.peeks)

    return LoadedServices(
        context=context,
        services=local_services,
        files=(*project.spec.files, lock_file.lock_file_name(project.spec.file)),
        single_id=context.runner.single_id,
        reads=_reader(services, local_services),
        see_project=see_project,
        close=exits.close,
    )


def _reader(services: Sequence[Service], local_services: Sequence[LocalService]) -> Callable[[str], bool]:
    """Returns whether a layer or the prepared state of these services may be made from a file of the project: whether a
    pattern of their inputs has it, or it was one of them."""
    layers = [made.resolved for local in local_services for made in local.stack.layers]
    patterns = {item.pattern for made in layers for item in resolution.project_inputs(made.node)}
    patterns.update(pattern for service in services if service.prepare for pattern in service.prepare.inputs)
    paths = {item.path for made in layers for item in made.request.inputs}
    matcher = globs.matcher(tuple(sorted(patterns)))

    def reads(path: str) -> bool:
        above = [path]
        while above[-1]:
            above.append(os.path.dirname(above[-1]))
        return path in paths or any((each or ".") in patterns or matcher.fullmatch(each) for each in above)

    return reads


def _local_services(project: OpenProject, services: Sequence[Service]) -> tuple[LocalService, ...]:
    """Returns services with their layers and their prepared state. Builds what is missing."""
    context, scheduler = project.context, Scheduler(project.graph, project.context)
    check_service_limits(services, context.emit)
    try:
        secrets.read_for_services(services, context)
        built = ServiceStacks(tuple(services), build_service_stacks(services, scheduler))
    except EnvtoolError as error:
        envs = [service.env for service in services]
        raise all_problems.complete_error(error, envs, scheduler, context) from error
    requests = built.requests(context)
    needs_log = any(service.prepare is not None for service in services)
    with run_directory(context.root, context) if needs_log else nullcontext("") as directory:
        hidden = source_files.list_hidden(context.root, context.cancel.reader)
        seen = ServiceProject(context.root, (*hidden, *context.logs))
        setting = GroupSetting(context=context, project=seen, env="", name="up", directory=directory)
        return tuple(built.provide(requests, setting))


def select_services(spec: Spec, names: Sequence[str], of_envs: bool) -> tuple[Service, ...]:
    """Returns the services of these names (none: all) and the services that they need, needed ones first. `of_envs`:
    the services of the selected env, instead of the declared ones. Raises UsageError."""
    known = {service.name: service for service in spec.services}
    if of_envs:
        if len(spec.envs) != 1:
            raise UsageError("`up` takes the services of one env", code="up-envs", hint="name it: `-e ENV`")
        known = {service.name: service for service in spec.envs[0].services}
    templated: dict[str, str] = {}  # service -> the first env that has it
    for of in spec.envs:
        for service in of.services:
            if service.name not in known:
                templated.setdefault(service.name, of.name)
    for name in names:
        if name in templated:
            hint = f"`envtool up -e {templated[name]} {name}` starts it as this env has it"
            raise UsageError(f"service `{name}` differs between envs", code="up-envs", hint=hint)
        if name not in known:
            raise UsageError(f"no service `{name}`", code="up-service", hint=near_name_hint(name, [*known, *templated]))
    if not known:
        if templated:
            first = next(iter(templated.values()))
            raise UsageError("every service differs between envs", code="up-envs", hint=f"name one: `-e {first}`")
        hint = "declare them under `services:` at the top of the spec (docs/spec.md)"
        raise UsageError(f"{spec.file} has no services", code="up-no-services", hint=hint)
    wanted = {*(names or known)}
    pending = [*wanted]
    while pending:
        more = [name for name in known[pending.pop()].needs if name not in wanted]
        wanted.update(more)
        pending += more
    return _needed_first([known[name] for name in known if name in wanted])


def _needed_first(services: Sequence[Service]) -> tuple[Service, ...]:
    ordered: dict[str, Service] = {}
    while len(ordered) < len(services):
        free = [item for item in services if item.name not in ordered and all(need in ordered for need in item.needs)]
        ordered |= {item.name: item for item in free}
    return tuple(ordered.values())


def _ignore_event(_: Event) -> None:
    pass


# ---- the service manager ---------------------------------------------------------------------------------------------


def update(state: ProjectState, order: UpOrder) -> Iterator[dict[str, Any]]:
    """Replaces the running services by those of an order. Yields a message for each. Raises the error of the first that
    fails, UsageError, StoreError."""
    with control_client.ask(state, "up", seconds=None, **order._asdict()) as answer:
        yield from answer.messages()


def hold(state: ProjectState, root: str, spec: str, order: UpOrder, *, listen: Any = None, ready: Any = None) -> str:
    """Runs the service manager in this process, until a signal or `down` ends it. Returns why it ended. `listen` gets
    each LogLine; `ready` is called when all services are ready. Raises as ServiceManager.run."""
    with claimed(state) as claim:
        manager = ServiceManager(claim, load, listen)
        try:
            reason = run_until_stopped(manager, order, root, spec, ready or (lambda _: None), abandon=sweep_after_exit)
        except BrokenPipeError:  # the reader of `envtool up | head` has gone
            claim.remove()
            raise
        claim.remove()  # nothing failed: nothing is left
        return reason


def start_detached(state: ProjectState, root: str, spec: str, order: UpOrder) -> socket.socket:
    """Starts the service manager in a process of its own. Returns the socket on which it reports. Raises OSError."""
    arguments = {"store": os.path.dirname(os.path.dirname(state.path)), "key": state.key, "root": root, "spec": spec}
    return detach.spawn_detached(DETACHED, {**arguments, "order": order._asdict()})


def await_detached(report: socket.socket) -> None:
    """Waits until the services of a detached manager are ready. Raises the error of a service that failed, StoreError
    if the process ended without a report."""
    with control_client.ManagerAnswer(report) as answer:
        for _ in answer.messages():
            pass


def main(arguments: dict[str, Any], report: socket.socket) -> None:
    """Runs the service manager in the detached process."""
    state = ProjectState(arguments["store"], arguments["key"])
    order = arguments["order"]

    def send_report(message: dict[str, Any]) -> None:
        with suppress(OSError):  # the process that started this one may have been killed: the services go on
            control_protocol.send(report, {**message, "end": True})
        report.close()

    error: EnvtoolError | None = None
    try:
        hold(
            state,
            arguments["root"],
            arguments["spec"],
            UpOrder(**{**order, "services": tuple(order["services"])}),
            ready=send_report,
        )
        if report.fileno() >= 0:
            error = EnvtoolError("the services were stopped while they were being started", code="up-stopped")
    except Exception as raised:
        error = to_envtool_error(raised, arguments["store"])
    if error is not None and report.fileno() >= 0:
        send_report(control_protocol.error_message(error))
    os._exit(0)
