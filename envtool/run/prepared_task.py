"""Prepares the run of a task: takes a snapshot of the project and makes the request from it and the stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from envtool.build.context import Context
from envtool.build.stack import KnownStack, Stack
from envtool.errors import EnvtoolError
from envtool.model import Env, Task
from envtool.project import snapshot, source_files
from envtool.project.snapshot import Snapshot, SnapshotError
from envtool.run import host_inputs, task_container
from envtool.run.result_cache import NotCacheable, OffCache, ResultCache, open_cache, result_owner
from envtool.run.task_request import TaskRequest


class TaskCall(NamedTuple):
    """One task of one env that is to be run here."""

    env: Env
    task: Task
    context: Context
    log: str  # path of its log
    host: Mapping[str, str]  # the caller's variables that `pass:` lets through

    @property
    def event_id(self) -> str:
        """The id of its events."""
        return f"task:{self.env.name}:{self.task.name}"

    @property
    def owner(self) -> str:
        """The key by which the store counts its results."""
        return result_owner(self.context.root, self.env.name, self.task.name)


class PreparedTask(NamedTuple):
    """A task and its stack here, with the request for them. `refusal` says why the result cannot be cached; then the
    request may lack what depends on the project's files, and there may be no snapshot."""

    call: TaskCall
    stack: KnownStack
    request: TaskRequest
    snapshot: Snapshot | None = None
    refusal: NotCacheable | None = None

    @property
    def built(self) -> Stack:
        """The stack, whose layers are all in the store by now."""
        assert isinstance(self.stack, Stack)
        return self.stack

    def cache(self) -> ResultCache:
        """Returns the cache for the result."""
        if self.refusal:
            return OffCache(self.refusal.reason)
        return open_cache(self.call.context, self.stack, self.call.owner)


def prepare_task(call: TaskCall, stack: KnownStack) -> PreparedTask:
    """Returns a task with its request. Raises Interrupted."""
    project: Snapshot | None = None
    request = make_request(call, stack)
    try:
        check_cacheable(call.env, stack)
        project = take_snapshot(call.context)
        return PreparedTask(
            call=call, stack=stack, request=cacheable_request(request, call.context, project), snapshot=project
        )
    except NotCacheable as error:
        view = project.digest if project else ""
        return PreparedTask(
            call=call, stack=stack, request=replace(request, view=view), snapshot=project, refusal=error
        )


def check_cacheable(env: Env, stack: KnownStack) -> None:
    """Raises NotCacheable for a task that reaches what no digest covers: the network, or files of this machine that
    could not be read."""
    if env.network:
        raise NotCacheable("it has a network")
    if reason := host_inputs.unseen_reason(stack):
        raise NotCacheable(reason)


def take_snapshot(context: Context) -> Snapshot:
    """Returns the state of the project now. Raises NotCacheable if there is none, Interrupted."""
    try:
        cancel = context.cancel
        record = snapshot.cache_path(context.store.root, context.root)
        return snapshot.take_snapshot(context.root, record, cancel.reader, cancel.check, logs=context.logs)
    except SnapshotError as error:
        raise NotCacheable(str(error)) from error


def make_request(call: TaskCall, stack: KnownStack) -> TaskRequest:
    """Returns the request of a task, without what depends on the project's files."""
    return task_container.make_request(call.env, stack, call.host, arch=call.context.arch, task=call.task)


def cacheable_request(request: TaskRequest, context: Context, project: Snapshot) -> TaskRequest:
    """Returns the complete request of a task: with what depends on the project's files. Raises NotCacheable if git
    fails, Interrupted."""
    root = context.root
    try:
        return replace(
            request,
            view=project.digest,
            history=source_files.git_history_digest(root) if request.outputs else "",
            repository=source_files.sees_git(root),
        )
    except EnvtoolError as error:
        context.cancel.check()
        raise NotCacheable(error.message) from error
