"""Prepared state: what the commands of `prepare:` leave in the files of a service, as a layer above its stack.

    service's stack  --before:-->  service up, run:  --clean stop-->  capture  -->  a layer of the store, by its key

Every later start of the service is a container on that layer, which is copied on write as in all containers. Two runs
of the same commands leave different bytes (times, random identifiers), so another machine cannot have the same diff ID:
the lock does not name the layer, `verify` and `push` leave it out, and the result of a task depends on its key instead.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from envtool.api import PROJECT
from envtool.build import disk_space, failure_hints
from envtool.build.context import Context
from envtool.build.stack import merge_host_files, opened_files_question
from envtool.build.tee import Tee
from envtool.container import step_functions, userns
from envtool.container.pod import Member
from envtool.container.program import ContainerStep, Program
from envtool.errors import EnvtoolError, SandboxError, ServiceError, StoreError
from envtool.events import Progress
from envtool.fs import removal
from envtool.model import Json
from envtool.net import transfer
from envtool.plan import why_state
from envtool.project import inputs, rundir
from envtool.services import service_errors
from envtool.services.group import ServiceGroup
from envtool.services.group_values import GroupSetting, ReplicaState
from envtool.services.service_container import (
    LocalService,
    ServiceProject,
    make_service_program,
    signal_number,
)
from envtool.services.service_request import ServiceRequest
from envtool.services.state_plan import StatePlan
from envtool.store import answer_cache, canonical, disk_errors, disk_limits, layers
from envtool.tracking import track_work

if TYPE_CHECKING:
    from envtool.container.execution import ExecutionResult
    from envtool.container.messages import Exit

# Never part of prepared state: files that a system makes again at each start.
DROPPED = (
    "/run/**",
    "/tmp/**",
    "/var/tmp/**",
    "/var/run/**",
    "/dev/**",
    "/proc/**",
    "/sys/**",
    "/home/envtool/.cache/**",
)
_LOGS = ("/var/log/**",)
_TAIL = 1 << 13  # bytes of output in an error
_NO_PLACE = ("ermission denied", "nonexistent", "ead-only file system")  # printed where a user cannot write
_NOBODY = Member("prepare", "127.0.1.1", -1)  # of containers that are in no pod


def make_state(
    plan: StatePlan, service: LocalService, needed: Sequence[LocalService], setting: GroupSetting
) -> layers.Layer:
    """Builds the prepared state of a service, and returns its layer. `needed` are the services that it needs, with
    their own prepared state. Raises ServiceError for a command that fails and for a service that is not ready or does
    not end cleanly, StoreError, SandboxError, Interrupted."""
    context, name = setting.context, service.request.name
    event_id = f"prepare:{plan.key}"

    def waiting(holder: str) -> None:
        context.emit(transfer.note_event(event_id, f"waiting for another envtool ({holder})"))

    with (
        track_work(context.emit, event_id, "prepare", name) as work,
        layers.open_draft(
            context.store, plan.key, remove=context.runner.remove, waiting=waiting, cancelled=context.cancel.is_set
        ) as draft,
    ):
        if draft.layer is not None:
            work.outcome = "cached"
            return draft.layer
        if context.cached_only:
            raise _error(plan, service.request, "its prepared state is not in the store", "not-cached")
        context.make_room()
        try:
            with _Preparation(plan, service, needed, setting, draft, event_id) as preparation:
                preparation.run()
                preparation.store_opened()
        except ServiceError as error:
            work.outcome = "failed"
            raise _with_full_disk(error, context) from error
        context.emit(Progress(id=event_id, phase="capturing"))
        layer = draft.commit(_capture(plan, draft, context), plan.document, _record(plan, name, context), context.sync)
        work.outcome = "built"
        return layer


def _with_full_disk(error: ServiceError, context: Context) -> EnvtoolError:
    """Returns the error of a preparation that failed. If the disk is full, or nearly, the error says so, as for a
    layer. Call it before the written files are removed."""
    says_full = bool(failure_hints.SPACE.search(error.output))
    is_low = says_full and disk_limits.free_space(context.store)[0] < disk_space.LOW_SPACE
    if not (is_low or disk_limits.is_nearly_full(context.store)):
        return error
    full = disk_errors.disk_full_error(context.store.root)
    hint = disk_errors.NOTHING if context.disk_space.barren(context.store, context.root, context.leases) else full.hint
    if says_full:
        message = f"service `{error.service}`: its `prepare` failed: {full.message}"
        return StoreError(message, code=full.code, hint=hint)
    error.hint = "; ".join(filter(None, (error.hint, full.message, hint)))
    return error


class _Preparation:
    """Runs the commands of `prepare:` on the files of a draft. A context."""

    def __init__(
        self,
        plan: StatePlan,
        service: LocalService,
        needed: Sequence[LocalService],
        setting: GroupSetting,
        draft: layers.NewLayer,
        event_id: str,
    ) -> None:
        self.plan, self.needed, self.context, self.event_id = plan, needed, setting.context, event_id
        self.setting = replace(
            setting, name=f"prepare-{service.request.name}", publishes=False, fails=True, changed=None
        )
        self.draft = draft
        # Its commands see only those files of the project that its key has.
        request = replace(
            service.request, replicas=1, once=False, restart="never", publish=(), project=bool(plan.files) or
            service.request.project,
        )  # fmt: skip
        self.service = service._replace(request=request, upper=(draft.upper, draft.work))
        self._host_files = merge_host_files([each.stack.layers for each in (*needed, service)])
        self._opened: set[str] | None = set()  # opened files of `_host_files`; None: not known
        self._exits = ExitStack()

    def __enter__(self) -> _Preparation:
        with ExitStack() as exits:
            context = self.context
            top = exits.enter_context(layers.temp_directory(context.store, remove=context.runner.remove))
            project = os.path.join(top, "project")
            place = os.path.normpath(f"{project}/{os.path.relpath(self.service.request.workdir, PROJECT)}")
            inside = place if place.startswith(f"{project}/") else project
            os.makedirs(inside)
            for path in (project, inside):
                os.chmod(path, 0o755)
            if self.plan.files:
                inputs.stage_inputs(context.root, self.plan.files, project, context.cancel.check, context.host_access())
            watch = self._host_files.trees if self._host_files else ()
            self.setting = replace(self.setting, project=ServiceProject(root=project, watch=watch))
            self.log: IO[bytes] = exits.enter_context(tempfile.TemporaryFile())
            context.runner.give_to_root(self.draft.upper)
            context.runner.give_to_root(self.draft.work)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def run(self) -> None:
        """Runs all commands. Raises ServiceError, SandboxError, Interrupted."""
        prepare = self.plan.prepare
        data: list[Json] = [*prepare.data]
        if data:
            is_user = self.service.request.user == "user" and not self.context.runner.single_id
            owner = userns.TASK_UID if is_user else None  # the user could not create them
            self._call("make_directories", (data, owner), "a directory of `data` of its `prepare` cannot be made")
        if prepare.before:
            self._run_before()
        if prepare.run:
            self._run_beside_service()
        if data:
            self._renew_work()
            self._call("check_directories", (data,), "`data` of its `prepare` names no directory that can be kept")
        self.context.cancel.check()

    def _renew_work(self) -> None:
        """Empties overlayfs's work directory, so that the files can be mounted once more: after a volatile mount
        overlayfs refuses the same work directory."""
        runner, work = self.context.runner, self.draft.work
        runner.remove(work)
        os.mkdir(work)
        os.chmod(work, 0o755)
        runner.give_to_root(work)

    def _call(self, function: str, arguments: tuple[Json, ...], message: str) -> None:
        """Runs a function of build/container_steps.py as root on the service's files. Raises ServiceError with the
        message where it fails."""
        context = self.context
        root = make_service_program(self.service, self.setting.project, _NOBODY).root
        call = step_functions.reference(f"envtool.build.container_steps:{function}")
        step = ContainerStep(call=call, arguments=arguments)
        with Tee(self.log, context.emit, self.event_id) as tee:
            program = Program(root=root, steps=(step,), user="root", sync=False)
            ended = context.runner.run(program, stdout=tee.writer, stderr=tee.writer, cancel=context.cancel.reader)
            context.cancel.check()
            self._renew_work()
            if ended.status:
                raise _error(self.plan, self.service.request, f"{message}: {ended.error}", "service-prepare")

    def _run_before(self) -> None:
        """Runs the commands of `before`, in a container of their own, while the service does not run."""
        context, prepare = self.context, self.plan.prepare
        with Tee(self.log, context.emit, self.event_id) as tee:
            for command in prepare.before:
                self._show(command.typed())
                program = make_service_program(self.service, self.setting.project, _NOBODY)
                step = ContainerStep(argv=command.words(), cwd=self._workdir(), user=program.steps[0].user)
                program = replace(program, steps=(step,), sync=False, mounts=program.mounts[1:])
                ended = context.runner.run(program, stdout=tee.writer, stderr=tee.writer, cancel=context.cancel.reader)
                self._check(ended, command.typed(), tee)
                self._add_opened(ended.opened)
                self._renew_work()

    def _run_beside_service(self) -> None:
        """Starts the service and the services that it needs, runs the commands in its container, and stops it by its
        stop signal."""
        request, prepare = self.service.request, self.plan.prepare
        with ServiceGroup(self.setting, spare=1 + len(self.needed), user=request.user == "user") as group:
            self.context.emit(Progress(id=self.event_id, phase="starting"))
            group.start([*self.needed, self.service])
            with Tee(self.log, self.context.emit, self.event_id) as tee:
                for command in prepare.run:
                    self._execute(group, command.words(), command.typed(), tee)
            states = group.stop()
            group.check()
            self._add_opened(group.opened())
        self._check_end(next(state for state in states if state.service == request.name))

    def _execute(self, group: ServiceGroup, argv: tuple[str, ...], typed: str, tee: Tee) -> None:
        name = self.service.request.name
        self._show(typed)
        try:
            with group.container(name).exec(
                argv, stdout=tee.writer, stderr=tee.writer, env=self.service.request.provides, workdir=self._workdir()
            ) as execution:
                ended = execution.wait()
        except SandboxError:
            group.check()  # raises the error of a service that ended, which is the reason
            raise
        group.await_failure(failed=ended.status != 0)
        group.check()
        self._check(ended, typed, tee)

    def _add_opened(self, opened: Sequence[str] | None) -> None:
        self._opened = None if self._opened is None or opened is None else {*self._opened, *opened}

    def store_opened(self) -> None:
        """Stores which files of this machine were opened, as for a layer: results of tasks depend on them. Raises
        ServiceError if one of these files changed meanwhile, since the key has the files as they were before."""
        if self._host_files is None:
            return
        states = self._host_files.states
        decisive = states.keys() if self._opened is None else states.keys() & self._opened
        if any(_ctime(path) != states[path] for path in decisive):
            message = "this machine's own system changed while its `prepare` ran"
            raise _error(self.plan, self.service.request, message, "input-changed", "run it again")
        with suppress(OSError, StoreError):  # where the opened files are not known, all files of the host count
            opened: Json = None if self._opened is None else [*sorted(self._opened)]
            answer_cache.put(self.context.store, opened_files_question("layer", self.plan.key), opened)

    def _show(self, typed: str) -> None:
        """Emits which command runs."""
        self.context.emit(Progress(id=self.event_id, phase="running", note=_short(typed)))

    def _workdir(self) -> str:
        request = self.service.request
        return request.workdir if not self.plan.files or request.workdir.startswith(PROJECT) else PROJECT

    def _check(self, ended: Exit | ExecutionResult, typed: str, tee: Tee) -> None:
        """Raises ServiceError for a command that failed, Interrupted."""
        self.context.cancel.check()
        if ended.status == 0:
            return
        tee.close()
        hint = _hint(self.plan, tee.text(_TAIL))
        message = f"`{_short(typed)}` of its `prepare` failed: {service_errors.describe_exit(ended.status)}"
        raise _error(self.plan, self.service.request, message, "service-prepare", hint, tee.text(_TAIL))

    def _check_end(self, state: ReplicaState) -> None:
        """Raises ServiceError if the service did not end cleanly: its files may be half written."""
        request = self.service.request
        if state.error is not None:
            raise state.error
        clean = {0, 128 + signal_number(request.stop_signal)}  # exit 0, or the default action of the stop signal
        if state.status in clean and not state.killed:
            return
        how = f"did not end within {request.grace:g} s" if state.killed else f"ended with {_status(state)}"
        message = f"it {how} after its stop signal {request.stop_signal}, so what it wrote may be incomplete"
        hint = "`stop: {signal: …, grace: …}` says by which signal it ends cleanly, and how long that takes"
        raise _error(self.plan, request, message, "service-prepare-stop", hint, _last_lines(state.log))


def _hint(plan: StatePlan, output: str) -> str:
    """Returns the hint for a failed command: what it may lack."""
    if not plan.prepare.data and any(words in output for words in _NO_PLACE):
        return "`prepare: {data: [DIRECTORY]}` gives the service's user a directory, and keeps that"
    if plan.files:
        return "it sees only those files of the project that `prepare: {inputs: […]}` names"
    return "it sees no file of the project: `prepare: {inputs: [FILE]}` names those that it reads"


def _ctime(path: str) -> int:
    """Returns the ctime (ns) of a file of this machine; -1 where there is none."""
    try:
        return os.lstat(path).st_ctime_ns
    except OSError:
        return -1


def _status(state: ReplicaState) -> str:
    return service_errors.describe_exit(state.status if state.status is not None else 125)


def _short(text: str) -> str:
    first = text.splitlines()[0] if text else ""
    return first if len(first) <= 100 and first == text else f"{first[:99]}…"


def _last_lines(path: str) -> str:
    try:
        with rundir.open_file(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _error(
    plan: StatePlan, request: ServiceRequest, message: str, code: str, hint: str = "", output: str = ""
) -> ServiceError:
    return ServiceError(
        f"service `{request.name}`: {message} ({plan.prepare.where})",
        code=code,
        hint=hint,
        output=output,
        service=request.name,
    )


def _record(plan: StatePlan, name: str, context: Context) -> Mapping[str, Json]:
    """Returns the description that the store keeps beside the layer, for `inspect`, `plan` and `why`."""
    return {
        "name": f"{why_state.NAME}{name}",
        "where": f"{plan.prepare.where.file}:{plan.prepare.where.line}",
        "project": context.root,
        "time": round(time.time(), 3),
        "options": None,
        "state": True,
    }


def _capture(plan: StatePlan, draft: layers.NewLayer, context: Context) -> canonical.CaptureResult:
    runner, data = context.runner, plan.prepare.data
    runner.remove(draft.work)
    try:
        if data:
            runner.as_root(keep_only, data, at=draft.upper, cancel=context.cancel.reader)
        dropped = DROPPED if data else (*DROPPED, *_LOGS)
        with open(draft.manifest, "wb") as manifest:
            captured: canonical.CaptureResult = runner.as_root(
                canonical.capture,
                ".",
                int(time.time()) + 1,
                dropped,
                manifest.fileno(),
                at=draft.upper,
                cancel=context.cancel.reader,
            )
    except StoreError as error:
        message = f"its prepared state cannot be stored: {error.message} ({plan.prepare.where})"
        raise StoreError(message, code=error.code, hint=error.hint) from error
    return captured


def keep_only(paths: Sequence[str], top: str = ".") -> None:
    """Removes everything below the directory `top`, except the absolute `paths`, all that is below them, and the
    directories above them. Never follows a link. Raises OSError."""
    kept = [tuple(part for part in path.split("/") if part) for path in paths]
    descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _keep_only(descriptor, kept)
    finally:
        os.close(descriptor)


def _keep_only(directory: int, kept: Sequence[tuple[str, ...]]) -> None:
    if () in kept:
        return
    below: dict[str, list[tuple[str, ...]]] = {}
    for first, *rest in kept:
        below.setdefault(first, []).append(tuple(rest))
    for name in os.listdir(directory):
        if name not in below:
            removal.remove_tree(name, directory)
        elif () not in below[name]:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                descriptor = os.open(name, flags, dir_fd=directory)
            except NotADirectoryError:  # a link or file, where `paths` has a directory: no data is below it
                removal.remove_tree(name, directory)
                continue
            try:
                _keep_only(descriptor, below[name])
            finally:
                os.close(descriptor)
