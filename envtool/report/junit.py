"""JUnit XML, as CI systems read it: a testsuite for each env with a testcase for each task, and a testsuite for each
task whose output names its tests.

junitparser writes the attributes with counts; it is imported when the report is written.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from envtool.report.junit_cases import choose_cases, make_testcases, replace_invalid

if TYPE_CHECKING:
    from junitparser import TestCase, TestSuite

    from envtool.events import Case, Report, ReportedAttempt, ReportedTask


def junit_xml(report: Report) -> bytes:
    """Returns the report as JUnit XML."""
    from junitparser import JUnitXml, TestSuite

    document = JUnitXml("envtool")
    chosen = choose_cases(report.tasks)
    for env in dict.fromkeys(task.env for task in report.tasks):
        suite = TestSuite(replace_invalid(env))
        numbered = [(number, task) for number, task in enumerate(report.tasks) if task.env == env]
        tasks = [task for _, task in numbered]
        suite.timestamp = datetime.fromtimestamp(min(task.started for task in tasks), UTC).isoformat("T", "seconds")
        for task in tasks:
            if task.outcome == "cached":  # the suite says when and where its task really ran
                suite.add_property("envtool.unchanged_since", suite.timestamp)
                suite.add_property("envtool.ran_on", replace_invalid(task.host))
        suite.add_testcases([_make_testcase(task) for task in tasks])
        document.add_testsuite(suite)
        for number, task in numbered:
            if chosen[number]:
                document.add_testsuite(_make_suite_of_tests(task, chosen[number]))
    document.update_statistics()  # type: ignore[no-untyped-call]
    xml: bytes = document.tostring()  # type: ignore[no-untyped-call]
    return xml


def _make_testcase(task: ReportedTask) -> TestCase:
    from junitparser import Error, Failure, Properties, Property, Skipped, TestCase

    testcase = TestCase(replace_invalid(task.task), classname=replace_invalid(task.env), time=round(task.seconds, 3))
    if task.outcome in ("failed", "timeout"):
        testcase.result = [Failure(replace_invalid(task.message or task.outcome), task.outcome)]
    elif task.outcome in ("error", "interrupted"):
        testcase.result = [Error(replace_invalid(task.message or task.outcome), task.outcome)]
    elif task.outcome == "skipped":
        testcase.result = [Skipped(replace_invalid(task.message or "not run"))]
    if values := _usage(task) | _origin(task) | _tests(task):
        properties = Properties()  # type: ignore[no-untyped-call]
        for name, value in values.items():
            properties.add_property(Property(f"envtool.{name}", replace_invalid(value)))
        testcase.append(properties)  # type: ignore[no-untyped-call]
    testcase.system_out = replace_invalid(task.output)
    for attempt in _repeated_attempts(task):
        _add_attempt(testcase, attempt, flaky=task.outcome == "flaky")
    return testcase


def _make_suite_of_tests(task: ReportedTask, cases: tuple[Case, ...]) -> TestSuite:
    """Returns the suite of the tests of a task. Its properties say when and where an unchanged task ran, and how many
    tests that the output names are left out."""
    from junitparser import TestSuite

    suite = TestSuite(replace_invalid(f"{task.env} {task.task}"))
    suite.timestamp = datetime.fromtimestamp(task.started, UTC).isoformat("T", "seconds")
    left_out = len(task.cases) - len(cases)
    for name, value in (_origin(task) | ({"tests_left_out": str(left_out)} if left_out else {})).items():
        suite.add_property(f"envtool.{name}", replace_invalid(value))
    suite.add_testcases([*make_testcases(task, cases)])
    return suite


def _tests(task: ReportedTask) -> dict[str, str]:
    """Returns the numbers of tests that the output of a task sums up, as a property: they count also tests that it does
    not name."""
    if not task.counts:
        return {}
    from envtool.report.test_counts.sums import format_parts

    return {"tests": format_parts(task.counts)}


def _repeated_attempts(task: ReportedTask) -> tuple[ReportedAttempt, ...]:
    """Returns the attempts that are not the result of the task itself."""
    return task.attempts[:-1] if task.outcome in ("flaky", "failed", "timeout") else task.attempts


def _add_attempt(testcase: TestCase, attempt: ReportedAttempt, *, flaky: bool) -> None:
    """Adds an attempt that failed as Maven Surefire writes it (surefire-test-report.xsd): `flakyFailure` in a test that
    passed in the end, `rerunFailure` in another."""
    from junitparser.xunit2 import FlakyFailure, RerunFailure

    message = replace_invalid(attempt.message or attempt.outcome)
    element = (FlakyFailure if flaky else RerunFailure)(message, attempt.outcome)
    element.stack_trace = message
    element.system_out = replace_invalid(attempt.output)
    testcase.append(element)  # type: ignore[no-untyped-call]


def _origin(task: ReportedTask) -> dict[str, str]:
    """Returns when and where an unchanged task ran, as properties."""
    if task.outcome != "cached":
        return {}
    since = datetime.fromtimestamp(task.started, UTC).isoformat("T", "seconds")
    return {"unchanged_since": since, "ran_on": task.host}


def _usage(task: ReportedTask) -> dict[str, str]:
    """Returns what a task used (bytes and seconds), the limit that ended it, and what is in the project though it did
    not pass, as properties; of an unchanged task what the run used that passed."""
    if task.status is None or (task.outcome == "cached" and not task.cpu_seconds):  # an older envtool ran it
        return {}
    values = {"memory": task.memory, "cpu_seconds": round(task.cpu_seconds, 3), "written": task.written}
    limit = {"limit": task.limit} if task.limit else {}
    left = {"outputs_of_failure": "\n".join(task.outputs)} if task.outputs else {}
    return {name: str(value) for name, value in {**values, **limit, **left}.items()}
