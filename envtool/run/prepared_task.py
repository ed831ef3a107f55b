"""Prepares the run of a task: takes a snapshot of the project and makes the request from it and the stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from envtool.build.context import Context
from envtool.build.stack import KnownStack, Stack
from envtool.errors import EnvtoolError, SpecError
from envtool.model import Env, Task
from envtool.project import snapshot, source_files
from envtool.project.snapshot import Snapshot, SnapshotError
from envtool.run import host_inputs, task_container, task_services
from envtool.run.host_inputs import GitLook
from envtool.run.needed_tasks import NeededTask, join_artefacts
from envtool.run.result_cache import NotCacheable, OffCache, ResultCache, open_cache, result_owner
from envtool.run.task_request import TaskRequest
from envtool.run.task_services import ServiceStacks

if TYPE_CHECKING:
    from envtool.container.runner import StartedPod
    from envtool.fs.changes import State

NO_SERVICES = ServiceStacks()


class ProjectLook(NamedTuple):
    """What tasks are recorded with of the project, all of it read before they begin."""

    snapshot: Snapshot
    directories: dict[bytes, State]  # see snapshot_diff.directory_states
    manifest: bytes  # see snapshot_diff.snapshot_manifest
    git: GitLook
    sees_git: bool  # see source_files.sees_git


class TaskCall(NamedTuple):
    """One task of one env that is to be run here."""

    env: Env
    task: Task
    context: Context
    log: str  # path of its log
    host: Mapping[str, str]  # the caller's variables that `pass:` lets through
    outputs_to: str = ""  # the directory that gets its outputs; empty: the project
    needs: tuple[NeededTask, ...] = ()  # that have passed, and whose outputs it sees
    artefacts_to: str = ""  # a directory that is made for its outputs, where another task needs them
    hidden: tuple[str, ...] = ()  # paths in the project where other tasks of the run leave outputs: it sees none
    # takes what records it after it has ended (record_queue.py); None: it is recorded at once
    record_later: Callable[[Callable[[Any], Any]], None] | None = None
    # returns a look that it shares with others, where it runs in any case (project_look.py)
    look: Callable[[], ProjectLook | None] | None = None

    @property
    def event_id(self) -> str:
        """The id of its events."""
        return task_event_id(self.env.name, self.task.name)

    @property
    def owner(self) -> str:
        """The key by which the store counts its results."""
        return result_owner(self.context.root, self.env.name, self.task.name)


def task_event_id(env: str, task: str) -> str:
    """Returns the id of the events of a task."""
    return f"task:{env}:{task}"


class PreparedTask(NamedTuple):
    """A task and its stack here, with the request for them. `refusal` says why the result cannot be cached; then the
    request may lack what depends on the project's files, and there may be no snapshot."""

    call: TaskCall
    stack: KnownStack
    request: TaskRequest
    snapshot: Snapshot | None = None
    refusal: NotCacheable | None = None
    services: ServiceStacks = NO_SERVICES
    pod: StartedPod | None = None  # in which it and its services run; it starts
    look: ProjectLook | None = None  # that has the snapshot, where it is shared

    @property
    def built(self) -> Stack:
        """The stack, whose layers are all in the store by now."""
        assert isinstance(self.stack, Stack)
        return self.stack

    def cache(self) -> ResultCache:
        """Returns the cache for the result."""
        if self.refusal:
            return OffCache(self.refusal.reason)
        return open_cache(self.call.context, (self.stack, *self.services.stacks))


def prepare_task(call: TaskCall, stack: KnownStack, services: ServiceStacks = NO_SERVICES) -> PreparedTask:
    """Returns a task with its request. Raises SpecError for services that cannot run so, Interrupted."""
    project: Snapshot | None = None
    look: ProjectLook | None = None
    refusal: NotCacheable | None = None
    task_services.check_services(call.env, call.task, single_id=call.context.runner.single_id)
    try:
        check_cacheable(call.env, stack, services, call.task)
        look = call.look() if call.look is not None and not (services.services or call.needs) else None
        project = look.snapshot if look is not None else take_snapshot(call.context)
        sees_git = (lambda: look.sees_git) if look is not None else None
        request = cacheable_request(call, stack, project, services, sees_git)
    except NotCacheable as error:
        refusal = error
        request = replace(_request(call, stack, services), view=project.digest if project else "")
    return PreparedTask(
        call=call, stack=stack, request=request, snapshot=project, refusal=refusal, services=services, look=look
    )


def check_cacheable(
    env: Env, stack: KnownStack, services: ServiceStacks = NO_SERVICES, task: Task | None = None
) -> None:
    """Raises NotCacheable for a task that reaches what no digest covers: the network, secrets (a digest of one could be
    guessed), or files of this machine that could not be read."""
    if env.has_outside:
        raise NotCacheable("it has a network")
    if (task is not None and task.secrets) or any(service.secrets for service in services.services):
        raise NotCacheable("it has a secret")
    for each in (stack, *services.stacks):
        if reason := host_inputs.unseen_reason(each):
            raise NotCacheable(reason)


def take_snapshot(context: Context) -> Snapshot:
    """Returns the state of the project now. Raises NotCacheable if there is none, Interrupted."""
    try:
        cancel = context.cancel
        record = snapshot.cache_path(context.store.root, context.root)
        return snapshot.take_snapshot(context.root, record, cancel.reader, cancel.check, logs=context.logs)
    except SnapshotError as error:
        raise NotCacheable(str(error)) from error


def cacheable_request(
    call: TaskCall,
    stack: KnownStack,
    project: Snapshot,
    services: ServiceStacks = NO_SERVICES,
    sees_git: Callable[[], bool] | None = None,
) -> TaskRequest:
    """Returns the complete request of a task. `sees_git`: see `add_project`. Raises NotCacheable if git fails,
    Interrupted."""
    try:
        request = _request(call, stack, services)
    except SpecError:
        raise
    except EnvtoolError as error:
        call.context.cancel.check()
        raise NotCacheable(error.message) from error
    return add_project(request, call.context, project, sees_git)


def add_project(
    request: TaskRequest, context: Context, project: Snapshot, sees_git: Callable[[], bool] | None = None
) -> TaskRequest:
    """Returns a request with what depends on the project's files; `sees_git` returns what source_files.sees_git does.
    Raises NotCacheable if git fails, Interrupted."""
    try:
        history = source_files.git_history_digest(context.root) if request.outputs else ""
        repository = sees_git() if sees_git is not None else source_files.sees_git(context.root)
        return replace(request, view=project.digest, history=history, repository=repository)
    except EnvtoolError as error:
        context.cancel.check()
        raise NotCacheable(error.message) from error


def _request(call: TaskCall, stack: KnownStack, services: ServiceStacks) -> TaskRequest:
    requests = services.requests(call.context) if services.services else ()
    request = task_container.make_request(
        call.env, stack, call.host, arch=call.context.arch, task=call.task, services=requests
    )
    if not call.needs:
        return request
    return replace(request, artefacts=join_artefacts(call.task, call.needs))
