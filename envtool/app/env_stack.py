"""Builds the stack of one env, and runs a command in it: `exec` and `shell`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

from envtool.app import all_problems
from envtool.app.command_request import CommandRequest
from envtool.app.limits_of_run import check_env_limits, with_options
from envtool.app.open_project import OpenProject, emit_warnings, open_for_building, open_project, without_lock_check
from envtool.build import failure_hints
from envtool.build.assess import assess_nodes
from envtool.build.context import Cancel, Context
from envtool.build.scheduler import Scheduler, Stack, StoredLayer
from envtool.container.rootfs_operations import describe_operation
from envtool.errors import EnvtoolError, MakeError
from envtool.events import Emit, Noted, Started
from envtool.model import Env
from envtool.project import git, host_access, source_files
from envtool.run import fast_exec, fast_plan, learned_network, secrets, task_container, task_git, task_services
from envtool.run.task import list_programs
from envtool.run.task_services import ServiceStacks
from envtool.services.service_container import ServiceProject
from envtool.spec.select_envs import find_env, used_services

if TYPE_CHECKING:
    from envtool.container.runner import StartedPod
    from envtool.services.group import ServiceGroup
    from envtool.services.service_request import ServiceRequest


def build_stack(project: OpenProject, env: Env, *, runs: bool = False) -> Stack:
    """Build the stack of an env. `runs`: commands will run in it, so the caller has to allow the variables of `pass:`.
    Raises SpecError, MakeError, Interrupted."""
    return _build_stack(project, env, runs=runs)[1]


def _build_stack(project: OpenProject, env: Env, *, runs: bool) -> tuple[Scheduler, Stack]:
    scheduler = Scheduler(project.graph, project.context)
    emit_warnings((env, *(service.env for service in used_services(env) if runs)), project.context.emit)
    try:
        if runs:
            host_access.check_passed((env,), project.context.allowed, os.environ)
            host_access.check_workdir(env, project.context.host_access())
            secrets.read_for_tasks([(env, None)], project.context)
        return scheduler, scheduler.stack(env.name, env.set)
    except EnvtoolError as error:
        raise all_problems.complete_error(error, (env,), scheduler, project.context, runs=runs) from error


def missing_command_hint(request: CommandRequest, env: str, command: str) -> str:
    """The hint for a command that ended with status 127: the near name of a program, or how to get it. "" where the env
    has the command, or is not in the store any more: then the command itself ended so. Raises EnvtoolError."""
    project = open_project(without_lock_check(request), only=env)
    selected = find_env(project.spec, env)
    states = assess_nodes(project.graph, project.context)
    known = [states[node_id].output for node_id in project.graph.stacks[selected.name]]
    stored = tuple(layer for layer in known if isinstance(layer, StoredLayer))
    if len(stored) != len(known):
        return ""
    programs = list_programs(Stack(layers=stored))
    base = stored[0].resolved.node.kind.name
    return "" if command in programs else failure_hints.missing_command_hint(command, base, programs)


def execute(
    request: CommandRequest,
    env: str,
    argv: tuple[str, ...],
    *,
    terminal: bool,
    emit: Emit,
    cancel: Cancel,
    describe: Callable[[list[str]], None] | None = None,
) -> int:
    """Build one env and run a command in it (`argv` empty: a shell). Returns the command's exit status. Before that
    `describe` gets a line for each operation that makes the container."""
    if request.learn_network:
        learned_network.check_options(offline=request.offline)
    with open_for_building(request, emit, cancel, only=env) as project, ExitStack() as exits:
        selected, context = with_options(find_env(project.spec, env), request.limits), project.context
        check_env_limits(selected, context.emit)
        if request.learn_network:
            (selected,) = learned_network.learning_envs([selected])
        _note_running_services(project, selected, emit)
        pod = exits.enter_context(task_services.begin_pod(context, selected))
        scheduler, stack = _build_stack(project, selected, runs=True)
        services = _build_services(selected, scheduler, context)
        requests = services.requests(context)
        git_mounts = fast_plan.NO_GIT if request.writable else exits.enter_context(task_git.provide_git(context))
        scratch = exits.enter_context(task_container.scratch_for(selected, context))
        group = place = None
        if pod is not None:
            group = exits.enter_context(_run_services(project, selected, services, requests, pod, git_mounts))
            place = exits.enter_context(group.member(default_route=True))
        prepared_plan = fast_plan.prepare_exec_plan(
            selected, stack, project.spec, project.files, context, scratch=scratch, git=git_mounts,
            keep=not (request.leaves_lock or request.limits), services=requests, place=place,
            writable_but=exits.enter_context(_writable(project)) if request.writable else None,
        )  # fmt: skip
        # from this event on the command has the terminal
        emit(Started(id="command", subject="task", name="exec", env=env, time=time.time()))
        if describe is not None:
            describe([describe_operation(operation) for operation in prepared_plan["program"]["operations"]])
        try:
            status = fast_exec.launch(
                prepared_plan, argv, terminal=terminal, cancel=group.cancel if group else cancel.reader,
                joins=place.namespaces if place else None,
            )  # fmt: skip
        except git.RepositoryError as error:
            raise MakeError(f"the project cannot be read: {error}", code="project-git") from error
        if pod is not None and selected.learns:
            learned_network.emit_learned(pod, selected, "", emit, complete=status == 0)
        if group and not group.interrupted:
            group.check()
        return status


def _writable(project: OpenProject) -> AbstractContextManager[tuple[tuple[str, int, int], ...]]:
    from envtool.app import writable_env

    return writable_env.open_checkout(project)


def _note_running_services(project: OpenProject, env: Env, emit: Emit) -> None:
    """Notes that a command cannot reach the services that `envtool up` runs, if it runs any."""
    if not project.spec.services:
        return
    from envtool.services.up.project_state import ProjectState

    if ProjectState.of(project.context.store.root, project.spec.root, project.spec.file).is_running():
        own = "this command has services of its own" if env.services else "this command cannot reach them"
        beside = "`envtool exec --service NAME -- CMD` runs one beside those"
        emit(Noted(text=f"`envtool up` runs the services of this project, but {own}: {beside}"))


def _build_services(env: Env, scheduler: Scheduler, context: Context) -> ServiceStacks:
    used = used_services(env)
    task_services.check_services(env, None, single_id=context.runner.single_id)
    try:
        return ServiceStacks(used, task_services.build_service_stacks(used, scheduler))
    except EnvtoolError as error:
        raise all_problems.complete_error(error, (env,), scheduler, context, runs=True) from error


@contextmanager
def _run_services(
    project: OpenProject,
    env: Env,
    services: ServiceStacks,
    requests: tuple[ServiceRequest, ...],
    pod: StartedPod,
    git_mounts: task_git.TaskGit,
) -> Iterator[ServiceGroup]:
    """A context in which the services of an env run. Raises ServiceError."""
    context = project.context
    hidden = (*source_files.list_hidden(context.root, context.cancel.reader), *git_mounts.hidden)
    seen = ServiceProject(root=context.root, hidden=hidden, binds=git_mounts.binds, peeks=git_mounts.peeks)
    with (
        task_services.run_directory(project.spec.root, context) as directory,
        task_services.open_group(context, pod, env.name, "exec", directory, seen) as group,
    ):
        group.start(services.provide(requests, group.setting))
        yield group
