"""A run of a task as plain values: the request that decides it, made of the env, its stack and the project's files; the
container of a request; and the result.

A request names the stack and the project's files by their digests. It has no path of this machine, no lock, no object
of a plugin and no callback, so another process or machine that has the same layers and files can run it.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, NamedTuple

from envtool import keys
from envtool.api import PROJECT
from envtool.build.context import Context, base_environment
from envtool.build.host_network import host_network_access
from envtool.build.stack import KnownStack, Stack, apply_variables, overlay_variables, project_mounts, stack_binds
from envtool.container.program import OUTPUTS_LIMIT, ContainerStep, Program, ProjectMount, Root
from envtool.errors import EnvtoolError
from envtool.events import Outcome
from envtool.fs.beneath import project_identity
from envtool.model import Env, Json, Task
from envtool.project import host_access, snapshot, source_files
from envtool.project.snapshot import Snapshot, SnapshotError
from envtool.run import host_inputs, task_git
from envtool.store import layers

NO_SERVICES: list[Json] = []  # envs have no services yet
HOME = "/home/envtool"
NO_PERMISSIONS = host_access.HostPermissions()
NO_GIT = task_git.TaskGit()


class TaskLayer(NamedTuple):
    """One layer of a stack. `key` is set only for a base that mounts this machine's system, which its tree does not
    hold."""

    diff_id: str
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """Everything that the run of a task needs, besides the layers and the project's files that it names.

    It holds the values of the caller's variables, which may be secrets: it is never written to the store or to a log.
    `document` has their hashes instead.
    """

    env: str
    task: str
    arch: str  # as in uname(1) -m
    kernel: str = ""  # its release, if the stack mounts this machine's system
    stack: tuple[TaskLayer, ...]  # bottom first
    view: str = ""  # digest of the project's files; empty if it is not known
    history: str = ""  # digest of git's commit and tags, for a task with outputs: versions are made from them
    repository: bool = False  # whether the task sees a git directory
    commands: tuple[tuple[str, ...], ...] = ()  # the argv of each
    workdir: str  # in the container
    variables: Mapping[str, str] = field(repr=False)  # the whole environment
    passed: tuple[str, ...] = ()  # names of those variables that `pass:` lets through, sorted
    user: Literal["root", "user"] = "user"
    network: bool = False
    scratch: str = "memory"  # or "disk"
    timeout: float | None = None  # seconds
    outputs: tuple[str, ...] = ()  # patterns, relative to the project
    outputs_limit: int | None = None  # bytes of all outputs together; None: the default
    produced: tuple[str, ...] = ()  # patterns of the outputs of all tasks of the project

    def document(self) -> dict[str, Json]:
        """Returns all that decides the result (keys.result_document). Limits of time and size do not: they only decide
        whether there is one."""
        passed = {*self.passed}
        return keys.result_document(
            stack=[[layer.diff_id, layer.key] for layer in self.stack],
            view=self.view,
            history=self.history,
            commands=[[*command] for command in self.commands],
            workdir=self.workdir,
            variables={name: value for name, value in self.variables.items() if name not in passed},
            passed={name: hash_value(self.variables[name]) for name in self.passed},
            user=self.user,
            outputs=[*self.outputs],
            repository=self.repository,
            kernel=self.kernel,
            network=self.network,
            arch=self.arch,
            services=NO_SERVICES,
        )

    @property
    def key(self) -> str:
        """The digest of `document`: the key of the result."""
        return keys.digest(self.document())

    def to_json(self) -> str:
        """Returns the request as a JSON object; what is not UTF-8 becomes lone surrogates, escaped."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TaskRequest:
        """Returns the request that `to_json` wrote. Raises ValueError, TypeError or LookupError for another text."""
        fields = json.loads(text)
        lists = {name: tuple(fields[name]) for name in ("passed", "outputs", "produced")}
        commands = tuple(tuple(command) for command in fields["commands"])
        stack = tuple(TaskLayer(*layer) for layer in fields["stack"])
        return cls(**{**fields, **lists, "commands": commands, "stack": stack})


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """What the run of a request came to. `message` says why, for each outcome but passed and failed."""

    outcome: Outcome
    status: int | None
    started: float  # seconds since the epoch
    seconds: float
    message: str = ""
    outputs: tuple[str, ...] = ()  # project-relative paths of the files that were copied back
    host: str = ""  # of a cached result: the machine on which it ran

    def to_json(self) -> str:
        """Returns the result as a JSON object."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TaskResult:
        """Returns the result that `to_json` wrote. Raises ValueError, TypeError or LookupError for another text."""
        fields = json.loads(text)
        return cls(**{**fields, "outputs": tuple(fields["outputs"])})


def hash_value(value: str) -> str:
    """Returns the hash of a variable's value, which may be a secret."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()


