"""Runs a graph of tasks: each when all that it needs have passed, as many at a time as there are threads."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from envtool.build.context import Cancel, Context
from envtool.errors import EnvtoolError
from envtool.model import Env, Task
from envtool.plan.task_graph import TaskGraph, TaskId, TaskNode
from envtool.run.prepared_task import task_event_id
from envtool.run.result import Result
from envtool.run.shutdown import GracePeriod
from envtool.tracking import track_work

POLL_SECONDS = 0.05  # how often the run looks whether it was cancelled
_HOW = {"timeout": "timed out", "error": "could not run", "skipped": "did not run", "interrupted": "was interrupted"}
PASSED = ("passed", "cached", "flaky")


def _default_jobs() -> int:
    """Returns how many tasks run at once: one more than the processors that this process may use, since a task waits
    while the kernel makes or removes its container (docs/decisions/0193)."""
    return len(os.sched_getaffinity(0)) + 1


class GraphRun:
    """One run of a graph; `run` may be called once."""

    def __init__(
        self, graph: TaskGraph, context: Context, run_task: Callable[[TaskNode], Result], *, jobs: int, fail_fast: bool
    ) -> None:
        self._graph, self._context, self._run_task = graph, context, run_task
        self._fail_fast = fail_fast
        self._pool = ThreadPoolExecutor(jobs or _default_jobs(), thread_name_prefix="env")
        self._stop = threading.Event()
        self._results: dict[TaskId, Result] = {}
        self._waits = {task_id: {*node.task.needs} for task_id, node in graph.nodes.items()}
        self._dependents: dict[TaskId, list[TaskId]] = {}
        for task_id, needs in self._waits.items():
            for need in needs:
                self._dependents.setdefault(need, []).append(task_id)
        self._ended: deque[tuple[TaskId, Future[Result]]] = deque()
        self._missing = len(graph.nodes)  # tasks that have not ended
        self._lock = threading.Lock()  # of the number
        self._wake = threading.Event()

    def run(self, cancel: Cancel, grace: GracePeriod) -> dict[TaskId, Result]:
        """Returns a result for each task, in the order of the graph. After an interrupt it waits as long as `grace`
        says. Raises what `run_task` raises."""
        try:
            for task_id, needs in self._waits.items():
                if not needs:
                    self._submit(task_id, cancel)
            while len(self._results) < len(self._graph.nodes):
                self._wake.wait(POLL_SECONDS)
                self._wake.clear()
                while self._ended:
                    task_id, future = self._ended.popleft()
                    self._settle(task_id, future.result(), cancel)
                if cancel.is_set() and grace.is_over():
                    break
        finally:
            self._pool.shutdown(wait=not cancel.is_set(), cancel_futures=True)
        return {
            task_id: self._results.get(task_id)
            or result_without_run(node.env, node.task, "interrupted", "not waited for")
            for task_id, node in self._graph.nodes.items()
        }

    def _submit(self, task_id: TaskId, cancel: Cancel) -> None:
        future = self._pool.submit(self._run_one, self._graph.nodes[task_id], cancel)
        future.add_done_callback(lambda ended: self._note_end(task_id, ended))

    def _note_end(self, task_id: TaskId, ended: Future[Result]) -> None:
        """Notes the end of a task, in its thread. `run` is woken where that decides what happens next: for each of 200
        tasks it would cost as much as what it then does."""
        self._ended.append((task_id, ended))
        with self._lock:
            self._missing -= 1
        if not self._missing or task_id in self._dependents or ended.cancelled() or ended.exception() is not None:
            self._wake.set()

    def _settle(self, task_id: TaskId, result: Result, cancel: Cancel) -> None:
        """Notes a result. Starts each task that waited for nothing else; one that cannot run any more has its result at
        once."""
        pending = [(task_id, result)]
        while pending:
            task_id, result = pending.pop()
            self._results[task_id] = result
            for dependent in self._dependents.get(task_id, ()):
                if dependent in self._results:
                    continue
                if result.outcome not in PASSED:
                    skipped = self._skip(self._graph.nodes[dependent], result, cancel)
                    self._results[dependent] = skipped
                    pending.append((dependent, skipped))
                    continue
                self._waits[dependent].discard(task_id)
                if not self._waits[dependent]:
                    self._submit(dependent, cancel)

    def _run_one(self, node: TaskNode, cancel: Cancel) -> Result:
        if self._stop.is_set() or cancel.is_set():
            outcome = "interrupted" if cancel.is_set() else "skipped"
            return result_without_run(node.env, node.task, outcome, "not started")
        result = self._run_task(node)
        if self._fail_fast and result.outcome not in PASSED:
            self._stop.set()
        return result

    def _skip(self, node: TaskNode, need: Result, cancel: Cancel) -> Result:
        """Returns the result of a task whose need has not passed, and reports it."""
        if cancel.is_set():
            return result_without_run(node.env, node.task, "interrupted", "not started")
        message = f"not run: it needs `{need.task}@{need.env}`, which {_HOW.get(need.outcome, need.outcome)}"
        with track_work(self._context.emit, task_event_id(node.env.name, node.task.name), "task", node.task.name,
                        env=node.env.name) as work:  # fmt: skip
            work.outcome, work.detail = "skipped", message
        return result_without_run(node.env, node.task, "skipped", message)


def result_without_run(
    env: Env, task: Task, outcome: str, message: str, log: str = "", error: EnvtoolError | None = None
) -> Result:
    """Returns the result of a task that did not run."""
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
