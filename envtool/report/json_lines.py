"""`--json`: one object a line on standard output, each as soon as its event happens. docs/json.md is the reference."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO, cast

from envtool.errors import EnvtoolError, NotCachedError, SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.events import Event
    from envtool.model import Json
    from envtool.plan.why import Explanation
    from envtool.report.stream import ReportedResult


class Lines:
    """Writes every event of a run."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._open = True

    def event(self, event: Event) -> None:
        """Writes the event as one line."""
        try:
            if self._open:
                write_line(self._file, {"event": type(event).__name__.lower(), **asdict(event)})
        except BrokenPipeError:  # the reader closed the pipe; the end of the run reports it
            self._open = False

    def tick(self, now: float) -> bool:
        """Returns False: nothing moves."""
        return False


def encode_line(value: Json) -> str:
    """Returns one object as a line of ASCII."""
    return json.dumps(value, ensure_ascii=True) + "\n"


def write_line(file: TextIO, value: Json) -> None:
    """Writes one object as one line and flushes it."""
    file.write(encode_line(value))
    file.flush()


def result_json(results: Sequence[ReportedResult], spent: float, status: int) -> Json:
    """Returns the last object of a run. `spent` is in seconds."""
    return {
        "event": "result",
        "status": status,
        "seconds": round(spent, 3),
        "results": [
            {
                "env": result.env,
                "task": result.task,
                "outcome": result.outcome,
                "status": result.status,
                "started": result.started,
                "seconds": result.seconds,
                "log": result.log,
                "outputs": [*result.outputs],
                "message": result.message,
                "host": result.host,
                "memory": result.memory,
                "cpu_seconds": result.cpu_seconds,
                "written": result.written,
                "limit": result.limit,
                "code": result.error.code if result.error else "",
                "problems": _problems_json(result.error),
                "attempts": [{**asdict(attempt), "outputs": [*attempt.outputs]} for attempt in result.attempts],
                "reads": result.reads.to_json() if result.reads is not None else None,
            }
            for result in results
        ],
    }


def error_json(error: EnvtoolError) -> Json:
    """Returns the last object of a command that ended in an error."""
    misses: dict[str, Json] = {}
    if isinstance(error, NotCachedError):
        from envtool.report.why import explanations_json

        misses["misses"] = explanations_json(cast("tuple[Explanation, ...]", error.misses))
    return {
        "event": "error",
        "status": error.exit_status,
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "problems": _problems_json(error),
        **misses,
    }


def _problems_json(error: EnvtoolError | None) -> list[Json]:
    """Returns the problems of a spec, one object each; none for other errors."""
    return [
        {
            "file": problem.where.file,
            "line": problem.where.line,
            "column": problem.where.column,
            "code": problem.code,
            "message": problem.message,
            "hint": problem.hint,
        }
        for problem in (error.problems if isinstance(error, SpecError) else ())
    ]
