"""Makes the request of a task from its env and stack, and the container of a request, as plain values."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

from envtool.api import PROJECT
from envtool.build.context import Context, base_environment
from envtool.build.stack import KnownStack, Stack, apply_variables, overlay_variables, project_mounts, stack_binds
from envtool.container.program import HOSTNAME, LOCAL_ADDRESS, OUTPUTS_LIMIT, ContainerStep, Program, ProjectMount, Root
from envtool.fs.beneath import project_identity
from envtool.model import Env, Task
from envtool.project import host_access
from envtool.run.task_request import TaskRequest
from envtool.services.service_container import stack_layers
from envtool.store import layers

if TYPE_CHECKING:
    from envtool.build.secret_values import SecretValues
    from envtool.container.program import BindMount, TextMount
    from envtool.services.pod_place import PodPlace
    from envtool.services.service_container import ServiceProject
    from envtool.services.service_request import ServiceRequest

HOME = "/home/envtool"
NO_PERMISSIONS = host_access.HostPermissions()
NOTHING: Mapping[str, str] = {}


def task_environment(
    env: Env, stack: KnownStack, host: Mapping[str, str], *, user: str, provided: Mapping[str, str] = NOTHING
) -> dict[str, str]:
    """Returns the whole environment of a task: of the base, the layers (bottom first), what services `provided`, the
    env, and `host`, the variables that `pass:` lets through."""
    home, user_name = (HOME, "envtool") if user == "user" else ("/root", "root")
    variables = base_environment(stack.epoch) | {
        "HOME": home,
        "USER": user_name,
        "LOGNAME": user_name,
        "TERM": "dumb",
    }
    declared = stack.variables
    overlay_variables(declared, provided)
    overlay_variables(declared, env.set)
    return apply_variables(variables, declared) | {"ENVTOOL_ENV": env.name} | dict(host)


def workdir(env: Env) -> str:
    """Returns the directory in which commands start: `workdir:` below the project."""
    return posixpath.normpath(posixpath.join(PROJECT, env.workdir))


def scratch_for(env: Env, context: Context) -> AbstractContextManager[str]:
    """Returns a directory for what the env's commands write, which is removed afterwards; "" for a scratch in
    memory."""
    return (
        layers.temp_directory(context.store, remove=context.runner.remove) if env.scratch == "disk" else nullcontext("")
    )


def make_request(
    env: Env,
    stack: KnownStack,
    host: Mapping[str, str],
    *,
    arch: str,
    task: Task | None = None,
    services: tuple[ServiceRequest, ...] = (),
) -> TaskRequest:
    """Returns the request of a task, or (`task` None) of `exec` and `shell`, without what depends on the project's
    files. `host` are the variables that `pass:` lets through, `services` those that run beside it."""
    user: Literal["root", "user"] = "root" if task and task.user == "root" else "user"
    task_layers = stack_layers(stack)
    provided = {name: value for service in services for name, value in service.provides.items()}
    return TaskRequest(
        env=env.name,
        task=task.name if task else "",
        arch=arch,
        kernel=os.uname().release if task_layers[0].key else "",  # the base mounts this machine's system
        stack=task_layers,
        commands=tuple(command.words() for command in task.commands) if task else (),
        workdir=workdir(env),
        variables=task_environment(env, stack, host, user=user, provided=provided),
        passed=tuple(sorted(host)),
        user=user,
        network=env.network,
        scratch=env.scratch,
        timeout=task.timeout if task else env.limits["time"].value if "time" in env.limits else None,
        limits=task.limits if task else env.limits,
        outputs=task.outputs if task else (),
        outputs_limit=task.outputs_limit if task else None,
        produced=env.produced,
        services=services,
        allow=env.allow,
        secrets=tuple(use.place for use in task.secrets) if task else (),
        caches=tuple(use.target for use in task.caches) if task else (),
    )


def make_program(
    request: TaskRequest,
    stack: Stack,
    *,
    project: ServiceProject,
    scratch: str = "",
    allowed: host_access.HostPermissions = NO_PERMISSIONS,
    place: PodPlace | None = None,
    secrets: SecretValues | None = None,
) -> Program:
    """Returns the container of a request on this machine: `stack` are its layers here, `project` is the
    project, `scratch` the directory for writes on disk, `place` its place in the pod of its services, `secrets` has the
    values of its secrets."""
    reaches_outside = request.network or request.allow
    variables: dict[str, str] = {}
    binds: tuple[BindMount, ...] = ()
    texts: tuple[TextMount, ...] = ()
    if reaches_outside:
        from envtool.build.host_network import host_network_access

        variables, binds, texts = host_network_access(allowed, proxies=request.network)
    return Program(
        root=Root(lowers=tuple(made.layer.tree for made in reversed(stack.layers)), scratch=scratch),
        steps=tuple(ContainerStep(argv=command, cwd=request.workdir) for command in request.commands),
        binds=(*stack_binds(stack.layers), *binds, *project.binds, *(place.binds if place else ())),
        project=ProjectMount(
            source=project.root,
            hidden=project.hidden,
            target=PROJECT,
            identity=project_identity(project.root),
            writable_but=project.writable_but,
        ),
        **project_mounts([made.resolved for made in stack.layers]),
        produced=request.produced,
        mounts=(
            *texts,
            *project.peeks,
            *(place.mounts if place else ()),
            *(secrets.mounts(request.secrets, request.user) if secrets is not None else ()),
        ),
        env={
            **variables,
            **(place.extend_variables(request.variables) if place else request.variables),
            **(secrets.variables(request.secrets) if secrets is not None else {}),
        },
        network=request.network,
        user=request.user,
        timeout=request.timeout,
        limits=request.limits,
        outputs=request.outputs,
        outputs_limit=request.outputs_limit or OUTPUTS_LIMIT,
        secrets=secrets.all_values() if secrets is not None and request.outputs else (),
        watch=project.watch,
        hostname=place.hostname if place else HOSTNAME,
        address=place.address if place else LOCAL_ADDRESS,
    )
