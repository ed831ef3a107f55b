"""Runs a task, unless the result of the same request is cached: request, find, run, store. What the task used and
changed while it ran is recorded for the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from envtool import net
from envtool.build.stack import KnownStack, Stack
from envtool.errors import EnvtoolError
from envtool.events import Finished, Started
from envtool.model import Env, ReadFiles
from envtool.project import snapshot_diff
from envtool.project.snapshot import Snapshot, SnapshotError
from envtool.project.snapshot_diff import list_present
from envtool.run import early_start, provenance, task_services
from envtool.run.host_inputs import HostInputs
from envtool.run.known_commit import CommitDescription
from envtool.run.prepared_task import PreparedTask, TaskCall, add_project, prepare_task, take_snapshot
from envtool.run.record_queue import Moment
from envtool.run.result import Result
from envtool.run.result_cache import LocalCache, NotCacheable, RecordedRun
from envtool.run.task import run_task
from envtool.run.task_request import TaskRequest, TaskResult
from envtool.run.task_services import ServiceStacks
from envtool.spec.select_envs import used_services
from envtool.store import results
from envtool.store.results import StoredReads, StoredResult

if TYPE_CHECKING:
    from envtool.container.runner import StartedPod
    from envtool.run.audit import Audit
    from envtool.store.layers import Layer

RunTask = Callable[[PreparedTask, HostInputs | None], TaskResult]


class Stacks(Protocol):
    """What this module needs of build.scheduler.Scheduler."""

    def find_known_stack(self, env: str, *, team: bool = False) -> KnownStack | None:
        """Returns the stack of an env as the store (and the team cache) know it, without building or pulling
        anything."""

    def stack(self, env: str, own: Container[str] = ()) -> Stack:
        """Returns the stack of an env, after building what is missing. `own` are the variables that the env sets."""


class CachedResult(NamedTuple):
    """A result in the store, and what it was computed from."""

    env: Env
    task: str
    stack: KnownStack
    view: str  # digest
    stored: StoredResult
    beside: tuple[KnownStack, ...] = ()  # the stacks of its services
    states: tuple[str, ...] = ()  # the keys of their prepared state

    @property
    def stacks(self) -> tuple[KnownStack, ...]:
        """All stacks that decided it."""
        return (self.stack, *self.beside)


def run_task_cached(
    call: TaskCall, stacks: Stacks, *, again: bool, audit: Audit | None = None, run: RunTask = run_task
) -> tuple[Result, CachedResult | None]:
    """Returns the stored result of a task, or runs the task and stores its result; where it is recorded later, the
    second value is None. `again` runs it in any case, and `audit` decides which of those run that `inputs: observed`
    would skip. Raises what building the stack and starting the container raise."""
    known = None if again or call.env.has_outside else _prepare_known(call, stacks)
    if known and (answer := _find(known, audit)):
        return answer
    with task_services.begin_pod(call.context, call.env, call.task) as pod:  # which starts while stacks are built
        return _run(call, stacks, known, pod, again=again, audit=audit, run=run)


def _run(
    call: TaskCall,
    stacks: Stacks,
    known: PreparedTask | None,
    pod: StartedPod | None,
    *,
    again: bool,
    audit: Audit | None,
    run: RunTask,
) -> tuple[Result, CachedResult | None]:
    stack = stacks.stack(call.env.name, call.env.set)
    used = used_services(call.env, call.task)
    services = ServiceStacks(used, task_services.build_service_stacks(used, stacks))
    if known and _layers(known.stack, known.services) == _layers(stack, services):
        task = known._replace(stack=stack, services=services)
    else:
        task = prepare_task(call, stack, services)
        if not again and (answer := _find(task, audit)):
            return answer
    task = task._replace(pod=pod)
    recording = Recording(task)
    recording.confirm_early(pod)
    result = (_run_staged if _is_staged(call) else _run_once)(task, recording.reach, run)
    report, cached = _store(task, recording, result, audit)
    return report, cached if report.outcome == "passed" else None


def _store(
    task: PreparedTask, recording: Recording, result: TaskResult, audit: Audit | None
) -> tuple[Result, CachedResult | None]:
    """Returns a run as reports need it, and its stored result; None if it did not pass, is not stored, or is recorded
    later. An audit decides before the run is recorded: what it forgets, a record in another thread must not write
    again."""
    call, report = task.call, _to_result(task.call, result)
    if result.outcome == "flaky":
        _report_not_cached(call, "it is flaky")  # what passes only now and then says nothing about the next run
    if result.outcome != "passed":
        return audit.compare(task, report, None) if audit is not None else report, None
    statement = provenance.write_statement(
        call.env,
        call.task,
        task.built,
        call.context,
        report,
        view=task.request.view,
        services=task.request.services,
        artefacts=task.request.artefacts.files,
        describe=lambda: recording.describe_commit(result),
    )

    def record(moment: Moment) -> CachedResult | None:
        try:
            stored = task.cache().store(recording.finish(result, statement, moment))
        except NotCacheable as error:
            _report_not_cached(call, error.reason)
            return None
        return _to_cached(task, stored) if stored else None

    report = replace(report, reads=recording.read_files())
    if audit is not None:
        report = audit.compare(task, report, recording.reads)
    if call.record_later is None:
        return report, record(Moment(call.context))
    call.record_later(record)
    return report, None


def _is_staged(call: TaskCall) -> bool:
    """Whether outputs come into the project only when it is known how the task ended."""
    return call.task.retries > 0 or call.task.outputs_when == "passed" or call.artefacts_to != ""


def _run_staged(task: PreparedTask, reach: HostInputs | None, run: RunTask) -> TaskResult:
    from envtool.run import retries

    return retries.run_attempts(task, reach, run)


def _run_once(task: PreparedTask, reach: HostInputs | None, run: RunTask) -> TaskResult:
    return run(task, reach)


def _layers(stack: KnownStack, services: ServiceStacks) -> list[list[Layer | None]]:
    return [[layer.layer for layer in each.layers] for each in (stack, *services.stacks)]


def _prepare_known(call: TaskCall, stacks: Stacks) -> PreparedTask | None:
    """Returns the task on the stacks that it and its services had before, or have in the team cache; None if one is not
    known. So a cached result is found without a layer being built or pulled."""
    share = call.context.share
    team = share is not None and share.results
    used = used_services(call.env, call.task)
    found: list[KnownStack] = []
    for name in (call.env.name, *(service.env.name for service in used)):
        stack = stacks.find_known_stack(name)
        if stack is None and team:
            stack = stacks.find_known_stack(name, team=True)
        if stack is None:
            return None
        found.append(stack)
    return prepare_task(call, found[0], ServiceStacks(used, tuple(found[1:])))


def _find(task: PreparedTask, audit: Audit | None = None) -> tuple[Result, CachedResult] | None:
    """Returns the cached result of a task, after restoring what it left; None if the task has to run."""
    call = task.call
    stored = task.cache().find(task.request)
    if stored is None and call.task.inputs == "observed" and task.snapshot is not None and task.refusal is None:
        from envtool.run import observed_reads

        find_key = LocalCache(call.context, (task.stack, *task.services.stacks)).find_key
        stored = observed_reads.find_result(task.request.document(), task.snapshot, call.context, find_key)
        if stored is not None and audit is not None and audit.takes(call, stored):
            return None
    if stored is None:
        return None
    from envtool.run.restore import restore_result

    if not restore_result(call, stored) or not _copy_artefacts(call, stored):
        return None
    results.mark_used(call.context.store, stored, call.owner)
    result = TaskResult(
        outcome="cached",
        status=0,
        started=stored.run.started,
        seconds=stored.run.seconds,
        message=stored.run.message,
        outputs=tuple(output.path for output in stored.outputs),
        host=stored.run.host,
        **stored.usage._asdict(),
    )
    _emit_cached(call, result)
    return replace(_to_result(call, result), reads=reads_of(stored)), _to_cached(task, stored)


def reads_of(stored: StoredResult) -> ReadFiles | None:
    """Returns how many files the run of a stored result read; their names would take a while."""
    reads = stored.reads
    return ReadFiles(reads.read, reads.total, (), reads.reason) if reads is not None else None


def _copy_artefacts(call: TaskCall, stored: StoredResult) -> bool:
    """Copies the outputs for the tasks that need them; returns False if they cannot be read: then the task runs."""
    if not call.artefacts_to:
        return True
    from envtool.run import artefacts

    try:
        artefacts.copy_stored(stored, call.artefacts_to, call.context.cancel.check)
    except OSError:
        return False
    return True


def _emit_cached(call: TaskCall, result: TaskResult) -> None:
    now = time.time()
    call.context.emit(Started(id=call.event_id, subject="task", name=call.task.name, env=call.env.name, time=now))
    call.context.emit(
        Finished(
            id=call.event_id,
            subject="task",
            name=call.task.name,
            env=call.env.name,
            outcome=result.outcome,
            status=result.status,
            time=now,
            seconds=result.seconds,
            detail=result.message,
            outputs=result.outputs,
            since=result.started,
            host=result.host,
            memory=result.memory,
            cpu_seconds=result.cpu_seconds,
            written=result.written,
        )
    )


def _to_result(call: TaskCall, result: TaskResult) -> Result:
    """Returns the result as reports need it: with names, the log, and for a task that did not pass its commands."""
    ran = result.outcome != "cached"
    return Result(
        env=call.env.name,
        task=call.task.name,
        outcome=result.outcome,
        status=result.status,
        seconds=result.seconds,
        started=result.started,
        log=call.log,
        outputs=result.outputs,
        message=result.message,
        memory=result.memory,
        cpu_seconds=result.cpu_seconds,
        written=result.written,
        limit=result.limit,
        host=result.host,
        attempts=result.attempts,
        commands=()
        if result.outcome in ("passed", "cached", "flaky")
        else tuple(command.typed() for command in call.task.commands),
        where=f"{call.task.where.file}:{call.task.where.line}" if ran else "",
    )


def _to_cached(task: PreparedTask, stored: StoredResult) -> CachedResult:
    return CachedResult(
        env=task.call.env,
        task=task.call.task.name,
        stack=task.stack,
        view=task.request.view,
        stored=stored,
        beside=task.services.stacks,
        states=task.request.state_keys,
    )


def _report_not_cached(call: TaskCall, reason: str) -> None:
    """Emits an event at once, and notes the reason for the end of the run, which lists tasks with a network itself."""
    if call.env.has_outside:
        return
    call.context.emit(net.note_event(call.event_id, f"not remembered: {reason}"))
    call.context.unremembered.setdefault(reason, []).append(f"{call.env.name} {call.task.name}")


class Recording:
    """Starts before the task does. `reach` is what the task can reach besides its stack and the project's files; None
    if nothing is recorded."""

    def __init__(self, task: PreparedTask) -> None:
        """Never raises NotCacheable: `finish` does, when the task has passed."""
        self._task = task
        self._refusal = task.refusal
        self._directories: dict[bytes, tuple[int, int, int, int]] = {}  # see snapshot_diff.directory_states
        self._manifest = b""
        self._commit = CommitDescription(task.call.context)
        self.reads: StoredReads | None = None  # what it read of the project, once it is finished
        self.reach: HostInputs | None = None
        if task.refusal is None and task.snapshot is not None:
            try:
                if (look := task.look) is not None:
                    self._directories, self._manifest = look.directories, look.manifest
                else:
                    self._directories = snapshot_diff.directory_states(task.snapshot)
                    self._manifest = snapshot_diff.snapshot_manifest(task.snapshot)
                self.reach = HostInputs(
                    task.stack,
                    task.call.context,
                    beside=task.services.stacks,
                    states=task.request.state_keys,
                    look=look.git if look is not None else None,
                )
            except (EnvtoolError, OSError, SnapshotError) as error:
                self._refusal = NotCacheable(str(error))

    def confirm_early(self, pod: StartedPod | None) -> None:
        """Lets the run take over containers that began before it took the snapshot, if nothing of the project, and for
        a task alone of this machine, has changed since they began: the record is then of what they saw."""
        request, reach, snapshot = self._task.request, self.reach, self._task.snapshot
        newest = None
        if pod is not None:
            members = [f"{service.name}-{number + 1}" for service in request.services
                       for number in range(service.replicas)]  # fmt: skip
            if reach is not None and snapshot is not None:
                newest = snapshot_diff.newest_change(snapshot, self._directories)
            began = pod.confirm(newest, frozenset([*members, early_start.TASK_MEMBER]))
        else:
            began = self._task.call.context.runner.confirm_task(
                self._newest_change, reach.trees if reach is not None else ()
            )
        if began and reach is not None:
            reach.set_began(began)

    def _newest_change(self) -> int | None:
        """Returns a time, in nanoseconds since the epoch, after which nothing of the project and of this machine has
        changed that counts; None if that is not known."""
        if self.reach is None or self._task.snapshot is None:
            return None
        of_project = snapshot_diff.newest_change(self._task.snapshot, self._directories)
        return max(of_project, self.reach.newest_of_machine())

    def describe_commit(self, result: TaskResult) -> str:
        """Returns the commit that the task ran at: see provenance.describe_commit. Raises as that."""
        before = self._task.snapshot if self.reach is not None and not result.outputs else None
        return self._commit.describe(before, self.reach.repositories if self.reach is not None else None)

    def read_files(self) -> ReadFiles | None:
        """Returns what the task read, once it has passed; None if its result is not stored."""
        if self._refusal is not None or self.reach is None:
            return None
        from envtool.run import observed_reads

        self.reads, files = observed_reads.measure_reads(self._manifest, self.reach, self._task.call.context)
        return files

    def finish(self, result: TaskResult, statement: bytes, moment: Moment) -> RecordedRun:
        """Returns the record of a task that passed, with its provenance. `moment` is one after the task has ended.
        Raises NotCacheable if another program touched the project, git's history or this machine's files between, or
        if one of them cannot be read."""
        if self._refusal is not None:
            raise self._refusal
        call, request, reach = self._task.call, self._task.request, self.reach
        assert reach is not None
        try:
            after = self._snapshot_after(result, moment)
            self._check_project(after, result)
            if reach.look is not None and (path := moment.appeared(reach.look.hidden)):
                raise NotCacheable(f"{path}, which git ignores, appeared while it ran")
            self._commit.confirm(after, reach.repositories)
            if not reach.is_unchanged(call.context, moment.machine):
                raise NotCacheable("this machine's own system changed while it ran")
            git = reach.git(call.context)
            requests, manifests = [request], {request.view: self._manifest}
            if (later := self._request_after(after, moment)) != request:
                requests.append(later)
                manifests[later.view] = snapshot_diff.snapshot_manifest(after)
        except (EnvtoolError, OSError, SnapshotError) as error:
            raise NotCacheable(str(error)) from error
        return RecordedRun(
            reads=self.reads,
            observed=call.task.inputs == "observed",
            requests=tuple(requests),
            result=result,
            log=call.log,
            manifests=manifests,
            statement=statement,
            git=git,
            reach=reach,
            outputs_in=call.artefacts_to,
        )

    def _snapshot_after(self, result: TaskResult, moment: Moment) -> Snapshot:
        """Returns the state of the project at a moment, without what other tasks of the run have added meanwhile in
        places that the task does not see. Raises NotCacheable, Interrupted."""
        call = self._task.call
        after = moment.snapshot()
        others = {*_find_below(after, call.hidden)} - {*result.outputs}
        if not others:
            return after
        return take_snapshot(replace(call.context, logs=(*call.context.logs, *sorted(others))))

    def _check_project(self, after: Snapshot, result: TaskResult) -> None:
        """Raises NotCacheable if something but the task's outputs changed in the project; SnapshotError, OSError."""
        assert self._task.snapshot is not None
        if appeared := _find_below(self._task.snapshot, self._task.call.hidden):
            raise NotCacheable(f"{appeared[0]} was touched while it ran")
        if touched := snapshot_diff.changed_paths(self._task.snapshot, after) - {*result.outputs}:
            more = f" and {len(touched) - 1} more" if len(touched) > 1 else ""
            raise NotCacheable(f"{min(touched)}{more} was touched while it ran")
        # a file may have been replaced and put back
        if directory := snapshot_diff.changed_directory(self._directories, after):
            raise NotCacheable(f"the directory {directory} was changed while it ran")

    def _request_after(self, after: Snapshot, moment: Moment) -> TaskRequest:
        """Returns the request of the next run: the task's outputs are files of the project, so it may have another
        view, but nothing that would change the result. Raises NotCacheable if git's history changed."""
        call, request = self._task.call, self._task.request
        later = add_project(request, call.context, after, moment.sees_git)
        if later not in (request, replace(request, view=after.digest)):
            raise NotCacheable("git's history changed while it ran")
        return later


def _find_below(project: Snapshot, hidden: Sequence[str]) -> list[str]:
    """Returns the files of a snapshot that are, or are in, one of the places that a task does not see."""
    tops = tuple(f"{path}/" for path in hidden)
    return [path for path in list_present(project) if f"{path}/".startswith(tops)] if tops else []
