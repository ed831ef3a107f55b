"""Runs one task of one env in its throw-away container and says what came of it."""

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
    setting: Context,
    *,
    log: str,
    host: Mapping[str, str],
    view: str = "",
    reach: HostInputs | None = None,
) -> Result:
    """Run it. `view` is the digest of the project, where it is known: it goes into the evidence; `reach` is told what
    was opened. Raises SandboxError
    when there can be no container; everything else is in the result."""
    event_id = f"task:{env.name}:{task.name}"
    hint = ""
    with track_work(setting, event_id, "task", task.name, env=env.name) as piece:
        try:
            ended, said = _run(env, task, stack, setting, log=log, host=host, event_id=event_id, reach=reach)
        except EnvtoolError as error:
            piece.detail = error.message
            raise
        piece.status, piece.outputs = ended.status, ended.outputs
        piece.outcome, piece.detail = _outcome(ended, task)
        if piece.outcome == "failed":
            base = stack.made[0].settled.node.kind.name
            commands = "\n".join([*env.set, *(" ".join(each.words()) for each in task.commands)])
            hint = failure_hints.task_failure_hint(
                ended.status,
                said,
                commands=commands,
                network=env.network,
                scratch=env.scratch,
                base=base,
                programs=lambda: list_programs(stack),
            )
    result = Result(
        env=env.name,
        task=task.name,
        outcome=piece.outcome,
        status=piece.status,
        seconds=piece.seconds,
        started=piece.began,
        log=log,
        outputs=piece.outputs,
        message=f"{piece.detail}\n{hint}" if hint else piece.detail,
        commands=() if piece.outcome == "passed" else tuple(each.typed() for each in task.commands),
        where=f"{task.where.file}:{task.where.line}",
    )
    if piece.outcome == "passed":
        provenance.write_statement(env, task, stack, setting, result, view=view)
    return result


def _run(
    env: Env,
    task: Task,
    stack: Stack,
    setting: Context,
    *,
    log: str,
    host: Mapping[str, str],
    event_id: str,
    reach: HostInputs | None = None,
) -> tuple[supervisor.Exit, str]:
    """How its container ended and, where it failed, the last of what it said."""
    with (
        layers.hold_layers(setting.store, [made.layer for made in stack.made]),
        scratch_for(env, setting) as scratch,
        task_git.provide_git(setting) as git,
    ):
        program = task_container.make_program(
            env,
            stack,
            project=setting.root,
            hidden=(*source_files.list_hidden(setting.root, setting.cancel.reader), *setting.logs),
            host=host,
            scratch=scratch,
            task=task,
            allowed=setting.allowed,
            watch=reach.watch if reach else (),
            git=git,
        )
        with _log(log) as file, Tee(file, setting.emit, event_id) as tee:
            ended = supervisor.run(
                program.to_dict(),
                stdout=tee.writer,
                stderr=tee.writer,
                cancel=setting.cancel.reader,
                outputs_to=setting.root if task.outputs else "",
                protected=setting.files,
            )
            tee.close()
            if reach:
                reach.opened = ended.opened
            return ended, tee.text(1 << 16) if ended.status else ""


def list_programs(stack: Stack) -> frozenset[str]:
    """The names of what lies where the stack's PATH leads to, for hints; nothing of a layer that is damaged."""
    shown = {bind.target.rstrip("/"): bind.source for bind in stack_binds(stack.made)}
    found: set[str] = set()
    places = {place.strip("/") for place in f"{stack.variables.get('PATH', '')}:{PATH}".split(":") if place}
    for place in places:
        own = next((shown[top] + f"/{place}"[len(top) :] for top in shown if f"/{place}/".startswith(f"{top}/")), "")
        with suppress(OSError):  # of this machine, as a base of kind `host` shows it
            found.update(os.listdir(own) if own else ())
    for made in stack.made:
        with suppress(MakeError):
            paths = (os.fsdecode(path).rpartition("/") for path, _ in layers.read_records(made.layer))
            found.update(name for place, _, name in paths if place.strip("/") in places)
    return frozenset(found)


def _log(path: str) -> IO[bytes]:
    try:
        return rundir.create_file(path)
    except OSError as error:
        raise StoreError(f"the log cannot be written: {error.strerror}: {path}", code="evidence-write") from error


def _outcome(ended: supervisor.Exit, task: Task) -> tuple[Outcome, str]:
    notes = "; ".join(filter(None, [ended.lost, *ended.notes]))
    if ended.interrupted:
        return "interrupted", notes
    if ended.timed_out:
        return "timeout", "; ".join(filter(None, [f"timed out after {task.timeout:g}s", notes]))
    if ended.status:
        return "failed", "; ".join(filter(None, [f"exit {ended.status}", notes]))
    if ended.lost:  # without one of its outputs nothing has passed
        return "failed", notes
    missing = [pattern for pattern in task.outputs if not ended.outputs]
    if missing:
        return "failed", f"made none of its outputs ({', '.join(missing)})"
    return "passed", notes


def scratch_for(env: Env, setting: Context) -> AbstractContextManager[str]:
    """A directory for what the env's commands write, gone afterwards; empty for memory."""
    return (
        layers.temp_directory(setting.store, remove=userns.remove_as_root) if env.scratch == "disk" else nullcontext("")
    )