# ---- request --------------------------------------------------------------------------------------------------------


class NotCacheable(Exception):  # noqa: N818 - a state of the task, not an error: it has passed
    """The result of a task is not stored. `reason` is for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


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


def prepare_task(call: TaskCall, stack: KnownStack) -> PreparedTask:
    """Returns a task with its request. Raises Interrupted."""
    project: Snapshot | None = None
    request = make_request(call.env, stack, call.host, arch=call.context.arch, task=call.task)
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


def make_request(
    env: Env,
    stack: KnownStack,
    host: Mapping[str, str],
    *,
    arch: str,
    task: Task | None = None,
) -> TaskRequest:
    """Returns the request of a task, or (`task` None) of `exec` and `shell`, without what depends on the project's
    files. `host` are the variables that `pass:` lets through."""
    user: Literal["root", "user"] = "root" if task and task.user == "root" else "user"
    mounts_host = bool(stack_binds(stack.layers))
    return TaskRequest(
        env=env.name,
        task=task.name if task else "",
        arch=arch,
        kernel=os.uname().release if mounts_host else "",
        stack=tuple(
            TaskLayer(diff_id=made.diff_id, key=made.resolved.key if mounts_host and not number else "")
            for number, made in enumerate(stack.layers)
        ),
        commands=tuple(command.words() for command in task.commands) if task else (),
        workdir=workdir(env),
        variables=task_environment(env, stack, host, user=user),
        passed=tuple(sorted(host)),
        user=user,
        network=env.network,
        scratch=env.scratch,
        timeout=task.timeout if task else None,
        outputs=task.outputs if task else (),
        outputs_limit=task.outputs_limit if task else None,
        produced=env.produced,
    )


def task_environment(env: Env, stack: KnownStack, host: Mapping[str, str], *, user: str) -> dict[str, str]:
    """Returns the whole environment of a task: of the base, the layers (bottom first), the env, and `host`, the
    variables that `pass:` lets through."""
    home, user_name = (HOME, "envtool") if user == "user" else ("/root", "root")
    variables = base_environment(stack.epoch) | {
        "HOME": home,
        "USER": user_name,
        "LOGNAME": user_name,
        "TERM": "dumb",
    }
    declared = stack.variables
    overlay_variables(declared, env.set)
    return apply_variables(variables, declared) | {"ENVTOOL_ENV": env.name} | dict(host)


def workdir(env: Env) -> str:
    """Returns the directory in which commands start: `workdir:` below the project."""
    return posixpath.normpath(posixpath.join(PROJECT, env.workdir))


def result_owner(root: str, env: str, task: str) -> str:
    """Returns the key by which the store counts the results of one task: store/results.py keeps a few of each."""
    return keys.digest([root, env, task])[:32]


# ---- container ------------------------------------------------------------------------------------------------------


def scratch_for(env: Env, context: Context) -> AbstractContextManager[str]:
    """Returns a directory for what the env's commands write, which is removed afterwards; "" for a scratch in
    memory."""
    return (
        layers.temp_directory(context.store, remove=context.runner.remove) if env.scratch == "disk" else nullcontext("")
    )


def make_program(
    request: TaskRequest,
    stack: Stack,
    *,
    project: str,
    hidden: tuple[str, ...],
    scratch: str = "",
    allowed: host_access.HostPermissions = NO_PERMISSIONS,
    watch: tuple[str, ...] = (),
    git: task_git.TaskGit = NO_GIT,
) -> Program:
    """Returns the container of a request on this machine: `stack` are its layers here, `project` is the path of the
    project, `scratch` the directory for writes on disk."""
    variables, binds, texts = host_network_access(allowed) if request.network else ({}, (), ())
    return Program(
        root=Root(lowers=tuple(made.layer.tree for made in reversed(stack.layers)), scratch=scratch),
        steps=tuple(ContainerStep(argv=command, cwd=request.workdir) for command in request.commands),
        binds=(*stack_binds(stack.layers), *binds, *git.binds),
        project=ProjectMount(
            source=project, hidden=(*hidden, *git.hidden), target=PROJECT, identity=project_identity(project)
        ),
        **project_mounts([made.resolved for made in stack.layers]),
        produced=request.produced,
        mounts=(*texts, *git.peeks),
        env={**variables, **request.variables},
        network=request.network,
        user=request.user,
        timeout=request.timeout,
        outputs=request.outputs,
        outputs_limit=request.outputs_limit or OUTPUTS_LIMIT,
        watch=watch,
    )
