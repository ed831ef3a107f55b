"""Runs a graph of tasks: each when all that it needs have passed, as many at a time as there are threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

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


class GraphRun:
    """One run of a graph; `run` may be called once."""

    def __init__(
        self, graph: TaskGraph, context: Context, run_task: Callable[[TaskNode], Result], *, jobs: int, fail_fast: bool
    ) -> None:
        self._graph, self._context, self._run_task = graph, context, run_task
        self._fail_fast = fail_fast
        self._jobs = jobs or os.cpu_count() or 1
        self._stop = threading.Event()
        self._results: dict[TaskId, Result] = {}
        self._futures: dict[Future[Result], TaskId] = {}

    def run(self, cancel: Cancel, grace: GracePeriod) -> dict[TaskId, Result]:
        """Returns a result for each task, in the order of the graph. After an interrupt it waits as long as `grace`
        says. Raises what `run_task` raises."""
        pool = ThreadPoolExecutor(self._jobs, thread_name_prefix="env")
        try:
            self._submit_ready(pool, cancel)
            while self._futures:
                done, _ = wait(self._futures, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    self._results[self._futures.pop(future)] = future.result()
                if cancel.is_set() and grace.is_over():
                    break
                if done:
                    self._submit_ready(pool, cancel)
        finally:
            pool.shutdown(wait=not cancel.is_set(), cancel_futures=True)
        return {
            task_id: self._results.get(task_id)
            or result_without_run(node.env, node.task, "interrupted", "not waited for")
            for task_id, node in self._graph.nodes.items()
        }

    def _submit_ready(self, pool: ThreadPoolExecutor, cancel: Cancel) -> None:
        """Starts each task whose needs have all passed; one that cannot run any more has its result at once."""
        under_way = {*self._futures.values()}
        for task_id, node in self._graph.nodes.items():  # needed ones come first
            if task_id in self._results or task_id in under_way:
                continue
            ended = [self._results[need] for need in node.task.needs if need in self._results]
            if stopped := next((result for result in ended if result.outcome not in PASSED), None):
                self._results[task_id] = self._skip(node, stopped, cancel)
            elif len(ended) == len(node.task.needs):
                self._futures[pool.submit(self._run_one, node, cancel)] = task_id

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
