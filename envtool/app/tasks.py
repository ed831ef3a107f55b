"""Runs a task in every env that has it, in parallel: `test`, `build` and `run`."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from envtool import keys
from envtool.app import all_problems
from envtool.app.command_request import CommandRequest, unknown_task_error
from envtool.app.limits_of_run import check_task_limits, with_options
from envtool.app.open_project import OpenProject, emit_warnings, open_for_building
from envtool.app.run_graph import PASSED, GraphRun, result_without_run
from envtool.build.assess import assess_nodes
from envtool.build.context import Cancel, Context
from envtool.build.scheduler import Scheduler
from envtool.container.runner import find_early_task
from envtool.errors import EnvtoolError, Interrupted, NotCachedError, SpecError, UsageError
from envtool.events import Emit, Event, Noted
from envtool.model import Env, Spec, Task
from envtool.plan.output_clashes import WrittenOutputs, find_overwritten_outputs
from envtool.plan.task_graph import TaskGraph, TaskId, TaskNode, make_task_graph, warn_of_unread_args
from envtool.project import host_access, rundir
from envtool.run import cached_task, fast_plan, learned_network, secrets
from envtool.run.early_start import NOTES
from envtool.run.needed_tasks import NeededTask
from envtool.run.prepared_task import ProjectLook, TaskCall
from envtool.run.record_queue import RecordQueue
from envtool.run.result import Result, result_message
from envtool.run.shutdown import GracePeriod
from envtool.spec.select_envs import stack_envs, stack_names
from envtool.store import layers
from envtool.store.disk_errors import to_envtool_error

if TYPE_CHECKING:
    from envtool.plugins import PluginRegistry
    from envtool.run.audit import Audit
    from envtool.run.early_note import EarlyNote
    from envtool.run.outputs_of_run import OutputsOfRun


def run(
    request: CommandRequest, task: str, emit: Emit, cancel: Cancel, registry: PluginRegistry | None = None
) -> tuple[Result, ...]:
    """Run a task in every selected env that has it, in parallel, after the tasks that it needs; one result per task,
    needed ones first, otherwise in the order of the spec. `registry` is what the plugins offer; None: they are asked.
    Raises SpecError, UsageError, StoreError, NotCachedError."""
    return _run(request, task, emit, cancel, registry)


def run_pipeline(
    request: CommandRequest, emit: Emit, cancel: Cancel, registry: PluginRegistry | None = None
) -> tuple[Result, ...]:
    """Run all tasks of the spec's `pipeline:` in every selected env that has them. Returns and raises as `run`."""
    return _run(request, "", emit, cancel, registry)


def _run(
    request: CommandRequest, task: str, emit: Emit, cancel: Cancel, registry: PluginRegistry | None
) -> tuple[Result, ...]:
    if request.expect_cached and request.refresh:
        raise UsageError("`--expect-cached` and `--refresh` contradict each other", code="usage.contradiction")
    if request.learn_network:
        learned_network.check_options(offline=request.offline)
    _make_audit(request.audit)  # a wrong value ends the run before anything starts
    started, grace = time.time_ns(), GracePeriod()

    def on_event(event: Event) -> None:
        grace.on_event(event)
        emit(event)

    with open_for_building(request, on_event, cancel, needed=True, registry=registry) as project:
        return _run_in_envs(request, project, task, cancel, grace, started)


