"""Writes the plan caches: everything that decided the container of an env, so that fast_exec can find with a few calls
of stat(2) that nothing changed; and everything that decided the results of a run, for fast_test. A plan only saves
time: without one, or with an outdated one, envtool reads the spec and checks every layer and task."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from envtool.api import Base
from envtool.build.context import Context
from envtool.build.stack import KnownStack, Stack
from envtool.container import userns
from envtool.container.program import ContainerStep
from envtool.errors import has_faults
from envtool.fs import store_files
from envtool.fs.beneath import project_identity, real_path
from envtool.model import Env, Spec
from envtool.plugins import PluginRegistry, code_paths
from envtool.project import host_access, rundir, snapshot, source_files
from envtool.project.source_files import ProjectFiles
from envtool.run import (
    fast_exec,
    fast_test,
    host_inputs,
    host_state,
    provenance,
    task_container,
    task_git,
    task_services,
)
from envtool.run.cached_task import CachedResult, reads_of
from envtool.services.service_container import ServiceProject
from envtool.spec.select_envs import layer_warnings, stack_envs
from envtool.store import layers, locks

if TYPE_CHECKING:
    from envtool.project.git import Repository
    from envtool.services.pod_place import PodPlace
    from envtool.services.service_request import ServiceRequest

NO_GIT = task_git.TaskGit()
CLOCK_MARGIN = 1_000_000_000  # nanoseconds
MAX_WATCHED = 20_000  # watched paths: to check more of them would save no time


def prepare_exec_plan(
    env: Env,
    stack: Stack,
    spec: Spec,
    files: ProjectFiles,
    context: Context,
    *,
    scratch: str = "",
    git: task_git.TaskGit = NO_GIT,
    keep: bool = True,
    services: tuple[ServiceRequest, ...] = (),
    place: PodPlace | None = None,
    writable_but: tuple[tuple[str, int, int], ...] | None = None,
) -> dict[str, Any]:
    """Returns the plan of an env whose stack is built, for `fast_exec.launch`. Stores it for the next call if `keep` is
    set, unless the env needs a copy of a git directory, host access that was allowed on this command line, the network,
    a pod, scratch space on disk, or a writable checkout. `services` run beside the command, and `place` is its place in
    their pod. With `writable_but` it writes to the checkout, but for these paths."""
    spec_path, outside, in_pod = plan_spec_path(spec), env.has_outside, task_services.needs_pod(env)
    request = task_container.make_request(env, stack, {}, arch=context.arch, services=services)
    project = ServiceProject(context.root, git.hidden, git.binds, git.peeks, writable_but=writable_but)
    program = task_container.make_program(
        request, stack, project=project, scratch=scratch, allowed=context.allowed, place=place
    )
    repositories = source_files.list_repositories(context.root, context.cancel.reader)
    repository = repositories[0][1] if repositories else None
    # each launch puts its own command and environment into this step
    program_dict = replace(program, steps=(ContainerStep(cwd=request.workdir),)).to_dict()
    let = host_access.select_variables(env.passed, os.environ)
    plan: dict[str, Any] = {
        "version": fast_exec.plan_version(),
        "spec": spec_path,
        "env": env.name,
        "project": context.root,
        "watch": [],
        "program": program_dict,
        "environment": dict(program.env),
        "passed": env.passed,
        "allowed": host_access.passable_variables(env.passed, context.allowed, network=outside),
        "hidden": (source_files.OWN, *git.hidden),
        "repositories": tuple((prefix, os.path.join(context.root, prefix.rstrip("/"))) for prefix, _ in repositories),
        "git": repository.directory if repository else "",
        "locks": tuple(locks.lock_path(context.store, layers.layer_lock_name(made.layer.key)) for made in stack.layers),
    }
    watched = {file.path: tuple(file.state) for file in files.seen()}
    decided = (*decisive_paths(stack, spec, context), *_module_paths(context), *_link_files(repository, context.root))
    for path in (*decided, fast_exec.permissions_path(), *userns.MAP_FILES):
        watched.setdefault(path, fast_exec.stat_signature(path))
    if not plan["repositories"]:  # once there is a repository, git decides what is hidden
        path = os.path.join(real_path(context.root), ".git")
        watched.setdefault(path, fast_exec.stat_signature(path))
    is_plain = not (scratch or git.binds or outside or in_pod or writable_but is not None)
    if keep and is_plain and not _prints_warning(context, (env,)) and len(watched) <= MAX_WATCHED:
        plan["watch"] = sorted(watched.items())
        store_files.replace_if_possible(
            fast_exec.plan_path(context.store.root, plan["spec"], env.name), store_files.encode_with_checksum(plan)
        )
    plan["writable"] = writable_but is not None  # of no plan that is stored
    plan["let"] = let  # after the write: the store must not hold the values
    return plan


def _link_files(repository: Repository | None, root: str) -> tuple[str, ...]:
    """Returns the files that say whether a git directory outside the project is its own
    (repository.has_external_git)."""
    if repository is None or repository.directory == os.path.join(real_path(root), ".git"):
        return ()
    return (f"{repository.common}/config", f"{repository.directory}/gitdir")


def _prints_warning(context: Context, envs: Iterable[Env]) -> bool:
    """Whether a run of these envs prints a warning, which a fast path does not."""
    return bool(context.allowed.said or has_faults() or layer_warnings(envs))


def write_test_plan(
    traces: Sequence[CachedResult],
    spec: Spec,
    files: ProjectFiles,
    context: Context,
    *,
    plugins: PluginRegistry,
    selected: tuple[str, ...],
    began: int,
) -> None:
    """Stores that all tasks of a run passed, and everything that decided so, for `fast_test.read_plan`. `selected` are
    the envs as the command line names them; `began` is the time (ns since the epoch) at which this run began to read.
    Stores nothing if a file changed after that, or less than CLOCK_MARGIN before: it may have been read in two
    states."""
    if (
        _prints_warning(context, stack_envs(spec))
        or len({trace.view for trace in traces}) != 1
        or any(not _is_plain(trace) for trace in traces)
    ):
        return
    layers_of_run = (made.layer for trace in traces for stack in trace.stacks for made in stack.layers)
    if any(layer is None for layer in layers_of_run):  # removed from the store
        return
    signatures = _watched_signatures(traces, spec, files, context, plugins)
    if signatures is None:
        return
    watched, states = signatures
    store = context.store.path("")
    # pins in the store are rewritten when they change; layers and results never change
    steady = {
        path for path in watched if path.startswith(store) and not path.startswith(context.store.path("memo", ""))
    }
    times = [max(state[4:]) for path, state in watched.items() if state and path not in steady]
    if (
        len(watched) > MAX_WATCHED
        or len(states) > MAX_WATCHED
        or max((*times, *states.values()), default=0) > began - CLOCK_MARGIN
    ):
        return
    spec_path = plan_spec_path(spec)
    plan = {
        "version": fast_test.plan_version(),
        "spec": spec_path,
        "task": traces[0].task,
        "envs": selected,
        "switches": fast_test.switches(os.environ),
        "watch": sorted(watched.items()),
        "machine": host_state.pack(states),
        "root": context.root,
        "identity": project_identity(context.root),
        "repository": source_files.sees_git(context.root),
        "record": snapshot.cache_path(context.store.root, context.root),
        "view": traces[0].view,
        "logs": context.logs,
        "rows": [_row(trace) for trace in traces],
    }
    store_files.replace_if_possible(
        fast_test.plan_path(context.store.root, spec_path, traces[0].task, selected),
        store_files.encode_with_checksum(plan),
    )


def _watched_signatures(
    traces: Sequence[CachedResult], spec: Spec, files: ProjectFiles, context: Context, plugins: PluginRegistry
) -> tuple[dict[str, tuple[int, ...]], dict[str, int]] | None:
    """Returns all that decided the results: stat signatures by path, and ctimes (ns) by path for the files where the
    ctime is enough. Returns None if git's directories are not what a result depends on."""
    watched = {file.path: tuple(file.state) for file in files.seen()}
    stacks = [stack for trace in traces for stack in trace.stacks]
    decided = dict.fromkeys(path for stack in stacks for path in _stack_paths(stack, context))
    decided |= dict.fromkeys((*_program_paths(spec), *_module_paths(context)))
    for path in (
        *decided,
        *sys.path,
        fast_exec.permissions_path(),
        *userns.MAP_FILES,
        context.store.path("store.json"),
    ):
        watched.setdefault(path, fast_exec.stat_signature(path))
    states = host_inputs.results_host_state(
        ((trace.stacks, trace.stored.key, trace.states) for trace in traces), context
    )
    for path in code_paths(plugins):
        if os.path.islink(path):
            watched.setdefault(path, fast_exec.stat_signature(path))
        else:  # every change moves its ctime, and that is checked faster
            states[path] = (fast_exec.stat_signature(path) or (0,))[-1]
    for trace in traces:
        watched |= {path: fast_exec.stat_signature(path) for path in (trace.stored.log, _result_path(trace))}
    if any(trace.stored.run.git for trace in traces):
        history = host_inputs.read_git_history(context)
        watched |= {path: fast_exec.stat_signature(path) for path in history.paths}
        if any(trace.stored.run.git not in ("", history.digest) for trace in traces):
            return None
    return watched, states


