"""The services beside a task, or beside `exec` and `shell`: their stacks, their requests, and the group that runs."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from envtool.errors import Problem, SandboxError, ServiceError, SpecError
from envtool.model import Env, Service, Task
from envtool.project import rundir
from envtool.services.service_container import LocalService, ServiceProject, make_service_request
from envtool.services.state_plan import find_state, plan_state
from envtool.spec.select_envs import used_services

if TYPE_CHECKING:
    from envtool.build.context import Context
    from envtool.build.stack import KnownStack, Stack
    from envtool.container.runner import StartedPod
    from envtool.services.group import ServiceGroup
    from envtool.services.group_values import GroupSetting
    from envtool.services.service_request import ServiceRequest
    from envtool.services.state_plan import StatePlan

_MAX_PREPARATIONS = 8  # at once


class StackSource(Protocol):
    """The part of build.scheduler.Scheduler that is used here."""

    def stack(self, env: str, own: Container[str] = ()) -> Stack:
        """Returns the stack of an env, after building what is missing. `own` are the variables that the env sets."""


class ServiceStacks(NamedTuple):
    """The services beside a task, needed ones first, each with its stack."""

    services: tuple[Service, ...] = ()
    stacks: tuple[KnownStack, ...] = ()

    def requests(self, context: Context) -> tuple[ServiceRequest, ...]:
        """Returns the requests of the services. Raises SpecError for a service that cannot run."""
        return self._plan(context)[0]

    def state_plans(self, context: Context) -> dict[str, StatePlan]:
        """Returns the plans of prepared state, by the names of the services that have one. Raises SpecError."""
        return self._plan(context)[1]

    def _plan(self, context: Context) -> tuple[tuple[ServiceRequest, ...], dict[str, StatePlan]]:
        others = {service.name: service for service in self.services}
        requests: dict[str, ServiceRequest] = {}
        plans: dict[str, StatePlan] = {}
        for service, stack in zip(self.services, self.stacks, strict=True):
            request = make_service_request(service, stack, others, single_id=context.runner.single_id)
            if service.prepare is not None:
                needed = [requests[name] for name in _all_needs(service, others)]
                plan = plans[service.name] = plan_state(service.prepare, request, needed, context)
                request = replace(request, prepare=plan.key)
            requests[service.name] = request
        return tuple(requests.values()), plans

    def provide(self, requests: Sequence[ServiceRequest], setting: GroupSetting) -> list[LocalService]:
        """Returns the services on this machine. Their layers must be in the store; missing prepared state is built, at
        the same time where none needs the other. Where one fails the others are completed, for later runs. Raises
        ServiceError, StoreError, SandboxError, Interrupted."""
        others = {service.name: service for service in self.services}
        local = {
            service.name: LocalService(request, stack)  # type: ignore[arg-type]
            for service, request, stack in zip(self.services, requests, self.stacks, strict=True)
        }
        prepared = [service for service in self.services if service.prepare is not None]
        if len(prepared) < 2:
            for service in prepared:
                needed = [local[name] for name in _all_needs(service, others)]
                local[service.name] = _prepare(service, local[service.name], needed, setting)
            return [*local.values()]
        from concurrent.futures import Future, ThreadPoolExecutor

        futures: dict[str, Future[LocalService]] = {}

        def prepare(service: Service) -> LocalService:
            needed = [
                futures[name].result() if name in futures else local[name] for name in _all_needs(service, others)
            ]
            return _prepare(service, local[service.name], needed, setting)

        # Each waits only for those that were submitted before it, so that any number of threads is enough.
        with ThreadPoolExecutor(min(len(prepared), _MAX_PREPARATIONS), thread_name_prefix="prepare") as pool:
            for service in prepared:
                futures[service.name] = pool.submit(prepare, service)
        return [*(local | {name: future.result() for name, future in futures.items()}).values()]


def _prepare(
    service: Service, local: LocalService, needed: Sequence[LocalService], setting: GroupSetting
) -> LocalService:
    """Returns a service with its prepared state, which is made where it is missing. `needed` are all services that it
    needs, with theirs. Raises ServiceError, StoreError, SandboxError, Interrupted."""
    assert service.prepare is not None
    plan = plan_state(service.prepare, local.request, [other.request for other in needed], setting.context)
    if plan.key != local.request.prepare:
        raise ServiceError(
            f"service `{service.name}`: a file that its `prepare` reads was changed during the run",
            code="input-changed",
            hint="run it again",
            service=service.name,
        )
    layer = find_state(setting.context, plan.key)  # held from before it is made
    if layer is None:
        from envtool.services import prepared_state  # and what builds layers

        layer = prepared_state.make_state(plan, local, needed, setting)
    return local._replace(prepared=(layer.tree,))


def _all_needs(service: Service, others: Mapping[str, Service]) -> list[str]:
    """Returns the names of all services that a service needs, directly or through others, in the order of `others`."""
    needed: set[str] = set()
    pending = [*service.needs]
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending += others[name].needs
    return [name for name in others if name in needed]


def needs_pod(env: Env, task: Task | None = None) -> bool:
    """Whether a task runs in a pod: it has services or a network policy, or `--learn-network` was given."""
    return bool(env.allow) or env.learns or bool(used_services(env, task))


def check_services(env: Env, task: Task | None, *, single_id: bool) -> None:
    """Raises SpecError if a task cannot run beside its services."""
    services = used_services(env, task)
    if not services:
        return
    names = ", ".join(f"`{service.name}`" for service in services)
    if env.network:
        message = f"env `{env.name}` has this machine's network, in which its services ({names}) are not"
        hint = 'name the places that it needs: `network: {allow: ["host.example:443"]}`'
        raise SpecError((Problem(where=env.where, message=message, code="services-network", hint=hint),))
    if task is not None and task.user == "root" and single_id:
        message = f"task `{task.name}` runs as root and its services ({names}) do not: your containers have one id only"
        hint = "a range of ids in /etc/subuid and /etc/subgid allows it; or leave `user: root` out"
        raise SpecError((Problem(where=task.where, message=message, code="service-user", hint=hint),))


def build_service_stacks(services: Sequence[Service], stacks: StackSource) -> tuple[Stack, ...]:
    """Returns the stacks of services, and builds what is missing, at the same time. Raises as `StackSource.stack`."""
    if len(services) < 2:
        return tuple(stacks.stack(service.env.name, service.env.set) for service in services)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(services), thread_name_prefix="service-stack") as pool:
        return tuple(pool.map(stacks.stack, [service.env.name for service in services]))


def begin_pod(context: Context, env: Env, task: Task | None = None) -> AbstractContextManager[StartedPod | None]:
    """Returns a context with the pod of a task, which is still starting; None if the task needs none. A group closes
    the pod at its end; without a group this context does."""
    if not needs_pod(env, task):
        return nullcontext()
    return _open_pod(context, env, task)


@contextmanager
def _open_pod(context: Context, env: Env, task: Task | None) -> Iterator[StartedPod]:
    spare = 1 + sum(service.replicas for service in used_services(env, task))
    options = {**({"allow": env.allow} if env.allow else {}), **({"learn": True} if env.learns else {})}
    pod = context.runner.pod(user=task is None or task.user != "root", spare=spare, **options)
    try:
        yield pod
    finally:
        pod.close()


def open_group(
    context: Context, pod: StartedPod, env: str, name: str, directory: str, project: ServiceProject
) -> ServiceGroup:
    """Returns the group of services beside a task, as a context. `directory` is that of the run's logs."""
    from envtool.services.group import ServiceGroup
    from envtool.services.group_values import GroupSetting

    setting = GroupSetting(context=context, project=project, env=env, name=name, directory=directory)
    return ServiceGroup(setting, pod=pod)


def listening_ports(group: ServiceGroup, allow: Sequence[str]) -> dict[str, list[str]]:
    """Returns the ports on which each service of a group listens now, as text: "5432", "80 of its own loopback". Those
    of `allow` on loopback are the policy's own."""
    from envtool.container.network_policy import is_loopback
    from envtool.container.started import LISTENING

    ports: dict[str, dict[str, None]] = {}
    for state in group.states():
        known = ports.setdefault(state.service, {})
        with suppress(ServiceError, SandboxError):  # it has ended
            for sock in group.container(state.replica).tcp_sockets():
                own = is_loopback(sock.address) or sock.address == "::1"
                if sock.state == LISTENING and f"{sock.address}:{sock.port}" not in allow:
                    known[f"{sock.port} of its own loopback" if own else str(sock.port)] = None
    return {service: [*known] for service, known in ports.items()}


@contextmanager
def run_directory(root: str, context: Context) -> Iterator[str]:
    """A context with a directory for the logs of services beside `exec` and `shell`; `test` and `build` have their
    own."""
    from envtool.events import Noted

    directory, note = rundir.open_run(root)
    if note:
        context.emit(Noted(text=note))
    try:
        yield directory
    finally:
        rundir.close_run(root, directory)