def _run_in_envs(
    request: CommandRequest, project: OpenProject, task: str, cancel: Cancel, grace: GracePeriod, started: int
) -> tuple[Result, ...]:
    spec, context = project.spec, project.context
    graph = _select_tasks(request, spec, task)
    selected = [(node.env, node.task) for node in graph.nodes.values()]
    check_task_limits(selected, context.emit)
    stacks = list(dict.fromkeys(stack for pair in selected for stack in stack_names(*pair)))
    scheduler = Scheduler(project.graph, context)
    emit_warnings((env for env in stack_envs(spec) if env.name in stacks), context.emit)
    if request.args and (text := warn_of_unread_args(graph)):
        context.emit(Noted(text=text))
    _read_secrets(project, scheduler, selected, stacks)
    scheduler.check_limits(stacks)
    if request.expect_cached:
        scheduler.start_pulls(stacks)
        _check_cached(project, stacks, scheduler)
    directory, note = rundir.open_run(spec.root)
    if note:
        context.emit(Noted(text=note))
    traces: list[cached_task.CachedResult] = []
    needed: dict[TaskId, NeededTask] = {}
    has_outputs = any(node.task.outputs for node in graph.nodes.values())
    records = None if has_outputs else RecordQueue(context, traces.append, len(graph.nodes))
    look = _share_looks(context) if request.again and len(graph.nodes) > 1 else None
    try:
        with layers.temp_directory(context.store) if graph.has_needs else nullcontext("") as artefacts:
            outputs = _watch_outputs(graph, context)

            def run_task(node: TaskNode) -> Result:
                call = _hide_additions(_make_call(node, context, directory, artefacts, needed), outputs)
                again = request.again and node.is_named
                if records is not None:
                    call = call._replace(record_later=records.add, look=look if again else None)
                checked = _make_audit(request.audit)
                result, trace = _run_in_env(call, scheduler, needed, again=again, audit=checked)
                if outputs is not None:
                    outputs.add((call.env.name, call.task.name), result.outputs)
                traces.extend([trace] if trace else [])
                return result

            if request.again:  # else the results of some, or of all, may be known
                context.runner.expect(sum(node.is_named for node in graph.nodes.values()))
            graph_run = GraphRun(graph, context, run_task, jobs=request.jobs, fail_fast=request.fail_fast)
            results = tuple(graph_run.run(cancel, grace).values())
        if records is not None:
            records.finish()
    finally:
        rundir.close_run(spec.root, directory)
    _note_results(selected, results, traces, context)
    if task and not graph.has_needs:  # what the next run reads first knows one task, and nothing of what it needs
        if len(selected) == 1:
            _write_early_note(request, project, task)
        if len(traces) == len(selected):
            order = {(env.name, env_task.name): number for number, (env, env_task) in enumerate(selected)}
            traces.sort(key=lambda trace: order[trace.env.name, trace.task])
            _write_fast_plan(request, project, traces, started)
    return results


def _share_looks(context: Context) -> Callable[[], ProjectLook | None]:
    from envtool.run.project_look import ProjectLooks  # one task shares nothing

    return ProjectLooks(context).find


def _note_results(
    selected: Sequence[tuple[Env, Task]],
    results: Sequence[Result],
    traces: Sequence[cached_task.CachedResult],
    context: Context,
) -> None:
    """Emits what the end of a run says beside its results."""
    for text in find_overwritten_outputs(_written_outputs(results, traces)):
        context.emit(Noted(text=text))
    if uncached := _describe_uncached(selected, results, context):
        context.emit(Noted(text=uncached))
    if (line := context.allowed.all()) and any(result.error for result in results):
        context.emit(Noted(text=f"to allow all that you were asked for here: {line}"))


def _select_tasks(request: CommandRequest, spec: Spec, name: str) -> TaskGraph:
    """Returns the tasks of this name, or ("") those of the pipeline, with all that they need. Raises UsageError."""
    if not name and not spec.pipeline:
        hint = "write `pipeline: [test, build]`: the tasks that it runs, by name, in all envs that have them"
        raise UsageError(f"there is no `pipeline:` in {spec.file}", code="no-pipeline", hint=hint)
    graph = make_task_graph(spec, (name,) if name else spec.pipeline, request.args)
    if not graph.nodes:
        raise unknown_task_error(spec, name or spec.pipeline[0])
    graph = TaskGraph(
        {key: node._replace(task=with_options(node.task, request.limits)) for key, node in graph.nodes.items()}
    )
    if not request.learn_network:
        return graph
    learning = learned_network.learning_envs(node.env for node in graph.nodes.values())
    nodes = zip(graph.nodes.items(), learning, strict=True)
    return TaskGraph({task_id: node._replace(env=env) for (task_id, node), env in nodes})


