"""How a run that is remembered reads. Imports time alone: the warm way of `envtool test` says it too."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TextIO

SIGN = "="
WORD = "unchanged"
COLOR = "32"


def detail(since: float, host: str, *, now: float) -> str:
    """As in: unchanged since 09:14, not run again. The day is named where it is not today's, the machine where it is
    not this one."""
    where = f" on {host}" if host and host != os.uname().nodename else ""
    return f"{WORD} since {moment(since, now=now)}{where}, not run again"


def moment(then: float, *, now: float) -> str:
    """A time of day, with its day unless that is today: "09:14", "yesterday 18:02", "2026-11-20 18:02"."""
    day = time.localtime(then)[:3]
    text = time.strftime("%H:%M", time.localtime(then))
    if day == time.localtime(now)[:3]:
        return text
    year, month, date, *_ = time.localtime(now)
    # noon, since days of 23 and 25 hours exist
    yesterday = time.localtime(time.mktime((year, month, date - 1, 12, 0, 0, 0, 0, -1)))[:3]
    return f"yesterday {text}" if day == yesterday else time.strftime("%Y-%m-%d %H:%M", time.localtime(then))


def shown(file: TextIO, environ: Mapping[str, str]) -> tuple[bool, bool]:
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


def line(row: Mapping[str, Any], *, now: float, color: bool) -> str:
    """The line of a task, as words.finished has it, for plain names: `row` has env, task, since and host."""
    sign = f"\x1b[{COLOR}m{SIGN}\x1b[0m" if color else SIGN
    name = f"{row['env']:<14} {row['task']}"
    return f" {sign} {name:<22} {detail(row['since'], row['host'], now=now)}"


def closing(count: int, spent: float, *, color: bool, unicode: bool) -> str:
    """The last line of a run of which nothing was run, as words.total has it. `spent` is less than a minute."""
    said = f"\x1b[{COLOR}m{count} {WORD}\x1b[0m" if color else f"{count} {WORD}"
    dashes = "──" if unicode else "--"
    return f"{dashes} {said} in {spent:.1f}s {dashes}"
