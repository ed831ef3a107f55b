"""Runs a task again after it has failed (`retries:`): each attempt in a container of its own, beside services of its
own. Their events are those of one piece of work.

What an attempt writes goes to a directory of the store first: only the last attempt's outputs come into the project,
where a later attempt would see those of an earlier one. The others stay below the run's directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from envtool.events import Attempted, Emit, Event, Finished, Started, TaskAttempt
from envtool.project import rundir
from envtool.run import artefacts, staged_outputs, task_services
from envtool.run.prepared_task import PreparedTask
from envtool.run.task_request import TaskResult
from envtool.store import layers

if TYPE_CHECKING:
    from envtool.run.host_inputs import HostInputs

REPEATED = ("failed", "timeout")  # outcomes after which a task runs again; errors and interrupts are not the task's own

RunTask = Callable[[PreparedTask, "HostInputs | None"], TaskResult]


def run_attempts(task: PreparedTask, reach: HostInputs | None, run: RunTask) -> TaskResult:
    """Runs a task until it passes, or as often as its `retries:` allow; returns the result of all attempts together.
    `reach` gets what the first one opened: only a pass at the first attempt is remembered. Raises what `run` raises."""
    call = task.call
    events = AttemptEvents(call.context.emit, call.event_id)
    most, attempts = call.task.retries + 1, list[TaskAttempt]()
    try:
        while True:
            number = len(attempts) + 1
            with (
                layers.temp_directory(call.context.store) as staging,
                task_services.begin_pod(call.context, call.env, call.task)
                if attempts
                else nullcontext(task.pod) as pod,
            ):
                context = replace(call.context, emit=events.emit)
                attempt = task._replace(call=call._replace(context=context, outputs_to=staging), pod=pod)
                result = run(attempt, None if attempts else reach)
                again = result.outcome in REPEATED and number < most and not call.context.cancel.is_set()
                if again:
                    attempts.append(_keep_attempt(task, result, number, staging))
                    call.context.emit(
                        Attempted(
                            id=call.event_id,
                            env=call.env.name,
                            name=call.task.name,
                            attempt=attempts[-1],
                            of=most,
                            time=result.started + result.seconds,
                        )
                    )
                    continue
                result = _publish(task, result, staging)
            return events.finish(_join_attempts(call.log, result, attempts, most))
    finally:
        events.close()


def _publish(task: PreparedTask, result: TaskResult, staging: str) -> TaskResult:
    """Copies the outputs of the last attempt to the project; with `when: passed` those of a failure to a directory
    beside the log. Raises OSError, Interrupted."""
    call = task.call
    if result.outcome == "passed" or call.task.outputs_when == "always":
        result = staged_outputs.publish_result(call, result, staging)
        if result.outcome == "passed" and call.artefacts_to:
            artefacts.copy_staged(staging, result.outputs, call.artefacts_to, call.context.cancel.check)
        return result
    if not result.outputs:
        return result
    name = f"{os.path.splitext(os.path.basename(call.log))[0]}.not-passed"
    _keep_outputs(call.log, name, result, staging)
    return staged_outputs.add_note(
        replace(result, outputs=()), f"what it left is in {os.path.dirname(call.log)}/{name}"
    )


def _keep_outputs(log: str, name: str, result: TaskResult, staging: str) -> tuple[str, ...]:
    """Copies outputs to a directory beside the log; returns their paths below the log's directory. Raises OSError."""
    with rundir.make_directory(f"{os.path.dirname(log)}/{name}") as directory:
        copied = staged_outputs.copy_outputs(staging, result.outputs, f"/proc/self/fd/{directory.fd}")
    return tuple(f"{name}/{path}" for path in copied.paths)


def _keep_attempt(task: PreparedTask, result: TaskResult, number: int, staging: str) -> TaskAttempt:
    """Moves the logs and the outputs of an attempt that is repeated to places of their own: those of its services, too.
    Raises OSError."""
    stem = os.path.splitext(task.call.log)[0]
    name = f"{os.path.basename(stem)}.attempt-{number}"
    log = rundir.rename_file(task.call.log, f"{name}.log")
    for service in task.request.services:
        for replica in range(1, service.replicas + 1):
            with suppress(FileNotFoundError):  # it was not started
                rundir.rename_file(f"{stem}.{service.name}-{replica}.log", f"{name}.{service.name}-{replica}.log")
    outputs = _keep_outputs(log, name, result, staging) if result.outputs else ()
    return _to_attempt(result, number, log, outputs)


def _to_attempt(result: TaskResult, number: int, log: str, outputs: tuple[str, ...]) -> TaskAttempt:
    return TaskAttempt(
        number=number,
        outcome=result.outcome,
        status=result.status,
        started=result.started,
        seconds=result.seconds,
        message=result.message,
        log=log,
        outputs=outputs,
    )


def _join_attempts(log: str, result: TaskResult, before: list[TaskAttempt], most: int) -> TaskResult:
    """Returns the result of a task after its last attempt. `before` are the earlier ones, which failed."""
    if not before:
        return result
    number = len(before) + 1
    attempts = (*before, _to_attempt(result, number, log, result.outputs))
    outcome, detail = result.outcome, result.message
    if outcome == "passed":
        outcome, detail = "flaky", _join_details(f"flaky: passed at attempt {number} of {most}", detail)
    elif outcome in REPEATED:
        first, _, rest = detail.partition("\n")
        detail = "\n".join(filter(None, [_join_details(first, f"failed at all {number} attempts"), rest]))
    started = before[0].started
    seconds = result.started + result.seconds - started
    return replace(result, outcome=outcome, message=detail, attempts=attempts, started=started, seconds=seconds)


def _join_details(first: str, second: str) -> str:
    return "; ".join(filter(None, [first, second]))


class AttemptEvents:
    """Makes the events of all attempts those of one piece of work: it starts once, and is finished once, when the last
    attempt has ended and its outputs are in the project."""

    def __init__(self, emit: Emit, event_id: str) -> None:
        self._emit, self._id = emit, event_id
        self._started = False
        self._finished: Finished | None = None

    def emit(self, event: Event) -> None:
        """Passes an event on, unless it is the start of a later attempt or the end of one."""
        if isinstance(event, Started) and event.id == self._id:
            if self._started:
                return
            self._started = True
        elif isinstance(event, Finished) and event.id == self._id:
            self._finished = event
            return
        self._emit(event)

    def finish(self, result: TaskResult) -> TaskResult:
        """Emits the end of the task; returns its result."""
        if self._finished is not None:
            self._finished = replace(
                self._finished,
                outcome=result.outcome,
                status=result.status,
                seconds=result.seconds,
                detail=result.message.split("\n", 1)[0],
                outputs=result.outputs,
                attempts=result.attempts,
            )
        return result

    def close(self) -> None:
        """Emits the end that is held; after an exception, that of the attempt in which it was raised."""
        if self._finished is not None:
            self._emit(self._finished)
            self._finished = None
