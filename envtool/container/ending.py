"""Ends a container before its steps have ended: at its deadline, at a limit, after an interrupt.

Few containers need this, so the supervisor imports it when one does.
"""

from __future__ import annotations

import time

from envtool.container import messages, syscalls
from envtool.container.limit_watch import LimitWatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Supervisor = Any  # supervisor._Supervisor, which imports this module

_KILL_SECONDS = 10.0  # seconds that pid 1 has to end by itself after everything else was killed


def end_late_work(supervisor: Supervisor) -> None:
    """End what follows the steps. The first call closes the pipe, so that the process that sends outputs ends; the next
    one kills what still runs.
    """
    if supervisor.output >= 0:
        why = "interrupted" if supervisor.result.interrupted else f"it took more than {messages.COLLECT_SECONDS:g} s"
        supervisor.result.lost = f"not all outputs were copied back: {why}"
        supervisor.close_end(supervisor.output)
    elif supervisor.hurried:
        supervisor.signal(syscalls.SIGKILL)
        supervisor.killed = True
    supervisor.hurried = True
    supervisor.deadline = time.monotonic() + messages.HURRY_SECONDS


def handle_deadline(supervisor: Supervisor) -> None:
    """End what runs now: the steps, asked first and then killed, or what follows them."""
    result = supervisor.result
    if supervisor.ended:
        end_late_work(supervisor)
        return
    if not (result.timed_out or result.interrupted):
        result.timed_out = True
        supervisor.end()
        return
    if supervisor.gentle:  # the step may handle ^C and go on: now ask with TERM
        supervisor.end()
        return
    supervisor.signal(syscalls.SIGUSR1 if supervisor.up and not supervisor.killed else syscalls.SIGKILL)
    supervisor.killed = True
    supervisor.deadline = time.monotonic() + _KILL_SECONDS


def open_limits(supervisor: Supervisor) -> LimitWatch:
    """Returns what looks at the limits of a container, which is made at the first call."""
    if supervisor.limits is None:
        supervisor.limits = LimitWatch(supervisor.program.get("limits", {}))
        if supervisor.limits.shown:
            supervisor.program = {**supervisor.program, "cgroups": supervisor.limits.shown}
    limits: LimitWatch = supervisor.limits
    return limits


def watch_limits(supervisor: Supervisor) -> None:
    """Look at what the steps use, and end them where they are over a limit."""
    limits, result = open_limits(supervisor), supervisor.result
    exceeded = limits.look(supervisor.pid1, supervisor.watched, ended=supervisor.ended)
    supervisor.look_at = time.monotonic() + limits.interval
    if exceeded is None or result.exceeded or result.timed_out or result.interrupted:
        return
    result.exceeded = exceeded
    if supervisor.ended:
        return
    if exceeded.limit == "idle":
        handle_deadline(supervisor)
    else:
        supervisor.signal(syscalls.SIGUSR1)
        supervisor.killed, supervisor.deadline = True, time.monotonic() + _KILL_SECONDS
