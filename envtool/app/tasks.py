"""A task in every env that has it, side by side: made, run or told, and what each came to."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress

from envtool.app import all_problems
from envtool.app.command_request import CommandRequest, unknown_task_error
from envtool.app.open_project import OpenProject, open_for_building
from envtool.build.context import Cancel, Context
from envtool.build.scheduler import Scheduler
from envtool.errors import EnvtoolError, Interrupted, NotCachedError, UsageError
from envtool.events import Emit, Event, Noted
from envtool.model import Env, Task
from envtool.plan.output_clashes import find_output_clashes
from envtool.project import rundir
from envtool.run import cached_task, fast_plan, task_container
from envtool.run.prepared_task import TaskCall
from envtool.run.result import Result, result_message, to_envtool_error
from envtool.run.shutdown import GracePeriod

POLL_SECONDS = 0.05  # seconds between two looks at whether the end was asked for


def run(request: CommandRequest, task: str, emit: Emit, cancel: Cancel) -> tuple[Result, ...]:
    """Run a task in every selected env that has it, side by side. Raises SpecError, UsageError, StoreError."""
    if request.expect_cached and request.refresh:
        raise UsageError("`--expect-cached` and `--refresh` contradict each other", code="usage.contradiction")
    began, patience = time.time_ns(), GracePeriod()

    def heard(event: Event) -> None:
        patience.on_event(event)
        emit(event)

    with open_for_building(request, heard, cancel) as at:
        return _run_in_envs(request, at, task, cancel, patience, began)


def _run_in_envs(
    request: CommandRequest, at: OpenProject, task: str, cancel: Cancel, patience: GracePeriod, began: int
) -> tuple[Result, ...]:
    spec, setting = at.spec, at.setting
    chosen = [(env, each) for env in spec.envs for each in env.tasks if each.name == task]
    if not chosen:
        raise unknown_task_error(spec, task)
    stacks = Scheduler(at.nodes, setting)
    if request.expect_cached:
        wanted = {node_id for env, _ in chosen for node_id in at.nodes.stacks[env.name]}
        stacks.start_pulls([env.name for env, _ in chosen])
        _check_cached(at, wanted, stacks)
    directory, note = rundir.open_run(spec.root)
    if note:
        setting.emit(Noted(text=note))
    for note in find_output_clashes(chosen):
        setting.emit(Noted(text=note))
    stop = threading.Event()
    traces: list[cached_task.CachedResult] = []

    def one(env: Env, each: Task) -> Result:
        if stop.is_set() or cancel.is_set():
            return _result_without_run(env, each, "interrupted" if cancel.is_set() else "skipped", "not started")
        log = rundir.log_path(directory, env.name, each.name)
        asked = TaskCall(
            env=env, task=each, context=setting, log=log, host=task_container.select_passed(env, os.environ)
        )
        result, trace = _run_in_env(asked, stacks, again=request.again)
        traces.extend([trace] if trace else [])
        if request.fail_fast and result.outcome not in ("passed", "cached"):
            stop.set()
        return result

    pool = ThreadPoolExecutor(request.jobs or os.cpu_count() or 1, thread_name_prefix="env")
    try:
        futures = [pool.submit(one, *pair) for pair in chosen]
        while wait(futures, timeout=POLL_SECONDS, return_when=FIRST_EXCEPTION).not_done:
            if (cancel.is_set() and patience.is_over()) or any(each.done() and each.exception() for each in futures):
                break
        done = tuple(
            _result_without_run(*pair, "interrupted", "not waited for")
            if cancel.is_set() and not future.done()
            else future.result()
            for pair, future in zip(chosen, futures, strict=True)
        )
    finally:
        pool.shutdown(wait=not cancel.is_set(), cancel_futures=True)
        rundir.close_run(spec.root, directory)
    if said := _describe_uncached(chosen, done, setting):
        setting.emit(Noted(text=said))
    if (line := setting.allowed.all()) and any(result.error for result in done):
        setting.emit(Noted(text=f"to allow all that you were asked for here: {line}"))
    if len(traces) == len(chosen) and not request.args and not request.refresh and not at.kinds.hooks("envtool_event"):
        order = {(env.name, each.name): number for number, (env, each) in enumerate(chosen)}
        traces.sort(key=lambda trace: order[trace.env.name, trace.task])
        with suppress(EnvtoolError, OSError):  # only a help: the next run is slower without it
            fast_plan.write_test_plan(traces, spec, at.files, setting, selected=request.envs, began=began)
    return done


def _describe_uncached(chosen: Sequence[tuple[Env, Task]], done: Sequence[Result], setting: Context) -> str:
    """What passed and runs again the next time, though nothing changes, and why; empty where there is none."""
    reasons = {why: sorted(names) for why, names in setting.unremembered.items()}
    passed = [pair for pair, result in zip(chosen, done, strict=True) if result.outcome == "passed"]
    if networked := [f"{env.name} {each.name}" for env, each in passed if env.network]:
        reasons["it has a network"] = networked
    parts = []
    for why, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        parts.append(f"{', '.join(names[:2])}{more} ({why})")
    rest = f"; and for {len(parts) - 3} more reasons" if len(parts) > 3 else ""
    return f"not remembered, and run again the next time: {'; '.join(parts[:3])}{rest}" if parts else ""


def _check_cached(at: OpenProject, wanted: set[str], stacks: Scheduler) -> None:
    """Raise NotCachedError, with what `why` says, where one of these bases and layers is not cached, here or by the
    team."""
    from envtool.build.explain import explain_nodes

    stacks.wait_for_pulls(wanted)
    misses = explain_nodes(at.nodes, at.setting, wanted, lock=at.lock_lines(), misses=True)
    if misses:
        count = f"{len(misses)} of {len(wanted)} bases and layers"
        verb = "is" if len(misses) == 1 else "are"
        hint = "without `--expect-cached` they are made; `envtool why NAME` says more of one"
        raise NotCachedError(f"{count} {verb} not cached", misses=misses, hint=hint)


def _run_in_env(asked: TaskCall, stacks: Scheduler, *, again: bool) -> tuple[Result, cached_task.CachedResult | None]:
    env, task = asked.env, asked.task
    try:
        task_container.check_passed((env,), asked.context.allowed, os.environ)
        task_container.check_workdir(env, asked.context.host_access())
        return cached_task.run_task_cached(asked, stacks, again=again)
    except Interrupted:
        return _result_without_run(env, task, "interrupted", "interrupted"), None
    except Exception as raised:  # whatever it is, it is this env's: the others run, and the report has its end
        error = all_problems.add_other_problems(
            to_envtool_error(raised, asked.context.store.root), (env,), stacks, asked.context
        )
        output = error.output
        if os.environ.get("ENVTOOL_DEBUG") and error.code == "internal":
            output = traceback.format_exc()
        log = asked.log if output else ""
        if output:
            with suppress(OSError), rundir.create_file(log) as file:
                file.write(output.encode(errors="replace"))
        return _result_without_run(env, task, "error", result_message(error), log=log, error=error), None


def _result_without_run(
    env: Env, task: Task, outcome: str, message: str, log: str = "", error: EnvtoolError | None = None
) -> Result:
    return Result(
        env=env.name,
        task=task.name,
        outcome=outcome,  # type: ignore[arg-type]
        status=None,
        seconds=0.0,
        started=time.time(),
        log=log,
        message=message,
        error=error,
    )
