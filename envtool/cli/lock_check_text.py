"""Runs `lock --check`, and prints what it finds, as text or JSON."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

from envtool.app import lock_file
from envtool.cli import console
from envtool.cli.common_options import typed
from envtool.errors import SpecError
from envtool.report.error_text import format_error
from envtool.report.formatting import pluralize
from envtool.report.json_lines import write_line
from envtool.report.text import fit_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envtool.app.lock_file import LockCheck
    from envtool.build.locking import LockFault
    from envtool.cli.common_options import Settings
    from envtool.model import Json

_UNCHECKED = ("--check", "--json", "--offline")  # words that the command that mends does not need
_WORDS = {
    "missing": "missing", "stale": "no longer fitting", "unused": "not needed", "broken": "unreadable",
    "project": "of the project's own lock file",
}  # fmt: skip


def run_check(settings: Settings, envs: tuple[str, ...], platforms: tuple[str, ...] = ()) -> int:
    """Checks the lock; returns the exit status: 1 if `envtool lock` would change it. Raises EnvtoolError."""
    check = lock_file.check_lock(settings.request(envs=envs), platforms)
    mend = mending_command(*settings.called, [f"--platform={each}" for each in check.also if each not in platforms])
    if settings.json:
        write_line(sys.stdout, check_json(check, mend))
    elif not (settings.verbosity < 0 and not check.faults):
        if check.faults:
            error = SpecError(tuple(fault.problem for fault in check.faults))
            style = console.detect_style(sys.stdout, settings.color)
            print(format_error(error, style=style, columns=console.terminal_width(sys.stdout)))
        print(format_check(check, mend, console.terminal_width(sys.stdout)))
    return 1 if check.faults else 0


def mending_command(before: Sequence[str], after: Sequence[str], more: Sequence[str] = ()) -> str:
    """Returns the command that was typed, without `--check`: its words up to the verb, those after it, and more."""
    words = [word for word in (*before, *after) if word not in _UNCHECKED]
    return typed([*(words or ["lock"]), *more])


def format_check(check: LockCheck, mend: str, columns: int = 0) -> str:
    """The last lines: what the lock has, or how many faults of each sort there are, and the command that mends them."""
    if not check.faults:
        entries = "1 base or layer" if check.entries == 1 else f"{check.entries} bases and layers"
        several = "complete for " if len(check.platforms) > 1 else ""
        return fit_lines(f"{check.file} fits: {entries}, {several}{', '.join(check.platforms)}", columns)
    if not _mends(check):
        text = f"{check.file} fits the spec; the project's own lock file does not fit the project"
        return fit_lines(text, columns)
    counts = Counter(_WORDS[fault.state] for fault in check.faults)
    listed = ", ".join(f"{count} {word}" for word, count in counts.items())
    total = pluralize(len(check.faults), "fault")
    first = fit_lines(f"{check.file} does not fit the spec: {total} ({listed})", columns)
    platforms = f"{fit_lines(_by_platform(check), columns)}\n" if len(check.platforms) > 1 else ""
    return f"{first}\n{platforms}to mend it: {mend}"


def _by_platform(check: LockCheck) -> str:
    """For each platform whether the lock is complete, or how many faults it has."""
    counts = {platform: sum(_concerns(fault, platform) for fault in check.faults) for platform in check.platforms}
    return ", ".join(f"{name}: {pluralize(count, 'fault') if count else 'complete'}" for name, count in counts.items())


def _concerns(fault: LockFault, platform: str) -> bool:
    """Whether a platform has a fault; one of the whole lock is a fault of each."""
    return fault.state != "project" and fault.platform.partition(" ")[0] in ("", platform)


def _mends(check: LockCheck) -> bool:
    """Whether `envtool lock` mends one of the faults: another tool mends the project's own lock file."""
    return any(fault.state != "project" for fault in check.faults)


def check_json(check: LockCheck, mend: str) -> Json:
    """The object of `lock --check` (docs/json.md)."""
    return {
        "event": "lock-check",
        "file": check.file,
        "fits": not check.faults,
        "entries": check.entries,
        "platforms": [*check.platforms],
        "complete": [
            platform for platform in check.platforms if not any(_concerns(fault, platform) for fault in check.faults)
        ],
        "faults": [
            {
                "state": fault.state,
                "subject": fault.subject,
                "name": fault.name,
                "platform": fault.platform,
                "message": fault.problem.message,
                "where": {
                    "file": fault.problem.where.file,
                    "line": fault.problem.where.line,
                    "column": fault.problem.where.column,
                },
            }
            for fault in check.faults
        ],
        "mend": mend if _mends(check) else "",
    }
