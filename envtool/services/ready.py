"""Waits until a replica is ready: all checks of `ready:` must succeed, one after the other."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from envtool.services.ready_probes import ProbeTarget, make_probe

if TYPE_CHECKING:
    from envtool.services.service_request import ReadyProbe, ServiceRequest

# Seconds between attempts: an eighth of the time that has passed, so that a service is noticed soon after it is ready
_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 0.002, 0.1, 1.15
_COMMAND_PAUSE = 0.02  # the same after a command, which costs a process


class NotReady(Exception):  # noqa: N818 - a state: the replica makes the error
    """A check did not succeed in time. `reason` says what the last attempt found."""

    def __init__(self, check: ReadyProbe, reason: str) -> None:
        super().__init__(reason)
        self.where = check.where
        self.reason = reason


def await_ready(request: ServiceRequest, target: ProbeTarget, gone: threading.Event, deadline: float) -> bool:
    """Returns True when all checks have succeeded, False when `gone` is set. Raises NotReady at `deadline`
    (time.monotonic)."""
    for check in request.ready:
        probe = make_probe(check, target)
        pause = _COMMAND_PAUSE if check.how == "command" else _FIRST_PAUSE
        try:
            while not probe.attempt(max(0.001, deadline - time.monotonic())):
                if gone.wait(min(pause, max(0.0, deadline - time.monotonic()))):
                    return False
                if time.monotonic() >= deadline:
                    raise NotReady(check, probe.reason())
                pause = min(pause * _GROWTH, _LONGEST_PAUSE)
        finally:
            probe.close()
    return not gone.is_set()