def _read_secrets(
    project: OpenProject, scheduler: Scheduler, selected: Sequence[tuple[Env, Task]], stacks: Sequence[str]
) -> None:
    """Reads the secrets of these tasks. Raises SpecError with all that the caller does not give, or has to allow, of
    whatever sort."""
    try:
        secrets.read_for_tasks(selected, project.context)
    except SpecError as error:
        envs = [env for env in stack_envs(project.spec) if env.name in stacks]
        raise all_problems.complete_error(error, envs, scheduler, project.context, runs=True) from error


def _make_call(
    node: TaskNode, context: Context, directory: str, artefacts: str, needed: Mapping[TaskId, NeededTask]
) -> TaskCall:
    """Returns what runs one task of the graph. `artefacts` is a directory for the outputs of tasks that others need,
    and `needed` are those that have passed."""
    env, task = node.env, node.task
    if not node.is_named and context.arguments:
        context = replace(context, arguments=())
    return TaskCall(
        env=env,
        task=task,
        context=context,
        log=rundir.log_path(directory, env.name, task.name),
        host=host_access.select_variables(env.passed, os.environ),
        needs=tuple(needed[need] for need in task.needs),
        artefacts_to=f"{artefacts}/{keys.digest([env.name, task.name])}" if node.is_needed and task.outputs else "",
    )


def _watch_outputs(graph: TaskGraph, context: Context) -> OutputsOfRun | None:
    """Returns what hides the outputs of each task from the others; None where there is nothing to hide."""
    patterns = {task_id: node.task.outputs for task_id, node in graph.nodes.items()}
    if len(patterns) < 2 or not any(patterns.values()):
        return None
    from envtool.run.outputs_of_run import OutputsOfRun

    return OutputsOfRun(context, patterns)


def _hide_additions(call: TaskCall, outputs: OutputsOfRun | None) -> TaskCall:
    """Returns a task that does not see what others have added to the project since the run began."""
    if outputs is None:
        return call
    files, places = outputs.hidden_from((call.env.name, call.task.name), call.task.needs)
    if not files and not places:
        return call
    return call._replace(context=replace(call.context, logs=(*call.context.logs, *files)), hidden=places)


def _make_audit(text: str) -> Audit | None:
    """Returns the audit of one task, if a part of the skips is audited. Raises UsageError."""
    if not text:
        return None
    from envtool.run.audit import Audit, parse_share

    return Audit(parse_share(text))


def _write_fast_plan(
    request: CommandRequest, project: OpenProject, traces: Sequence[cached_task.CachedResult], started: int
) -> None:
    """Writes the plan by which the next run knows that all these tasks passed, unless a plugin wants events, or this
    run had leave to differ from the lock, which the next one may not have."""
    if request.args or request.leaves_lock or project.kinds.hooks("envtool_event"):
        return
    with suppress(EnvtoolError, OSError):  # the plan only makes the next run faster
        fast_plan.write_test_plan(
            traces,
            project.spec,
            project.files,
            project.context,
            plugins=project.kinds,
            selected=request.envs,
            began=started,
        )


def _write_early_note(request: CommandRequest, project: OpenProject, task: str) -> None:
    """Stores what the next run of a task can start before it has read its spec. Removes a note by which this run has
    begun a task in vain."""
    notes: list[EarlyNote] = project.context.shared.get(NOTES, list)
    early = find_early_task()
    is_missed = early is not None and not early.is_adopted
    if not is_missed and (request.args or request.leaves_lock or len(notes) != 1):
        return
    from envtool.run import early_record

    with suppress(EnvtoolError, OSError):  # the note only makes the next run faster
        if is_missed:
            early_record.remove(project.spec, project.context, task, request.envs)
            return
        early_record.write(notes[0], project.spec, project.files, project.context, task, request.envs)


def _written_outputs(
    results: Sequence[Result], traces: Sequence[cached_task.CachedResult]
) -> tuple[WrittenOutputs, ...]:
    """Returns what each task left; what its files are is known where the result is stored."""
    stored = {
        (trace.env.name, trace.task): {
            output.path: output.link or f"{output.sha256} {output.mode:o}" for output in trace.stored.outputs
        }
        for trace in traces
    }
    return tuple(
        WrittenOutputs(
            env=result.env,
            task=result.task,
            files={path: stored.get((result.env, result.task), {}).get(path, "") for path in result.outputs},
        )
        for result in results
        if result.outputs
    )


