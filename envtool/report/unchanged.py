"""How a run that is remembered reads. Imports time alone: the warm way of `envtool test` says it too."""

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


def describe_unchanged(since: float, host: str, *, now: float) -> str:
    """As in: unchanged since 09:14, not run again. The day is named where it is not today's, the machine where it is
    not this one."""
    where = f" on {host}" if host and host != os.uname().nodename else ""
    return f"{WORD} since {format_moment(since, now=now)}{where}, not run again"


def format_moment(then: float, *, now: float) -> str:
    """A time of day, with its day unless that is today: "09:14", "yesterday 18:02", "2026-11-20 18:02"."""
    day = time.localtime(then)[:3]
    text = time.strftime("%H:%M", time.localtime(then))
    if day == time.localtime(now)[:3]:
        return text
    year, month, date, *_ = time.localtime(now)
    # noon, since days of 23 and 25 hours exist
    yesterday = time.localtime(time.mktime((year, month, date - 1, 12, 0, 0, 0, 0, -1)))[:3]
    return f"yesterday {text}" if day == yesterday else time.strftime("%Y-%m-%d %H:%M", time.localtime(then))


def detect_capabilities(file: TextIO, environ: Mapping[str, str]) -> tuple[bool, bool]:
    """Whether a stream gets colours, and whether it can show our signs: cli.screen.style without its options."""
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
    """How wide the terminal is that a stream leads to, 0 where it leads to none: text.columns without its imports."""
    said = environ.get("COLUMNS", "")
    try:
        if not file.isatty():
            return 0
        known = said.isascii() and said.isdecimal() and len(said) < 6
        return (int(said) if known else 0) or os.get_terminal_size(file.fileno()).columns
    except (OSError, ValueError):
        return 0


def layout(names: int, envs: int, tasks: int, columns: int) -> tuple[int, int]:
    """Where the name of a task and the details begin, for names of so many columns at most: of what is made, of envs,
    of tasks. `columns` are those of the screen, 0: without end."""
    columns = columns or 120
    task = min(max(15, envs + 1), max(15, columns // 2 - 8))
    wanted = max(10 + names, 3 + task + tasks if tasks else 0) + 1
    return task, min(max(26, wanted), max(26, min(64, columns - 32)))


def lines(rows: Sequence[Mapping[str, Any]], *, now: float, color: bool, columns: int = 0) -> list[str] | None:
    """The lines of tasks, as words.finished has them, for plain names: a row has env, task, since and host. None where
    one has no room in two lines of the screen: the long way has the words for that."""
    sign = f"\x1b[{COLOR}m{SIGN}\x1b[0m" if color else SIGN
    envs, tasks = (max((len(row[name]) for row in rows), default=0) for name in ("env", "task"))
    task, begin = layout(0, envs, tasks, columns)
    out = []
    for row in rows:
        head = f"{row['env']:<{task - 1}} {row['task']}"
        said = describe_unchanged(row["since"], row["host"], now=now)
        room = columns or 1 << 20
        if 3 + max(len(head), len(said)) > room or (columns and len(row["env"]) >= task):
            return None
        if max(len(head) + 4, begin) + len(said) <= room:
            head = f"{head:<{begin - 4}} {said}"
        else:
            head += f" {said}" if len(head) + 4 + len(said) <= room else f"\n   {said}"
        out.append(f" {sign} {head}")
    return out


def json_lines(rows: Sequence[Mapping[str, Any]], *, now: float, spent: float) -> list[str]:
    """What `--json` writes of such a run: the events of each task, and the result (report/json_lines.py). No task has
    outputs or a message. Beside what `lines` takes, a row has the run's `seconds` and the path of its `log`."""
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
             "on": ""},
        )  # fmt: skip
        results.append(
            {"env": env, "task": task, "outcome": "cached", "status": 0, "started": since, "seconds": seconds,
             "log": row["log"], "outputs": [], "message": "", "host": host, "code": "", "problems": []}
        )  # fmt: skip
    documents.append({"event": "result", "status": 0, "seconds": round(spent, 3), "results": results})
    return [json.dumps(document) for document in documents]


def format_total(count: int, spent: float, *, color: bool, unicode: bool) -> str:
    """The last line of a run of which nothing was run, as words.total has it. `spent` is less than a minute."""
    said = f"\x1b[{COLOR}m{count} {WORD}\x1b[0m" if color else f"{count} {WORD}"
    dashes = "──" if unicode else "--"
    return f"{dashes} {said} in {spent:.1f}s {dashes}"