def _row(trace: CachedResult) -> dict[str, Any]:
    """Returns the part of a plan for one task: what the report says of it, and the evidence to copy."""
    return {
        "env": trace.env.name,
        "task": trace.task,
        "since": trace.stored.run.started,
        "seconds": trace.stored.run.seconds,
        "host": trace.stored.run.host,
        "usage": trace.stored.usage._asdict(),
        "reads": reads.to_json() if (reads := reads_of(trace.stored)) is not None else None,
        "copies": _copies(trace),
        "passes": trace.env.passed,
        "passed": fast_test.passed_digests(trace.env.passed),
    }


def _result_path(trace: CachedResult) -> str:
    return os.path.join(trace.stored.directory, "result.json")


def _copies(trace: CachedResult) -> list[tuple[str, str]]:
    """Returns the files that a run leaves as evidence: (path in the store, file name in the run's directory)."""
    log = rundir.log_path("", trace.env.name, trace.task)
    copies = [(trace.stored.log, os.path.basename(log))]
    if os.path.exists(trace.stored.statement):
        copies.append((trace.stored.statement, os.path.basename(provenance.path_for(log))))
    return copies


def plan_spec_path(spec: Spec) -> str:
    """Returns the path of a spec, by which a plan is found."""
    # only links in the directory's path are resolved: projects that link to one spec have a plan each
    return os.path.join(real_path(spec.root), os.path.basename(spec.file))


