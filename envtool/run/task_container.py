"""Makes the request of a task from its env and stack, and the container of a request, as plain values."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

from envtool.api import PROJECT
from envtool.build.context import Context, base_environment
from envtool.build.host_network import host_network_access
from envtool.build.stack import KnownStack, Stack, apply_variables, overlay_variables, project_mounts, stack_binds
from envtool.container.program import OUTPUTS_LIMIT, ContainerStep, Program, ProjectMount, Root
from envtool.fs.beneath import project_identity
from envtool.model import Env, Task
from envtool.project import host_access
from envtool.run import task_git
from envtool.run.task_request import TaskLayer, TaskRequest
from envtool.store import layers

HOME = "/home/envtool"
NO_PERMISSIONS = host_access.HostPermissions()
NO_GIT = task_git.TaskGit()


def task_environment(env: Env, stack: KnownStack, host: Mapping[str, str], *, user: str) -> dict[str, str]:
    """Returns the whole environment of a task: of the base, the layers (bottom first), the env, and `host`, the
    variables that `pass:` lets through."""
    home, user_name = (HOME, "envtool") if user == "user" else ("/root", "root")
    variables = base_environment(stack.epoch) | {
        "HOME": home,
        "USER": user_name,
        "LOGNAME": user_name,
        "TERM": "dumb",
    }
    declared = stack.variables
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
) -> TaskRequest:
    """Returns the request of a task, or (`task` None) of `exec` and `shell`, without what depends on the project's
    files. `host` are the variables that `pass:` lets through."""
    user: Literal["root", "user"] = "root" if task and task.user == "root" else "user"
    mounts_host = bool(stack_binds(stack.layers))
    return TaskRequest(
        env=env.name,
        task=task.name if task else "",
        arch=arch,
        kernel=os.uname().release if mounts_host else "",
        stack=tuple(
            TaskLayer(diff_id=made.diff_id, key=made.resolved.key if mounts_host and not number else "")
            for number, made in enumerate(stack.layers)
        ),
        commands=tuple(command.words() for command in task.commands) if task else (),
        workdir=workdir(env),
        variables=task_environment(env, stack, host, user=user),
        passed=tuple(sorted(host)),
        user=user,
        network=env.network,
        scratch=env.scratch,
        timeout=task.timeout if task else None,
        outputs=task.outputs if task else (),
        outputs_limit=task.outputs_limit if task else None,
        produced=env.produced,
    )


def make_program(
    request: TaskRequest,
    stack: Stack,
    *,
    project: str,
    hidden: tuple[str, ...],
    scratch: str = "",
    allowed: host_access.HostPermissions = NO_PERMISSIONS,
    watch: tuple[str, ...] = (),
    git: task_git.TaskGit = NO_GIT,
) -> Program:
    """Returns the container of a request on this machine: `stack` are its layers here, `project` is the path of the
    project, `scratch` the directory for writes on disk."""
    variables, binds, texts = host_network_access(allowed) if request.network else ({}, (), ())
    return Program(
        root=Root(lowers=tuple(made.layer.tree for made in reversed(stack.layers)), scratch=scratch),
        steps=tuple(ContainerStep(argv=command, cwd=request.workdir) for command in request.commands),
        binds=(*stack_binds(stack.layers), *binds, *git.binds),
        project=ProjectMount(
            source=project, hidden=(*hidden, *git.hidden), target=PROJECT, identity=project_identity(project)
        ),
        **project_mounts([made.resolved for made in stack.layers]),
        produced=request.produced,
        mounts=(*texts, *git.peeks),
        env={**variables, **request.variables},
        network=request.network,
        user=request.user,
        timeout=request.timeout,
        outputs=request.outputs,
        outputs_limit=request.outputs_limit or OUTPUTS_LIMIT,
        watch=watch,
    )
