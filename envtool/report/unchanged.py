"""The lines of unchanged tasks. Imports os and time alone, for the fast path of `envtool test`."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TextIO

SIGN = "="
WORD = "unchanged"
COLOR = "32"
WHEN_IT_RAN = "when it ran: "  # before the usage of the run that passed


def describe_unchanged(since: float, host: str, *, now: float) -> str:
    """Returns a text such as "unchanged since 09:14, not run again", with the day unless it is today, and with the
    machine unless it is this one. `since` and `now` are in seconds since the epoch."""
    where = f" on {host}" if host and host != os.uname().nodename else ""
    return f"{WORD} since {format_moment(since, now=now)}{where}, not run again"


def format_moment(then: float, *, now: float) -> str:
    """Returns a local time, with its day unless that is today: "09:14", "yesterday 18:02", "2026-11-20 18:02"."""
    day = time.localtime(then)[:3]
    text = time.strftime("%H:%M", time.localtime(then))
    if day == time.localtime(now)[:3]:
        return text
    year, month, date, *_ = time.localtime(now)
    # noon, since some days have 23 or 25 hours
    yesterday = time.localtime(time.mktime((year, month, date - 1, 12, 0, 0, 0, 0, -1)))[:3]
    return f"yesterday {text}" if day == yesterday else time.strftime("%Y-%m-%d %H:%M", time.localtime(then))


def detect_capabilities(file: TextIO, environ: Mapping[str, str]) -> tuple[bool, bool]:
    """Returns whether a stream gets colours, and whether it can show envtool's signs: cli.console.detect_style without
    its options."""
    if environ.get("NO_COLOR"):
        color = False
    elif environ.get("FORCE_COLOR"):
        color = True
    else:
        color = file.isatty() and environ.get("TERM") != "dumb"
    try:
        "✓✗─━╌│├└⠋…".encode(file.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return color, False
    return color, True


def columns(file: TextIO, environ: Mapping[str, str]) -> int:
    """Returns the columns of a stream's terminal, 0 without one: text.terminal_columns without its imports."""
    text = environ.get("COLUMNS", "")
    try:
        if not file.isatty():
            return 0
        is_number = text.isascii() and text.isdecimal() and len(text) < 6
        return (int(text) if is_number else 0) or os.get_terminal_size(file.fileno()).columns
    except (OSError, ValueError):
        return 0


def layout(names: int, envs: int, tasks: int, columns: int) -> tuple[int, int]:
    """Returns the columns where a task's name and the details begin, for the longest names of layers, envs and tasks in
    columns, on a screen of `columns` (0: no limit)."""
    columns = columns or 120
    task = min(max(15, envs + 1), max(15, columns // 2 - 8))
    detail = max(10 + names, 3 + task + tasks if tasks else 0) + 1
    return task, min(max(26, detail), max(26, min(64, columns - 32)))


def describe_usage(memory: int, cpu_seconds: float, written: int) -> str:
    """Returns what a task or build used (bytes and seconds); empty where that is not known, or nothing."""
    from envtool.fs.sizes import format_size

    parts = [
        f"peak memory {format_size(memory)}" if memory else "",
        f"processors {cpu_seconds:.2f}s" if cpu_seconds >= 0.005 else "",
        f"wrote {format_size(written)}" if written else "",
    ]
    return ", ".join(filter(None, parts))


def lines(
    rows: Sequence[Mapping[str, Any]], *, now: float, color: bool, columns: int = 0, verbose: bool = False
) -> list[str] | None:
    """Returns the lines of unchanged tasks, as formatting.format_finished writes them; if `verbose`, with what each
    used. A row has env, task, since, host and usage, with plain names. Returns None if a row does not fit into two
    lines: then the slow path formats them."""
    sign = f"\x1b[{COLOR}m{SIGN}\x1b[0m" if color else SIGN
    envs, tasks = (max((len(row[name]) for row in rows), default=0) for name in ("env", "task"))
    task, detail = layout(0, envs, tasks, columns)
    result = []
    for row in rows:
        line = f"{row['env']:<{task - 1}} {row['task']}"
        description = describe_unchanged(row["since"], row["host"], now=now)
        available = columns or 1 << 20
        if 3 + max(len(line), len(description)) > available or (columns and len(row["env"]) >= task):
            return None
        if max(len(line) + 4, detail) + len(description) <= available:
            line = f"{line:<{detail - 4}} {description}"
        else:
            line += f" {description}" if len(line) + 4 + len(description) <= available else f"\n   {description}"
        result.append(f" {sign} {line}")
        if verbose and (usage := describe_usage(**row["usage"])):
            result.append(f"   {WHEN_IT_RAN}{usage}")
    return result


def json_lines(rows: Sequence[Mapping[str, Any]], *, now: float, spent: float) -> list[str]:
    """What `--json` writes of such a run: the events of each task, and the result (report/json_lines.py). No task has
    outputs or a message. Beside what `lines` takes, a row has the run's `seconds` and `usage`, the path of its `log`,
    and what it read."""
    import json

    documents: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for row in rows:
        event_id, env, task, since, host, seconds = (
            f"task:{row['env']}:{row['task']}", row["env"], row["task"], row["since"], row["host"], row["seconds"],
        )  # fmt: skip
        documents += (
            {"event": "started", "id": event_id, "subject": "task", "name": task, "time": now, "env": env,
             "detail": "", "total": 0, "on": ""},
            {"event": "finished", "id": event_id, "subject": "task", "name": task, "outcome": "cached", "time": now,
             "seconds": seconds, "env": env, "status": 0, "detail": "", "outputs": [], "since": since, "host": host,
             "on": "", "attempts": [], **row["usage"], "limit": ""},
        )  # fmt: skip
        results.append(
            {"env": env, "task": task, "outcome": "cached", "status": 0, "started": since, "seconds": seconds,
             "log": row["log"], "outputs": [], "message": "", "host": host, **row["usage"],
             "limit": "", "code": "", "problems": [], "attempts": [],
             "reads": row["reads"]}
        )  # fmt: skip
    documents.append({"event": "result", "status": 0, "seconds": round(spent, 3), "results": results})
    return [json.dumps(document) for document in documents]


def format_total(count: int, spent: float, *, color: bool, unicode: bool) -> str:
    """Returns the last line of a run in which nothing ran, as formatting.format_total writes it. `spent` is in seconds,
    less than a minute."""
    counts = f"\x1b[{COLOR}m{count} {WORD}\x1b[0m" if color else f"{count} {WORD}"
    dashes = "──" if unicode else "--"
    return f"{dashes} {counts} in {spent:.1f}s {dashes}"