def _is_plain(trace: CachedResult) -> bool:
    """Returns whether fast_test can report a result: it has no outputs and no message, and its names are printable
    ASCII."""
    name = f"{trace.env.name}{trace.task}"
    return not trace.stored.outputs and not trace.stored.run.message and name.isascii() and name.isprintable()


def decisive_paths(stack: KnownStack, spec: Spec, context: Context) -> Iterator[str]:
    """Yields the paths that decided a stack, besides the project files that were read: spec, plugins, inputs, pins,
    layers."""
    yield from _program_paths(spec)
    yield from _stack_paths(stack, context)


def _program_paths(spec: Spec) -> Iterator[str]:
    """Yields the paths that decide every stack of a spec."""
    yield from spec.read
    yield sysconfig.get_path("purelib")  # its ctime changes when a plugin is installed or removed


def _stack_paths(stack: KnownStack, context: Context) -> Iterator[str]:
    for made in (*stack.layers, *stack.other_stages):
        resolved = made.resolved
        if made.layer is not None:
            yield os.path.join(os.path.dirname(made.layer.tree), "layer.json")
            yield made.layer.tree
        if resolved.pins_file:
            yield resolved.pins_file
        if isinstance(resolved.node.kind, Base):
            yield from resolved.node.kind.watches(resolved.pins)
        directory = resolved.node.spec.directory
        inputs = resolved.node.kind.inputs(resolved.node.spec.options)
        files = [os.path.join(directory, item.pattern) for item in inputs if item.use == "text"]
        for path in (*files, *(item.path for item in resolved.request.inputs)):
            full_path = os.path.join(context.root, path)
            yield full_path
            while len(full_path) > len(context.root):  # a directory's times change with its entries
                full_path = os.path.dirname(full_path)
                yield full_path


def _module_paths(context: Context) -> Iterator[str]:
    """Yields the files that name the submodules of the project's repositories."""
    for _, directory in source_files.repositories(context.root, context.cancel.reader):
        yield os.path.join(directory, ".gitmodules")
