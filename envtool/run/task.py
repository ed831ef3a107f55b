"""Runs one task of one env in a container, and returns its result."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from envtool.api import PROJECT
from envtool.build import limit_messages
from envtool.build.context import PATH
from envtool.build.scheduler import Stack, stack_binds
from envtool.build.tee import Tee
from envtool.container.runner import find_early_task
from envtool.errors import EnvtoolError, MakeError, StoreError
from envtool.events import Outcome
from envtool.project import rundir
from envtool.project.source_files import list_hidden
from envtool.run import secrets, task_container, task_git, task_services
from envtool.run.host_inputs import HostInputs
from envtool.run.prepared_task import PreparedTask
from envtool.run.task_request import TaskRequest, TaskResult
from envtool.services.service_container import ServiceProject
from envtool.store import layers
from envtool.tracking import track_work

if TYPE_CHECKING:
    from envtool.container.messages import Exit
    from envtool.container.program import Program
    from envtool.run.prepared_task import TaskCall
    from envtool.run.task_caches import StagedCaches
    from envtool.services.group import ServiceGroup


def run_task(task: PreparedTask, reach: HostInputs | None = None) -> TaskResult:
    """Runs a task, beside its services if it has any. `reach` receives the files that the task, and they, opened.
    Raises SandboxError if there can be no container, ServiceError if a service was not ready; every other failure is in
    the result."""
    call, context = task.call, task.call.context
    secrets.read_for_tasks([(call.env, call.task)], context)
    repositories = reach.repositories if reach else None  # listed just now
    look = reach.look if reach else None
    with task_git.provide_git(context, repositories) as git:
        project = ServiceProject(
            root=context.root,
            hidden=(
                *call.hidden,  # first: whole directories
                *(look.hidden if look else list_hidden(context.root, context.cancel.reader, repositories)),
                *context.logs,
                *git.hidden,
            ),
            binds=git.binds,
            peeks=git.peeks,
            watch=reach.watch if reach else (),
        )
        if task.pod is None:
            with reach.watching(context) if reach else nullcontext(()) as watch:
                return _run_tracked(task, reach, project._replace(watch=watch))
        log_directory = os.path.dirname(call.log)
        with task_services.open_group(
            context, task.pod, task.request.env, task.request.task, log_directory, project
        ) as group:
            complete = False
            try:
                local = task.services.provide(task.request.services, group.setting)
                group.start(local)
                result = _run_tracked(task, reach, project, group)
                group.stop()
                complete = result.outcome == "passed"
            finally:  # what a service that did not get ready needed, too
                if call.env.learns:
                    from envtool.run import learned_network

                    learned_network.emit_learned(task.pod, call.env, call.task.name, context.emit, complete=complete)
            if reach:
                reach.add_opened(group.opened())
            from envtool.run import early_note

            early_note.note(task, local, project)
            return result


def _run_tracked(
    task: PreparedTask, reach: HostInputs | None, project: ServiceProject, group: ServiceGroup | None = None
) -> TaskResult:
    call, request, stack, context = task.call, task.request, task.built, task.call.context
    event_id, lines = call.event_id, list[str]()
    with track_work(context.emit, event_id, "task", request.task, env=request.env) as work:
        try:
            ended, output = _run(task, stack, event_id, reach, project, group)
            if ended.status and not ended.interrupted:
                lines = [context.secrets().mask(line) for line in _describe_network(task, ended, output, group)]
        except EnvtoolError as error:
            work.detail = error.message
            raise
        work.began -= ended.early
        work.status, work.outputs = ended.status, ended.outputs
        work.memory, work.cpu_seconds, work.written = ended.memory, ended.cpu_seconds, ended.written
        work.limit = limit_messages.limit_name(ended)
        work.outcome, detail = _outcome(ended, request, group.failure if group else None)
        work.detail = context.secrets().mask(detail)
        if remedy := limit_messages.describe_remedy(ended, request.limits):
            lines.append(remedy)
        elif work.outcome == "failed" and not (group and group.failure):  # a service's failure has a hint of its own
            from envtool.build import failure_hints
            from envtool.run import plugin_hints

            commands = "\n".join([*call.env.set, *(" ".join(command) for command in request.commands)])
            hint = failure_hints.task_failure_hint(
                ended.status,
                output,
                commands=commands,
                network=request.network or group is not None or bool(lines),
                scratch=request.scratch,
                base=stack.layers[0].resolved.node.kind.name,
                limits=request.limits,
                user=request.user,
                programs=lambda: list_programs(stack),
            ) or plugin_hints.find_hint(task, stack, ended.status, output)
            lines += [*describe_submodules(context.root), *hint.splitlines()]
    return TaskResult(
        outcome=work.outcome,
        status=work.status,
        started=work.began,
        seconds=work.seconds,
        message="\n".join([work.detail, *lines]),
        outputs=work.outputs,
        memory=work.memory,
        cpu_seconds=work.cpu_seconds,
        written=work.written,
        limit=work.limit,
    )


def _run(
    task: PreparedTask,
    stack: Stack,
    event_id: str,
    reach: HostInputs | None,
    project: ServiceProject,
    group: ServiceGroup | None,
) -> tuple[Exit, str]:
    """Returns how the container ended and, if it failed, the last 64 KiB of its output."""
    call, request, context = task.call, task.request, task.call.context
    with (
        layers.hold_layers(context.store, [made.layer for made in stack.layers]),
        task_container.scratch_for(call.env, context) as scratch,
        group.member(default_route=True) if group else nullcontext() as place,
        _stage_caches(task) as cached,
    ):
        program = task_container.make_program(
            request, stack, project=project, scratch=scratch, allowed=context.allowed, place=place,
            secrets=context.secrets(),
        )  # fmt: skip
        program = _complete_program(program, call, cached, observed=reach is not None and group is None)
        with _log(call.log) as file, Tee(file, context.emit, event_id, context.secrets().forms()) as tee:
            ended = context.runner.run(
                program,
                stdout=tee.writer,
                stderr=tee.writer,
                cancel=group.cancel if group else context.cancel.reader,
                outputs_to=(call.outputs_to or context.root) if request.outputs else "",
                protected=context.files,
                joins=place.namespaces if place else None,
            )
            if call.needs and ended.error and not (ended.exceeded or ended.timed_out or ended.interrupted):
                from envtool.run import artefacts

                raise artefacts.placing_error(ended.error)
            if group:
                group.await_failure(failed=ended.status != 0)
            if group and group.failure and not group.interrupted:
                _write_failure(tee.writer, group.failure)
            tee.close()
            if cached:
                cached.publish(ended)
            if reach:
                reach.set_opened(ended.opened)
                reach.set_unread(ended, services=group is not None, caches=bool(task.request.caches))
                if group is None and find_early_task() is None:  # else it is noted already, or begins in vain
                    from envtool.run import early_note

                    early_note.note_alone(task, program, project, reach.shared_trees)
            return ended, tee.text(1 << 16) if ended.status else ""


def _complete_program(program: Program, call: TaskCall, cached: StagedCaches | None, *, observed: bool) -> Program:
    """Returns the program of a task with what its needs, its caches and the observation of its reads add."""
    if call.needs:
        from envtool.run import artefacts

        program = artefacts.add_artefacts(program, call.needs, cached.artefact_times if cached else ())
    if cached:
        program = cached.add_to(program)
    return replace(program, observe=PROJECT) if observed else program


def _stage_caches(task: PreparedTask) -> AbstractContextManager[StagedCaches | None]:
    if not task.request.caches:
        return nullcontext(None)
    from envtool.run import task_caches

    return task_caches.stage_caches(task)


def _describe_network(task: PreparedTask, ended: Exit, output: str, group: ServiceGroup | None) -> list[str]:
    """Returns lines that say what a task that failed tried to reach, outside and among its services. Raises
    SandboxError where its pod is lost."""
    if group is None and not any(ended.network_tried):
        return []
    from envtool.run import network_tried

    env = task.call.env
    if group is None:
        tried = network_tried.from_exit(*ended.network_tried)
    else:
        tried = network_tried.from_attempts(*group.attempts())
    used = tuple(service.name for service in task.request.services)
    others = tuple(service.host for service in env.services if service.host not in used)
    reachable = network_tried.NetworkOfEnv(allow=env.allow, services=used, others=others, learns=env.learns)
    lines = network_tried.describe_tried(tried, reachable)
    if group is not None and used:
        lines += network_tried.describe_listening(output, lambda: task_services.listening_ports(group, env.allow))
    return lines


def describe_submodules(root: str) -> list[str]:
    """Returns a line about the submodules of a project that are not checked out, if there are any: a failure of its
    tasks is often theirs."""
    from envtool.project import submodules

    absent = submodules.find_absent(root)
    if not absent:
        return []
    names = ", ".join(f"`{name if name.isprintable() else ascii(name)[1:-1]}`" for name in absent[:3]) + (
        ", …" if len(absent) > 3 else ""
    )
    what = "the submodule" if len(absent) == 1 else f"{len(absent)} submodules"
    verb = "is" if len(absent) == 1 else "are"
    if not os.path.lexists(os.path.join(root, ".git")):
        return [f"{what} {names} of this project {verb} empty here: a git checkout of it would have the files"]
    return [f"{what} {names} of this project {verb} not checked out: `git submodule update --init`"]


def list_programs(stack: Stack) -> frozenset[str]:
    """Returns the names of the files in the directories of the stack's PATH, for hints. Skips damaged layers."""
    mounts = {bind.target.rstrip("/"): bind.source for bind in stack_binds(stack.layers)}
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
    for layer in stack.layers:
        with suppress(MakeError):
            paths = (os.fsdecode(path).rpartition("/") for path, _ in layers.read_records(layer.layer))
            names.update(name for directory, _, name in paths if directory.strip("/") in directories)
    return frozenset(names)


