"""What `envtool verify` shows: a line a layer while it works, then every path that differs, as data."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from envtool.cli import app_interface, console
from envtool.cli.session import Listener, exit_now, run_interruptibly
from envtool.report.formatting import Style, pluralize
from envtool.report.json_lines import Lines, write_line
from envtool.report.summary import to_type
from envtool.report.text import format_seconds, one_line, sanitize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.cli.common_options import Settings
    from envtool.model import Json
    from envtool.report.stream import Subscriber

MAX_PATHS = 100  # paths of one layer that are written out; --json has all


def compute_exit_status(results: Sequence[Any], *, interrupted: bool) -> int:
    """A difference (1) is certain knowledge, so it outweighs what could not be made (3)."""
    outcomes = {each.outcome for each in results}
    if interrupted or "interrupted" in outcomes:
        return 130
    return 1 if "differs" in outcomes else 3 if "error" in outcomes else 0


def run_verify(
    settings: Settings, names: tuple[str, ...], *, build: bool, jobs: int | None, fail_fast: bool, offline: bool
) -> int:
    """Verify; returns the exit status. Raises EnvtoolError."""
    app = app_interface.import_app()
    request = app.CommandRequest(**settings.project(), jobs=jobs or 0, fail_fast=fail_fast, offline=offline)
    display = None if settings.json and settings.verbosity <= 0 else console.make_display(settings)
    subscribers: list[Subscriber] = [display] if display else []
    subscribers += [Listener(hear) for hear in app.listeners()]
    if settings.json:
        subscribers.append(Lines(sys.stdout))
    begun = time.monotonic()
    try:
        answer, interrupted, abandoned = run_interruptibly(
            lambda emit, cancel: tuple(app.verify(request, names, emit, cancel, build=build)), subscribers, display
        )
    finally:
        if display:
            display.close()
    results = answer or ()
    spent = time.monotonic() - begun
    code = compute_exit_status(results, interrupted=interrupted)
    if settings.json:
        write_line(sys.stdout, results_json(results, spent, code))
    elif text := "\n".join(
        filter(None, (format_differences(each, console.detect_style(sys.stdout, settings.color)) for each in results))
    ):
        print(console.fit_to_terminal(text), flush=True)
    if display:
        said = format_total(
            results, spent, interrupted=interrupted, style=console.detect_style(sys.stderr, settings.color)
        )
        sys.stderr.write((console.over() if abandoned else "") + console.fit_to_terminal(said, sys.stderr))
        if interrupted:
            sys.stderr.write(
                "".join(f"{line}\n" for line in to_type("again:", settings.typed(), console.terminal_width()))
            )
    if abandoned:
        exit_now(code)
    return code


def format_differences(found: Any, style: Style) -> str:
    """Everything about one that is not the same; empty for what is."""
    head = f"{found.subject} {one_line(found.name)}"
    if found.outcome == "error":
        return f"{head}: {sanitize(found.message, color=False).rstrip()}"
    if found.outcome != "differs":
        return ""
    if not found.differences:
        return f"{head}: came out as {found.diff_ids[0]}, the lock says {found.expected}"
    count = len(found.differences)
    lines = [f"{head}: {pluralize(count, 'path')} differ{'s' if count == 1 else ''} between {found.between}"]
    for each in found.differences[:MAX_PATHS]:
        lines.append(f"  {style.paint('1', one_line(each.path))}  {', '.join(each.kinds)}")
        lines += [f"      {one_line(line)}" for line in each.shown.splitlines()]
    if count > MAX_PATHS:
        lines.append(f"  {style.glyphs('…')} and {count - MAX_PATHS} more (--json has all)")
    if found.report:
        lines.append(f"  diffoscope: {found.report}")
    return "\n".join(lines)


def format_total(results: Sequence[Any], spent: float, *, interrupted: bool, style: Style) -> str:
    """What could not be varied, and the last line."""
    notes: dict[str, list[str]] = {}
    for each in results:
        for note in each.notes:
            notes.setdefault(note, []).append(one_line(each.name))
    lines = [f"note: {', '.join(names)}: {note}" for note, names in notes.items()]
    outcomes = [each.outcome for each in results]
    words = (("differs", "1;31", "differ"), ("error", "1;31", "not made"), ("same", "32", "the same"))
    parts = [style.paint(code, f"{outcomes.count(name)} {word}") for name, code, word in words if outcomes.count(name)]
    if interrupted:
        parts.insert(0, style.paint("1;33", "interrupted"))
    lines.append(
        f"{style.glyphs('──')} {', '.join(parts) or 'nothing to do'} in {format_seconds(spent)} {style.glyphs('──')}"
    )
    return "\n".join(lines) + "\n"


def results_json(results: Sequence[Any], spent: float, code: int) -> Json:
    """The last object of `--json` (docs/json.md)."""
    return {
        "event": "result",
        "status": code,
        "seconds": round(spent, 3),
        "results": [
            {
                "name": each.name,
                "subject": each.subject,
                "kind": each.kind,
                "env": each.env,
                "outcome": each.outcome,
                "seconds": round(each.seconds, 3),
                "diff_ids": [*each.diff_ids],
                "stored": each.stored,
                "expected": each.expected,
                "between": each.between,
                "differences": [
                    {"path": item.path, "kinds": [*item.kinds], "shown": item.shown} for item in each.differences
                ],
                "notes": [*each.notes],
                "report": each.report,
                "message": each.message,
            }
            for each in results
        ],
    }
