"""What test, build and run share: run a task in many envs, show it, say how it ended."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from envtool.cli import door, screen
from envtool.cli.working import listeners, wait
from envtool.errors import UsageError
from envtool.report.closing import closing
from envtool.report.lines import Lines, result, write
from envtool.report.stream import Result, Subscriber

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.cli.options import Settings
    from envtool.report.junit import Junit


def status(results: Sequence[Result], *, interrupted: bool = False) -> int:
    """The exit status of a run. A failed task (1) is certain knowledge, so it outweighs an env not made (3)."""
    outcomes = {each.outcome for each in results}
    if interrupted or ("interrupted" in outcomes and not outcomes & {"failed", "timeout"}):
        return 130
    if outcomes & {"failed", "timeout"}:
        return 1
    return 3 if "error" in outcomes else 0


def wanted(
    settings: Settings,
    args: tuple[str, ...],
    *,
    envs: tuple[str, ...],
    jobs: int | None,
    fail_fast: bool,
    refresh: bool,
) -> Any:
    """The app's Request for what the command line says."""
    return door.app().Request(
        directory=settings.directory,
        file=settings.file,
        envs=envs,
        jobs=jobs or 0,
        fail_fast=fail_fast,
        args=args,
        refresh=refresh,
    )


def perform(settings: Settings, task: str, request: Any, junit: str | None) -> int:
    """Run `task`; returns the exit status. Raises EnvtoolError."""
    display = None if settings.json and settings.verbosity <= 0 else screen.display(settings)
    report = _junit(junit)
    subscribers: list[Subscriber] = [each for each in (display, report) if each]
    subscribers += listeners()
    if settings.json:
        subscribers.append(Lines(sys.stdout))
    begun = time.monotonic()
    results: Sequence[Result] = ()
    written = True
    abandoned = False
    try:
        answer, interrupted, abandoned = wait(
            lambda emit, cancel: tuple(door.app().run(request, task, emit, cancel)), subscribers, display
        )
        results = answer or ()
    finally:
        if display:
            display.close()
        if report:
            written = _save(report, results)
    if not results and not interrupted:
        raise UsageError(f"no env has a task `{task}`", code="usage.task", hint="`envtool list` shows envs and tasks")
    spent = time.monotonic() - begun
    code = status(results, interrupted=interrupted)
    code = code if code or written else 3
    if settings.json:
        write(sys.stdout, result(results, spent, code))
    if display:
        text = closing(
            results,
            spent,
            interrupted=interrupted,
            again=settings.again(),
            shown=display.shown,
            style=screen.style(sys.stderr, settings.color),
            columns=screen.columns(),
        )
        sys.stderr.write(text + "\n")
    if abandoned:
        # Threads of the app may still wait for their containers, and Python would wait for them. The containers die
        # with this process; all that is worth keeping has been written.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _junit(path: str | None) -> Junit | None:
    if not path:
        return None
    from envtool.report import junit

    return junit.Junit(path)


def _save(report: Junit, results: Sequence[Result]) -> bool:
    try:
        report.write(results)
    except OSError as error:
        print(f"error: the JUnit file cannot be written: {error}", file=sys.stderr)
        return False
    return True
