"""Runs `verify`: shows its events, then prints every path that differs, as text or JSON."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from envtool.cli import console
from envtool.cli.session import exit_now, list_subscribers, open_display, run_interruptibly
from envtool.report.formatting import Style, pluralize
from envtool.report.json_lines import write_line
from envtool.report.summary import to_type
from envtool.report.text import format_seconds, one_line, sanitize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.cli.common_options import Settings
    from envtool.events import Outcome
    from envtool.model import Json
    from envtool.verify.comparison import VerifyResult

MAX_PATHS = 100  # paths of one layer that are printed; --json has all


def compute_exit_status(results: Sequence[VerifyResult], *, interrupted: bool) -> int:
    """The exit status: a difference (1) outweighs a layer that could not be built (3)."""
    outcomes = {result.outcome for result in results}
    if interrupted or "interrupted" in outcomes:
        return 130
    return 1 if "differs" in outcomes else 3 if "error" in outcomes else 0


def run_verify(
    settings: Settings, names: tuple[str, ...], *, build: bool, jobs: int | None, fail_fast: bool, offline: bool
) -> int:
    """Verify; returns the exit status. Raises EnvtoolError."""
    from envtool.app import verify_builds

    request = settings.request(jobs=jobs, fail_fast=fail_fast, offline=offline)
    display = open_display(settings)
    subscribers = list_subscribers(settings, display)
    started = time.monotonic()
    try:
        answer, interrupted, abandoned = run_interruptibly(
            lambda emit, cancel: verify_builds.verify(request, names, emit, cancel, build=build), subscribers, display
        )
    finally:
        if display:
            display.close()
    results = answer or ()
    seconds = time.monotonic() - started
    status = compute_exit_status(results, interrupted=interrupted)
    if settings.json:
        write_line(sys.stdout, results_json(results, seconds, status))
    elif text := "\n".join(
        filter(
            None, (format_differences(result, console.detect_style(sys.stdout, settings.color)) for result in results)
        )
    ):
        print(console.fit_to_terminal(text), flush=True)
    if display:
        total = format_total(
            results, seconds, interrupted=interrupted, style=console.detect_style(sys.stderr, settings.color)
        )
        sys.stderr.write((console.over() if abandoned else "") + console.fit_to_terminal(total, sys.stderr))
        if interrupted:
            sys.stderr.write(
                "".join(f"{line}\n" for line in to_type("again:", settings.typed(), console.terminal_width()))
            )
    if abandoned:
        exit_now(status)
    return status


def format_differences(result: VerifyResult, style: Style) -> str:
    """The differences of one layer or task; empty if there is none."""
    title = f"{result.subject} {one_line(result.name)}"
    if result.outcome == "error":
        return f"{title}: {sanitize(result.message, color=False).rstrip()}"
    if result.outcome != "differs":
        return ""
    if not result.differences:
        return f"{title}: came out as {result.diff_ids[0]}, the lock says {result.expected}"
    count = len(result.differences)
    lines = [f"{title}: {pluralize(count, 'path')} differ{'s' if count == 1 else ''} between {result.between}"]
    for difference in result.differences[:MAX_PATHS]:
        lines.append(f"  {style.paint('1', one_line(difference.path))}  {', '.join(difference.kinds)}")
        lines += [f"      {one_line(line)}" for line in difference.shown.splitlines()]
    if count > MAX_PATHS:
        lines.append(f"  {style.glyphs('…')} and {count - MAX_PATHS} more (--json has all)")
    if result.report:
        lines.append(f"  diffoscope: {result.report}")
    return "\n".join(lines)


def format_total(results: Sequence[VerifyResult], seconds: float, *, interrupted: bool, style: Style) -> str:
    """Notes about what could not be varied, and the last line."""
    notes: dict[str, list[str]] = {}
    for result in results:
        for note in result.notes:
            notes.setdefault(note, []).append(one_line(result.name))
    lines = [f"note: {', '.join(names)}: {note}" for note, names in notes.items()]
    outcomes = [result.outcome for result in results]
    words: tuple[tuple[Outcome, str, str], ...] = (
        ("differs", "1;31", "differ"),
        ("error", "1;31", "not built"),
        ("same", "32", "the same"),
    )
    parts = [style.paint(code, f"{outcomes.count(name)} {word}") for name, code, word in words if outcomes.count(name)]
    if interrupted:
        parts.insert(0, style.paint("1;33", "interrupted"))
    lines.append(
        f"{style.glyphs('──')} {', '.join(parts) or 'nothing to do'} in {format_seconds(seconds)} {style.glyphs('──')}"
    )
    return "\n".join(lines) + "\n"


def results_json(results: Sequence[VerifyResult], seconds: float, status: int) -> Json:
    """The last object of `--json` (docs/json.md)."""
    return {
        "event": "result",
        "status": status,
        "seconds": round(seconds, 3),
        "results": [
            {
                "name": result.name,
                "subject": result.subject,
                "kind": result.kind,
                "env": result.env,
                "outcome": result.outcome,
                "seconds": round(result.seconds, 3),
                "diff_ids": [*result.diff_ids],
                "stored": result.stored,
                "expected": result.expected,
                "between": result.between,
                "differences": [
                    {"path": difference.path, "kinds": [*difference.kinds], "shown": difference.shown}
                    for difference in result.differences
                ],
                "notes": [*result.notes],
                "report": result.report,
                "message": result.message,
            }
            for result in results
        ],
    }
