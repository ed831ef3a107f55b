"""`--junit` of an unchanged `test`: the report of the results in a plan of the fast path.

The tests of a task are read from the log of the run that passed, which needs the plugins; so the first such report of a
plan keeps them beside it, and later ones import no plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envtool.events import Case, Report
from envtool.fs import beneath, store_files
from envtool.report import junit, recorder

if TYPE_CHECKING:
    from typing import Any

FORMAT = 1
MAX_KEPT = 2000  # tests that are kept: reading more of them back takes longer than reading the log


def write(path: str, plan: dict[str, Any]) -> bool:
    """Writes the JUnit report of the results in a plan. Returns False if only the long path can: a plugin cannot be
    used. Raises OSError."""
    report = _record(plan, ())
    if any(task.output for task in report.tasks):
        counted = _read_counted(plan, report)
        if counted is None:
            counted = _count(plan)
            if counted is None:
                return False
        report = counted
    recorder.write_file(path, junit.junit_xml(report), beneath.current_project() or plan["root"])
    return True


def _record(plan: dict[str, Any], readers: tuple[Any, ...]) -> Report:
    run = recorder.Recorder(readers)
    for row in plan["rows"]:
        run.add_unchanged(
            row["env"], row["task"], since=row["since"], seconds=row["seconds"], host=row["host"], log=row["log"],
            usage=row["usage"],
        )  # fmt: skip
    return run.report()


def _place(plan: dict[str, Any]) -> str:
    return str(plan["place"]).removesuffix(".told") + ".tests"


def _identity(plan: dict[str, Any]) -> str:
    """Returns the digest of what decides the tests of a plan's logs. A plan has signatures of the logs and of the
    plugins' code."""
    from hashlib import sha256

    return sha256(repr((FORMAT, plan["version"], plan["watch"], plan["machine"])).encode()).hexdigest()


def _read_counted(plan: dict[str, Any], report: Report) -> Report | None:
    """Returns the report with the tests that an earlier one kept; None if none did, or it was of another plan."""
    from dataclasses import replace

    try:
        kept = store_files.decode_with_checksum(store_files.read_regular_file(_place(plan)))[0]
        if kept["identity"] != _identity(plan) or len(kept["tasks"]) != len(report.tasks):
            return None
        tasks = [
            replace(task, counts=counts, cases=tuple(map(_to_case, cases)))
            for task, (counts, cases) in zip(report.tasks, kept["tasks"], strict=True)
        ]
    except (OSError, ValueError, EOFError, TypeError, LookupError):
        return None
    return Report(tasks=tuple(tasks), seconds=report.seconds)


def _to_case(values: tuple[Any, ...]) -> Case:
    test_id, outcome, seconds, message = values
    return Case(id=test_id, outcome=outcome, seconds=seconds, message=message)


def _count(plan: dict[str, Any]) -> Report | None:
    from envtool.errors import has_faults
    from envtool.plugins import discover, output_readers

    registry = discover()
    readers = output_readers(registry)
    if registry.faults or has_faults():
        return None
    report = _record(plan, readers)
    if sum(len(task.cases) for task in report.tasks) <= MAX_KEPT:
        tasks = [
            (task.counts, tuple((case.id, case.outcome, case.seconds, case.message) for case in task.cases))
            for task in report.tasks
        ]
        store_files.replace_if_possible(
            _place(plan), store_files.encode_with_checksum({"identity": _identity(plan), "tasks": tasks})
        )
    return report
