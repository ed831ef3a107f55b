"""How a run that is remembered reads. Imports time alone: the warm way of `envtool test` says it too."""

from __future__ import annotations

import os
import time

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
