"""The stack of one env, made for a command in it, or for a document about it."""

from __future__ import annotations

import os
import time

from envtool.app import all_problems
from envtool.app.command_request import CommandRequest, find_env
from envtool.app.open_project import OpenProject, open_for_building
from envtool.build.context import Cancel
from envtool.build.scheduler import Scheduler, Stack
from envtool.errors import MakeError
from envtool.events import Emit, Started
from envtool.model import Env
from envtool.project import git
from envtool.run import fast_exec, fast_plan, task_container, task_git
from envtool.run.task import scratch_for


def made(at: OpenProject, env: Env, *, runs: bool = False) -> Stack:
    """The stack of an env; where commands are to run in it, the caller has to allow what `pass:` asks for. Raises
    SpecError, MakeError, Interrupted."""
    stacks = Scheduler(at.nodes, at.setting)
    with all_problems.report_all_problems((env,), stacks, at.setting, runs=runs):
        if runs:
            task_container.check_passed((env,), at.setting.allowed, os.environ)
            task_container.check_workdir(env, at.setting.host_access())
        return stacks.stack(env.name)


def execute(
    request: CommandRequest, env: str, argv: tuple[str, ...], *, terminal: bool, emit: Emit, cancel: Cancel
) -> int:
    """Make one env and run a command in it (`argv` empty: a shell). Returns the command's own status."""
    with open_for_building(request, emit, cancel) as at:
        chosen = find_env(at.spec, env)
        stack = made(at, chosen, runs=True)
        with scratch_for(chosen, at.setting) as directory, task_git.provide_git(at.setting) as shown:
            prepared = fast_plan.prepare_exec_plan(
                chosen, stack, at.spec, at.files, at.setting, scratch=directory, git=shown
            )
            emit(
                Started(id="command", subject="task", name="exec", env=env, time=time.time())
            )  # it has the terminal now
            try:
                return fast_exec.launch(prepared, argv, terminal=terminal, cancel=cancel.reader)
            except git.RepositoryError as error:
                raise MakeError(f"the project cannot be read: {error}", code="project-git") from error
