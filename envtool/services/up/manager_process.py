"""Runs a service manager in this process until a signal or a request ends it.

The manager has a thread of its own; the main thread waits for the manager's end, or for a signal. So a signal handler
only puts a number into a queue (SimpleQueue.put is reentrant). The kernel kills every container when this process dies.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from envtool.errors import Interrupted
from envtool.services.up.manager import Report, ServiceManager, UpOrder

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_until_stopped(
    manager: ServiceManager, order: UpOrder, root: str, spec: str, ready: Report, *, abandon: Callable[[], object]
) -> str:
    """Runs a service manager. The first signal stops the services in their order; the second one calls `abandon`, and
    ends this process at once. Returns why the manager ended. Raises as ServiceManager.run, and Interrupted if a signal
    came before all services were ready."""
    events: SimpleQueue[int | BaseException | None] = SimpleQueue()

    def work() -> None:
        try:
            manager.run(order, root, spec, ready)
            events.put(None)
        except BaseException as error:
            events.put(error)

    with _signals(events):
        threading.Thread(target=work, name="service manager", daemon=True).start()
        signals = 0
        while isinstance(event := _next_event(events), int):
            signals += 1
            if signals > 1:
                abandon()
                os._exit(130)
            manager.stop("interrupted")
    if isinstance(event, Interrupted) and not signals:  # `down`, while the services were being started
        return manager.reason
    if event is not None:
        raise event
    return manager.reason


def _next_event(events: SimpleQueue[int | BaseException | None]) -> int | BaseException | None:
    """Returns the next event. Wakes up each second: a signal that comes just before a thread waits for a lock does not
    interrupt the wait."""
    while True:
        try:
            return events.get(timeout=1.0)
        except Empty:
            continue


@contextmanager
def _signals(events: SimpleQueue[int | BaseException | None]) -> Iterator[None]:
    """A context that puts the number of each signal of STOP_SIGNALS into a queue. An ignored signal (nohup) stays
    ignored."""
    old = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    caught = [number for number in STOP_SIGNALS if old[number] is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, lambda number, _: events.put(number))
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, old[number])
