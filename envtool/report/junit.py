"""JUnit XML, as CI systems read it: a testsuite for each env, a testcase for each task.

junitparser writes the attributes with counts; it is imported when the file is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from envtool.events import Event, Finished, Output, Started
from envtool.fs import caller_paths
from envtool.project import rundir
from envtool.report.text import sanitize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from junitparser import TestCase

    from envtool.report.stream import ReportedResult

MAX_OUTPUT = 1 << 20  # characters of output kept for a task: the end, where failures are reported
_INVALID = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


@dataclass(slots=True, kw_only=True)
class _Case:
    started: float
    parts: list[str] = field(default_factory=list)
    length: int = 0
    outcome: str = "interrupted"  # until it is known
    seconds: float = 0.0
    message: str = ""
    host: str = ""


class Junit:
    """Collects the tasks of a run. `write` writes the file, also after an interrupted run."""

    def __init__(self, path: str, project: str = "") -> None:
        self._path, self._project = path, project
        self._cases: dict[tuple[str, str], _Case] = {}
        self._ids: dict[str, _Case] = {}

    def event(self, event: Event) -> None:
        """Records the event."""
        if isinstance(event, Started) and event.subject == "task":
            self._ids[event.id] = self._cases[event.env, event.name] = _Case(started=event.time)
        elif isinstance(event, Output) and (case := self._ids.get(event.id)):
            case.parts.append(event.text)
            case.length += len(event.text)
            while len(case.parts) > 1 and case.length - len(case.parts[0]) > MAX_OUTPUT:
                case.length -= len(case.parts.pop(0))
        elif isinstance(event, Finished) and (case := self._ids.pop(event.id, None)):
            case.outcome, case.seconds = event.outcome, event.seconds
            if event.outcome == "cached":
                case.started, case.host = event.since, event.host
            case.message = event.detail or (f"exit {event.status}" if event.status else "")

    def tick(self, now: float) -> bool:
        """Returns False: nothing moves."""
        return False

    def write(self, results: Sequence[ReportedResult] = ()) -> None:
        """Writes the file completely, by one rename. `results` add the tasks that had no events, since their env was
        not built. Raises OSError.
        """
        for result in results:
            case = self._cases.setdefault((result.env, result.task), _Case(started=result.started))
            case.outcome, case.seconds = result.outcome, result.seconds
            case.message = result.message or case.message or (f"exit {result.status}" if result.status else "")
            if result.outcome == "cached" and not case.parts:  # the output of the run that passed
                case.parts.append(_read_log_end(result.log))
        with caller_paths.atomic_write(self._path, self._project, make=True) as file:
            file.write(self._xml())

    def add_unchanged(self, env: str, task: str, *, since: float, seconds: float, host: str, log: str) -> None:
        """A task whose earlier result still holds, of a run that makes no events: it ran at `since` on `host`."""
        self._cases[env, task] = _Case(
            started=since, outcome="cached", seconds=seconds, host=host, parts=[_read_log_end(log)]
        )

    def _xml(self) -> bytes:
        from junitparser import JUnitXml, TestSuite

        document = JUnitXml("envtool")
        for env in dict.fromkeys(env for env, _ in self._cases):
            suite = TestSuite(_replace_invalid(env))
            cases = [(task, case) for (owner, task), case in self._cases.items() if owner == env]
            suite.timestamp = datetime.fromtimestamp(min(case.started for _, case in cases), UTC).isoformat(
                "T", "seconds"
            )
            for _, case in cases:
                if case.outcome == "cached":  # the suite says when and where its task really ran
                    suite.add_property("envtool.unchanged_since", suite.timestamp)
                    suite.add_property("envtool.ran_on", _replace_invalid(case.host))
            suite.add_testcases([_make_testcase(env, task, case) for task, case in cases])
            document.add_testsuite(suite)
        document.update_statistics()  # type: ignore[no-untyped-call]
        xml: bytes = document.tostring()  # type: ignore[no-untyped-call]
        return xml


def _read_log_end(log: str) -> str:
    """Returns the last MAX_OUTPUT bytes of a log; nothing if the log was deleted."""
    try:
        with rundir.open_file(log) as file:
            file.seek(max(0, file.seek(0, 2) - MAX_OUTPUT))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _make_testcase(env: str, task: str, case: _Case) -> TestCase:
    from junitparser import Error, Failure, Skipped, TestCase

    testcase = TestCase(_replace_invalid(task), classname=_replace_invalid(env), time=round(case.seconds, 3))
    if case.outcome in ("failed", "timeout"):
        testcase.result = [Failure(_replace_invalid(case.message or case.outcome), case.outcome)]
    elif case.outcome in ("error", "interrupted"):
        testcase.result = [Error(_replace_invalid(case.message or case.outcome), case.outcome)]
    elif case.outcome == "skipped":
        testcase.result = [Skipped(_replace_invalid(case.message or "not run"))]
    testcase.system_out = _replace_invalid(sanitize("".join(case.parts)[-MAX_OUTPUT:]))
    return testcase


def _replace_invalid(text: str) -> str:
    return _INVALID.sub("\ufffd", text)
