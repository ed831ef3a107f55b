"""The services beside a task, or beside `exec` and `shell`: their stacks, their requests, and the group that runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, NamedTuple, Protocol

from envtool.errors import Problem, SpecError
from envtool.model import Env, Service, Task
from envtool.project import rundir
from envtool.services.service_container import LocalService, ServiceProject, make_service_request
from envtool.spec.select_envs import used_services

if TYPE_CHECKING:
    from envtool.build.context import Context
    from envtool.build.stack import KnownStack, Stack
    from envtool.container.runner import StartedPod
    from envtool.services.group import ServiceGroup
    from envtool.services.service_request import ServiceRequest


class StackSource(Protocol):
    """What builds stacks: build.scheduler.Scheduler."""

    def stack(self, env: str) -> Stack:
        """Returns the stack of an env, after building what is missing."""


class ServiceStacks(NamedTuple):
    """The services beside a task, needed ones first, each with its stack."""

    services: tuple[Service, ...] = ()
    stacks: tuple[KnownStack, ...] = ()

    def requests(self, *, single_id: bool) -> tuple[ServiceRequest, ...]:
        """Returns their requests. Raises SpecError for a service that cannot run so."""
        others = {service.name: service for service in self.services}
        return tuple(
            make_service_request(service, stack, others, single_id=single_id)
            for service, stack in zip(self.services, self.stacks, strict=True)
        )

    def locals(self, requests: Sequence[ServiceRequest]) -> list[LocalService]:
        """Returns the services on this machine, once all their layers are in the store."""
        return [
            LocalService(request, stack)  # type: ignore[arg-type]
            for request, stack in zip(requests, self.stacks, strict=True)
        ]


def needs_pod(env: Env, task: Task | None = None) -> bool:
    """Whether a task runs in a pod: it has services, or may connect to some places outside."""
    return bool(env.allow) or bool(used_services(env, task))


def check_services(env: Env, task: Task | None, *, single_id: bool) -> None:
    """Raises SpecError where a task cannot run beside its services."""
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
        return tuple(stacks.stack(service.env.name) for service in services)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(services), thread_name_prefix="service-stack") as pool:
        return tuple(pool.map(stacks.stack, [service.env.name for service in services]))


def begin_pod(context: Context, env: Env, task: Task | None = None) -> AbstractContextManager[StartedPod | None]:
    """Returns a context with the pod of a task, which starts meanwhile; None if the task needs none. The group takes it
    over; this context ends it where there comes no group."""
    if not needs_pod(env, task):
        return nullcontext()
    return _open_pod(context, env, task)


@contextmanager
def _open_pod(context: Context, env: Env, task: Task | None) -> Iterator[StartedPod]:
    spare = 1 + sum(service.replicas for service in used_services(env, task))
    options = {"allow": env.allow} if env.allow else {}
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


@contextmanager
def run_directory(root: str, context: Context) -> Iterator[str]:
    """A context with a directory for logs of `exec` and `shell`, which runs have anyway."""
    from envtool.events import Noted

    directory, note = rundir.open_run(root)
    if note:
        context.emit(Noted(text=note))
    try:
        yield directory
    finally:
        rundir.close_run(root, directory)