def _log(path: str) -> IO[bytes]:
    try:
        return rundir.create_file(path)
    except OSError as error:
        raise StoreError(f"the log cannot be written: {error.strerror}: {path}", code="evidence-write") from error


def _write_failure(writer: int, failure: EnvtoolError) -> None:
    """Writes into the task's log why its service ended it, and the last lines of that service."""
    lines = failure.output.splitlines() or ["(it has printed nothing)"]
    text = "".join(f"{line}\n" for line in ("", f"[envtool: {failure.message}; its last lines:]", *lines))
    os.write(writer, text.encode(errors="replace"))  # less than a pipe holds


def _outcome(exit_status: Exit, request: TaskRequest, failure: EnvtoolError | None) -> tuple[Outcome, str]:
    notes = "; ".join(filter(None, [exit_status.lost, *exit_status.notes]))
    if failure is not None:
        return "failed", "; ".join(filter(None, [failure.message, notes]))
    if exit_status.interrupted:
        return "interrupted", notes
    if exit_status.timed_out or exit_status.exceeded:
        ended = limit_messages.describe_limit(exit_status, request.timeout)
        return "timeout" if exit_status.timed_out else "failed", "; ".join(filter(None, [ended, notes]))
    if exit_status.status:
        return "failed", "; ".join(filter(None, [f"exit {exit_status.status}", notes]))
    if exit_status.lost:  # a task whose outputs are not all stored has not passed
        return "failed", notes
    missing = [pattern for pattern in request.outputs if not exit_status.outputs]
    if missing:
        return "failed", "; ".join(filter(None, [f"wrote none of its outputs ({', '.join(missing)})", notes]))
    return "passed", notes