def _describe_uncached(selected: Sequence[tuple[Env, Task]], results: Sequence[Result], context: Context) -> str:
    """Names the tasks that passed and yet run again the next time, with the reasons; empty if there is none."""
    reasons = {reason: sorted(names) for reason, names in context.unremembered.items()}
    passed = [pair for pair, result in zip(selected, results, strict=True) if result.outcome in ("passed", "flaky")]
    if networked := [f"{env.name} {task.name}" for env, task in passed if env.has_outside]:
        reasons["it has a network"] = networked
    parts = []
    for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
        others = f" and {len(names) - 2} more" if len(names) > 2 else ""
        parts.append(f"{', '.join(names[:2])}{others} ({reason})")
    others = f"{len(parts) - 3} more reason{'s' if len(parts) > 4 else ''}"
    tail = f"; and for {others}" if len(parts) > 3 else ""
    return f"not remembered, and run again the next time: {'; '.join(parts[:3])}{tail}" if parts else ""


def _check_cached(project: OpenProject, stacks: Sequence[str], scheduler: Scheduler) -> None:
    """Raise NotCachedError, with the explanations of `why`, if a base or layer of these stacks is in neither the store
    nor the team cache, or the prepared state of one of these services is not in the store."""
    from envtool.build.explain import explain_nodes

    node_ids = {node_id for stack in stacks for node_id in project.graph.stacks[stack]}
    scheduler.wait_for_pulls(node_ids)
    misses = explain_nodes(project.graph, project.context, node_ids, lock=project.lock_lines(), misses=True)
    count = f"{len(misses)} of {len(node_ids)} bases and layers" if len(node_ids) > 1 else "the base"
    verb = "is" if len(misses) == 1 else "are"
    envs = [env for env in project.spec.envs if env.name in stacks]
    if not misses and any(service.prepare for env in envs for service in env.services):
        from envtool.run.prepared_states import explain_states

        states = explain_states(envs, project.graph, assess_nodes(project.graph, project.context), project.context)
        misses = tuple(state for state in states if state.state != "cached" and state.envs[0] in stacks)
        count, verb = ", ".join(dict.fromkeys(f"the {state.name}" for state in misses)), "is"
    if misses:
        hint = "without `--expect-cached` they are made; `envtool why NAME` says more of one"
        raise NotCachedError(f"{count} {verb} not cached", misses=misses, hint=hint)


def _run_in_env(
    call: TaskCall,
    scheduler: Scheduler,
    needed: dict[TaskId, NeededTask],
    *,
    again: bool,
    audit: Audit | None,
) -> tuple[Result, cached_task.CachedResult | None]:
    """Runs one task, and adds it to `needed` if it passes."""
    env, task = call.env, call.task
    try:
        host_access.check_passed((env,), call.context.allowed, os.environ)
        host_access.check_workdir(env, call.context.host_access())
        result, trace = cached_task.run_task_cached(call, scheduler, again=again, audit=audit)
        if result.outcome in PASSED:
            needed[env.name, task.name] = _read_needed(call, result)
    except Interrupted:
        return result_without_run(env, task, "interrupted", "interrupted"), None
    except Exception as raised:  # an error of any class ends this env only: the others run, and the report lists it
        error = all_problems.add_other_problems(
            to_envtool_error(raised, call.context.store.root), (env,), scheduler, call.context
        )
        output = error.output
        if os.environ.get("ENVTOOL_DEBUG") and error.code == "internal":
            output = traceback.format_exc()
        log = call.log if output else ""
        if output:
            with suppress(OSError), rundir.create_file(log) as file:
                file.write(output.encode(errors="replace"))
        return result_without_run(env, task, "error", result_message(error), log=log, error=error), None
    return result, trace


def _read_needed(call: TaskCall, result: Result) -> NeededTask:
    """Returns a task that has passed, for those that need it. Raises OSError, Interrupted."""
    if not call.artefacts_to:
        return NeededTask(call.env.name, call.task)
    from envtool.run import artefacts

    files = artefacts.read_artefacts(call.artefacts_to, result.outputs, call.context.cancel.check)
    return NeededTask(call.env.name, call.task, files, call.artefacts_to)
