"""Records the tasks of a run for reports, and writes the reports when it has ended."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from envtool.events import Attempted, Event, Finished, Output, Report, ReportedAttempt, ReportedTask, Started
from envtool.fs import caller_paths
from envtool.project import rundir
from envtool.report.text import one_line, sanitize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from envtool.api.reporting import OutputReader
    from envtool.events import Case, TaskAttempt, TaskOutcome
    from envtool.plugin_calls import Offer
    from envtool.report.stream import ReportedResult
    from envtool.report.test_counts import OutputCounter

MAX_CASES = 10_000  # tests that are kept for a task
MAX_OUTPUT = 1 << 20  # characters of output kept for a task: the end, where failures are reported


class _Task:  # no dataclass: that would take a millisecond of an unchanged `test --junit`
    def __init__(self, started: float, outcome: TaskOutcome = "interrupted") -> None:
        self.started, self.outcome = started, outcome  # interrupted until it is known
        self.status: int | None = None
        self.seconds, self.message, self.host = 0.0, "", ""
        self.attempts: list[ReportedAttempt] = []  # those before the present one
        self.final: TaskAttempt | None = None  # of a task that ran more than once: the last attempt
        self.memory, self.cpu_seconds, self.written, self.limit = 0, 0.0, 0, ""
        self.outputs: tuple[str, ...] = ()  # of one that did not pass
        self.parts: list[str] = []
        self.length = 0
        self.counter: OutputCounter | None = None


class Recorder:
    """A subscriber that records the tasks of a run. With `readers`, it counts their tests. The display reports a reader
    that fails."""

    def __init__(self, readers: Sequence[Offer[OutputReader]] = ()) -> None:
        self._readers = readers
        self._began = time.monotonic()
        self._tasks: dict[tuple[str, str], _Task] = {}
        self._running: dict[str, _Task] = {}  # by the id of their events

    def event(self, event: Event) -> None:
        """Records the event."""
        if isinstance(event, Started) and event.subject == "task":
            self._running[event.id] = self._tasks[event.env, event.name] = _Task(event.time)
        elif isinstance(event, Output) and (task := self._running.get(event.id)):
            self._feed(task, event.text)
        elif isinstance(event, Attempted) and (task := self._running.get(event.id)):
            task.attempts.append(_reported_attempt(event.attempt, task))
            task.parts, task.length, task.counter = [], 0, None
        elif isinstance(event, Finished) and (task := self._running.pop(event.id, None)):
            task.final = event.attempts[-1] if event.attempts else None
            task.outcome, task.status, task.seconds = event.outcome, event.status, event.seconds  # type: ignore[assignment]  # of a task
            task.memory, task.cpu_seconds, task.written = event.memory, event.cpu_seconds, event.written
            task.limit = event.limit
            task.outputs = event.outputs if event.outcome in ("failed", "timeout") else ()
            if event.outcome == "cached":
                task.started, task.host = event.since, event.host
            task.message = event.detail or (f"exit {event.status}" if event.status else "")

    def tick(self, now: float) -> bool:
        """Returns False: nothing moves."""
        return False

    def add_unchanged(
        self, env: str, task: str, *, since: float, seconds: float, host: str, log: str, usage: Mapping[str, Any]
    ) -> None:
        """Records a task whose earlier result still holds, of a run that makes no events: it ran at `since` on `host`,
        and used memory, cpu_seconds and written."""
        unchanged = _Task(since, "cached")
        unchanged.status, unchanged.seconds, unchanged.host = 0, seconds, host
        unchanged.memory, unchanged.cpu_seconds, unchanged.written = (
            usage[name] for name in ("memory", "cpu_seconds", "written")
        )
        self._feed_log(unchanged, log)
        self._tasks[env, task] = unchanged

    def report(self, results: Sequence[ReportedResult] = ()) -> Report:
        """Returns the run, also one that was interrupted. `results` add the tasks that had no events, since their env
        was not built."""
        for result in results:
            task = self._tasks.setdefault((result.env, result.task), _Task(result.started))
            task.outcome, task.status, task.seconds = result.outcome, result.status, result.seconds  # type: ignore[assignment]  # of a task
            task.message = result.message or task.message or (f"exit {result.status}" if result.status else "")
            if result.outcome == "cached" and not task.parts:  # the output of the run that passed
                self._feed_log(task, result.log)
        return Report(
            tasks=tuple(_reported(env, name, task) for (env, name), task in self._tasks.items()),
            seconds=time.monotonic() - self._began,
        )

    def _feed(self, task: _Task, text: str) -> None:
        task.parts.append(text)
        task.length += len(text)
        while len(task.parts) > 1 and task.length - len(task.parts[0]) > MAX_OUTPUT:
            task.length -= len(task.parts.pop(0))
        if self._readers:
            if task.counter is None:
                from envtool.report.test_counts import OutputCounter

                task.counter = OutputCounter(self._readers)
            task.counter.feed(text)

    def _feed_log(self, task: _Task, log: str) -> None:
        """Feeds a log to a task: its end, or all of it if its tests are counted. A log that was deleted is empty."""
        try:
            with rundir.open_file(log) as file:
                if not self._readers:
                    file.seek(max(0, file.seek(0, 2) - MAX_OUTPUT))
                while piece := file.read(MAX_OUTPUT):
                    self._feed(task, piece.decode(errors="replace"))
        except OSError:
            return


def _reported(env: str, name: str, task: _Task) -> ReportedTask:
    suite = task.counter.suite() if task.counter else None
    return ReportedTask(
        env=sanitize(env),
        task=sanitize(name),
        outcome=task.outcome,
        status=task.status,
        started=task.started,
        seconds=task.seconds,
        host=sanitize(task.host),
        message=sanitize(task.message),
        output=sanitize("".join(task.parts)[-MAX_OUTPUT:]),
        memory=task.memory,
        cpu_seconds=task.cpu_seconds,
        written=task.written,
        limit=task.limit,
        counts=suite.parts if suite else (),
        cases=tuple(map(_safe, suite.cases[:MAX_CASES])) if suite else (),
        attempts=(*task.attempts, _reported_attempt(task.final, task)) if task.final else tuple(task.attempts),
        outputs=tuple(map(sanitize, task.outputs)),
    )


def _reported_attempt(attempt: TaskAttempt, task: _Task) -> ReportedAttempt:
    return ReportedAttempt(
        outcome=attempt.outcome,  # type: ignore[arg-type]  # of a task
        status=attempt.status,
        started=attempt.started,
        seconds=attempt.seconds,
        message=sanitize(attempt.message or (f"exit {attempt.status}" if attempt.status else "")),
        output=sanitize("".join(task.parts)[-MAX_OUTPUT:]),
    )


def _safe(case: Case) -> Case:
    return replace(case, id=one_line(case.id), message=one_line(case.message))


def write_file(path: str, content: bytes, project: str = "") -> None:
    """Writes a report completely, by one rename. `project` is the directory below which links are not the caller's.
    Raises OSError."""
    with caller_paths.atomic_write(path, project, make=True) as file:
        file.write(content)
