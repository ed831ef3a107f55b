"""Builds the stack of one env, and runs a command in it: `exec` and `shell`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from envtool.app import all_problems
from envtool.app.command_request import CommandRequest
from envtool.app.open_project import OpenProject, open_for_building, open_project, without_lock_check
from envtool.build import failure_hints
from envtool.build.assess import assess_nodes
from envtool.build.context import Cancel
from envtool.build.scheduler import Scheduler, Stack, StoredLayer
from envtool.container.rootfs_operations import describe_operation
from envtool.errors import EnvtoolError, MakeError
from envtool.events import Emit, Started
from envtool.model import Env
from envtool.project import git, host_access
from envtool.run import fast_exec, fast_plan, task_git, task_request
from envtool.run.task import list_programs
from envtool.spec.select_envs import find_env


def build_stack(project: OpenProject, env: Env, *, runs: bool = False) -> Stack:
    """Build the stack of an env. `runs`: commands will run in it, so the caller has to allow the variables of `pass:`.
    Raises SpecError, MakeError, Interrupted."""
    scheduler = Scheduler(project.graph, project.context)
    try:
        if runs:
            host_access.check_passed((env,), project.context.allowed, os.environ)
            host_access.check_workdir(env, project.context.host_access())
        return scheduler.stack(env.name)
    except EnvtoolError as error:
        raise all_problems.complete_error(error, (env,), scheduler, project.context, runs=runs) from error


def missing_command_hint(request: CommandRequest, env: str, command: str) -> str:
    """The hint for a command that ended with status 127: the near name of a program, or how to get it. "" where the env
    has the command, or is not in the store any more: then the command itself ended so. Raises EnvtoolError."""
    project = open_project(without_lock_check(request))
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
    with open_for_building(request, emit, cancel) as project:
        selected = find_env(project.spec, env)
        stack = build_stack(project, selected, runs=True)
        with (
            task_request.scratch_for(selected, project.context) as scratch,
            task_git.provide_git(project.context) as git_mounts,
        ):
            prepared_plan = fast_plan.prepare_exec_plan(
                selected, stack, project.spec, project.files, project.context, scratch=scratch, git=git_mounts,
                keep=not request.leaves_lock,
            )  # fmt: skip
            # from this event on the command has the terminal
            emit(Started(id="command", subject="task", name="exec", env=env, time=time.time()))
            if describe is not None:
                describe([describe_operation(operation) for operation in prepared_plan["program"]["operations"]])
            try:
                return fast_exec.launch(prepared_plan, argv, terminal=terminal, cancel=cancel.reader)
            except git.RepositoryError as error:
                raise MakeError(f"the project cannot be read: {error}", code="project-git") from error
