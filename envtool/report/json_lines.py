"""`--json`: one object a line on standard output, each as soon as it happens. docs/json.md is its reference."""

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
        """One line for one event."""
        try:
            if self._open:
                write_line(self._file, {"event": type(event).__name__.lower(), **asdict(event)})
        except BrokenPipeError:  # the reader has seen enough; the run's own end notices it
            self._open = False

    def tick(self, now: float) -> bool:
        """Nothing moves."""
        return False


def write_line(file: TextIO, value: Json) -> None:
    """One object, one line, at once."""
    file.write(json.dumps(value, ensure_ascii=True) + "\n")
    file.flush()


def result_json(results: Sequence[ReportedResult], spent: float, status: int) -> Json:
    """The last object of a run."""
    return {
        "event": "result",
        "status": status,
        "seconds": round(spent, 3),
        "results": [
            {
                "env": each.env,
                "task": each.task,
                "outcome": each.outcome,
                "status": each.status,
                "started": each.started,
                "seconds": each.seconds,
                "log": each.log,
                "outputs": [*each.outputs],
                "message": each.message,
                "host": each.host,
                "code": each.error.code if each.error else "",
                "problems": _problems_json(each.error),
            }
            for each in results
        ],
    }


def error_json(problem: EnvtoolError) -> Json:
    """The last object where a command ended in an error."""
    misses: dict[str, Json] = {}
    if isinstance(problem, NotCachedError):
        from envtool.report.why import explanations_json

        misses["misses"] = explanations_json(cast("tuple[Explanation, ...]", problem.misses))
    return {
        "event": "error",
        "status": problem.exit_status,
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "problems": _problems_json(problem),
        **misses,
    }


def _problems_json(error: EnvtoolError | None) -> list[Json]:
    """What is wrong with a spec, one by one."""
    return [
        {
            "file": each.where.file,
            "line": each.where.line,
            "column": each.where.column,
            "code": each.code,
            "message": each.message,
            "hint": each.hint,
        }
        for each in (error.problems if isinstance(error, SpecError) else ())
    ]
