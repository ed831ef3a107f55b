"""Runs one task of one env in a container, and returns its result."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import IO

from envtool.build import failure_hints
from envtool.build.context import PATH, Context
from envtool.build.scheduler import Stack, stack_binds
from envtool.build.tee import Tee
from envtool.build.tracking import track_work
from envtool.container import supervisor, userns
from envtool.errors import EnvtoolError, MakeError, StoreError
from envtool.events import Outcome
from envtool.model import Env, Task
from envtool.project import rundir, source_files
from envtool.run import provenance, task_container, task_git
from envtool.run.host_inputs import HostInputs
from envtool.run.result import Result
from envtool.store import layers


def run_task(
    env: Env,
    task: Task,
    stack: Stack,
    context: Context,
    *,
    log: str,
    host: Mapping[str, str],
    view: str = "",
    reach: HostInputs | None = None,
) -> Result:
    """Runs the task. `view` is the digest of the project, if it is known: it goes into the provenance statement;
    `reach` receives the files that the task opened. Raises SandboxError if there can be no container; every other
    failure is in the result."""
    event_id = f"task:{env.name}:{task.name}"
    hint = ""
    with track_work(context, event_id, "task", task.name, env=env.name) as work:
        try:
            ended, output = _run(env, task, stack, context, log=log, host=host, event_id=event_id, reach=reach)
        except EnvtoolError as error:
            work.detail = error.message
            raise
        work.status, work.outputs = ended.status, ended.outputs
        work.outcome, work.detail = _outcome(ended, task)
        if work.outcome == "failed":
            base = stack.made[0].settled.node.kind.name
            commands = "\n".join([*env.set, *(" ".join(command.words()) for command in task.commands)])
            hint = failure_hints.task_failure_hint(
                ended.status,
                output,
                commands=commands,
                network=env.network,
                scratch=env.scratch,
                base=base,
                programs=lambda: list_programs(stack),
            )
    result = Result(
        env=env.name,
        task=task.name,
        outcome=work.outcome,
        status=work.status,
        seconds=work.seconds,
        started=work.began,
        log=log,
        outputs=work.outputs,
        message=f"{work.detail}\n{hint}" if hint else work.detail,
        commands=() if work.outcome == "passed" else tuple(command.typed() for command in task.commands),
        where=f"{task.where.file}:{task.where.line}",
    )
    if work.outcome == "passed":
        provenance.write_statement(env, task, stack, context, result, view=view)
    return result


def _run(
    env: Env,
    task: Task,
    stack: Stack,
    context: Context,
    *,
    log: str,
    host: Mapping[str, str],
    event_id: str,
    reach: HostInputs | None = None,
) -> tuple[supervisor.Exit, str]:
    """Returns how the container ended and, if it failed, the last 64 KiB of its output."""
    with (
        layers.hold_layers(context.store, [made.layer for made in stack.made]),
        scratch_for(env, context) as scratch,
        task_git.provide_git(context) as git,
    ):
        program = task_container.make_program(
            env,
            stack,
            project=context.root,
            hidden=(*source_files.list_hidden(context.root, context.cancel.reader), *context.logs),
            host=host,
            scratch=scratch,
            task=task,
            allowed=context.allowed,
            watch=reach.watch if reach else (),
            git=git,
        )
        with _log(log) as file, Tee(file, context.emit, event_id) as tee:
            ended = supervisor.run(
                program.to_dict(),
                stdout=tee.writer,
                stderr=tee.writer,
                cancel=context.cancel.reader,
                outputs_to=context.root if task.outputs else "",
                protected=context.files,
            )
            tee.close()
            if reach:
                reach.opened = ended.opened
            return ended, tee.text(1 << 16) if ended.status else ""


def list_programs(stack: Stack) -> frozenset[str]:
    """Returns the names of the files in the directories of the stack's PATH, for hints. Skips damaged layers."""
    mounts = {bind.target.rstrip("/"): bind.source for bind in stack_binds(stack.made)}
    names: set[str] = set()
    directories = {
        directory.strip("/") for directory in f"{stack.variables.get('PATH', '')}:{PATH}".split(":") if directory
    }
    for directory in directories:
        host_directory = next(
            (mounts[top] + f"/{directory}"[len(top) :] for top in mounts if f"/{directory}/".startswith(f"{top}/")), ""
        )
        with suppress(OSError):  # a directory of this machine, which a base of kind `host` mounts
            names.update(os.listdir(host_directory) if host_directory else ())
    for layer in stack.made:
        with suppress(MakeError):
            paths = (os.fsdecode(path).rpartition("/") for path, _ in layers.read_records(layer.layer))
            names.update(name for directory, _, name in paths if directory.strip("/") in directories)
    return frozenset(names)


def _log(path: str) -> IO[bytes]:
    try:
        return rundir.create_file(path)
    except OSError as error:
        raise StoreError(f"the log cannot be written: {error.strerror}: {path}", code="evidence-write") from error


def _outcome(exit_status: supervisor.Exit, task: Task) -> tuple[Outcome, str]:
    notes = "; ".join(filter(None, [exit_status.lost, *exit_status.notes]))
    if exit_status.interrupted:
        return "interrupted", notes
    if exit_status.timed_out:
        return "timeout", "; ".join(filter(None, [f"timed out after {task.timeout:g}s", notes]))
    if exit_status.status:
        return "failed", "; ".join(filter(None, [f"exit {exit_status.status}", notes]))
    if exit_status.lost:  # a task whose outputs are not all stored has not passed
        return "failed", notes
    missing = [pattern for pattern in task.outputs if not exit_status.outputs]
    if missing:
        return "failed", f"made none of its outputs ({', '.join(missing)})"
    return "passed", notes


def scratch_for(env: Env, context: Context) -> AbstractContextManager[str]:
    """Returns a directory for what the env's commands write, which is removed afterwards; "" for a scratch in
    memory."""
    return (
        layers.temp_directory(context.store, remove=userns.remove_as_root) if env.scratch == "disk" else nullcontext("")
    )
